/**
 * The page map: of every page of a database, a digest of what the stored chain makes of it at a position: the last frame
 * up to there, or where the generation has none, the page as a snapshot of it was read. By it is told, when the WAL no
 * longer proves that nothing was missed, which pages differ from what is stored.
 *
 * It is never a guess. A page of which that is not known, because the database was shorter in between or no snapshot was
 * read yet, has no digest, and counts as different. Two files hold it:
 *
 *     pages.map   magic `tsrpmap1`, header, a digest for each page (zeros: not known), check
 *     pages.log   magic `tsrplog1`, generation, then a record for each segment behind the map's position
 *
 * A record: length of what follows but the check, u32 · place before it, place behind it (each index u32, offset f64) ·
 * checksum of the last frame, two u32 · size, least size, count, u32 each · so many page numbers, u32 · as many digests ·
 * check. Each check is a digest of the check before it and of the record, so that a log that was torn or put together of
 * two is good up to there and no further. All numbers are little-endian.
 */
import { type Generation, parseGeneration } from '../wal/generation.js'
import { comparePositions, type WalPosition } from '../wal/position.js'
import { type Checksum, isPageSize } from '../wal/wal-format.js'
import { digestBytes, type PageChanges } from './segment-pages.js'

/** A place in a generation, and the running checksum there, which no other chain has. */
export interface ChainPlace {
  readonly position: WalPosition
  readonly checksum: Checksum
}

export interface PageMapHeader extends ChainPlace {
  readonly generation: Generation
  readonly pageSizeBytes: number
  /** Database size in pages; 0: nothing was committed since the map began, and no snapshot was read. */
  readonly sizePages: number
  /** The smallest size of the database at a commit since the map began. */
  readonly leastSizePages: number
  /** Whether a snapshot was read whole: then every page is known that SQLite may read. */
  readonly isWhole: boolean
}

export interface PageRecord extends ChainPlace {
  /** What it goes on from. */
  readonly from: WalPosition
  readonly changes: PageChanges
}

export type DigestParts = (...parts: readonly Uint8Array[]) => Uint8Array

const unlimited = 0xffff_ffff
const mapMagic = 'tsrpmap1'
const logMagic = 'tsrplog1'
export const mapHeaderBytes = 64
export const logHeaderBytes = 16
const recordHeadBytes = 44

/** Nothing is known yet of what the chain makes of any page at a place. */
export function startOfMap(
  of: { readonly generation: Generation; readonly pageSizeBytes: number },
  { position, checksum }: ChainPlace,
): PageMapHeader {
  return {
    ...of,
    position,
    checksum,
    sizePages: 0,
    leastSizePages: Number.POSITIVE_INFINITY,
    isWhole: false,
  }
}

export function formatMapHeader(header: PageMapHeader): Uint8Array {
  const bytes = new Uint8Array(mapHeaderBytes)
  const data = new DataView(bytes.buffer)
  writeText(bytes, mapMagic)
  writeGeneration(bytes, header.generation)
  data.setUint32(16, header.pageSizeBytes, true)
  writePosition(data, 20, header.position)
  data.setUint32(32, header.checksum.s0, true)
  data.setUint32(36, header.checksum.s1, true)
  data.setUint32(40, header.sizePages, true)
  data.setUint32(44, Math.min(header.leastSizePages, unlimited), true)
  data.setUint32(48, header.isWhole ? 1 : 0, true)
  return bytes
}

/** Undefined: these are not the first bytes of a map. */
export function parseMapHeader(bytes: Uint8Array): PageMapHeader | undefined {
  if (bytes.length < mapHeaderBytes || !startsWith(bytes, mapMagic)) return undefined
  const data = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const generation = readGeneration(bytes)
  const pageSizeBytes = data.getUint32(16, true)
  if (generation === undefined || !isPageSize(pageSizeBytes)) return undefined
  const least = data.getUint32(44, true)
  return {
    generation,
    pageSizeBytes,
    position: readPosition(data, 20),
    checksum: { s0: data.getUint32(32, true), s1: data.getUint32(36, true) },
    sizePages: data.getUint32(40, true),
    leastSizePages: least === unlimited ? Number.POSITIVE_INFINITY : least,
    isWhole: data.getUint32(48, true) === 1,
  }
}

