import assert from 'node:assert'
import { type PreviousIndexEnd } from '../../domain/stored/trailer.js'
import {
  type Checksum,
  formatWalHeader,
  frameBytes,
  frameHeaderBytes,
  framePageNumber,
  parseWalHeader,
  resaltFrames,
  type Salts,
  walHeaderBytes,
} from '../../domain/wal/wal-format.js'
import { type CapturedRun, type OwnIndex } from '../ports/managed-database.js'

/**
 * Makes one transaction, which is an index of our own, of pages that were found changed and of frames that were captured
 * meanwhile. Only its last frame commits: whoever restores it, has all of it or nothing. So the last frame is held back
 * until it is known to be the last.
 */
export class DifferenceFrames {
  readonly #pageSizeBytes: number
  readonly #index: number
  readonly #salts: Salts
  readonly #previousIndexEnd: PreviousIndexEnd | undefined
  readonly #captured = new PageSet()
  #checksum: Checksum
  #offset = 0
  #held: Uint8Array | undefined

  constructor(options: {
    pageSizeBytes: number
    index: number
    salts: Salts
    previousIndexEnd: PreviousIndexEnd | undefined
  }) {
    this.#pageSizeBytes = options.pageSizeBytes
    this.#index = options.index
    this.#salts = options.salts
    this.#previousIndexEnd = options.previousIndexEnd
    this.#checksum = headerChecksum(this.#header)
  }

  get isEmpty(): boolean {
    return this.#held === undefined
  }

  /** Of WAL, if it ended now. */
  get walBytes(): number {
    return this.#offset + (this.#held?.length ?? 0)
  }

  /** Frames that were captured: a page that they have is none any more that the file tells of. */
  addCaptured(run: CapturedRun): CapturedRun | undefined {
    const frames = run.bytes.subarray(run.start.offset === 0 ? walHeaderBytes : 0)
    const data = new DataView(frames.buffer, frames.byteOffset, frames.byteLength)
    const stepBytes = frameBytes(this.#pageSizeBytes)
    for (let at = 0; at < frames.length; at += stepBytes) {
      this.#captured.add(framePageNumber(data, at))
      data.setUint32(at + 4, 0)
    }
    return this.#add(frames)
  }

  /** Whether a page is to be sent that was found changed in the file. */
  isWanted(page: number): boolean {
    return !this.#captured.has(page)
  }

  /** Pages as they were found in the file, of those that are wanted. */
  addPages(
    pages: readonly { readonly page: number; readonly content: Uint8Array }[],
  ): CapturedRun | undefined {
    const stepBytes = frameBytes(this.#pageSizeBytes)
    const frames = new Uint8Array(pages.length * stepBytes)
    const data = new DataView(frames.buffer)
    pages.forEach(({ page, content }, i) => {
      data.setUint32(i * stepBytes, page)
      frames.set(content, i * stepBytes + frameHeaderBytes)
    })
    return this.#add(frames)
  }

  /** Where it would end if nothing more were added: an index that what is captured next goes on with. */
  end(databaseSizePages: number): {
    readonly index: OwnIndex
    readonly run: Omit<CapturedRun, 'timeMs' | 'source'>
  } {
    const held = this.#held
    assert(held !== undefined, 'a difference has frames')
    this.#held = undefined
    new DataView(held.buffer, held.byteOffset).setUint32(4, databaseSizePages)
    const run = { ...this.#run(held), databaseSizePages }
    return {
      index: { position: run.end, bigEndian: false, salts: this.#salts, checksum: this.#checksum },
      run,
    }
  }

  #add(frames: Uint8Array): CapturedRun | undefined {
    if (frames.length === 0) return undefined
    const stepBytes = frameBytes(this.#pageSizeBytes)
    const held = this.#held ?? new Uint8Array(0)
    this.#held = frames.slice(frames.length - stepBytes)
    const ready = new Uint8Array(held.length + frames.length - stepBytes)
    ready.set(held)
    ready.set(frames.subarray(0, frames.length - stepBytes), held.length)
    if (ready.length === 0) return undefined
    return { ...this.#run(ready), timeMs: 0, source: undefined }
  }

  #run(frames: Uint8Array): Omit<CapturedRun, 'timeMs' | 'source'> {
    const headBytes = this.#offset === 0 ? walHeaderBytes : 0
    const bytes = new Uint8Array(headBytes + frames.length)
    if (headBytes > 0) bytes.set(this.#header)
    bytes.set(frames, headBytes)
    const start = { index: this.#index, offset: this.#offset }
    const checksumBefore = this.#checksum
    const context = { pageSizeBytes: this.#pageSizeBytes, bigEndian: false, salts: this.#salts }
    this.#checksum = resaltFrames(bytes.subarray(headBytes), {
      ...context,
      checksum: checksumBefore,
    })
    this.#offset += bytes.length
    return {
      ...context,
      bytes,
      start,
      end: { index: this.#index, offset: this.#offset },
      checksumBefore,
      checksumAfter: this.#checksum,
      databaseSizePages: 0,
      previousIndexEnd: headBytes > 0 ? this.#previousIndexEnd : undefined,
    }
  }

  get #header(): Uint8Array {
    return formatWalHeader({
      pageSizeBytes: this.#pageSizeBytes,
      checkpointSequence: 0,
      salts: this.#salts,
      bigEndian: false,
    })
  }
}

function headerChecksum(header: Uint8Array): Checksum {
  const parsed = parseWalHeader(header)
  assert(parsed.ok, 'a header of our own is valid')
  return parsed.header.checksum
}

/** Page numbers, a bit each. */
class PageSet {
  #bits = new Uint8Array(1024)

  add(page: number): void {
    const at = page >>> 3
    if (at >= this.#bits.length) {
      const grown = new Uint8Array(Math.max(at + 1, this.#bits.length * 2))
      grown.set(this.#bits)
      this.#bits = grown
    }
    this.#bits[at] = (this.#bits[at] ?? 0) | (1 << (page & 7))
  }

  has(page: number): boolean {
    return ((this.#bits[page >>> 3] ?? 0) & (1 << (page & 7))) !== 0
  }
}
