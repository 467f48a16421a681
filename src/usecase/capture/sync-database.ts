import { type BreakReason } from '../../domain/wal/continuity.js'
import { CheckpointPacing } from '../../domain/policy/checkpoint-pacing.js'
import { FileWatch } from '../../domain/policy/file-watch.js'
import { DatabaseError, InUseError } from '../../domain/errors.js'
import { formatGeneration, type Generation } from '../../domain/wal/generation.js'
import { comparePositions, formatWalPosition, type WalPosition } from '../../domain/wal/position.js'
import { type CaptureStatus } from '../../domain/status.js'
import { ignoreAbort, isAbortError, never } from '../../kit/abort.js'
import { asError, codeOf, messageOf } from '../../kit/error-text.js'
import { type Barrier, type GenerationFeed } from '../backlog/generation-feed.js'
import { type ChangeWatcher } from '../ports/change-watcher.js'
import { Complaints } from '../complaints.js'
import { type Clock } from '../ports/clock.js'
import { type Compressor } from '../ports/compressor.js'
import { type Logger } from '../ports/logger.js'
import {
  type CaptureCursor,
  type CaptureResult,
  type FileIdentity,
  type ManagedDatabase,
  type OpenedDatabase,
} from '../ports/managed-database.js'
import { type FileRecord, type RememberedFile } from '../ports/file-record.js'
import { type Spool, type SpooledSegment, type SpoolState } from '../ports/spool.js'
import { CaptureReport } from './capture-report.js'
import { type CapturingLoop, CopyBack, type CopyBackLimits } from './copy-back.js'
import { LocalHistory } from './local-history.js'
import { type Permits } from '../../kit/permits.js'
import { type Refusal } from '../refusal.js'
import { SegmentAssembly } from './segment-assembly.js'
import { SegmentSealer } from './segment-sealer.js'

/** What may change while a database is captured. */
export interface CaptureSettings {
  /** A segment is finished at most this often. */
  readonly sealIntervalMs: number
  readonly monitorIntervalMs: number
  readonly checkpointIntervalMs: number | undefined
  readonly minCheckpointPageCount: number
  readonly maxCheckpointPageCount: number | undefined
  readonly maxSpoolBytes: number
  /** Whether another process that has the local state is waited for, where it would be a mistake otherwise. */
  readonly waitsForOthers: boolean
  /** Whether it is usual that the file is deleted. */
  readonly comesAndGoes?: boolean
}

/** What is asked of one database's capture. */
export interface SyncDatabaseOptions {
  readonly database: ManagedDatabase
  readonly spool: Spool
  readonly record: FileRecord
  readonly compressor: Compressor
  readonly watcher: ChangeWatcher
  readonly feed: GenerationFeed
  readonly clock: Clock
  readonly logger: Logger
  /** Fills a generation's name. */
  readonly randomBytes: (count: number) => Uint8Array
  readonly settings: CaptureSettings
  /** Shared by all databases of the process: opening takes memory and descriptors for a moment. */
  readonly openSlots: Permits
  /** Hears of another process that has the local state. */
  readonly refusal: Refusal
}

/** How often frames are copied back while a generation waits for its beginning. */
const waitingCopyMs = 1000
/** How often a busy database is looked at: an application's own checkpoint waits for us about this long. */
const busyPollMs = 25
/** An active database rests after this long without a change. */
const restAfterMs = 1000
/** Most that one call captures: memory stays flat, and a busy machine is not made to switch threads too often. */
const captureBytes = 4 * 1024 * 1024
/** A segment is finished early at a commit past this size. */
const maxSegmentBytes = 64 * 1024 * 1024
/** Complete segments that wait for a slow disk; past this many, capturing waits with them. */
const maxWaitingSegments = 100
/** Pauses after failures: the first may be one of the moment, for which the reader is kept. */
const firstPauseMs = 250
const maxPauseMs = 30_000
/** An application that restarts its WAL itself again and again, and waits for us each time, is looked at this often. */
const eagerPollMs = 2

/** What follows is not what was captured before. */
const otherContent: ReadonlySet<BreakReason> = new Set([
  'database file replaced',
  'database file written past its wal',
  'wal replaced',
])

/** The file of an active database is looked at this often: what is written to it past its WAL is told until the next frame is copied back. */
const activeLookMs = 250