export function formatLogHeader(generation: Generation): Uint8Array {
  const bytes = new Uint8Array(logHeaderBytes)
  writeText(bytes, logMagic)
  writeGeneration(bytes, generation)
  return bytes
}

export function formatRecord(
  record: PageRecord,
  checkBefore: Uint8Array,
  digest: DigestParts,
): Uint8Array {
  const { pages, digests, sizePages, leastSizePages } = record.changes
  const lengthBytes = recordHeadBytes + pages.length * (4 + digestBytes)
  const bytes = new Uint8Array(4 + lengthBytes + digestBytes)
  const data = new DataView(bytes.buffer)
  data.setUint32(0, lengthBytes, true)
  writePosition(data, 4, record.from)
  writePosition(data, 16, record.position)
  data.setUint32(28, record.checksum.s0, true)
  data.setUint32(32, record.checksum.s1, true)
  data.setUint32(36, sizePages, true)
  data.setUint32(40, leastSizePages, true)
  data.setUint32(44, pages.length, true)
  pages.forEach((page, i) => data.setUint32(48 + i * 4, page, true))
  bytes.set(digests, 48 + pages.length * 4)
  bytes.set(digest(checkBefore, bytes.subarray(0, 4 + lengthBytes)), 4 + lengthBytes)
  return bytes
}

/** What a log says behind a place, as far as it is whole. */
export interface ParsedLog {
  readonly records: readonly PageRecord[]
  /** Bytes that are whole. */
  readonly wholeBytes: number
  /** What the check of the next record goes on from. */
  readonly check: Uint8Array
}

/** Undefined: it is not the log of this map. Records that the map has already are left out. */
export function parseLog(
  bytes: Uint8Array,
  map: PageMapHeader,
  digest: DigestParts,
): ParsedLog | undefined {
  if (bytes.length < logHeaderBytes || !startsWith(bytes, logMagic)) return undefined
  if (readGeneration(bytes) !== map.generation) return undefined
  const data = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const records: PageRecord[] = []
  let check = digest(bytes.subarray(0, logHeaderBytes))
  let end = map.position
  let at = logHeaderBytes
  for (;;) {
    if (at + 4 + recordHeadBytes + digestBytes > bytes.length) break
    const lengthBytes = data.getUint32(at, true)
    const next = at + 4 + lengthBytes + digestBytes
    if (lengthBytes < recordHeadBytes || next > bytes.length) break
    const stored = bytes.subarray(next - digestBytes, next)
    const computed = digest(check, bytes.subarray(at, next - digestBytes))
    if (!sameBytes(stored, computed)) break
    const record = readRecord(bytes.subarray(at, next - digestBytes))
    if (record === undefined) break
    if (comparePositions(record.position, end) > 0) {
      if (comparePositions(record.from, end) !== 0) break
      records.push(record)
      end = record.position
    }
    check = computed
    at = next
  }
  return { records, wholeBytes: at, check }
}

function readRecord(bytes: Uint8Array): PageRecord | undefined {
  const data = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const count = data.getUint32(44, true)
  if (bytes.length !== 48 + count * (4 + digestBytes)) return undefined
  const pages = Uint32Array.from({ length: count }, (_, i) => data.getUint32(48 + i * 4, true))
  return {
    from: readPosition(data, 4),
    position: readPosition(data, 16),
    checksum: { s0: data.getUint32(28, true), s1: data.getUint32(32, true) },
    changes: {
      sizePages: data.getUint32(36, true),
      leastSizePages: data.getUint32(40, true),
      pages,
      digests: bytes.subarray(48 + count * 4),
    },
  }
}

