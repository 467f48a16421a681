import assert from 'node:assert'
import { freeMemory } from '../../kit/free-memory.js'
import { type Generation } from '../../domain/wal/generation.js'
import { type SegmentPages } from '../../domain/pages/segment-pages.js'
import { type WalPosition } from '../../domain/wal/position.js'
import { type Capture, type WalSegmentTrailer } from '../../domain/stored/trailer.js'
import { type Compressor, type FrameEncoder } from '../ports/compressor.js'
import { type CapturedRun } from '../ports/managed-database.js'
import { type SegmentWriter, type Spool, type SpooledSegment } from '../ports/spool.js'

/** Most that is compressed at once: small enough that memory stays flat. */
const blockBytes = 256 * 1024
/** Written at once: what else waits for the thread gets its turn in between. */
const maxBlocks = 4
/** Runs below this size are gathered: LZ4 looks back no further than 64 KiB. Larger ones are spared being copied. */
const leastBlockBytes = 64 * 1024

/**
 * A WAL segment while it is being put together from captured runs. At most a block of it is in memory; the rest is
 * already compressed in the spool, under a temporary name.
 */
export class SegmentAssembly implements AsyncDisposable {
  readonly start: WalPosition
  /** For the page map; undefined: none is kept. */
  readonly pages: SegmentPages | undefined
  readonly #spool: Spool
  readonly #encoder: FrameEncoder
  readonly #generation: Generation
  #writer: SegmentWriter | undefined
  #pending: Uint8Array[] = []
  #pendingBytes = 0
  #first: CapturedRun | undefined
  #last: CapturedRun | undefined
  #captures: Capture[] = []
  /** What a write failed with: it lacks what was to be written, and is never finished. */
  #failure: { readonly error: unknown } | undefined
  walBytes = 0

  constructor(options: {
    spool: Spool
    compressor: Compressor
    generation: Generation
    start: WalPosition
    pages: SegmentPages | undefined
  }) {
    this.start = options.start
    this.pages = options.pages
    this.#spool = options.spool
    this.#encoder = options.compressor.startFrame()
    this.#generation = options.generation
  }

  get end(): WalPosition {
    return this.#last?.end ?? this.start
  }

  get endsInCommit(): boolean {
    return (this.#last?.databaseSizePages ?? 0) > 0
  }

  /** Appends the run that follows. `timeMs` is the time to record for it, which never goes back. */
  async append(run: CapturedRun, timeMs: number, signal: AbortSignal): Promise<void> {
    assert.deepEqual(run.start, this.end, 'runs tile')
    const { pageSizeBytes, start } = run
    this.pages?.add(run.bytes, { pageSizeBytes, hasHeader: start.offset === 0 })
    this.#first ??= run
    this.#last = run
    this.walBytes += run.bytes.length
    if (run.databaseSizePages > 0) {
      const former = this.#captures.at(-1)
      if (former?.timeMs === timeMs) this.#captures.pop()
      this.#captures.push({ endOffset: run.end.offset, timeMs })
    }
    try {
      await this.#write(run.bytes, signal)
    } catch (error) {
      this.#failure = { error }
      throw error
    }
  }

  async #write(bytes: Uint8Array, signal: AbortSignal): Promise<void> {
    if (bytes.length >= leastBlockBytes) {
      await this.#flush(signal)
      await this.#writeBlocks(bytes, signal)
    } else {
      this.#pending.push(bytes)
      this.#pendingBytes += bytes.length
      if (this.#pendingBytes >= leastBlockBytes) await this.#flush(signal)
    }
  }

  /** Finishes the segment in the spool. Only at a commit. */
  async seal(signal: AbortSignal): Promise<SpooledSegment> {
    if (this.#failure !== undefined) throw this.#failure.error
    const first = this.#first
    const last = this.#last
    assert(first !== undefined && last !== undefined, 'a segment has frames')
    assert(this.endsInCommit, 'a segment ends in a commit')
    await this.#flush(signal)
    const writer = await this.#writerNow(signal)
    await writer.write(this.#encoder.end())
    const trailer: WalSegmentTrailer = {
      kind: 'wal-segment',
      generation: this.#generation,
      index: this.start.index,
      startOffset: this.start.offset,
      endOffset: last.end.offset,
      pageSizeBytes: last.pageSizeBytes,
      bigEndian: last.bigEndian,
      databaseSizePages: last.databaseSizePages,
      salts: last.salts,
      checksumBefore: first.checksumBefore,
      checksumAfter: last.checksumAfter,
      captures: this.#captures,
      previousIndexEnd: first.previousIndexEnd,
      source: last.source,
    }
    const segment = await writer.finish(trailer)
    this.#writer = undefined
    return segment
  }

  async #writerNow(signal: AbortSignal): Promise<SegmentWriter> {
    if (this.#writer === undefined) {
      this.#writer = await this.#spool.startSegment(this.start, signal)
      await this.#writer.write(this.#encoder.header())
    }
    return this.#writer
  }

  /** Compresses and writes the small runs that have gathered, as one block. */
  async #flush(signal: AbortSignal): Promise<void> {
    if (this.#pendingBytes === 0) return
    const gathered = new Uint8Array(this.#pendingBytes)
    let filled = 0
    for (const bytes of this.#pending) {
      gathered.set(bytes, filled)
      filled += bytes.length
      freeMemory(bytes)
    }
    this.#pending = []
    this.#pendingBytes = 0
    await this.#writeBlocks(gathered, signal)
  }

  /** Compresses bytes in blocks, writes some of them at once, and frees them. */
  async #writeBlocks(bytes: Uint8Array, signal: AbortSignal): Promise<void> {
    const writer = await this.#writerNow(signal)
    const blocks: Uint8Array[] = []
    for (let at = 0; at < bytes.length; at += blockBytes) {
      blocks.push(this.#encoder.block(bytes.subarray(at, at + blockBytes)))
      if (blocks.length < maxBlocks && at + blockBytes < bytes.length) continue
      await writer.write(...blocks)
      for (const block of blocks.splice(0)) freeMemory(block)
    }
    freeMemory(bytes)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#pending = []
    this.#pendingBytes = 0
    const writer = this.#writer
    this.#writer = undefined
    await writer?.[Symbol.asyncDispose]()
  }
}
