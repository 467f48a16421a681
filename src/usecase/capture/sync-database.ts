/**
 * The loop that captures one database. In one file because when it looks, waits, rests, gives up and begins again are one
 * order of events: how a generation begins, what guards the file, what copies back and what takes in segments lie beside it.
 */
import { type SegmentPages } from '../../domain/pages/segment-pages.js'
import { type Broken } from '../../domain/wal/break-reason.js'
import { CheckpointPacing } from '../../domain/policy/checkpoint-pacing.js'
import { DatabaseError, InUseError, LostReaderError } from '../../domain/errors.js'
import { type CaptureStatus } from '../../domain/status.js'
import { ignoreAbort, isAbortError, never, waitIsOver } from '../../kit/abort.js'
import { pauseAfter } from '../../kit/pause.js'
import { asError, codeOf, messageOf } from '../../kit/error-text.js'
import { type Barrier, type GenerationFeed } from '../backlog/generation-feed.js'
import { type ChangeWatcher } from '../ports/change-watcher.js'
import { Complaints } from '../complaints.js'
import { type Clock } from '../ports/clock.js'
import { type Compressor } from '../ports/compressor.js'
import { type Logger } from '../ports/logger.js'
import {
  type CaptureResult,
  type FileIdentity,
  isAllCopied,
  type ManagedDatabase,
  type OpenedDatabase,
} from '../ports/managed-database.js'
import { type FileRecord } from '../ports/file-record.js'
import { type Spool, type SpooledSegment } from '../ports/spool.js'
import { CaptureReport } from './capture-report.js'
import { type CapturingLoop, CopyBack, type CopyBackLimits } from './copy-back.js'
import { type GenerationLoop, LocalGeneration, UnreadableWal } from './local-generation.js'
import { LocalHistory } from './local-history.js'
import { type KeepPageMap } from './keep-page-map.js'
import { type Slots } from '../../kit/permits.js'
import { type Refusal } from '../refusal.js'
import { FileGuard } from './file-guard.js'
import { type ScrubOutcome } from './scrub-database.js'
import { SegmentIntake } from './segment-intake.js'

export interface CaptureSettings {
  /** A segment is finished at most this often. */
  readonly sealIntervalMs: number
  readonly monitorIntervalMs: number
  readonly checkpointIntervalMs: number | undefined
  readonly minCheckpointPageCount: number
  readonly maxCheckpointPageCount: number | undefined
  readonly maxSpoolBytes: number
  /** How often the file is compared with the page map; infinite: never. */
  readonly scrubIntervalMs: number
  /** Whether another process that has the local state is waited for, where it would be a mistake otherwise. */
  readonly waitsForOthers: boolean
  /** As that, and that it is so is no problem. */
  readonly standsBy?: boolean
  /** Whether it is usual that the file is deleted. */
  readonly comesAndGoes?: boolean
}

export interface SyncDatabaseOptions {
  readonly database: ManagedDatabase
  readonly spool: Spool
  readonly record: FileRecord
  readonly compressor: Compressor
  readonly watcher: ChangeWatcher
  readonly feed: GenerationFeed
  /** Undefined: a generation ends where its WAL does not prove to go on. */
  readonly pages: KeepPageMap | undefined
  readonly clock: Clock
  readonly logger: Logger
  /** Fills a generation's name. */
  readonly randomBytes: (count: number) => Uint8Array
  readonly settings: CaptureSettings
  /** Shared by all databases of the process: opening takes memory and descriptors for a moment. */
  readonly openSlots: Slots
  /** Hears of another process that has the local state. */
  readonly refusal: Refusal
}

/** How often a busy database is looked at: an application's own checkpoint waits for us about this long. */
const busyPollMs = 25
/** An active database rests after this long without a change. */
const restAfterMs = 1000
/** Most that one call captures: memory stays flat, and a busy machine is not made to switch threads too often. */
const captureBytes = 4 * 1024 * 1024
/** Pauses after failures: the first may be one of the moment, for which the reader is kept. */
const pauses = { firstMs: 250, mostMs: 30_000 }
/** An application that restarts its WAL itself again and again, and waits for us each time, is looked at this often. */
const eagerPollMs = 2

/** A local disk that takes longer for one write hangs; many applications wait 5 s for a lock. */
const hungDiskMs = 2000

