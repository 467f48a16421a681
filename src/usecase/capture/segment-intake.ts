import { type CheckpointPacing } from '../../domain/policy/checkpoint-pacing.js'
import { isNext } from '../../domain/stored/segment-chain.js'
import { comparePositions, formatWalPosition, type WalPosition } from '../../domain/wal/position.js'
import { type GenerationFeed } from '../backlog/generation-feed.js'
import { type Clock } from '../ports/clock.js'
import { type Compressor } from '../ports/compressor.js'
import { type CaptureResult } from '../ports/managed-database.js'
import { type Spool } from '../ports/spool.js'
import { type CaptureReport } from './capture-report.js'
import { type LocalHistory } from './local-history.js'
import { SegmentAssembly } from './segment-assembly.js'
import { type KeepPageMap } from './keep-page-map.js'
import { type OnSealed, SegmentSealer } from './segment-sealer.js'

export interface SegmentIntakeOptions {
  readonly spool: Spool
  readonly compressor: Compressor
  readonly feed: GenerationFeed
  readonly clock: Clock
  readonly report: CaptureReport
  readonly history: LocalHistory
  readonly pacing: CheckpointPacing
  readonly onSealed: OnSealed
  readonly pages: KeepPageMap | undefined
}

/** A segment is finished early at a commit past this size. */
const maxSegmentBytes = 64 * 1024 * 1024
/** Complete segments that wait for a slow disk; past this many, capturing waits with them. */
const maxWaitingSegments = 100

/** Puts what is captured into segments of the spool: one under way, and those after it that a slow disk holds up. */
export class SegmentIntake {
  readonly #options: SegmentIntakeOptions
  readonly #sealer: SegmentSealer
  #assembly: SegmentAssembly | undefined
  #lastSealAt = Number.NEGATIVE_INFINITY

  constructor(options: SegmentIntakeOptions) {
    this.#options = options
    this.#sealer = new SegmentSealer(options.onSealed)
  }

  /** Where everything ends that was captured and is not durable yet; undefined: all of it is. */
  get end(): WalPosition | undefined {
    return this.#assembly?.end ?? this.#sealer.end
  }

  get isEmpty(): boolean {
    return this.#assembly === undefined && this.#sealer.isIdle
  }

  get isUnderWay(): boolean {
    return this.#assembly !== undefined
  }

  /** Of WAL in the segment under way. */
  get walBytes(): number {
    return this.#assembly?.walBytes ?? 0
  }

  /** Whether the segment under way is to end now, which it does at most this often. */
  isDue({ intervalMs }: { readonly intervalMs: number }): boolean {
    return this.#sealer.isIdle && this.#options.clock.monotonic() - this.#lastSealAt >= intervalMs
  }

  async keep({ runs }: CaptureResult, kill: AbortSignal): Promise<void> {
    const { spool, compressor, feed, report, history, pacing, clock, pages } = this.#options
    const current = feed.current
    if (current === undefined) return
    for (const run of runs) {
      const end = this.end ?? current.end
      if (!isNext(end, run.start)) {
        // Never stored: the spool knows where to go on from.
        throw new Error(
          `what was captured begins at ${formatWalPosition(run.start)}, and what was captured before ends at ${formatWalPosition(end)}`,
        )
      }
      if (this.#assembly !== undefined && comparePositions(this.#assembly.end, run.start) !== 0) {
        await this.seal(kill)
      }
      this.#assembly ??= new SegmentAssembly({
        spool,
        compressor,
        generation: current.generation,
        start: run.start,
        pages: pages?.gather(run.start),
      })
      if (run.start.offset === 0) pacing.restarted(clock.monotonic())
      // A disk that is full or hangs is no reason not to count it.
      report.captured(run)
      await this.#assembly.append(run, history.stamp(run.timeMs), kill)
      if (this.#assembly.walBytes >= maxSegmentBytes && this.#assembly.endsInCommit) {
        await this.seal(kill)
      }
    }
  }

  /** Ends the segment under way. It is handed on when it is durable. */
  async seal(kill: AbortSignal): Promise<void> {
    const assembly = this.#assembly
    if (assembly === undefined) return
    this.#assembly = undefined
    this.#options.report.sealing(assembly.walBytes)
    this.#lastSealAt = this.#options.clock.monotonic()
    this.#sealer.add(assembly, kill)
    if (this.#sealer.waitingCount >= maxWaitingSegments) await this.#sealer.settled()
    this.throwFailure()
  }

  /** Resolves when nothing is being made durable any more; {@link throwFailure} tells whether that went well. */
  settled(): Promise<void> {
    return this.#sealer.settled()
  }

  throwFailure(): void {
    this.#sealer.throwFailure()
  }

  /** Gives up what is not durable. */
  async discard(): Promise<void> {
    const assembly = this.#assembly
    this.#assembly = undefined
    this.#options.report.discarded()
    await assembly?.[Symbol.asyncDispose]()
    await this.#sealer.discard()
  }
}