/** A file that is suspicious is looked at this often. */
const suspiciousLookMs = 250

/** A local disk that takes longer for one write hangs; many applications wait 5 s for a lock. */
const hungDiskMs = 2000

/** Thrown to end one life of an opened database; the loop then opens it again. */
class Reopen extends Error {}

/**
 * Copies what an application commits into the spool, for ever: one loop per database. Events only end its idleness; it
 * looks at the world and decides. No error ends it.
 */
export class SyncDatabase {
  readonly #options: SyncDatabaseOptions
  #settings: CaptureSettings
  #assembly: SegmentAssembly | undefined
  readonly #sealer = new SegmentSealer((segment) => this.#onSealed(segment))
  readonly #history: LocalHistory
  #lastSealAt = Number.NEGATIVE_INFINITY
  readonly #complaints: Complaints
  #pauseMs = firstPauseMs
  /** Continuity was lost between two rounds: nothing is captured until the new generation begins. */
  #isBroken = false
  #spoolState: SpoolState | undefined
  /** A generation that was begun, and nothing of it spooled or promised: after a failure it begins again. */
  #unused: Generation | undefined
  #spoolProblem: { reason: BreakReason; detail: string } | undefined
  #spoolOpened = false
  #uncaptured: string | undefined
  #isAbsent = false
  /** There was a database, by this process or as the local state says. */
  #hasExisted = false
  #movedAt: number
  #isIdle = false
  #file: FileIdentity | undefined
  readonly #fileWatch = new FileWatch()
  readonly #pacing = new CheckpointPacing()
  readonly #copyBack: CopyBack
  /** Of what is counted as copied back, the frames of earlier WALs. */
  #formerFrameCount = 0
  #saidNameCount = 1
  /** Where everything captured is spooled. */
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
    const { database, feed, clock, logger } = options
    this.#copyBack = new CopyBack({
      database,
      feed,
      clock,
      logger,
      report: this.#report,
      pacing: this.#pacing,
      fileWatch: this.#fileWatch,
      loop: this.#asLoop(),
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
    const [movedAt, isBroken] = [() => this.#movedAt, () => this.#isBroken]
    return {
      get movedAt() {
        return movedAt()
      },
      get isBroken() {
        return isBroken()
      },
      captureAll: (kill) => this.#captureAll(kill),
      keep: (result, kill) => this.#keep(result, kill),
      beside: (work, kill) => this.#beside(work, kill),
      move: () => this.#move(),
    }
  }

  /** Goes on with other settings. */
  configure(settings: CaptureSettings): void {
    this.#settings = settings
    this.#options.feed.maxSpoolBytes = settings.maxSpoolBytes
  }