/** Between looks at a WAL that lacks frames: for so long others can make it anew, which takes that nobody has it open. */
const unreadablePauseMs = 1000

/** Before a database is opened again that was lost, or is another one now. */
const reopenMs = 100

/** Thrown to end one life of an opened database; the loop then opens it again. */
class Reopen extends Error {}

/**
 * Copies what an application commits into the spool, for ever: one loop per database. Events only end its idleness; it
 * looks at the world and decides. No error ends it.
 */
export class SyncDatabase {
  readonly #options: SyncDatabaseOptions
  #settings: CaptureSettings
  readonly #intake: SegmentIntake
  readonly #history: LocalHistory
  readonly #complaints: Complaints
  #failures = 0
  readonly #generation: LocalGeneration
  #uncaptured: string | undefined
  #isAbsent = false
  /** There was a database, by this process or as the local state says. */
  #hasExisted = false
  #movedAt: number
  #isIdle = false
  #file: FileIdentity | undefined
  readonly #guard: FileGuard
  readonly #pacing = new CheckpointPacing()
  readonly #copyBack: CopyBack
  #latest: Barrier | undefined
  readonly #report: CaptureReport
  #stop: AbortSignal = never

  constructor(options: SyncDatabaseOptions) {
    this.#options = options
    this.#settings = options.settings
    this.#movedAt = options.clock.monotonic()
    options.feed.maxSpoolBytes = options.settings.maxSpoolBytes
    this.#complaints = new Complaints({
      ...options,
      phrases: { failed: 'sync error', recovered: 'sync recovered' },
    })
    this.#report = new CaptureReport(options)
    this.#history = new LocalHistory(options)
    const { database, spool, compressor, feed, clock, logger, pages } = options
    feed.digestSnapshot = (from) => pages?.startSnapshot(from)
    this.#intake = new SegmentIntake({
      spool,
      compressor,
      feed,
      clock,
      report: this.#report,
      history: this.#history,
      pacing: this.#pacing,
      pages,
      onSealed: (segment, gathered) => this.#onSealed(segment, gathered),
    })
    this.#guard = new FileGuard({
      ...options,
      report: this.#report,
      comesAndGoes: () => this.#settings.comesAndGoes === true,
      isCompared: () => pages?.isWhole === true,
    })
    this.#copyBack = new CopyBack({
      database,
      feed,
      clock,
      logger,
      report: this.#report,
      pacing: this.#pacing,
      fileWatch: this.#guard.watch,
      loop: this.#asLoop(),
    })
    this.#generation = new LocalGeneration({
      ...options,
      report: this.#report,
      history: this.#history,
      guard: this.#guard,
      copyBack: this.#copyBack,
      loop: this.#asGenerationLoop(),
    })
  }

  /** When this loop was last seen to go on, by the monotonic clock. */
  get movedAt(): number {
    return this.#isIdle ? this.#options.clock.monotonic() : this.#movedAt
  }

  #move(): void {
    this.#movedAt = this.#options.clock.monotonic()
  }

  #asLoop(): CapturingLoop {
    const [movedAt, isBroken] = [() => this.#movedAt, () => this.#generation.isBroken]
    return {
      get movedAt() {
        return movedAt()
      },
      get isBroken() {
        return isBroken()
      },
      captureAll: (kill, options) => this.#captureAll(kill, options),
      keep: (result, kill) => this.#intake.keep(result, kill),
      beside: (work, kill, options) => this.#beside(work, kill, options),
      move: () => this.#move(),
    }
  }

  #asGenerationLoop(): GenerationLoop {
    const isStopping = (): boolean => this.#stop.aborted
    const monitorIntervalMs = (): number => this.#settings.monitorIntervalMs
    return {
      get isStopping() {
        return isStopping()
      },
      get monitorIntervalMs() {
        return monitorIntervalMs()
      },
      discard: () => this.#discard(),
      captureInto: (keep, kill) => this.#captureAll(kill, {}, keep),
      checkFile: () => this.#checkFile(),
      pause: () => this.#options.clock.sleep(busyPollMs, this.#stop).catch(ignoreAbort),
      move: () => this.#move(),
    }
  }

  get settings(): CaptureSettings {
    return this.#settings
  }

  /** The database was compared with what is stored. */
  scrubbed(outcome: ScrubOutcome): void {
    this.#report.scrubbed(outcome)
  }

  configure(settings: CaptureSettings): void {
    this.#settings = settings
    this.#options.feed.maxSpoolBytes = settings.maxSpoolBytes
  }

  /** Runs until `stop`, then captures and spools what is left. `kill` ends it at once. */
  async run(stop: AbortSignal, kill: AbortSignal): Promise<void> {
    const { clock, feed, refusal, logger } = this.#options
    this.#stop = stop
    for (;;) {
      this.#move()
      try {
        await this.#live(stop, kill)
        if (stop.aborted) break
      } catch (error) {
        if (kill.aborted) {
          this.#uncaptured = 'the last capture was cut short'
          break
        }
        const { waitsForOthers, standsBy = false } = this.#settings
        const isWaiting = error instanceof InUseError && (waitsForOthers || standsBy)
        if (error instanceof InUseError && !isWaiting) refusal.refuse(error)
        const isLost = error instanceof LostReaderError
        if (isLost) logger.debug({ err: error }, 'the database is opened again')
        const isSaid = error instanceof Reopen || error instanceof UnreadableWal || isLost
        if (!isSaid) this.#report.failed(error)
        if (!isSaid) this.#complain(error, isWaiting)
        feed.takeBarriers().reject(asError(error))
        await this.#discard()
        if (isLost) {
          await clock.sleep(reopenMs, kill).catch(ignoreAbort)
          continue
        }
        // What another process replicates is not ours to store.
        if (stop.aborted && isWaiting && standsBy) break
        if (stop.aborted && !(error instanceof Reopen)) {
          this.#uncaptured = `the last capture failed: ${asError(error).message}`
          break
        }
        if (stop.aborted) break
        if (error instanceof Reopen) await clock.sleep(reopenMs, stop).catch(ignoreAbort)
        else if (error instanceof UnreadableWal) await this.#letGo(unreadablePauseMs, stop)
        else if (isWaiting) await clock.sleep(pauses.firstMs, stop).catch(ignoreAbort)
        else await this.#pause(stop)
      }
    }
    this.#report.state = 'ended'
    feed.end(this.#latest)
  }

  get file(): FileIdentity | undefined {
    return this.#file
  }

  status(): CaptureStatus {
    // Of an idle database the files are looked at for us.
    if (this.#isIdle) this.#report.looked()
    return this.#report.status({
      walBytes: this.#intake.walBytes,
      end: this.#intake.end,
      movedAt: this.movedAt,
      monitorIntervalMs: this.#settings.monitorIntervalMs,
    })
  }

  async #letGo(forMs: number, stop: AbortSignal): Promise<void> {
    const { clock, database } = this.#options
    await database.close().catch(() => undefined)
    await clock.sleep(forMs, stop).catch(ignoreAbort)
  }

  /** Behind a reader that is not renewed the application's checkpoints wait: it is let go for a pause of any length. */
  async #pause(stop: AbortSignal): Promise<void> {
    this.#failures += 1
    const pauseMs = pauseAfter(this.#failures, pauses) * (0.75 + Math.random() / 2)
    if (this.#failures > 1) await this.#letGo(pauseMs, stop)
    else await this.#options.clock.sleep(pauseMs, stop).catch(ignoreAbort)
  }

  /** Why it is not known that everything committed was captured at the end, if so. */
  get uncaptured(): string | undefined {
    return this.#uncaptured
  }

  /** Whether there was no database file when it was last looked for. */
  get isAbsent(): boolean {
    return this.#isAbsent
  }

  /** Says a problem once, until it changes or is over, or whom it waits for. */
  #complain(error: unknown, isWaiting: boolean): void {
    const { path } = this.#options.database
    if (isWaiting) {
      const why = messageOf(error)
      const phrase = 'waiting until that process ends'
      const level = this.#settings.standsBy === true ? 'info' : 'warn'
      this.#complaints.say(why, { level, phrase, fields: { why } })
    } else this.#complaints.say(kindOf(error), { fields: { path, err: error } })
  }

  #recovered(): void {
    this.#failures = 0
    this.#report.recovered()
    this.#complaints.recovered()
  }

  /** One life of the database file: from opening it until it is gone or we stop. */
  async #live(stop: AbortSignal, kill: AbortSignal): Promise<void> {
    const { database, watcher } = this.#options
    this.#generation.isBroken = false
    // Opening makes the folder of the local state, which may lie in it: a folder that was removed must not come back by that.
    const hasFolder = await database.hasFolder(kill)
    if (hasFolder) await this.#checkLocalState()
    let opened = hasFolder || !this.#hasExisted ? await this.#open(kill) : undefined
    let waiting = false
    while (opened === undefined) {
      if (stop.aborted) return
      this.#move()
      if (!waiting) this.#sayAbsent(hasFolder)
      waiting = true
      this.#isAbsent = true
      this.#report.state = this.#isGone ? 'gone' : 'waiting'
      this.#report.looked()
      this.#options.feed.takeBarriers().reject(new Error('the database does not exist'))
      await watcher.waitForChange(this.#settings.monitorIntervalMs, stop)
      if (this.#hasExisted && !(await database.hasFolder(kill))) continue
      await this.#checkLocalState()
      opened = await this.#open(kill)
    }
    this.#isAbsent = false
    this.#hasExisted = true
    this.#report.state = 'replicating'
    await this.#follow(opened, stop, kill)
  }

  get #isGone(): boolean {
    return this.#hasExisted && this.#settings.comesAndGoes !== true
  }

  #sayAbsent(hasFolder: boolean): void {
    const { logger, database } = this.#options
    const text = 'waiting for the database to be created'
    if (!hasFolder) logger.warn({ path: database.path }, `${text}: its folder does not exist`)
    else if (this.#isGone) logger.warn({ path: database.path }, `${text}: it is gone`)
    else logger.info({ path: database.path }, text)
  }

  /** Opens the local state and the database and takes the first look, a few databases of the process at a time. */
  async #open(kill: AbortSignal): Promise<OpenedDatabase | undefined> {
    const { database, logger, openSlots, watcher } = this.#options
    const slot = await openSlots.take(kill)
    try {
      const isKnown = await this.#generation.open(kill)
      this.#hasExisted ||= isKnown
      const opened = await database.open(kill)
      if (opened === undefined) return undefined
      if (opened.formerJournalMode !== 'wal') {
        logger.warn(
          { path: database.path, from: opened.formerJournalMode },
          'database converted to wal mode',
        )
      }
      this.#file = opened.identity
      watcher.follow(opened.file)
      await this.#generation.firstLook(opened, kill)
      return opened
    } finally {
      slot[Symbol.dispose]()
    }
  }

  async #follow(opened: OpenedDatabase, stop: AbortSignal, kill: AbortSignal): Promise<void> {
    const { database, feed, clock, watcher } = this.#options
    let changedAt = Number.NEGATIVE_INFINITY
    let identifiedAt = clock.monotonic()
    this.#pacing.begin(clock.monotonic())
    for (;;) {
      const stopping = stop.aborted
      const wish = feed.takeNewGeneration()
      if (wish !== undefined) await this.#generation.begin(opened, wish, kill)
      const now = clock.monotonic()
      const barriers = feed.takeBarriers()
      let result: CaptureResult
      try {
        const lookMs = this.#guard.lookInMs(this.#settings)
        // After the barriers were taken: commits to another file in its place must not be said to be captured.
        if (now - identifiedAt >= lookMs || stopping || barriers.count > 0) {
          identifiedAt = now
          await this.#checkFile()
        }
        const holds = this.#guard.watch.holds(now) && !stopping
        if (holds) barriers.giveBack()
        const isAsked = barriers.count > 0 && !holds
        const wanted = stopping || (barriers.isUrgent && !holds)
        result = await this.#captureAll(kill, { isEager: this.#isEager && !wanted && !isAsked })
        if (result.continuity.kind === 'broken') {
          barriers.reject(new Error(`the generation ended: ${result.continuity.reason}`))
          await this.#generation.begin(opened, result.continuity, kill)
          changedAt = now
          continue
        }
        if (result.changed) changedAt = now
        const foreign = await this.#guard.foreignWrite({ isLast: stopping }, () =>
          this.#copyBack.now(kill),
        )
        if (foreign !== undefined) {
          barriers.reject(new Error(`the generation ended: ${foreign.reason}`))
          await this.#generation.begin(opened, foreign, kill)
          changedAt = now
          continue
        }
        const due = this.#intake.isDue({ intervalMs: this.#settings.sealIntervalMs })
        const end = this.#intake.end ?? feed.current?.end
        const commitTimeMs = this.#history.lastMs
        if ((due && !holds) || wanted) await this.#intake.seal(kill)
        if (wanted) await this.#beside(this.#intake.settled(), kill, { capture: !stopping })
        this.#intake.throwFailure()
        const current = feed.current
        if (current !== undefined && end !== undefined && !this.#generation.isBroken) {
          const { generation } = current
          const { schemaCookie, isWithinWal } = result
          feed.isWithinWal = isWithinWal
          const { breaks } = feed
          const place = { generation, position: end }
          const captured = {
            ...place,
            ...{ schemaCookie, commitTimeMs, breaks, isWithinWal },
            isAllCopied: isAllCopied(result.wal),
          }
          if (isAsked) this.#generation.used()
          if (wanted || this.#intake.isEmpty) {
            this.#latest = captured
            if (feed.firstLook === undefined) {
              feed.firstLook = captured
              feed.announce()
            }
            if (!holds) barriers.resolve(captured)
            this.#recovered()
          } else if (isAsked) {
            barriers.ride(captured)
            feed.settleRiding()
          }
        } else if (!holds) {
          barriers.reject(new Error('the generation ended'))
        }
        await this.#release(kill)
      } catch (error) {
        barriers.reject(asError(error))
        // It may be that another file has taken the place of one.
        if (!isAbortError(error) && !(error instanceof Reopen)) await this.#checkFile()
        throw error
      }
      if (stopping) {
        const generation = feed.current?.generation
        if (generation !== undefined) await this.#guard.remember(generation, result, kill)
        return
      }
      await this.#copyBack.ifDue(result, this.#copyBackLimits, kill)

      const isSpooled = this.#intake.isEmpty
      const isSuspicious = this.#guard.watch.suspects()
      const idle = clock.monotonic() - changedAt > restAfterMs && isSpooled && !isSuspicious
      if (idle && !feed.hasWish) {
        // Watched and looked at before the last capture: a commit that falls between must not wait for the next one.
        await this.#beside(watcher.arm(stop), kill)
        const before = await database.fingerprint(kill)
        await this.#checkFile()
        const last = await this.#captureAll(kill)
        const isAtRest =
          !last.changed &&
          !this.#generation.isBroken &&
          !this.#guard.watch.suspects() &&
          !this.#intake.isUnderWay
        if (isAtRest) {
          await database.rest(kill)
          this.#options.logger.debug({}, 'at rest')
        }
        // A wish says nothing of the application.
        const wokenBy = isAtRest ? await this.#idle(before, stop) : 'change'
        if (wokenBy === 'change') changedAt = clock.monotonic()
        // What is captured for a wish opens connections: not to be taken for a sign of life.
        else await watcher.disarm()
      } else {
        await watcher.disarm()
        await this.#pauseBusy(stop)
      }
    }
  }

  /** The pause between two looks at a busy database. It ends when somebody waits for the next one, unless that tells him nothing. */
  async #pauseBusy(stop: AbortSignal): Promise<void> {
    const { clock, feed } = this.#options
    const over = new AbortController()
    const any = AbortSignal.any([stop, over.signal])
    const waits = [
      clock.sleep(this.#isEager ? eagerPollMs : busyPollMs, any).catch(ignoreAbort),
      ...(this.#guard.watch.suspects() ? [] : [feed.waitForUrgentWish(any)]),
    ]
    await Promise.race(waits)
    over.abort(waitIsOver)
  }

  /** Waits for a sign of life: an event, a changed file, a wish of a replica, or a checkpoint that is due. */
  async #idle(before: string, stop: AbortSignal): Promise<'wish' | 'change'> {
    const { feed, watcher, clock, database } = this.#options
    const { monitorIntervalMs } = this.#settings
    const woken = new AbortController()
    const any = AbortSignal.any([stop, woken.signal])
    const waits = [
      watcher.waitForSign({ before, intervalMs: monitorIntervalMs }, any),
      feed.waitForWish(any),
    ]
    const dueInMs = this.#copyBack.dueInMs(this.#copyBackLimits)
    if (dueInMs !== undefined) waits.push(clock.sleep(dueInMs, any).catch(ignoreAbort))
    // Without a reader the WAL may restart unseen.
    waits.push(database.waitForLoss(any), this.#guard.waitForElsewhere(any))
    this.#isIdle = true
    try {
      await Promise.race(waits)
    } finally {
      this.#isIdle = false
      this.#move()
      woken.abort(waitIsOver)
    }
    this.#report.looked()
    if (stop.aborted || feed.hasWish) return 'wish'
    await this.#checkFile()
    return 'change'
  }

  get #copyBackLimits(): CopyBackLimits {
    const { minCheckpointPageCount, maxCheckpointPageCount, checkpointIntervalMs } = this.#settings
    return {
      minFrameCount: minCheckpointPageCount,
      maxFrameCount: maxCheckpointPageCount,
      intervalMs: checkpointIntervalMs,
    }
  }

  /** Ends this life if somebody has removed the local state: it is made and claimed anew, and what it held is lost. */
  async #checkLocalState(): Promise<void> {
    const { logger } = this.#options
    if (await this.#generation.isIntact(never)) return
    const hint = 'nothing but tsreplicate may change that folder while it runs'
    logger.error({ hint }, 'local state was removed: it is created again')
    await this.#discard()
    await this.#generation.lose()
    throw new Reopen('local state was removed')
  }

  /** Ends this life if the path names another file now, or none, or the local state is gone. */
  async #checkFile(): Promise<void> {
    const ended = await this.#guard.look()
    if (ended === undefined) return this.#checkLocalState()
    if (ended.isGone) await this.#keepRest()
    return this.#reopen(ended)
  }

  /** Ends this life, and the generation with it. */
  async #reopen(ended: Broken): Promise<never> {
    const { database, watcher, clock } = this.#options
    this.#generation.end(ended)
    await this.#discard()
    await database.close()
    this.#file = undefined
    await watcher.disarm()
    await clock.sleep(0, never)
    throw new Reopen(`${ended.reason}: ${ended.detail}`)
  }

  /** What a deleted file still holds is read as long as it is open. */
  async #keepRest(): Promise<void> {
    let said: unknown
    try {
      const { continuity } = await this.#captureAll(never, { atOnce: true, isDeleted: true })
      if (continuity.kind === 'broken') throw new DatabaseError(continuity.detail)
    } catch (error) {
      said = error
      this.#sayLostRest(error)
    }
    try {
      await this.#intake.seal(never)
      await this.#intake.settled()
      this.#intake.throwFailure()
    } catch (error) {
      if (error !== said) this.#sayLostRest(error)
    }
  }

  #sayLostRest(err: unknown): void {
    const { feed, logger, database } = this.#options
    const spooled = feed.current?.segments.at(-1)?.trailer.captures.at(-1)?.timeMs
    const since = spooled === undefined ? {} : { since: new Date(spooled).toISOString() }
    const hint = 'what was committed after that time, if anything was, is lost'
    const text = 'the last commits of the deleted database could not be read and kept'
    logger.error({ path: database.path, ...since, err, hint }, text)
  }

  /** Captures until nothing more is committed. */
  async #captureAll(
    kill: AbortSignal,
    options: { isEager?: boolean; atOnce?: boolean; isDeleted?: boolean } = {},
    keep = (result: CaptureResult) => this.#intake.keep(result, kill),
  ): Promise<CaptureResult> {
    const { database } = this.#options
    const capture = (): Promise<CaptureResult> =>
      database.capture({ maxBytes: captureBytes, ...options }, kill)
    let changed = false
    const started = this.#report.syncStarted()
    let next = capture()
    for (;;) {
      const result = await next
      this.#move()
      // One run is captured while the one before is compressed.
      if (result.more) next = capture()
      changed ||= result.changed
      await Promise.all([next, this.#ifDiskAnswers(keep(result))])
      this.#copyBack.captured(result.wal)
      if (result.more) continue
      if (result.continuity.kind === 'continuous') {
        this.#guard.captured(result, this.#copyBack)
      }
      this.#report.syncEnded(started)
      if (result.continuity.kind === 'continuous') this.#report.looked()
      return { ...result, changed }
    }
  }

  /**
   * Waits for what the disk of the local state holds up. Where it hangs, the reader is let go, since the application's
   * checkpoints wait for one that is not renewed; once the disk answers, the database is opened again.
   */
  async #ifDiskAnswers(work: Promise<void>): Promise<void> {
    const { clock, database, logger } = this.#options
    const answered = new AbortController()
    const isHung = clock.sleep(hungDiskMs, answered.signal).then(
      () => true,
      () => false,
    )
    const isOver = work.then(
      () => false,
      () => false,
    )
    const mustLetGo = await Promise.race([isOver, isHung])
    answered.abort(waitIsOver)
    if (!mustLetGo) return work
    logger.error(
      {
        seconds: hungDiskMs / 1000,
        hint: 'check the disk that holds the local state: nothing is captured until it responds',
      },
      'the disk of the local state does not respond: the database is released, so that the application need not wait for that disk',
    )
    await database.close()
    await work
    throw new Reopen()
  }

  get #isEager(): boolean {
    return this.#pacing.isEager(this.#options.clock.monotonic())
  }

  #onSealed(segment: SpooledSegment, gathered: SegmentPages | undefined): void {
    const { feed, pages } = this.#options
    const current = feed.current
    if (current?.generation !== segment.generation) return
    this.#generation.used()
    this.#recovered()
    feed.noteSince(segment, this.#report.sealed())
    current.segments.push(segment)
    pages?.sealed(segment, gathered)
    current.end = { index: segment.index, offset: segment.endOffset }
    this.#generation.spooled(current.generation, current.segments)
    feed.settleRiding()
    feed.announce()
  }

  /** Waits for what a slow disk may hold up, and captures meanwhile, which renews the reader. */
  async #beside<T>(
    work: Promise<T>,
    kill: AbortSignal,
    { capture = true, everyMs = busyPollMs }: { capture?: boolean; everyMs?: number } = {},
  ): Promise<T> {
    const { clock, feed } = this.#options
    const ended = new AbortController()
    const settled = work.then(
      () => ended.abort(waitIsOver),
      () => ended.abort(waitIsOver),
    )
    while (capture && !this.#generation.isBroken) {
      await Promise.race([settled, clock.sleep(everyMs, kill).catch(ignoreAbort)])
      if (ended.signal.aborted || kill.aborted) break
      const { continuity } = await this.#captureAll(kill)
      if (continuity.kind === 'broken') {
        this.#generation.isBroken = true
        feed.requestNewGeneration(continuity.reason, continuity.detail)
      }
    }
    return work
  }

  /** Drops what nobody needs any more, and what the cap forbids. */
  async #release(kill: AbortSignal): Promise<void> {
    const { feed, spool, logger } = this.#options
    const { maxSpoolBytes } = this.#settings
    const current = feed.current
    if (current === undefined) return
    let gone = feed.releasable({ isFull: false })
    const isTooMuch = (): boolean => feed.spoolBytes - bytesOf(gone) > maxSpoolBytes
    // What may serve a replica some day gives way before what is not confirmed, and that before a replica is given up.
    if (isTooMuch()) gone = feed.releasable({ isFull: false, isScarce: true })
    if (isTooMuch()) gone = feed.releasable({ isFull: true, isScarce: true })
    while (isTooMuch()) {
      const replica = feed.detachLaggard()
      if (replica === undefined) break
      logger.error(
        { replica, maxSpoolBytes },
        'spool is full: segments are no longer kept for this replica; it gets a new snapshot when it can be reached again',
      )
      gone = feed.releasable({ isFull: true, isScarce: true })
    }
    if (gone.length === 0) return
    await this.#beside(spool.remove(gone, kill), kill)
    current.segments = current.segments.filter((segment) => !gone.includes(segment))
    this.#generation.spooled(current.generation, current.segments)
  }

  async #discard(): Promise<void> {
    this.#latest = undefined
    this.#options.feed.dropRiding(new Error('what was captured was given up'))
    await this.#intake.discard()
  }
}

function bytesOf(segments: readonly SpooledSegment[]): number {
  return segments.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)
}

/** One problem has a message for each file that it concerns; what the system calls it stays the same. */
function kindOf(error: unknown): string {
  const { cause, message } = asError(error)
  return codeOf(cause) ?? message
}
