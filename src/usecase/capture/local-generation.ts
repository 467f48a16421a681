import { DatabaseError } from '../../domain/errors.js'
import {
  type BreakReason,
  bringsOtherContent,
  isComparable,
} from '../../domain/wal/break-reason.js'
import { formatGeneration, type Generation } from '../../domain/wal/generation.js'
import { type Resumption } from '../../domain/status.js'
import { endOf } from '../../domain/stored/segment-chain.js'
import { formatWalPosition, type WalPosition } from '../../domain/wal/position.js'
import { type GenerationFeed } from '../backlog/generation-feed.js'
import { type Clock } from '../ports/clock.js'
import { type Compressor } from '../ports/compressor.js'
import { type FileRecord } from '../ports/file-record.js'
import { type Logger } from '../ports/logger.js'
import {
  type CaptureCursor,
  type ManagedDatabase,
  type OpenedDatabase,
} from '../ports/managed-database.js'
import { type Spool, type SpooledSegment, type SpoolState } from '../ports/spool.js'
import { type CaptureReport } from './capture-report.js'
import {
  appendDifference,
  type AppendDifferenceOptions,
  type CaptureInto,
  type DifferenceOf,
} from './append-difference.js'
import { type CopyBack } from './copy-back.js'
import { type FileGuard } from './file-guard.js'
import { type KeepPageMap } from './keep-page-map.js'
import { type LocalHistory } from './local-history.js'

/** The loop that captures, of whose database it is the generation. */
export interface GenerationLoop {
  readonly isStopping: boolean
  readonly monitorIntervalMs: number
  readonly captureInto: CaptureInto
  /** Gives up what is captured and not durable. */
  discard(): Promise<void>
  /** Throws when the file is not the one any more that is open. */
  checkFile(): Promise<void>
  pause(): Promise<void>
  move(): void
}

export interface LocalGenerationOptions {
  readonly database: ManagedDatabase
  readonly spool: Spool
  readonly compressor: Compressor
  /** Undefined: a generation ends where its WAL does not prove to go on. */
  readonly pages: KeepPageMap | undefined
  readonly record: FileRecord
  readonly feed: GenerationFeed
  readonly clock: Clock
  readonly logger: Logger
  /** Fills a generation's name. */
  readonly randomBytes: (count: number) => Uint8Array
  readonly report: CaptureReport
  readonly history: LocalHistory
  readonly guard: FileGuard
  readonly copyBack: CopyBack
  readonly loop: GenerationLoop
}

export interface Beginning {
  readonly reason: BreakReason
  readonly detail: string
}

/** What is known of a resumption but its times. */
type Resumed = Omit<Resumption, 'durationMs' | 'atMs'>

/** Where no page was compared. */
const noPages = { scannedPages: 0, changedPages: 0, storedBytes: 0 }

const foreignWrite: BreakReason = 'database file written past its wal'
const foundByScrub: BreakReason = 'database file differs from what is stored'
/** Between two tries to read a file that somebody writes. */
const writtenPauseMs = 1000
/** How often frames are copied back while a generation waits for its beginning. */
const waitingCopyMs = 1000

/** Its WAL lacks frames that are not in the database file: it is to be let go, and opened again after a while. It has been said. */
export class UnreadableWal extends DatabaseError {}

/**
 * The generation that is captured, as the local state has it: whether the one of the run before goes on, and how the next
 * one begins.
 */
export class LocalGeneration {
  readonly #options: LocalGenerationOptions
  /** Continuity was lost between two rounds: nothing is captured until the new generation begins. */
  isBroken = false
  #state: SpoolState | undefined
  /** A generation that was begun, and nothing of it spooled or promised: after a failure it begins again. */
  #unused: Generation | undefined
  #problem: Beginning | undefined
  #isOpen = false
  /** Since when it is looked whether it goes on, by the monotonic clock. */
  #lookedAtMs = 0
  #isResumedSaid = false

  constructor(options: LocalGenerationOptions) {
    this.#options = options
  }

  /** Opens the local state, once. Whether it tells of a database that there was. */
  async open(kill: AbortSignal): Promise<boolean> {
    if (!this.#isOpen) {
      const { state, ...problem } = await this.#options.spool.open(kill)
      this.#isOpen = true
      this.#state = state
      if (state !== undefined) this.#options.history.resume(state)
      if ('reason' in problem && problem.reason === 'unreadable') {
        this.#problem = { reason: 'local state is unreadable', detail: problem.detail }
      }
    }
    return this.#state !== undefined
  }

  /** Whether the local state is as it was left; one that is not open is. */
  async isIntact(signal: AbortSignal): Promise<boolean> {
    return !this.#isOpen || (await this.#options.spool.isIntact(signal))
  }

