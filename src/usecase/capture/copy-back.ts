import { type CheckpointPacing } from '../../domain/policy/checkpoint-pacing.js'
import { type FileWatch } from '../../domain/policy/file-watch.js'
import { ignoreAbort, isAbortError, never, waitIsOver } from '../../kit/abort.js'
import { type GenerationFeed } from '../backlog/generation-feed.js'
import { type Clock } from '../ports/clock.js'
import { type Logger } from '../ports/logger.js'
import {
  type CaptureResult,
  isAllCopied,
  type ManagedDatabase,
  type WalState,
} from '../ports/managed-database.js'
import { type CaptureReport } from './capture-report.js'

export type Checkpointed = Awaited<ReturnType<ManagedDatabase['checkpoint']>>

/** The loop that captures, for whom frames are copied back. */
export interface CapturingLoop {
  /** When it was last seen to go on, by the monotonic clock. */
  readonly movedAt: number
  /** Continuity was lost between two rounds: nothing is captured until a new generation begins. */
  readonly isBroken: boolean
  /** Captures until nothing more is committed. `atOnce`: so that all of it can be copied back. */
  captureAll(kill: AbortSignal, options?: { atOnce: boolean }): Promise<CaptureResult>
  /** Puts captured frames into the segment under way. */
  keep(result: CaptureResult, kill: AbortSignal): Promise<void>
  /** Waits for some work, and captures meanwhile. */
  beside<T>(work: Promise<T>, kill: AbortSignal, options?: { everyMs: number }): Promise<T>
  move(): void
}

export interface CopyBackOptions {
  readonly database: ManagedDatabase
  readonly feed: GenerationFeed
  readonly clock: Clock
  readonly logger: Logger
  readonly report: CaptureReport
  readonly pacing: CheckpointPacing
  readonly fileWatch: FileWatch
  readonly loop: CapturingLoop
}

export interface CopyBackLimits {
  readonly minFrameCount: number
  /** Past this many, writers are held off so that the WAL can restart; undefined: never. */
  readonly maxFrameCount: number | undefined
  readonly intervalMs: number | undefined
}

/** A reader that stays would keep a checkpoint from copying all of it back. */
const atOnce = { atOnce: true }
/** Most that one call captures under the writer lock, where the WAL is not larger. */
const captureBytes = 4 * 1024 * 1024
/**
 * A WAL that is this many times its limit grows faster than it is captured and copied back: writers are then held off for
 * this long at a time, and left alone in between for long enough that each that waits, with a busy timeout, has its turn.
 */
const tooLargeFactor = 2
const holdMs = 75
const freeMs = 50
/** A capture that takes longer than this lags behind the writers: a WAL past its limit is too large then. */
const slowMs = 150
/** A capture that has not gone on for this long is held up by something else than writers. */
const stuckMs = 1000
/** While the writer lock is waited for, it is captured this often: what a writer adds at full speed stays small. */
const spinCaptureMs = 5
/** How often that is looked at. */
const pollMs = 25
/** What is captured under the writer lock stays in memory: this much of it, or a quarter of the WAL up to this much. */
const maxLockedBytes = 16 * 1024 * 1024
/** Under the writer lock, how long it may be tried to copy back; a WAL that is too large has more of it. */
const usualLockMs = 25
const maxLockMs = 60
/** That writers are slowed down is said at most this often. */
const slowedSaidMs = 60 * 60_000
/** A writer lock that nobody has let go so much later goes by itself. */
const maxOverrunMs = 60
/** A writer that was slowed down counts as too fast for so long: beside it no round can reach the end of the WAL. */
const fastMs = 10_000
/** How often a WAL that grows faster than it is captured is tried to be finished, without a pause for the writers' sake. */
const triesToCatchUp = 3
/** Tries of one round to let the WAL restart: one is not enough beside 200 transactions a second. */
const triesOfRound = 6

/** Lets SQLite copy frames back into the database file, so that the application's next write restarts the WAL. */
export class CopyBack {
  readonly #options: CopyBackOptions
  #uncopiedFrames = 0
  #slowedSaidAt = Number.NEGATIVE_INFINITY
  /** Until then the application is known to write faster than it is captured. */
  #fastUntil = Number.NEGATIVE_INFINITY

  constructor(options: CopyBackOptions) {
    this.#options = options
  }

  /** Whether nothing is left to be copied back, as far as it is known. */
  get isAllCopied(): boolean {
    return this.#uncopiedFrames <= 0
  }

  captured({ frameCount, copiedBackCount }: WalState): void {
    this.#uncopiedFrames = frameCount - copiedBackCount
  }

