import { type BreakReason } from '../../domain/wal/break-reason.js'
import {
  generationsLately,
  generationWaitMs,
  rememberedGenerations,
} from '../../domain/policy/generation-pace.js'
import { type WalPosition } from '../../domain/wal/position.js'
import { walHeaderBytes } from '../../domain/wal/wal-format.js'
import {
  type CaptureState,
  type CaptureStatus,
  type CheckpointMode,
  type Resumption,
} from '../../domain/status.js'
import { messageOf } from '../../kit/error-text.js'
import { FailureLog } from '../failure-log.js'
import { type GenerationFeed } from '../backlog/generation-feed.js'
import { type Clock } from '../ports/clock.js'
import { type CapturedRun } from '../ports/managed-database.js'
import { type ScrubOutcome } from './scrub-database.js'
import { WaitingCommits } from '../backlog/waiting-commits.js'

/** So many checkpoints that fail one after the other, some seconds, are more than a failure of the moment. */
const lastingFailures = 3

/** Keeps account of one database's capture. What is called often only counts. */
export class CaptureReport {
  state: CaptureState = 'opening'
  /** Why what is committed may not be in the file that is captured. */
  fileProblem: string | undefined
  /** Why what is committed cannot be captured. */
  walProblem: string | undefined
  /** How it was last gone on; undefined: not yet. */
  resumed: Resumption | undefined
  /** Whether a reader of the application kept the last round of checkpoints from copying back what it found. */
  isWalPinned = false
  readonly #clock: Clock
  readonly #feed: GenerationFeed
  readonly #failures: FailureLog
  readonly #generations: Record<string, number> = {}
  readonly #continued: Record<string, number> = {}
  readonly #scrubs: Record<string, number> = {}
  #foreignPages = 0
  readonly #checkpoints = {
    PASSIVE: { count: 0, errors: 0, durationMs: 0 },
    RESTART: { count: 0, errors: 0, durationMs: 0 },
  }
  readonly #waiting: WaitingCommits
  #generationSinceMs: number
  #syncs = 0
  #syncMs = 0
  #frameBytes = 0
  /** When generations began, by the monotonic clock. */
  #beganAtMs: readonly number[] = []
  #copyingFailures = 0
  #copyingProblem: string | undefined
  #writerLocks = 0
  #writerLockMs = 0
  #maxWriterLockMs = 0

  constructor(options: { readonly clock: Clock; readonly feed: GenerationFeed }) {
    this.#clock = options.clock
    this.#feed = options.feed
    this.#failures = new FailureLog(options.clock)
    this.#waiting = new WaitingCommits(options.clock)
    this.#generationSinceMs = options.clock.monotonic()
  }

  /** Everything committed until now was captured, or there is no database. */
  looked(): void {
    this.#waiting.looked()
  }

  failed(error: unknown): void {
    this.state = 'failing'
    this.#waiting.failed()
    this.#failures.add(error)
  }

  recovered(): void {
    this.#failures.end()
  }

  /** Returns since when commits wait to be stored in it, by the monotonic clock. */
  began(reason: BreakReason): number {
    this.#generations[reason] = (this.#generations[reason] ?? 0) + 1
    this.#beganAtMs = [...this.#beganAtMs, this.#clock.monotonic()].slice(-rememberedGenerations)
    this.#generationSinceMs = this.#waiting.began()
    return this.#generationSinceMs
  }

  /** What a generation goes on with is paced like one: it reads the whole database. */
  appended(): void {
    this.#beganAtMs = [...this.#beganAtMs, this.#clock.monotonic()].slice(-rememberedGenerations)
  }

  /** How long the next generation has to wait. */
  get generationWaitMs(): number {
    return generationWaitMs(this.#beganAtMs, this.#clock.monotonic())
  }

  /** As `began`, of one that an earlier process began; after a failure, one of this process waits on. */
  continued({ isOurs, how }: { readonly isOurs: boolean; readonly how: string }): number {
    this.#continued[how] = (this.#continued[how] ?? 0) + 1
    if (!isOurs) this.#generationSinceMs = this.#clock.monotonic()
    return this.#generationSinceMs
  }

  /** The database was compared with what is stored. */
  scrubbed(outcome: ScrubOutcome): void {
    this.#scrubs[outcome] = (this.#scrubs[outcome] ?? 0) + 1
  }

  /** Pages were found that somebody has written past the WAL. */
  foreignPages(count: number): void {
    this.#foreignPages += count
  }

  /** Returns when, for `syncEnded`. */
  syncStarted(): number {
    this.#syncs += 1
    return this.#clock.monotonic()
  }

  syncEnded(started: number): void {
    this.#syncMs += this.#clock.monotonic() - started
  }

  captured(run: CapturedRun): void {
    this.#frameBytes += run.end.offset - Math.max(run.start.offset, walHeaderBytes)
    this.#waiting.captured()
  }

  /** A segment of so many bytes has ended, and is not durable yet. */
  sealing(walBytes: number): void {
    this.#waiting.sealing(walBytes)
  }

  /** The oldest of these is durable. Returns since when it had waited, by the monotonic clock. */
  sealed(): number {
    return this.#waiting.sealed()
  }

  discarded(): void {
    this.#waiting.discarded()
  }

  locked(lockedMs: number): void {
    this.#writerLocks += 1
    this.#writerLockMs += lockedMs
    this.#maxWriterLockMs = Math.max(this.#maxWriterLockMs, lockedMs)
  }

  /** A checkpoint failed. Returns whether that is to be said: it lasts, and was not said yet. */
  copyingFailed(error: unknown): boolean {
    this.#copyingFailures += 1
    if (this.#copyingFailures < lastingFailures) return false
    this.#copyingProblem = messageOf(error)
    return this.#copyingFailures === lastingFailures
  }

  /** Whether the last checkpoint failed. */
  get copyingFails(): boolean {
    return this.#copyingFailures > 0
  }

  /** A checkpoint worked, or all is copied back. Returns whether a failure that was said is over. */
  copyingWorks(): boolean {
    const wasSaid = this.#copyingProblem !== undefined
    this.#copyingFailures = 0
    this.#copyingProblem = undefined
    return wasSaid
  }

  /** Counts a checkpoint. */
  async timed<T>(mode: CheckpointMode, checkpoint: () => Promise<T>): Promise<T> {
    const totals = this.#checkpoints[mode]
    const started = this.#clock.monotonic()
    totals.count += 1
    try {
      return await checkpoint()
    } catch (error) {
      totals.errors += 1
      throw error
    } finally {
      totals.durationMs += this.#clock.monotonic() - started
    }
  }

  status({
    walBytes,
    end,
    movedAt,
    monitorIntervalMs,
  }: {
    /** Of WAL in the segment under way. */
    readonly walBytes: number
    /** Where what is not spooled yet ends. */
    readonly end: WalPosition | undefined
    /** When the loop was last seen to go on. */
    readonly movedAt: number
    readonly monitorIntervalMs: number
  }): CaptureStatus {
    const { current, spoolBytes, maxSpoolBytes } = this.#feed
    const now = this.#clock.monotonic()
    const ageOf = (sinceMs: number | undefined): number | undefined =>
      sinceMs === undefined ? undefined : Math.max(0, now - sinceMs)
    return {
      state: this.state,
      lastFailure: this.#failures.last,
      copyingProblem: this.#copyingProblem,
      isWalPinned: this.isWalPinned,
      fileProblem: this.fileProblem ?? this.walProblem,
      generationsLately: generationsLately(this.#beganAtMs, now),
      silentMs: Math.max(0, now - movedAt - monitorIntervalMs),
      blindForMs:
        this.state === 'ended' ? undefined : ageOf(this.#waiting.blindSinceMs(monitorIntervalMs)),
      pageSizeBytes: current?.pageSizeBytes,
      resumed: this.resumed,
      position:
        current === undefined
          ? undefined
          : { generation: current.generation, ...(end ?? current.end) },
      generationForMs: Math.max(0, now - this.#generationSinceMs),
      unsealedBytes: this.#waiting.sealingBytes + walBytes,
      unsealedForMs: ageOf(this.#waiting.sinceMs),
      spoolBytes,
      maxSpoolBytes,
      totals: {
        syncs: this.#syncs,
        syncMs: this.#syncMs,
        errors: this.#failures.counts,
        frameBytes: this.#frameBytes,
        checkpoints: this.#checkpoints,
        writerLocks: this.#writerLocks,
        writerLockMs: this.#writerLockMs,
        maxWriterLockMs: this.#maxWriterLockMs,
        generations: this.#generations,
        continued: this.#continued,
        scrubs: this.#scrubs,
        foreignPages: this.#foreignPages,
      },
    }
  }
}