  /** Somebody has removed the local state: it is made and claimed anew by the next {@link open}. */
  async lose(): Promise<void> {
    await this.#options.spool[Symbol.asyncDispose]()
    this.#isOpen = false
    this.#state = undefined
    this.#problem = {
      reason: 'local state was removed',
      detail: 'what was captured and not stored yet is lost with it',
    }
  }

  /** It has ended: the next first look begins another one. */
  end({ reason, detail }: Beginning): void {
    this.#problem = { reason, detail }
  }

  /** Something of it was promised. */
  used(): void {
    this.#unused = undefined
  }

  /** What of it is in the spool has changed. */
  spooled(generation: Generation, segments: readonly SpooledSegment[]): void {
    const identity = this.#state?.identity ?? { device: 0, inode: 0 }
    this.#state = { ...this.#state, generation, identity, segments }
  }

  /** Continues the spooled generation if that can be proven, else begins a new one. */
  async firstLook(opened: OpenedDatabase, kill: AbortSignal): Promise<void> {
    const { database, pages, guard, clock } = this.#options
    const state = this.#state
    this.#lookedAtMs = clock.monotonic()
    const last = state?.segments.at(-1)
    const left = await this.#options.record.take(kill)
    let reason: Beginning
    if (this.#problem !== undefined) {
      reason = this.#problem
    } else if (state === undefined) {
      reason = { reason: 'no generation exists', detail: 'this is the first start' }
    } else if (state.identity.inode !== opened.identity.inode) {
      await this.#resumePages(opened, state)
      reason = {
        reason: 'database file replaced',
        detail: `inode ${state.identity.inode} is now ${opened.identity.inode}`,
      }
    } else if (last === undefined && state.generation === this.#unused) {
      await database.begin(undefined, kill)
      guard.watch.reset()
      return
    } else if (last === undefined) {
      await this.#resumePages(opened, state)
      reason = {
        reason: 'local state has no segment',
        detail: `nothing was captured in ${state.generation}, or its segments were removed: no position to go on from`,
      }
    } else {
      await this.#resumePages(opened, state)
      const verdict = await database.begin(cursorAfter(last), kill)
      if (verdict.kind === 'continuous') {
        guard.resume(state.generation, left)
        this.#goOn(opened, state, { how: 'proven', reason: undefined, ...noPages })
        return
      }
      reason = verdict
    }
    const { feed, report } = this.#options
    // Others wait for their turn to be opened, and reading a file takes time.
    const takesTime = pages !== undefined && isComparable(reason.reason)
    if (takesTime || report.generationWaitMs > 0)
      feed.requestNewGeneration(reason.reason, reason.detail)
    else await this.begin(opened, reason, kill)
  }

  async #resumePages(opened: OpenedDatabase, state: SpoolState): Promise<void> {
    const { generation, segments } = state
    const { pageSizeBytes } = opened
    await this.#options.pages?.resume({ generation, pageSizeBytes }, segments)
  }

  /** It continues with what is captured next. */
  #goOn(opened: OpenedDatabase, state: SpoolState, resumed: Resumed): void {
    const { feed, report, logger } = this.#options
    const { generation, origin, segments } = state
    const last = segments.at(-1)
    const end = last === undefined ? { index: 0, offset: 0 } : endOf(last)
    const isOurs = feed.current?.generation === generation
    if (!isOurs) feed.continued = generation
    const sinceMs = report.continued({ isOurs, how: resumed.how })
    // One list: what is merged in it is merged here, too.
    const kept = [...segments]
    this.#state = { ...state, segments: kept }
    feed.begin(
      {
        generation,
        pageSizeBytes: opened.pageSizeBytes,
        ...(origin === undefined ? {} : { origin }),
        segments: kept,
        end,
      },
      sinceMs,
    )
    this.#adopt(segments)
    const position = formatWalPosition(end)
    const { how, reason } = resumed
    logger.info(
      { generation, position, how, ...(reason === undefined ? {} : { reason }) },
      'generation continues',
    )
    this.#noteResumed(resumed)
    feed.announce()
  }

  /** Notes how it goes on, and says once of a start what that took. */
  #noteResumed(resumed: Resumed): void {
    const { clock, report, logger } = this.#options
    const durationMs = Math.round(clock.monotonic() - this.#lookedAtMs)
    report.resumed = { ...resumed, durationMs, atMs: clock.now() }
    const { how, reason, scannedPages, changedPages, storedBytes } = resumed
    const isStart = !this.#isResumedSaid
    this.#isResumedSaid = true
    if (!isStart && scannedPages === 0) return
    logger.info(
      {
        how,
        ...(reason === undefined ? {} : { reason }),
        ...(scannedPages === 0 ? {} : { scannedPages, changedPages, sz: storedBytes }),
        elapsed: `${durationMs}ms`,
      },
      'resumed',
    )
  }

  /**
   * Goes on in the generation of which the WAL does not prove to continue, with what the database differs in. False: it
   * cannot, and the next one is to begin.
   */
  async #append(opened: OpenedDatabase, why: Beginning, kill: AbortSignal): Promise<boolean> {
    const { pages, feed, report, logger, loop } = this.#options
    const state = this.#state
    const last = state?.segments.at(-1)
    if (pages === undefined || state === undefined || !isComparable(why.reason)) return false
    const { pageSizeBytes } = opened
    if (last !== undefined && last.trailer.pageSizeBytes !== pageSizeBytes) return false
    const appended = await this.#untilUnwritten(
      { ...this.#options, pages },
      { generation: state.generation, pageSizeBytes, last },
      kill,
    )
    if ('why' in appended) {
      logger.info({ ...why, why: appended.why }, 'generation cannot go on with what has changed')
      await loop.discard()
      return false
    }
    const { segment, gathered, sinceMs, scannedPages, changedPages } = appended
    if (changedPages > 0) this.#sayForeign(why, changedPages)
    const { identity } = opened
    if (state.identity.inode !== identity.inode) {
      const { generation, origin } = state
      const begun = { generation, identity, ...(origin === undefined ? {} : { origin }) }
      await this.#options.spool.beginGeneration(begun, kill)
      this.#state = { ...state, identity }
    }
    if (segment !== undefined) {
      feed.noteSince(segment, sinceMs)
      pages.sealed(segment, gathered)
      this.#state = { ...state, identity, segments: [...state.segments, segment] }
      this.#sayUntold(state, segment)
    }
    report.appended()
    feed.breaks += 1
    this.isBroken = false
    this.#problem = undefined
    this.#goOn(opened, this.#state ?? state, {
      how: segment === undefined ? 'scanned' : 'appended',
      reason: why.reason,
      scannedPages,
      changedPages,
      storedBytes: segment?.sizeBytes ?? 0,
    })
    return true
  }

  /** Says what somebody has written past the WAL, now that it is compared, if that is why. */
  #sayForeign({ reason, detail }: Beginning, changedPages?: number): void {
    const { guard, report, logger, database } = this.#options
    if (reason !== foreignWrite && reason !== foundByScrub) return
    report.foreignPages(changedPages ?? 0)
    const found = { detail, ...(changedPages === undefined ? {} : { changedPages }) }
    if (reason === foreignWrite) return guard.sayForeign(found)
    const hint =
      'check the disk, and the database (PRAGMA integrity_check): something other than SQLite has written these pages; what they were before can be restored to another path by a time or position before this line'
    logger.error(
      { path: database.path, ...found, hint },
      'database file differs from what is stored',
    )
  }

  /** Tries until nobody writes the file past its WAL while it is read: what is read then is no commit. */
  async #untilUnwritten(
    options: Omit<AppendDifferenceOptions, 'captureInto' | 'isWritten' | 'maxBytes'>,
    of: DifferenceOf,
    kill: AbortSignal,
  ): ReturnType<typeof appendDifference> {
    const { database, feed, guard, report, logger, loop, clock } = this.#options
    const isStopping = (): boolean => loop.isStopping
    const isWritten = async (capture: () => Promise<void>): Promise<boolean> => {
      await loop.checkFile()
      await capture()
      return guard.watch.isProven
    }
    try {
      for (;;) {
        guard.reset()
        const maxBytes = feed.maxSpoolBytes - feed.spoolBytes
        const { captureInto } = loop
        const appended = await appendDifference(
          { ...options, captureInto, isWritten, maxBytes },
          of,
          kill,
        )
        if (!('why' in appended) || appended.isWritten !== true) return appended
        if (report.walProblem === undefined) {
          const hint = 'find out who writes it (cp, dd, rsync), and let that end'
          const text =
            'the database file is being written by something other than SQLite: nothing is stored until that ends'
          logger.error({ path: database.path, hint }, text)
          report.walProblem = text
        }
        feed.takeBarriers().reject(new Error(appended.why))
        if (isStopping()) throw new UnreadableWal(appended.why)
        const until = clock.monotonic() + writtenPauseMs
        while (clock.monotonic() < until && !isStopping()) {
          await database.begin(undefined, kill)
          loop.move()
          await loop.pause()
        }
      }
    } finally {
      report.walProblem = undefined
    }
  }

  /** Between the last commit that was captured and what was appended there may be commits that are not known one by one. */
  #sayUntold({ segments, origin }: SpoolState, appended: SpooledSegment): void {
    const fromMs = segments.at(-1)?.trailer.captures.at(-1)?.timeMs ?? origin?.beganAtMs
    const toMs = appended.trailer.captures.at(-1)?.timeMs
    if (fromMs === undefined || toMs === undefined) return
    const [from, to] = [fromMs, toMs].map((timeMs) => new Date(timeMs).toISOString())
    this.#options.logger.warn(
      { from, to },
      'commits of a while are stored as one, because nobody watched them: a restore to a moment in between has the state before them',
    )
  }

  /**
   * Waits until a generation may follow the one before, and what is committed can be had, from the WAL or from the file.
   * Meanwhile the reader is renewed, and the WAL copied back: a damaged one is whole again when the application restarts it.
   * One that lacks frames is not copied back, which would make zeros of them, and let go: nobody can use it while it is open.
   */
  async #untilBeginnable(why: Beginning, kill: AbortSignal): Promise<void> {
    const { database, feed, logger, clock, report, copyBack, loop } = this.#options
    let saidThatItWaits = false
    let copiedAt = Number.NEGATIVE_INFINITY
    let identifiedAt = clock.monotonic()
    for (;;) {
      const verdict = await database.begin(undefined, kill)
      const waitMs = report.generationWaitMs
      const isReadable = verdict.kind === 'continuous'
      if (isReadable) report.walProblem = undefined
      if (isReadable && (waitMs === 0 || loop.isStopping)) return
      loop.move()
      feed.takeBarriers().reject(new Error(`the generation ended: ${why.reason}`))
      if (!isReadable && report.walProblem === undefined) {
        const hint =
          'another program has damaged the WAL: nothing is stored until all of it is copied back into the database; then check the database'
        report.walProblem = `its WAL is unreadable, and nothing is stored: ${verdict.detail}`
        logger.error({ reason: verdict.reason, detail: verdict.detail, hint }, 'WAL is unreadable')
      } else if (isReadable && !saidThatItWaits) {
        saidThatItWaits = true
        const fields = { ...why, waitSeconds: Math.ceil(waitMs / 1000) }
        logger.warn(fields, 'generations end too soon: the next one is delayed')
      }
      const now = clock.monotonic()
      if (now - identifiedAt >= loop.monitorIntervalMs) {
        identifiedAt = now
        await loop.checkFile()
      }
      const lacksFrames = !isReadable && verdict.reason === 'wal truncated by another process'
      if (lacksFrames || (!isReadable && loop.isStopping)) {
        throw new UnreadableWal(`its WAL cannot be read: ${verdict.detail}`)
      }
      if (now - copiedAt >= waitingCopyMs) {
        copiedAt = now
        await copyBack.now(kill)
      } else {
        await loop.pause()
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

  /** Begins a new one, when it may and can. */
  async begin(opened: OpenedDatabase, why: Beginning, kill: AbortSignal): Promise<void> {
    const { database, spool, feed, clock, logger, randomBytes, report } = this.#options
    const { guard, history, loop, pages } = this.#options
    await loop.discard()
    // That may be what ended it.
    await loop.checkFile()
    if (feed.current !== undefined) this.#lookedAtMs = clock.monotonic()
    // Whatever fails in between: it is not gone on with the one that ended.
    this.#problem = why
    this.isBroken = true
    await this.#untilBeginnable(why, kill)
    feed.takeNewGeneration()
    const isUnsaid = pages?.isWhole === true || why.reason === foundByScrub
    if (await this.#append(opened, why, kill)) return
    if (isUnsaid) this.#sayForeign(why)
    const generation = formatGeneration(randomBytes(8))
    const { identity } = opened
    const inode = this.#state?.identity.inode ?? identity.inode
    const origin = history.begin(generation, {
      former: feed.current,
      isSameFile: !bringsOtherContent(why.reason) && inode === identity.inode,
      notBeforeMs: feed.notBeforeMs,
    })
    await spool.beginGeneration({ generation, identity, origin }, kill)
    pages?.begin({ generation, pageSizeBytes: opened.pageSizeBytes })
    await database.begin(undefined, kill)
    guard.reset()
    this.isBroken = false
    this.#unused = generation
    this.#problem = undefined
    this.#state = { generation, identity, origin, segments: [] }
    feed.begin(
      {
        generation,
        pageSizeBytes: opened.pageSizeBytes,
        origin,
        segments: [],
        end: { index: 0, offset: 0 },
      },
      report.began(why.reason),
    )
    logger.info({ generation, reason: why.reason, detail: why.detail }, 'new generation')
    this.#noteResumed({ how: 'new', reason: why.reason, ...noPages })
    feed.announce()
  }
}

/** Where capturing goes on after a spooled segment. */
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