/** The map at the end of its log: what is known of each page, by which of the two says it. */
export class PageMapOverlay {
  readonly #map: PageMapHeader
  readonly #newest = new Map<number, Uint8Array>()
  #highestPage = 0
  /** The map's own digests are good up to here. */
  #goodPages: number
  #place: ChainPlace
  #sizePages: number
  #leastSizePages: number

  constructor(map: PageMapHeader, records: readonly PageRecord[]) {
    this.#map = this.#place = map
    this.#goodPages = this.#sizePages = map.sizePages
    this.#leastSizePages = map.leastSizePages
    for (const record of records) this.#apply(record)
  }

  /** Of the map, if it were written anew now. */
  get header(): PageMapHeader {
    return {
      ...this.#map,
      position: this.#place.position,
      checksum: this.#place.checksum,
      sizePages: this.#sizePages,
      leastSizePages: this.#leastSizePages,
    }
  }

  /** As `header`, with a snapshot's body of so many pages put under it. */
  headerOnBody(bodyPages: number): PageMapHeader {
    const { header } = this
    const isUntouched = header.sizePages === 0
    return { ...header, sizePages: isUntouched ? bodyPages : header.sizePages, isWhole: true }
  }

  /**
   * The digest of a page, or undefined where it is not known. `own`: what the map's file has of it. `body`: the page as the
   * snapshot read it, which a frame of the generation always goes before.
   */
  digestOf(page: number, own: Uint8Array, body?: Uint8Array): Uint8Array | undefined {
    const newest = this.#newest.get(page)
    if (newest !== undefined) return newest
    if (page <= this.#goodPages && isKnown(own)) return own
    const isOfBody = body !== undefined && page <= this.#leastSizePages && isKnown(body)
    return isOfBody ? body : undefined
  }

  #apply({ position, checksum, changes }: PageRecord): void {
    const { leastSizePages, sizePages, pages, digests } = changes
    this.#place = { position, checksum }
    this.#sizePages = sizePages
    this.#leastSizePages = Math.min(this.#leastSizePages, leastSizePages)
    this.#goodPages = Math.min(this.#goodPages, leastSizePages)
    if (this.#highestPage > leastSizePages) {
      for (const page of this.#newest.keys()) {
        if (page > leastSizePages) this.#newest.delete(page)
      }
      this.#highestPage = leastSizePages
    }
    pages.forEach((page, i) => {
      this.#newest.set(page, digests.subarray(i * digestBytes, (i + 1) * digestBytes))
      this.#highestPage = Math.max(this.#highestPage, page)
    })
  }
}

/** A digest of zeros means that there is none. */
export function isKnown(digest: Uint8Array): boolean {
  return digest.some((byte) => byte !== 0)
}

export function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i])
}

function writeText(bytes: Uint8Array, text: string): void {
  for (let i = 0; i < text.length; i += 1) bytes[i] = text.charCodeAt(i)
}

function startsWith(bytes: Uint8Array, text: string): boolean {
  return Array.from(text).every((letter, i) => bytes[i] === letter.charCodeAt(0))
}

function writeGeneration(bytes: Uint8Array, generation: Generation): void {
  for (let i = 0; i < 8; i += 1) {
    bytes[8 + i] = Number.parseInt(generation.slice(i * 2, i * 2 + 2), 16)
  }
}

function readGeneration(bytes: Uint8Array): Generation | undefined {
  const hex = Array.from(bytes.subarray(8, 16), (byte) => byte.toString(16).padStart(2, '0'))
  return parseGeneration(hex.join(''))
}

function writePosition(data: DataView, at: number, { index, offset }: WalPosition): void {
  data.setUint32(at, index, true)
  data.setFloat64(at + 4, offset, true)
}

function readPosition(data: DataView, at: number): WalPosition {
  return { index: data.getUint32(at, true), offset: data.getFloat64(at + 4, true) }
}