  /** When frames are to be copied back whatever their number; undefined: there are none, or it is by size only. */
  dueInMs({ intervalMs }: Pick<CopyBackLimits, 'intervalMs'>): number | undefined {
    const { pacing, report, clock } = this.#options
    if (this.#uncopiedFrames === 0) return undefined
    return pacing.dueInMs({ intervalMs, isFailing: report.copyingFails }, clock.monotonic())
  }

  /** Copies back what is to be copied back now, and holds writers off where the WAL would not restart otherwise. */
  async ifDue(latest: CaptureResult, limits: CopyBackLimits, kill: AbortSignal): Promise<void> {
    const { clock, pacing, fileWatch, report } = this.#options
    const now = clock.monotonic()
    if (isAllCopied(latest.wal)) {
      this.#works()
      report.isWalPinned = false
      if (latest.wal.frameCount === 0) pacing.begin(now)
      return
    }
    const isByTime = this.dueInMs(limits) === 0
    const isSuspicious = fileWatch.suspects()
    const { minFrameCount } = limits
    if (!pacing.isDue(latest.wal, { minFrameCount, isByTime, isSuspicious }, now)) return
    pacing.begin(now)
    const maxFrameCount = limits.maxFrameCount ?? Number.POSITIVE_INFINITY
    if (now < this.#fastUntil) {
      if (latest.wal.frameCount < maxFrameCount) return
      return this.#catchUp(latest.wal, limits, kill)
    }
    const round = await this.#round(latest.wal, limits, kill)
    if (round === undefined) return
    pacing.ended(round)
    const { wal, isDone, hasReached, isTooLarge } = round
    report.isWalPinned = !isDone && !hasReached
    if (isDone || !hasReached || wal.frameCount < maxFrameCount) return
    if (isTooLarge) await this.#catchUp(wal, limits, kill)
    else if (pacing.mayForce(clock.monotonic())) await this.#forceRestart(wal, limits, kill)
  }

  /**
   * Copies frames back into the database file and syncs it, and captures meanwhile. Undefined: that failed, as on a full
   * disk, and is tried again later. What capturing fails with is thrown, for what had been captured by then is lost.
   */
  async now(kill: AbortSignal): Promise<Checkpointed | undefined> {
    const { database, logger, report, pacing, fileWatch, loop } = this.#options
    const copying = async (): Promise<Checkpointed | undefined> => {
      try {
        const copied = await report.timed('PASSIVE', () => database.checkpoint(kill))
        await database.syncFile(kill)
        this.#works()
        return copied
      } catch (error) {
        if (isAbortError(error)) throw error
        // It may have written the file before it failed, but not what was suspicious before.
        if (!fileWatch.suspects()) fileWatch.reset()
        pacing.failed()
        logger.debug({ err: error }, 'checkpoint failed')
        if (report.copyingFailed(error)) {
          const hint = 'until this works again, its -wal file grows'
          logger.warn({ path: database.path, err: error, hint }, 'checkpoints keep failing')
        }
        return undefined
      }
    }
    return loop.beside(copying(), kill)
  }

  /** Tries until nothing is left to be copied back, a few times. Undefined: that failed, or the generation has ended. */
  async #round(
    before: WalState,
    { maxFrameCount = Number.POSITIVE_INFINITY }: CopyBackLimits,
    kill: AbortSignal,
  ): Promise<
    { wal: WalState; isDone: boolean; hasReached: boolean; isTooLarge: boolean } | undefined
  > {
    const { clock, loop, feed } = this.#options
    let wal = before
    let hasReached = false
    let isSlow = false
    const isTooLarge = (): boolean =>
      hasReached && wal.frameCount >= (isSlow ? maxFrameCount : tooLargeFactor * maxFrameCount)
    const begun = await loop.captureAll(kill, atOnce)
    if (this.#isBrokenBy(begun)) return undefined
    for (let tries = 0; tries < triesOfRound; tries += 1) {
      const copied = await this.now(kill)
      if (copied === undefined || loop.isBroken) return undefined
      const started = clock.monotonic()
      const result = await this.#slowing(() => loop.captureAll(kill, atOnce), kill, {
        afterMs: slowMs,
      })
      isSlow ||= clock.monotonic() - started > slowMs
      if (this.#isBrokenBy(result)) return undefined
      // The application's own checkpoint, beside which ours comes back busy, does as well.
      const copiedCount = Math.max(copied.copiedBackCount, result.wal.copiedBackCount)
      hasReached ||= copiedCount >= wal.frameCount
      wal = result.wal
      if (isAllCopied(wal) || feed.hasWish) break
      if (isTooLarge()) break
    }
    return { wal, isDone: isAllCopied(wal), hasReached, isTooLarge: isTooLarge() }
  }