  /** Runs until `stop`, then captures and spools what is left. `kill` ends it at once. */
  async run(stop: AbortSignal, kill: AbortSignal): Promise<void> {
    const { clock, feed, refusal } = this.#options
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
        const isWaiting = error instanceof InUseError && this.#settings.waitsForOthers
        if (error instanceof InUseError && !isWaiting) refusal.refuse(error)
        if (!(error instanceof Reopen)) this.#report.failed(error)
        if (!(error instanceof Reopen)) this.#complain(error, isWaiting)
        feed.takeBarriers().reject(asError(error))
        await this.#discard()
        if (stop.aborted && !(error instanceof Reopen)) {
          this.#uncaptured = `the last capture failed: ${asError(error).message}`
          break
        }
        if (stop.aborted) break
        if (error instanceof Reopen) await clock.sleep(100, stop).catch(ignoreAbort)
        else if (isWaiting) await clock.sleep(firstPauseMs, stop).catch(ignoreAbort)
        else await this.#pause(stop)
      }
    }
    this.#report.state = 'ended'
    feed.end(this.#latest)
  }

  /** The file that is open now. */
  get file(): FileIdentity | undefined {
    return this.#file
  }

  /** Where capturing stands. */
  status(): CaptureStatus {
    // Of an idle database the files are looked at for us.
    if (this.#isIdle) this.#report.looked()
    return this.#report.status({
      assembly: this.#assembly,
      end: this.#assembly?.end ?? this.#sealer.end,
      movedAt: this.movedAt,
      monitorIntervalMs: this.#settings.monitorIntervalMs,
    })
  }

  /** Behind a reader that is not renewed the application's checkpoints wait: it is let go for a pause of any length. */
  async #pause(stop: AbortSignal): Promise<void> {
    const { clock, database } = this.#options
    if (this.#pauseMs > firstPauseMs) await database.close().catch(() => undefined)
    await clock.sleep(this.#pauseMs * (0.75 + Math.random() / 2), stop).catch(ignoreAbort)
    this.#pauseMs = Math.min(this.#pauseMs * 2, maxPauseMs)
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
      this.#complaints.say(why, { level: 'warn', phrase, fields: { why } })
    } else this.#complaints.say(kindOf(error), { fields: { path, err: error } })
  }

  #recovered(): void {
    this.#pauseMs = firstPauseMs
    this.#report.recovered()
    this.#complaints.recovered()
  }

  /** One life of the database file: from opening it until it is gone or we stop. */
  async #live(stop: AbortSignal, kill: AbortSignal): Promise<void> {
    const { database, watcher } = this.#options
    this.#isBroken = false
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
    const { database, spool, logger, openSlots, watcher } = this.#options
    const slot = await openSlots.take(kill)
    try {
      if (!this.#spoolOpened) {
        const { state, ...problem } = await spool.open(kill)
        this.#spoolOpened = true
        this.#spoolState = state
        if (state !== undefined) this.#history.resume(state)
        this.#hasExisted ||= state !== undefined
        if ('reason' in problem && problem.reason === 'unreadable') {
          this.#spoolProblem = { reason: 'local state is unreadable', detail: problem.detail }
        }
      }
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
      await this.#firstLook(opened, kill)
      return opened
    } finally {
      slot[Symbol.dispose]()
    }
  }

  /** Continues the spooled generation if that can be proven, else begins a new one. */
  async #firstLook(opened: OpenedDatabase, kill: AbortSignal): Promise<void> {
    const { database, feed, logger } = this.#options
    const state = this.#spoolState
    const last = state?.segments.at(-1)
    const left = await this.#options.record.take(kill)
    let reason: { reason: BreakReason; detail: string }
    if (this.#spoolProblem !== undefined) {
      reason = this.#spoolProblem
    } else if (state === undefined) {
      reason = { reason: 'no generation exists', detail: 'this is the first start' }
    } else if (state.identity.inode !== opened.identity.inode) {
      reason = {
        reason: 'database file replaced',
        detail: `inode ${state.identity.inode} is now ${opened.identity.inode}`,
      }
    } else if (last === undefined && state.generation === this.#unused) {
      await database.begin(undefined, kill)
      this.#fileWatch.reset()
      return
    } else if (last === undefined) {
      reason = {
        reason: 'local state has no segment',
        detail: `nothing was captured in ${state.generation}, or its segments were removed: no position to go on from`,
      }
    } else {
      const verdict = await database.begin(cursorAfter(last), kill)
      if (verdict.kind === 'continuous') {
        this.#resumeFileWatch(state.generation, left)
        feed.continued = state.generation
        const sinceMs = this.#report.continued({
          isOurs: feed.current?.generation === state.generation,
        })
        feed.begin(
          {
            generation: state.generation,
            pageSizeBytes: opened.pageSizeBytes,
            ...(state.origin === undefined ? {} : { origin: state.origin }),
            segments: [...state.segments],
            end: { index: last.index, offset: last.endOffset },
          },
          sinceMs,
        )
        this.#adopt(state.segments)
        logger.info(
          {
            generation: state.generation,
            position: formatWalPosition({ index: last.index, offset: last.endOffset }),
          },
          'generation continues',
        )
        feed.announce()
        return
      }
      reason = verdict
    }
    // Others wait for their turn to be opened.
    if (this.#report.generationWaitMs > 0) feed.requestNewGeneration(reason.reason, reason.detail)
    else await this.#newGeneration(opened, reason, kill)
  }

  /** Whoever wrote the file since it was remembered, and copied nothing back, wrote it past its WAL. */
  #resumeFileWatch(generation: Generation, left: RememberedFile | undefined): void {
    if (left?.generation === generation) {
      this.#fileWatch.reset({ signs: left, copiedCount: left.copiedCount })
    } else {
      this.#fileWatch.resume(this.#formerFrameCount)
    }
    // Once: what was opened twice before anything was captured counts from here, too.
    this.#formerFrameCount = 0
  }

  /** Remembers the file for the next start, if it is known that all that was written to it was copied back from the WAL. */
  async #rememberFile({ wal }: CaptureResult, kill: AbortSignal): Promise<void> {
    const { feed, record, logger } = this.#options
    const known = this.#fileWatch.settled
    if (known === undefined || feed.current === undefined || wal.frameCount === 0) return
    const { size, mtimeMs } = known.signs
    const { generation } = feed.current
    try {
      await record.save({ generation, size, mtimeMs, copiedCount: wal.copiedBackCount }, kill)
    } catch (err) {
      logger.debug({ err }, 'the database file is not remembered')
    }
  }

  /**
   * Waits until a generation may follow the one before, and what is committed can be had, from the WAL or from the file.
   * Meanwhile the reader is renewed, and the WAL copied back: a damaged one is whole again when the application restarts it.
   */
  async #untilBeginnable(
    why: { reason: BreakReason; detail: string },
    kill: AbortSignal,
  ): Promise<void> {
    const { database, feed, logger, clock } = this.#options
    let saidThat: 'waits' | 'unreadable' | undefined
    let copiedAt = Number.NEGATIVE_INFINITY
    let identifiedAt = clock.monotonic()
    for (;;) {
      const verdict = await database.begin(undefined, kill)
      const waitMs = this.#report.generationWaitMs
      const isReadable = verdict.kind === 'continuous'
      if (isReadable) this.#report.walProblem = undefined
      if (isReadable && (waitMs === 0 || this.#stop.aborted)) return
      if (!isReadable && this.#stop.aborted) {
        throw new DatabaseError(`its WAL cannot be read: ${verdict.detail}`)
      }
      this.#move()
      feed.takeBarriers().reject(new Error(`the generation ended: ${why.reason}`))
      if (!isReadable && saidThat !== 'unreadable') {
        saidThat = 'unreadable'
        const hint =
          'another program has damaged it: nothing is stored until all that it has is copied back into the database; check the database then'
        this.#report.walProblem = `its WAL is unreadable, and nothing is stored: ${verdict.detail}`
        logger.error({ reason: verdict.reason, detail: verdict.detail, hint }, 'WAL is unreadable')
      } else if (isReadable && saidThat === undefined) {
        saidThat = 'waits'
        const fields = { ...why, waitSeconds: Math.ceil(waitMs / 1000) }
        logger.warn(fields, 'generations follow each other: the next one waits')
      }
      const now = clock.monotonic()
      if (now - identifiedAt >= this.#settings.monitorIntervalMs) {
        identifiedAt = now
        await this.#checkFile()
      }
      // What a truncated one lacks would be copied back as zeros.
      const mayCopy = isReadable || verdict.reason !== 'wal truncated by another process'
      if (mayCopy && now - copiedAt >= waitingCopyMs) {
        copiedAt = now
        await this.#copyBack.now(kill)
      } else {
        await clock.sleep(busyPollMs, this.#stop).catch(ignoreAbort)
      }
    }
  }

  /** What an earlier process captured is as old as the wall clock says, and grows older by the other one. */
  #adopt(segments: readonly SpooledSegment[]): void {
    const { clock, feed } = this.#options
    for (const segment of segments) {
      if (feed.sinceMs(segment) !== undefined) continue
      const ageMs = clock.now() - (segment.trailer.captures[0]?.timeMs ?? clock.now())
      feed.noteSince(segment, clock.monotonic() - Math.max(0, ageMs))
    }
  }

  async #newGeneration(
    opened: OpenedDatabase,
    why: { reason: BreakReason; detail: string },
    kill: AbortSignal,
  ): Promise<void> {
    const { database, spool, feed, logger, randomBytes } = this.#options
    await this.#discard()
    // That may be what ended it.
    await this.#checkFile()
    // Whatever fails in between: it is not gone on with the one that ended.
    this.#spoolProblem = why
    this.#isBroken = true
    await this.#untilBeginnable(why, kill)
    feed.takeNewGeneration()
    const generation = formatGeneration(randomBytes(8))
    const { identity } = opened
    const inode = this.#spoolState?.identity.inode ?? identity.inode
    const origin = this.#history.begin(generation, {
      former: feed.current,
      isSameFile: !otherContent.has(why.reason) && inode === identity.inode,
      notBeforeMs: feed.notBeforeMs,
    })
    await spool.beginGeneration({ generation, identity, origin }, kill)
    await database.begin(undefined, kill)
    this.#fileWatch.reset()
    this.#formerFrameCount = 0
    this.#isBroken = false
    this.#unused = generation
    this.#spoolProblem = undefined
    this.#spoolState = { generation, identity, origin, segments: [] }
    feed.begin(
      {
        generation,
        pageSizeBytes: opened.pageSizeBytes,
        origin,
        segments: [],
        end: { index: 0, offset: 0 },
      },
      this.#report.began(why.reason),
    )
    logger.info({ generation, reason: why.reason, detail: why.detail }, 'new generation')
    feed.announce()
  }

  /** The loop of a live database. */
  async #follow(opened: OpenedDatabase, stop: AbortSignal, kill: AbortSignal): Promise<void> {
    const { database, feed, clock, watcher } = this.#options
    let changedAt = Number.NEGATIVE_INFINITY
    let identifiedAt = clock.monotonic()
    this.#pacing.begin(clock.monotonic())
    for (;;) {
      const stopping = stop.aborted
      const wish = feed.takeNewGeneration()
      if (wish !== undefined) await this.#newGeneration(opened, wish, kill)
      const now = clock.monotonic()
      const lookMs = this.#fileWatch.suspects()
        ? suspiciousLookMs
        : this.#fileWatch.isBehind
          ? 0
          : Math.min(activeLookMs, this.#settings.monitorIntervalMs)
      if (now - identifiedAt >= lookMs || stopping) {
        identifiedAt = now
        await this.#checkFile()
      }
      const holds = this.#fileWatch.holds(now) && !stopping
      const barriers = holds ? noBarriers : feed.takeBarriers()
      const wanted = stopping || barriers.count > 0
      let result: CaptureResult
      try {
        result = await this.#captureAll(kill, { isEager: this.#isEager && !wanted })
        if (result.continuity.kind === 'broken') {
          barriers.reject(new Error(`the generation ended: ${result.continuity.reason}`))
          await this.#newGeneration(opened, result.continuity, kill)
          changedAt = now
          continue
        }
        if (result.changed) changedAt = now
        const foreign = await this.#foreignWrite(stopping, kill)
        if (foreign !== undefined) {
          barriers.reject(new Error(`the generation ended: ${foreign.reason}`))
          await this.#newGeneration(opened, foreign, kill)
          changedAt = now
          continue
        }
        const due = this.#sealer.isIdle && now - this.#lastSealAt >= this.#settings.sealIntervalMs
        const end = this.#assembly?.end ?? this.#sealer.end ?? feed.current?.end
        if ((due && !holds) || wanted) await this.#seal(kill)
        if (wanted) await this.#beside(this.#sealer.settled(), kill, { capture: !stopping })
        this.#sealer.throwFailure()
        const current = feed.current
        const isSpooled = this.#assembly === undefined && this.#sealer.isIdle
        if (
          current !== undefined &&
          end !== undefined &&
          !this.#isBroken &&
          (wanted || isSpooled)
        ) {
          this.#latest = {
            generation: current.generation,
            position: end,
            schemaCookie: result.schemaCookie,
            commitTimeMs: this.#history.lastMs,
          }
          if (barriers.count > 0) this.#unused = undefined
          if (feed.firstLook === undefined) {
            feed.firstLook = this.#latest
            feed.announce()
          }
          barriers.resolve(this.#latest)
          this.#recovered()
        } else {
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
        await this.#rememberFile(result, kill)
        return
      }
      await this.#copyBack.ifDue(result, this.#copyBackLimits, kill)

      const isSpooled = this.#assembly === undefined && this.#sealer.isIdle
      const isSuspicious = this.#fileWatch.suspects()
      const idle = clock.monotonic() - changedAt > restAfterMs && isSpooled && !isSuspicious
      if (idle && !feed.hasWish) {
        // Watched and looked at before the last capture: a commit that falls between must not wait for the next one.
        await this.#beside(watcher.arm(stop), kill)
        const before = await database.fingerprint(kill)
        await this.#checkFile()
        const last = await this.#captureAll(kill)
        const isAtRest =
          !last.changed &&
          !this.#isBroken &&
          !this.#fileWatch.suspects() &&
          this.#assembly === undefined
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
        await clock.sleep(this.#isEager ? eagerPollMs : busyPollMs, stop).catch(ignoreAbort)
      }
    }
  }

  /** Waits for a sign of life: an event, a changed file, a wish of a replica, or a checkpoint that is due. */
  async #idle(before: string, stop: AbortSignal): Promise<'wish' | 'change'> {
    const { feed, watcher, clock } = this.#options
    const { monitorIntervalMs } = this.#settings
    const woken = new AbortController()
    const any = AbortSignal.any([stop, woken.signal])
    const waits = [
      watcher.waitForSign({ before, intervalMs: monitorIntervalMs }, any),
      feed.waitForWish(any),
    ]
    const dueInMs = this.#copyBack.dueInMs(this.#copyBackLimits)
    if (dueInMs !== undefined) waits.push(clock.sleep(dueInMs, any).catch(ignoreAbort))
    waits.push(this.#watchReader(any))
    this.#isIdle = true
    try {
      await Promise.race(waits)
    } finally {
      this.#isIdle = false
      this.#move()
      woken.abort()
    }
    this.#report.looked()
    if (stop.aborted || feed.hasWish) return 'wish'
    await this.#checkFile()
    return 'change'
  }

  /** Throws when the reader is lost, behind which the WAL may restart unseen. */
  async #watchReader(signal: AbortSignal): Promise<void> {
    await this.#options.database.waitForLoss(signal)
    if (!signal.aborted) throw new DatabaseError('the thread that held its reader has ended')
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
    const { spool, logger } = this.#options
    if (!this.#spoolOpened || (await spool.isIntact(never))) return
    const hint = 'nothing but tsreplicate may change that folder while it runs'
    logger.error({ hint }, 'local state was removed: it is made anew')
    await this.#discard()
    await spool[Symbol.asyncDispose]()
    this.#spoolOpened = false
    this.#spoolState = undefined
    this.#spoolProblem = {
      reason: 'local state was removed',
      detail: 'what was captured and not stored yet is lost with it',
    }
    throw new Reopen()
  }

  /** Ends this life if the path names another file now, or none, or the local state is gone. */
  async #checkFile(): Promise<void> {
    const { database, logger } = this.#options
    const look = await database.look(never)
    if (look.kind === 'same') {
      await this.#checkLocalState()
      this.#fileWatch.looked(look.signs)
      this.#countNames(look.signs.nlink)
      return
    }
    if (look.kind === 'log replaced') {
      const hint =
        'restart the application, which may go on with the removed file: what it commits there is lost when it ends; then check the database. -wal and -shm are part of a database, and never removed while it is in use'
      const text = 'the log of the database was replaced under running processes'
      logger.error({ path: database.path, detail: look.detail, hint }, text)
      return this.#reopen({ reason: 'wal replaced', detail: look.detail })
    }
    if (look.kind === 'gone') {
      await this.#keepRest()
      const text =
        'database file was deleted: its replicas are kept, and replication goes on when it is back'
      if (this.#settings.comesAndGoes === true) logger.info({ path: database.path }, text)
      else logger.error({ path: database.path }, text)
    } else {
      logger.error(
        {
          path: database.path,
          hint: 'stop the application and tsreplicate before a database file is replaced, and remove its -wal and -shm',
        },
        'database file was replaced under running processes: the application may see old content or errors until it is restarted',
      )
    }
    this.#spoolState = undefined
    return this.#reopen({
      reason: 'database file replaced',
      detail: look.kind === 'gone' ? 'it was deleted' : 'the path names another file',
    })
  }

  /** Ends this life, and the generation with it. */
  async #reopen(why: { reason: BreakReason; detail: string }): Promise<never> {
    const { database, watcher, clock } = this.#options
    this.#spoolProblem = why
    await this.#discard()
    await database.close()
    this.#file = undefined
    await watcher.disarm()
    await clock.sleep(0, never)
    throw new Reopen()
  }

  /** Another name is another WAL: whoever commits there is not seen. */
  #countNames(nameCount: number): void {
    const { database, logger } = this.#options
    this.#report.fileProblem =
      nameCount > 1
        ? `the database file has ${nameCount} names (hard links): what is committed under another one is not stored`
        : undefined
    if (nameCount === this.#saidNameCount) return
    this.#saidNameCount = nameCount
    if (nameCount === 1) {
      logger.info({ path: database.path }, 'database file has one name again')
      return
    }
    const hint =
      'remove the other names; a copy is made with tsreplicate restore or VACUUM INTO, not with a link'
    logger.error({ path: database.path, hint }, this.#report.fileProblem ?? '')
  }

  /** Whether somebody has written the database file past its WAL. */
  async #foreignWrite(
    isLast: boolean,
    kill: AbortSignal,
  ): Promise<{ reason: BreakReason; detail: string } | undefined> {
    const { database, clock, logger } = this.#options
    const verdict = this.#fileWatch.verdict(clock.monotonic(), { isLast })
    if (verdict === 'usual' || verdict === 'wait') return undefined
    if (verdict === 'ask') {
      const copied = await this.#copyBack.now(kill)
      if (copied?.busy !== false) {
        this.#fileWatch.anotherRuns(clock.monotonic())
        return undefined
      }
    }
    const detail = this.#fileWatch.change
    const cut = verdict === 'ask' ? ', unless it was killed while it copied pages back' : ''
    const hint = `something other than SQLite wrote the database file (cp, dd, rsync, a restored backup) or touched it${cut}; its -wal does not fit it any more, and what the application reads may be a mixture: check the database, and to replace it stop the application and tsreplicate and remove its -wal and -shm`
    logger.error({ path: database.path, detail, hint }, 'database file was written past its WAL')
    return { reason: 'database file written past its wal', detail }
  }

  /** What a deleted file still holds is read as long as it is open; where that is no longer possible, it is gone. */
  async #keepRest(): Promise<void> {
    try {
      await this.#captureAll(never)
      await this.#seal(never)
      await this.#sealer.settled()
    } catch (err) {
      this.#options.logger.debug({ err }, 'the rest of a deleted database cannot be read')
    }
  }

  /** Captures until nothing more is committed. */
  async #captureAll(kill: AbortSignal, { isEager } = { isEager: false }): Promise<CaptureResult> {
    const { database } = this.#options
    const capture = (): Promise<CaptureResult> =>
      database.capture({ maxBytes: captureBytes, isEager }, kill)
    let changed = false
    const started = this.#report.syncStarted()
    let next = capture()
    for (;;) {
      const result = await next
      this.#move()
      // One run is captured while the one before is compressed.
      if (result.more) next = capture()
      changed ||= result.changed
      await Promise.all([next, this.#ifDiskAnswers(this.#keep(result, kill))])
      this.#copyBack.captured(result.wal)
      if (result.more) continue
      if (result.continuity.kind === 'continuous') {
        const { copiedCount } = result
        if (result.wal.frameCount > 0) {
          this.#formerFrameCount = copiedCount - result.wal.copiedBackCount
        }
        const { isAllCopied } = this.#copyBack
        this.#fileWatch.captured({ copiedCount, isAllCopied }, this.#options.clock.monotonic())
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
    answered.abort()
    if (!mustLetGo) return work
    logger.error(
      {
        seconds: hungDiskMs / 1000,
        hint: 'look at the disk that the local state lies on: nothing is captured until it answers',
      },
      'the disk of the local state does not answer: the database is let go, so that the application does not wait for it, too',
    )
    await database.close()
    await work
    throw new Reopen()
  }

  /** Puts captured runs into the segment under way. */
  async #keep(result: CaptureResult, kill: AbortSignal): Promise<void> {
    const { spool, compressor, feed } = this.#options
    const current = feed.current
    if (current === undefined) return
    for (const run of result.runs) {
      const end = this.#assembly?.end ?? this.#sealer.end ?? current.end
      if (!isNext(end, run.start)) {
        // Never stored: the spool knows where to go on from.
        throw new Error(
          `what was captured begins at ${formatWalPosition(run.start)}, and what was captured before ends at ${formatWalPosition(end)}`,
        )
      }
      if (this.#assembly !== undefined && comparePositions(this.#assembly.end, run.start) !== 0) {
        await this.#seal(kill)
      }
      this.#assembly ??= new SegmentAssembly({
        spool,
        compressor,
        generation: current.generation,
        start: run.start,
      })
      if (run.start.offset === 0) this.#pacing.restarted(this.#options.clock.monotonic())
      // A disk that is full or hangs is no reason not to count it.
      this.#report.captured(run)
      await this.#assembly.append(run, this.#history.stamp(run.timeMs), kill)
      if (this.#assembly.walBytes >= maxSegmentBytes && this.#assembly.endsInCommit) {
        await this.#seal(kill)
      }
    }
  }

  get #isEager(): boolean {
    return this.#pacing.isEager(this.#options.clock.monotonic())
  }

  /** Ends the segment under way. It is handed to the replicas when it is durable. */
  async #seal(kill: AbortSignal): Promise<void> {
    const assembly = this.#assembly
    if (assembly === undefined) return
    this.#assembly = undefined
    this.#report.sealing(assembly.walBytes)
    this.#lastSealAt = this.#options.clock.monotonic()
    this.#sealer.add(assembly, kill)
    if (this.#sealer.waitingCount >= maxWaitingSegments) await this.#sealer.settled()
    this.#sealer.throwFailure()
  }

  #onSealed(segment: SpooledSegment): void {
    const { feed } = this.#options
    const current = feed.current
    if (current?.generation !== segment.generation) return
    this.#unused = undefined
    this.#recovered()
    feed.noteSince(segment, this.#report.sealed())
    current.segments.push(segment)
    current.end = { index: segment.index, offset: segment.endOffset }
    this.#spoolState = {
      ...this.#spoolState,
      generation: current.generation,
      identity: this.#spoolState?.identity ?? { device: 0, inode: 0 },
      segments: current.segments,
    }
    feed.announce()
  }

  /** Waits for what a slow disk may hold up, and captures meanwhile, which renews the reader. */
  async #beside<T>(
    work: Promise<T>,
    kill: AbortSignal,
    { capture } = { capture: true },
  ): Promise<T> {
    const { clock, feed } = this.#options
    const ended = new AbortController()
    const settled = work.then(
      () => ended.abort(),
      () => ended.abort(),
    )
    while (capture && !this.#isBroken) {
      await Promise.race([settled, clock.sleep(busyPollMs, kill).catch(ignoreAbort)])
      if (ended.signal.aborted || kill.aborted) break
      const { continuity } = await this.#captureAll(kill)
      if (continuity.kind === 'broken') {
        this.#isBroken = true
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
    const isFull = feed.spoolBytes > maxSpoolBytes
    let gone = feed.releasable({ isFull })
    // What is stored and not confirmed gives way before a replica is given up.
    if (isFull && feed.spoolBytes - bytesOf(gone) > maxSpoolBytes) {
      const names = feed.detachLaggards()
      for (const replica of names) {
        logger.error(
          { replica, maxSpoolBytes },
          'spool is full: segments are no longer kept for this replica; a new generation begins when it can be reached again',
        )
      }
      gone = feed.releasable({ isFull })
    }
    if (gone.length === 0) return
    await this.#beside(spool.remove(gone, kill), kill)
    current.segments = current.segments.filter((segment) => !gone.includes(segment))
    if (this.#spoolState !== undefined) {
      this.#spoolState = { ...this.#spoolState, segments: current.segments }
    }
  }

  async #discard(): Promise<void> {
    this.#latest = undefined
    const assembly = this.#assembly
    this.#assembly = undefined
    this.#report.discarded()
    await assembly?.[Symbol.asyncDispose]()
    await this.#sealer.discard()
  }
}

function bytesOf(segments: readonly SpooledSegment[]): number {
  return segments.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)
}

/** Where capturing goes on behind a spooled segment. */
function cursorAfter(segment: SpooledSegment): CaptureCursor {
  const { trailer } = segment
  const position: WalPosition = { index: segment.index, offset: segment.endOffset }
  return {
    position,
    pageSizeBytes: trailer.pageSizeBytes,
    bigEndian: trailer.bigEndian,
    salts: trailer.salts,
    checksum: trailer.checksumAfter,
    source: trailer.source,
  }
}

/** Whether frames that begin at `start` go on from where others end. */
function isNext(end: WalPosition, start: WalPosition): boolean {
  if (start.index === end.index) return start.offset === end.offset
  return start.index === end.index + 1 && start.offset === 0 && end.offset > 0
}

const noBarriers = { count: 0, resolve: (): void => undefined, reject: (): void => undefined }

/** One problem has a message for each file that it concerns; what the system calls it stays the same. */
function kindOf(error: unknown): string {
  const { cause, message } = asError(error)
  return codeOf(cause) ?? message
}
