import assert from 'node:assert'
import { freeMemory } from '../domain/free-memory.js'
import { type Generation } from '../domain/generation.js'
import { type WalPosition } from '../domain/position.js'
import { type Capture, type WalSegmentTrailer } from '../domain/trailer.js'
import { type Compressor, type FrameEncoder } from './ports/compressor.js'
import { type CapturedRun } from './ports/managed-database.js'
import { type SegmentWriter, type Spool, type SpooledSegment } from './ports/spool.js'

/** Bytes compressed at once: large enough to compress well, small enough that memory stays flat. */
const blockBytes = 256 * 1024
/** A run of this size compresses well enough to need no other beside it, and is spared being copied. */
const leastBlockBytes = 64 * 1024

/**
 * A WAL segment while it is being put together from captured runs. At most a block of it is in memory; the rest is
 * already compressed in the spool, under a temporary name.
 */
export class SegmentAssembly implements AsyncDisposable {
  readonly start: WalPosition
  readonly #spool: Spool
  readonly #encoder: FrameEncoder
  readonly #generation: Generation
  #writer: SegmentWriter | undefined
  #pending: Uint8Array[] = []
  #pendingBytes = 0
  #first: CapturedRun | undefined
  #last: CapturedRun | undefined
  #captures: Capture[] = []
  walBytes = 0

  constructor(options: {
    spool: Spool
    compressor: Compressor
    generation: Generation
    start: WalPosition
  }) {
    this.start = options.start
    this.#spool = options.spool
    this.#encoder = options.compressor.startFrame()
    this.#generation = options.generation
  }

  /** Where the segment ends so far. */
  get end(): WalPosition {
    return this.#last?.end ?? this.start
  }

  get endsInCommit(): boolean {
    return (this.#last?.databaseSizePages ?? 0) > 0
  }

  /** Appends the run that follows. `timeMs` is the time to record for it, which never goes back. */
  async append(run: CapturedRun, timeMs: number, signal: AbortSignal): Promise<void> {
    assert.deepEqual(run.start, this.end, 'runs tile')
    this.#first ??= run
    this.#last = run
    this.walBytes += run.bytes.length
    this.#pending.push(run.bytes)
    this.#pendingBytes += run.bytes.length
    if (run.databaseSizePages > 0) {
      const former = this.#captures.at(-1)
      if (former?.timeMs === timeMs) this.#captures.pop()
      this.#captures.push({ endOffset: run.end.offset, timeMs })
    }
    const isBlock = this.#pending.length === 1 && this.#pendingBytes >= leastBlockBytes
    if (isBlock) await this.#flush(signal)
    while (this.#pendingBytes >= blockBytes) await this.#flush(signal)
  }

  /** Finishes the segment in the spool. Only at a commit. */
  async seal(signal: AbortSignal): Promise<SpooledSegment> {
    const first = this.#first
    const last = this.#last
    assert(first !== undefined && last !== undefined, 'a segment has frames')
    assert(this.endsInCommit, 'a segment ends in a commit')
    while (this.#pendingBytes > 0) await this.#flush(signal)
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

  /** Compresses and writes the next block, at most {@link blockBytes}. */
  async #flush(signal: AbortSignal): Promise<void> {
    const only = this.#pending[0]
    if (this.#pending.length === 1 && only !== undefined && only.length <= blockBytes) {
      this.#pending = []
      this.#pendingBytes = 0
      await this.#write(only, signal)
      return
    }
    const block = new Uint8Array(Math.min(this.#pendingBytes, blockBytes))
    let filled = 0
    while (filled < block.length) {
      const chunk = this.#pending.shift()
      assert(chunk !== undefined, 'pending bytes are counted')
      const room = block.length - filled
      block.set(chunk.subarray(0, room), filled)
      filled += Math.min(room, chunk.length)
      if (chunk.length > room) this.#pending.unshift(chunk.subarray(room))
      else freeMemory(chunk)
    }
    this.#pendingBytes -= filled
    await this.#write(block, signal)
  }

  async #write(content: Uint8Array, signal: AbortSignal): Promise<void> {
    const writer = await this.#writerNow(signal)
    const block = await this.#encoder.block(content)
    freeMemory(content)
    await writer.write(block)
    freeMemory(block)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#pending = []
    this.#pendingBytes = 0
    const writer = this.#writer
    this.#writer = undefined
    await writer?.[Symbol.asyncDispose]()
  }
}
