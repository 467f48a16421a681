import { writeSync } from 'node:fs'
import { CorruptionError } from '../../domain/errors.js'
import { refusePages } from '../../domain/stored/content-bounds.js'
import { frameBytes, frameHeaderBytes, framePageNumber } from '../../domain/wal/wal-format.js'

/**
 * Neighbouring pages are put together up to this size: small writes cost a call each, and for large ones the kernel
 * takes its memory in large pieces, which under a hypervisor may be memory that was never used: ten times slower.
 */
const writeBytes = 64 * 1024
/** More frames than a run has, so that a page number and a frame's place in the run share one number below 2^53. */
const maxFrames = 2 ** 20

export function writeFully(fd: number, bytes: Uint8Array, offset: number): void {
  for (let done = 0; done < bytes.length;) {
    done += writeSync(fd, bytes, done, Math.min(writeBytes, bytes.length - done), offset + done)
  }
}

/** Writes the pages of frames to their places in a database file. */
export class PageWriter {
  readonly #fd: number
  readonly #maxPageCount: number
  readonly #staging = new Uint8Array(writeBytes)
  #stagedBytes = 0
  #stagedOffset = 0

  constructor(fd: number, maxPageCount: number) {
    this.#fd = fd
    this.#maxPageCount = maxPageCount
  }

  /** Writes the last version of each page in a run of whole frames. */
  write(frames: Uint8Array, pageSizeBytes: number): void {
    const data = new DataView(frames.buffer, frames.byteOffset, frames.byteLength)
    const stepBytes = frameBytes(pageSizeBytes)
    const count = frames.length / stepBytes
    if (count >= maxFrames) throw new RangeError(`${count} frames are too many at once`)
    const order = new Float64Array(count)
    for (let frame = 0; frame < count; frame += 1) {
      const page = framePageNumber(data, frame * stepBytes)
      if (page === 0) throw new CorruptionError('a frame has page number 0')
      order[frame] = page * maxFrames + frame
    }
    order.sort()
    refusePages(Math.floor((order.at(-1) ?? 0) / maxFrames), this.#maxPageCount)
    for (let i = 0; i < count; i += 1) {
      const key = order[i] ?? 0
      const page = Math.floor(key / maxFrames)
      if (Math.floor((order[i + 1] ?? 0) / maxFrames) === page) continue
      const at = (key % maxFrames) * stepBytes + frameHeaderBytes
      this.#stage(frames.subarray(at, at + pageSizeBytes), (page - 1) * pageSizeBytes)
    }
    this.#flush()
  }

  #stage(page: Uint8Array, offset: number): void {
    if (
      offset !== this.#stagedOffset + this.#stagedBytes ||
      this.#stagedBytes + page.length > writeBytes
    ) {
      this.#flush()
      this.#stagedOffset = offset
    }
    this.#staging.set(page, this.#stagedBytes)
    this.#stagedBytes += page.length
  }

  #flush(): void {
    if (this.#stagedBytes === 0) return
    const bytes = this.#staging.subarray(0, this.#stagedBytes)
    this.#stagedBytes = 0
    writeFully(this.#fd, bytes, this.#stagedOffset)
  }
}