  /** Whether continuity was lost: then the next round of the loop begins a new generation. */
  #isBrokenBy({ continuity }: CaptureResult): boolean {
    if (continuity.kind !== 'broken') return false
    this.#options.feed.requestNewGeneration(continuity.reason, continuity.detail)
    return true
  }

  /**
   * Holds writers off while the tail is captured and copied back, so that the next write restarts the WAL. It is captured
   * until the lock is there, so that little is left to do under it. `isSlowed`: writers wait, too, until it is compressed.
   */
  async #forceRestart(
    { frameCount }: WalState,
    { maxFrameCount = frameCount }: CopyBackLimits,
    kill: AbortSignal,
    { isSlowed } = { isSlowed: false },
  ): Promise<'done' | 'blocked' | 'broken'> {
    const { database, clock, feed, logger, report, pacing, loop } = this.#options
    const walBytes = frameCount * (feed.current?.pageSizeBytes ?? 0)
    const maxBytes = Math.min(Math.max(captureBytes, walBytes / 4), maxLockedBytes)
    const tryMs = Math.min((usualLockMs * frameCount) / maxFrameCount, maxLockMs)
    const isHeld = await loop.beside(
      database.holdWriters({ holdMs: tryMs + maxOverrunMs }, kill),
      kill,
      { everyMs: spinCaptureMs },
    )
    const lockedAt = clock.monotonic()
    let capture: CaptureResult | undefined
    try {
      if (isHeld && !loop.isBroken) {
        capture = await report.timed('RESTART', () => database.finishWal({ maxBytes, tryMs }, kill))
      }
    } finally {
      if (isHeld) await database.letWritersGo(never)
    }
    loop.move()
    const lockedMs = isHeld ? clock.monotonic() - lockedAt : 0
    if (isHeld) report.locked(lockedMs)
    const isDone = capture !== undefined && !capture.more && isAllCopied(capture.wal)
    logger.debug({ outcome: isDone ? 'done' : 'blocked', lockedMs }, 'writer lock taken')
    pacing.forced({ isDone }, clock.monotonic())
    if (capture === undefined) return loop.isBroken ? 'broken' : 'blocked'
    const kept = loop.keep(capture, kill)
    await (isSlowed && !isDone ? this.#slowing(() => kept, kill) : kept)
    if (this.#isBrokenBy(capture)) return 'broken'
    return isDone ? 'done' : 'blocked'
  }

  /** Makes a WAL restart that grows faster than it is captured: writers are slowed down until little is left to capture. */
  async #catchUp(wal: WalState, limits: CopyBackLimits, kill: AbortSignal): Promise<void> {
    const { clock, feed, logger, loop } = this.#options
    const now = clock.monotonic()
    if (now - this.#slowedSaidAt >= slowedSaidMs) {
      this.#slowedSaidAt = now
      logger.warn(
        {
          walBytes: wal.frameCount * (feed.current?.pageSizeBytes ?? 0),
          hint: 'the application writes more than this machine can capture: a commit may now and then take 200 ms longer',
        },
        'the wal grows faster than it is captured: writers are slowed down',
      )
    }
    this.#fastUntil = Number.NEGATIVE_INFINITY
    for (let tries = 0; tries < triesToCatchUp; tries += 1) {
      const result = await this.#slowing(async () => {
        const caught = await loop.captureAll(kill, atOnce)
        if (this.#isBrokenBy(caught)) return undefined
        const copied = await this.now(kill)
        return copied === undefined || loop.isBroken ? undefined : loop.captureAll(kill, atOnce)
      }, kill)
      if (result === undefined || this.#isBrokenBy(result)) return
      let outcome: 'done' | 'blocked' | 'broken' = 'done'
      // The next write restarts it, if it is.
      if (!isAllCopied(result.wal)) {
        await loop.beside(clock.sleep(freeMs, kill), kill, { everyMs: spinCaptureMs })
        outcome = await this.#forceRestart(result.wal, limits, kill, { isSlowed: true })
      }
      if (outcome === 'done') this.#fastUntil = clock.monotonic() + fastMs
      if (outcome !== 'blocked') return
    }
  }

  /** Slows the writers down during some work, if it takes longer than `afterMs`. */
  async #slowing<T>(
    work: () => Promise<T>,
    kill: AbortSignal,
    { afterMs } = { afterMs: 0 },
  ): Promise<T> {
    const over = new AbortController()
    // What it fails with, the work fails with, too.
    const holding = this.#holdOff(AbortSignal.any([over.signal, kill]), afterMs).catch(
      () => undefined,
    )
    try {
      return await work()
    } finally {
      over.abort(waitIsOver)
      await holding
    }
  }

  async #holdOff(over: AbortSignal, afterMs: number): Promise<void> {
    const { database, clock, report, loop } = this.#options
    const isOver = (): boolean => over.aborted
    await clock.sleep(afterMs, over)
    while (!isOver()) {
      const isGoingOn = clock.monotonic() - loop.movedAt < stuckMs
      const isHeld = isGoingOn && (await database.holdWriters({ holdMs }, never))
      if (isHeld) report.locked(holdMs)
      await clock.sleep(isHeld ? holdMs + freeMs : pollMs, over).catch(ignoreAbort)
      if (isHeld && isOver()) await database.letWritersGo(never)
    }
  }

  #works(): void {
    if (this.#options.report.copyingWorks()) this.#options.logger.info({}, 'checkpoints work again')
  }
}
