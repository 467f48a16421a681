/**
 * What a WAL segment makes of the pages that it writes: of each page the digest of its last version. A page that the
 * database was cut in front of is left out: what a restore makes of it is nothing that SQLite ever reads.
 */
import { frameBytes, frameHeaderBytes, framePageNumber, walHeaderBytes } from '../wal/wal-format.js'

/** Of a page's content, so many bytes that two that differ never have the same: a false "equal" would be a lost page. */
export const digestBytes = 16

/** The first {@link digestBytes} of a cryptographic digest. */
export type DigestPage = (page: Uint8Array) => Uint8Array

/** What a segment, or several in a row, changes. */
export interface PageChanges {
  /** Database size in pages behind them. */
  readonly sizePages: number
  /** The smallest database size at one of their commits: every page behind it is not what it was. */
  readonly leastSizePages: number
  /** Page numbers, each once, none behind the size. */
  readonly pages: Uint32Array
  /** Of these pages, in this order. */
  readonly digests: Uint8Array
}

/** Gathers the changes of a segment while it is captured. */
export class SegmentPages {
  readonly #digestPage: DigestPage
  /** Where a page's digest lies. */
  readonly #slots = new Map<number, number>()
  #digests = new Uint8Array(64 * digestBytes)
  #slotCount = 0
  #highestPage = 0
  #sizePages = 0
  #leastSizePages = Number.POSITIVE_INFINITY

  constructor(digestPage: DigestPage) {
    this.#digestPage = digestPage
  }

  /** Adds whole frames that follow, behind the WAL's header if the run begins with it. */
  add(bytes: Uint8Array, options: { pageSizeBytes: number; hasHeader: boolean }): void {
    const { pageSizeBytes, hasHeader } = options
    const stepBytes = frameBytes(pageSizeBytes)
    const data = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    const newest = new Map<number, number>()
    for (let at = hasHeader ? walHeaderBytes : 0; at + stepBytes <= bytes.length; at += stepBytes) {
      const page = framePageNumber(data, at)
      newest.set(page, at)
      this.#highestPage = Math.max(this.#highestPage, page)
      const sizePages = data.getUint32(at + 4)
      if (sizePages > 0) this.#commit(sizePages, newest)
    }
    for (const [page, at] of newest) {
      const start = at + frameHeaderBytes
      this.#set(page, this.#digestPage(bytes.subarray(start, start + pageSizeBytes)))
    }
  }

  /** At a commit. */
  get changes(): PageChanges {
    const pages = new Uint32Array(this.#slots.size)
    const digests = new Uint8Array(this.#slots.size * digestBytes)
    let count = 0
    for (const [page, slot] of this.#slots) {
      pages[count] = page
      const from = slot * digestBytes
      digests.set(this.#digests.subarray(from, from + digestBytes), count * digestBytes)
      count += 1
    }
    return { sizePages: this.#sizePages, leastSizePages: this.#leastSizePages, pages, digests }
  }

  #commit(sizePages: number, newest: Map<number, number>): void {
    this.#sizePages = sizePages
    this.#leastSizePages = Math.min(this.#leastSizePages, sizePages)
    if (this.#highestPage <= sizePages) return
    for (const gathered of [newest, this.#slots]) {
      for (const page of gathered.keys()) if (page > sizePages) gathered.delete(page)
    }
    this.#highestPage = sizePages
  }

  #set(page: number, digest: Uint8Array): void {
    let slot = this.#slots.get(page)
    if (slot === undefined) {
      slot = this.#slotCount
      this.#slotCount += 1
      this.#slots.set(page, slot)
      if (this.#slotCount * digestBytes > this.#digests.length) {
        const grown = new Uint8Array(this.#digests.length * 2)
        grown.set(this.#digests)
        this.#digests = grown
      }
    }
    this.#digests.set(digest, slot * digestBytes)
  }
}
