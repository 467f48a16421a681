import { LocalStateError, ObjectExistsError, ReplicaError } from '../../domain/errors.js'
import { type Generation } from '../../domain/wal/generation.js'
import {
  comparePositions,
  formatPosition,
  type Position,
  type WalPosition,
} from '../../domain/wal/position.js'
import { type Lineage } from '../../domain/stored/lineage.js'
import { formatObjectPath } from '../../domain/stored/replica-layout.js'
import { endOf, isPieceOf, nextInLog } from '../../domain/stored/segment-chain.js'
import { type Sent } from '../../domain/policy/wall-clock.js'
import { type CaptureStatus, longest, type ReplicaStatus } from '../../domain/status.js'
import {
  type NewestSnapshot,
  type NextSnapshot,
  nextSnapshot,
  type SnapshotReason,
} from '../../domain/policy/snapshot-schedule.js'
import { aborted, ignoreAbort, never } from '../../kit/abort.js'
import { type Barrier, type GenerationFeed } from '../backlog/generation-feed.js'
import { type CheckTiling, type Hole } from './check-tiling.js'
import { ChooseSegment } from './choose-segment.js'
import { Confirmation, isSame, type SentSegment } from './confirmation.js'
import { LocateReplica } from './locate-replica.js'
import { type OwnReplica } from './own-replica.js'
import { type Clock } from '../ports/clock.js'
import { type Compressor } from '../ports/compressor.js'
import { type Logger } from '../ports/logger.js'
import { type ManagedDatabase } from '../ports/managed-database.js'
import { type ReplicaClient } from '../ports/replica-client.js'
import { type Spool, type SpooledSegment } from '../ports/spool.js'
import { RememberStored } from './remember-stored.js'
import { type StoredRecord } from '../ports/stored-record.js'
import { RecordStored } from './record-stored.js'
import { type ReplicaProblems } from '../replica-problems.js'
import { type Permits } from '../../kit/permits.js'
import { SecondLook } from './second-look.js'
import { SendSchedule } from './send-schedule.js'
import { SnapshotBurst } from './snapshot-burst.js'
import { sendSegment, type StoredSent } from './send-segment.js'
import { readBehind, readByName, type StoredSegment } from './stored-end.js'
import { GenerationEndedError, hasReached, takeSnapshot } from './take-snapshot.js'
import { WriteClaim } from './write-claim.js'

export interface SyncReplicaOptions {
  readonly name: string
  readonly database: ManagedDatabase
  readonly client: ReplicaClient
  readonly spool: Spool
  readonly compressor: Compressor
  readonly decode: (source: AsyncIterable<Uint8Array>) => AsyncIterable<Uint8Array>
  readonly feed: GenerationFeed
  readonly clock: Clock
  readonly logger: Logger
  readonly syncIntervalMs: number
  readonly snapshotIntervalMs: number | undefined
  /** A snapshot is due when the newest is this old, so that older ones can be deleted; undefined: nothing is. */
  readonly retentionMs: number | undefined
  /** Shared by all replicas of the process. */
  readonly snapshotSlots: Permits
  readonly problems: ReplicaProblems
  /** How often it is looked whether what was sent is there, while there is something new; by default once a minute. */
  readonly readBackIntervalMs?: number
  /** Absent: nobody else writes there. */
  readonly owner?: OwnReplica
  /** Absent: after a start it is read there how the segments follow each other. */
  readonly storedRecord?: StoredRecord
}

/** What of a replica's status this loop knows. */
export type SyncReplicaStatus = Pick<
  ReplicaStatus,
  | 'name'
  | 'type'
  | 'location'
  | 'position'
  | 'hasSnapshot'
  | 'isProven'
  | 'lagMs'
  | 'confirmedLagMs'
  | 'pendingBytes'
  | 'lastFailure'
  | 'lastStoredAtMs'
  | 'lastSnapshotAtMs'
> & {
  readonly totals: Pick<ReplicaStatus['totals'], 'walBytes' | 'snapshots' | 'errors'>
}

const usualReadBackIntervalMs = 60_000
/** So much may wait in the spool to be confirmed, and no larger share of it: beyond that, it is time. */
const maxUnconfirmedBytes = 64 * 1024 * 1024
const unconfirmedShare = 1 / 8
const firstPauseMs = 1000
/** Short enough that a store that is there again is used within half a minute. */
const maxPauseMs = 15_000
const maxTimerMs = 24 * 3_600_000
/** What others do to the replica is noticed after this long at the latest. */
const trustMs = 24 * 3_600_000

/** Where this replica stands in the current generation. */
interface Place {
  readonly generation: Generation
  /** End of what is stored; undefined: no segment is. */
  position: WalPosition | undefined
  hasSnapshot: boolean
  newestSnapshot: NewestSnapshot | undefined
  /** Undefined: what is stored of the generation does not tell. */
  lineage: Lineage | undefined
}

/**
 * Carries spooled segments, and snapshots, to one replica, for ever. Segments go up in order, each confirmed before the
 * next, and a retry sends the same name and bytes. In a new generation they are held back until the first snapshot's
 * body is up, because without it they are worthless, unless the spool fills.
 */
export class SyncReplica {
  readonly #options: SyncReplicaOptions
  #place: Place | undefined
  /** The last place that was known, also while it is in doubt. */
  #lastPlace: Place | undefined
  #doubtfulSinceMs: number | undefined
  /** The first snapshot of the generation was acknowledged, and whether it is there is not known yet. */
  #isFirstUnconfirmed = false
  /** There was something to restore here when it was last looked at, in this generation or the one before. */
  #isProven = false
  readonly #claim: WriteClaim
  #locatedAt = 0
  readonly #schedule: SendSchedule
  #lastSent: Sent | undefined
  readonly #snapshotCounts: Record<SnapshotReason, number> = {
    generation: 0,
    interval: 0,
    retention: 0,
  }
  readonly #burst: SnapshotBurst
  readonly #record: RecordStored | undefined
  readonly #confirmation: Confirmation
  readonly #remembered: RememberStored
  /** Whether the segments there follow each other is being looked at. */
  #tiling: CheckTiling | undefined
  readonly #secondLook: SecondLook
  readonly #locator: LocateReplica
  readonly #choose: ChooseSegment
  /** What a snapshot waits for that is to be finished. */
  #awaited: WalPosition | undefined
  #sentWalBytes = 0
  #lastStoredAtMs: number | undefined
  #leave = never
  /** All that was committed when this replica was told to leave. */
  #farewell: { readonly generation: Generation; readonly position: WalPosition } | undefined

  constructor(options: SyncReplicaOptions) {
    this.#options = options
    const { client, clock, readBackIntervalMs: intervalMs = usualReadBackIntervalMs } = options
    this.#confirmation = new Confirmation({ client, clock, intervalMs })
    const { storedRecord: record } = options
    this.#remembered = new RememberStored({ record, logger: options.logger })
    this.#schedule = new SendSchedule({ clock, intervalMs: options.syncIntervalMs })
    const { owner, logger } = options
    this.#record = owner && new RecordStored({ owner, clock, logger })
    this.#claim = new WriteClaim({ client, feed: options.feed, owner })
    this.#secondLook = new SecondLook(clock)
    this.#burst = new SnapshotBurst(options)
    this.#choose = new ChooseSegment({ ...options, schedule: this.#schedule })
    this.#locator = new LocateReplica({
      databasePath: options.database.path,
      client,
      feed: options.feed,
      clock,
      logger,
      owner,
      record: this.#record,
      remembered: this.#remembered,
      secondLook: this.#secondLook,
      isDamaged: (snapshot) => this.#confirmation.isDamaged(snapshot),
    })
    options.feed.addReplica(options.name)
  }

  /**
   * Runs until the feed has ended and all of it is stored, another writer has taken the replica, or `kill`. `leave` ends
   * this replica alone: once all that is committed by then is stored.
   */
  async run(stop: AbortSignal, kill: AbortSignal, leave: AbortSignal = never): Promise<void> {
    const { feed, owner } = this.#options
    this.#leave = leave
    leave.addEventListener('abort', () => feed.announce(), { once: true })
    const ended = new AbortController()
    const renewal = owner?.renew(AbortSignal.any([kill, ended.signal]))
    await this.#carry(stop, kill)
    ended.abort()
    await renewal
    if (this.#place !== undefined) this.#noteConfirmed(this.#place)
    if (!kill.aborted) await this.#record?.release(kill)
  }

  async #carry(stop: AbortSignal, kill: AbortSignal): Promise<void> {
    const { clock, feed, problems, owner, name } = this.#options
    let pauseMs = firstPauseMs
    for (;;) {
      try {
        kill.throwIfAborted()
        if (owner?.takenBy !== undefined) {
          feed.detach(name)
          return
        }
        const seen = feed.changeCount
        const idle = await this.#step(stop, kill)
        if (!this.#confirmation.isMending) problems.recovered()
        pauseMs = firstPauseMs
        // What changed during the step may be what it has not seen.
        if (!idle || feed.changeCount !== seen) continue
        const told = this.#farewell
        if (this.#isDone || (await this.#leaveWhenStored(kill))) return
        // What the farewell made the capture finish was announced while nobody waited.
        if (this.#farewell !== told || feed.changeCount !== seen) continue
        await this.#waitForWork(kill)
      } catch (error) {
        if (kill.aborted) return
        // After a failure of the moment, what was stored is stored; any other may mean that the replica has changed.
        if (!(error instanceof ReplicaError && error.retryable)) this.#place = undefined
        if (error instanceof GenerationEndedError || owner?.takenBy !== undefined) continue
        // That is said, and the replica is claimed anew.
        if (this.#claim.isCopied) continue
        if (this.#place === undefined) this.#doubtfulSinceMs ??= clock.monotonic()
        problems.report(error)
        await clock.sleep(pauseMs * (0.75 + Math.random() / 2), kill).catch(ignoreAbort)
        pauseMs = Math.min(pauseMs * 2, maxPauseMs)
      }
    }
  }

  /** Whether the end has come, and what was sent is known to be there. */
  get #isDone(): boolean {
    return this.#options.feed.ended && (this.#place === undefined || this.#confirmation.isComplete)
  }

  /** Who has taken the replica from this process, for people: it is not written any more then. */
  get takenBy(): string | undefined {
    return this.#options.owner?.takenBy
  }

  /** Snapshots that were finished since the start, by what asked for them. */
  get snapshotCounts(): Readonly<Record<SnapshotReason, number>> {
    return this.#snapshotCounts
  }

  /** When the last segment that is stored was begun to be sent; undefined: none was by this process. */
  get lastSent(): Sent | undefined {
    return this.#lastSent
  }

  /** Changes whenever something was stored here. */
  get storedState(): string {
    const place = this.#place
    const snapshots = Object.values(this.#snapshotCounts).reduce((sum, each) => sum + each, 0)
    return `${place?.generation}/${place?.position?.index}:${place?.position?.offset}/${snapshots}`
  }

  /** Whether everything up to a position, and a snapshot to begin with, is stored here. */
  hasStored({ generation, position }: Pick<Barrier, 'generation' | 'position'>): boolean {
    const place = this.#place
    if (place?.generation !== generation || !place.hasSnapshot) return false
    return hasReached(place.position, position)
  }

  /** Where this replica stands, measured against what is captured. */
  status(capture: CaptureStatus): SyncReplicaStatus {
    const { name, client, clock, problems } = this.#options
    const generation = capture.position?.generation
    const place = this.#lastPlace?.generation === generation ? this.#lastPlace : undefined
    const pending = this.#pending(place)
    const now = clock.monotonic()
    const ageOf = (sinceMs: number | undefined): number | undefined =>
      sinceMs === undefined ? undefined : now - sinceMs
    // Until it can be restored, what is to be restored from it waits.
    const untilRestorable = [capture.generationForMs, ageOf(this.#options.feed.owedSinceMs(name))]
    const isRestorable = generation === undefined || place?.hasSnapshot === true
    const lagMs = longest([
      ...(isRestorable ? [ageOf(pending.sinceMs)] : untilRestorable),
      capture.unsealedForMs,
      capture.blindForMs,
      ageOf(this.#doubtfulSinceMs),
    ])
    return {
      name,
      type: client.type,
      location: client.location,
      position: place === undefined ? undefined : storedUpTo(place),
      hasSnapshot: place?.hasSnapshot ?? false,
      isProven: this.#isProven,
      lagMs,
      confirmedLagMs: longest([
        lagMs,
        ageOf(this.#confirmation.sinceMs),
        ...(this.#isFirstUnconfirmed ? untilRestorable : []),
      ]),
      pendingBytes: pending.walBytes + capture.unsealedBytes,
      lastFailure: problems.log.last,
      lastStoredAtMs: this.#lastStoredAtMs,
      lastSnapshotAtMs: place?.newestSnapshot?.atMs,
      totals: {
        walBytes: this.#sentWalBytes,
        snapshots: this.#snapshotCounts,
        errors: problems.log.counts,
      },
    }
  }

  /** What the spool holds behind a place: bytes of WAL, and the time of the first commit. */
  #pending(place: Place | undefined): { walBytes: number; sinceMs: number | undefined } {
    const { feed } = this.#options
    const segments = feed.current?.segments ?? []
    let walBytes = 0
    let sinceMs: number | undefined
    for (let i = segments.length - 1; i >= 0; i -= 1) {
      const segment = segments[i]
      if (segment === undefined) break
      const end = { index: segment.index, offset: segment.endOffset }
      if (hasReached(place?.position, end)) break
      walBytes += segment.walBytes
      sinceMs = feed.sinceMs(segment) ?? sinceMs
    }
    return { walBytes, sinceMs }
  }

  /** What is not stored here, or undefined when all is. */
  get missing(): string | undefined {
    const current = this.#options.feed.current
    if (current === undefined) return undefined
    if (this.takenBy !== undefined) return `it was taken over by ${this.takenBy}`
    const place = this.#place
    if (place?.generation !== current.generation) {
      return `nothing is known to be stored of generation ${current.generation}`
    }
    if (!place.hasSnapshot) return `generation ${current.generation} has no snapshot`
    const formatPlace = (position: WalPosition): string =>
      formatPosition({ generation: current.generation, ...position })
    if (hasReached(place.position, current.end)) {
      if (this.#confirmation.isComplete) return undefined
      const what = this.#confirmation.from
      return `the store acknowledged ${what === undefined ? 'a snapshot' : `the commits from ${formatPlace(what)}`} , but has not listed them since`
    }
    const from = place.position ?? { index: 0, offset: 0 }
    return `the commits from ${formatPlace(from)} to ${formatPlace(current.end)}`
  }

  /** Whether this replica is to leave and has everything that was committed when it was told. */
  async #leaveWhenStored(kill: AbortSignal): Promise<boolean> {
    const { feed } = this.#options
    if (!this.#leave.aborted) return false
    if (feed.current === undefined) return true
    const captured = { generation: feed.current.generation, position: feed.current.end }
    if (this.#farewell?.generation !== captured.generation) {
      // Where capturing fails, what is captured has to do.
      const barrier = feed.barrier().catch(() => captured)
      this.#farewell = await Promise.race([barrier, aborted(kill)])
      kill.throwIfAborted()
    }
    return this.hasStored(this.#farewell ?? captured) && this.#confirmation.isComplete
  }

  /** One thing at a time; true when nothing is left to do. */
  async #step(stop: AbortSignal, kill: AbortSignal): Promise<boolean> {
    const { feed, clock } = this.#options
    const current = feed.current
    if (current === undefined) return true
    if (this.#claim.isCopied) this.#doubtClaim()
    if (!this.#claim.mayWrite) return !(await this.#claim.obtain(current.generation, kill))
    let place = this.#trustedPlace(current.generation)
    if (place === undefined) {
      place = await this.#locate(current.generation, kill)
      if (place === undefined) return true
      if (this.#lastPlace?.generation !== place.generation) {
        this.#burst.clear()
        // The local state, which remembers the claim, may have been lost with the generation before.
        if (this.#lastPlace !== undefined) await this.#options.owner?.begun(kill)
      }
      this.#place = place
      const former = this.#lastPlace
      this.#lastPlace = place
      this.#schedule.defer()
      const isEmptied = former?.generation === place.generation && former.hasSnapshot
      if (isEmptied && !place.hasSnapshot) this.#isProven = false
      this.#doubtfulSinceMs = undefined
      this.#locatedAt = clock.monotonic()
    }
    // Before what is to be sent, of which there may always be some.
    if (await this.#confirm(place, kill)) return false
    if (this.#tiling !== undefined && (!place.hasSnapshot || this.#sendDueInMs(place) !== 0)) {
      await this.#checkTiling(place, this.#tiling, kill)
      return false
    }
    this.#prove(place)
    this.#noteConfirmed(place)
    if (this.#record?.dueInMs === 0) {
      await this.#record.write(kill)
      return false
    }
    if (!place.hasSnapshot) {
      if (feed.ended && !stop.aborted) return true
      if (await this.#burst.hasWaited(stop, kill)) return false
      await this.#snapshot(place, 'generation', kill)
      return false
    }
    // Under load there is always a segment to send, which a snapshot under way does not hold up.
    const next = this.#nextSnapshot(place)
    if (!stop.aborted && next.kind === 'due') {
      await this.#snapshot(place, next.reason, kill)
      return false
    }
    return !(await this.#sendNext(place, kill))
  }

  /** Looks whether what was sent is there, when it is time for that, and sends again what is not. False: it is not. */
  async #confirm(place: Place, kill: AbortSignal): Promise<boolean> {
    const { lost } = this.#confirmation
    if (lost !== undefined) {
      await this.#sendAgain(place, lost, kill)
      return true
    }
    if (this.#confirmDueInMs(place) !== 0) return false
    await this.#confirmation.check(kill, (segments) =>
      this.#remembered.add(place.generation, segments, kill),
    )
    if (this.#confirmation.isSnapshotConfirmed && place.hasSnapshot) {
      this.#isFirstUnconfirmed = false
    }
    // This machine may have been taken back, and the names that it writes next be free all the same.
    if (this.#confirmation.isSurpassed) this.#place = undefined
    this.#acknowledge(place)
    return true
  }

  /** Notes when the generation is known to be restorable from here, with all that was committed before this process. */
  #prove(place: Place): void {
    const { feed, name } = this.#options
    const { generation, hasSnapshot } = place
    const { firstLook } = feed
    if (firstLook === undefined || !hasSnapshot || this.#tiling !== undefined) return
    if (!this.#confirmation.isSnapshotConfirmed) return
    // The snapshot of a later generation has all that.
    const isSame = firstLook.generation === generation
    if (isSame && !this.#isConfirmed(place, firstLook.position)) return
    this.#isProven = true
    feed.restorable(name, generation)
  }

  /** Looks a bit further whether the segments there follow each other. Where they do not, that is mended. */
  async #checkTiling(place: Place, tiling: CheckTiling, kill: AbortSignal): Promise<void> {
    if (!tiling.isComplete) {
      await tiling.readSome(kill)
      return
    }
    const { holes, runs } = tiling.result
    if (holes.length > 0) {
      await this.#mend(place, holes, kill)
      return
    }
    this.#secondLook.clear()
    this.#tiling = undefined
    this.#acknowledge(place)
    await this.#remembered.begin(runs, kill)
  }

  /**
   * What is missing is sent again if the spool has it. Else a snapshot makes everything behind it restorable, in this
   * generation if all of the index is there that is being captured.
   */
  async #mend(place: Place, holes: readonly Hole[], kill: AbortSignal): Promise<void> {
    const { feed, client, logger, spool } = this.#options
    const { current } = feed
    const [first] = holes
    const last = holes.at(-1)
    if (current?.generation !== place.generation || first === undefined || last === undefined) {
      return
    }
    const format = (position: WalPosition): string =>
      formatPosition({ generation: place.generation, ...position })
    const range = `${format(first.from)} to ${format(first.to)}`
    this.#isProven = false
    if (await this.#secondLook.isDue(range, kill)) {
      this.#place = undefined
      return
    }
    const lost = holes.map((hole) => spooledBetween(current.segments, hole))
    logger.error(
      {
        location: client.location,
        missing: range,
        holes: holes.length,
        hint: 'find out who removes or replaces objects there: nothing but tsreplicate may',
      },
      lost.includes(undefined)
        ? 'commits are missing on the replica: a new snapshot is taken, from which the commits after them can be restored again'
        : 'commits are missing on the replica: they are sent again',
    )
    if (!lost.includes(undefined)) {
      for (const segment of lost.flatMap((segments) => segments ?? [])) {
        await sendSegment({ client, spool, isNew: false }, segment, kill)
      }
      this.#place = undefined
      return
    }
    this.#tiling = undefined
    if (comparePositions(last.to, { index: current.end.index, offset: 0 }) <= 0) {
      place.hasSnapshot = false
      place.newestSnapshot = undefined
      // What is behind the hole is looked at when the snapshot is there.
      this.#locatedAt = Number.NEGATIVE_INFINITY
      await this.#snapshot(place, 'generation', kill)
      return
    }
    feed.requestNewGeneration(
      'replica missed segments that the spool no longer has',
      `${client.location} lacks ${range}`,
    )
    this.#place = undefined
    await feed.waitForChange(kill)
  }

  async #sendAgain(place: Place, lost: SentSegment, kill: AbortSignal): Promise<void> {
    const { feed, client, spool, logger } = this.#options
    const { generation, index, startOffset } = lost.segment
    const path = formatObjectPath({ kind: 'wal-segment', generation, index, offset: startOffset })
    const segment = feed.current?.segments.find((each) => isSame(each, lost.segment))
    if (feed.current?.generation !== place.generation) return
    if (segment === undefined) {
      feed.requestNewGeneration(
        'replica missed segments that the spool no longer has',
        `the store acknowledged ${path} on ${client.location} and does not have it`,
      )
      await feed.waitForChange(kill)
      return
    }
    await this.#choose.mustBeWhole([segment], kill)
    const { storedBytes } = await sendSegment({ client, spool, isNew: false }, segment, kill)
    this.#confirmation.acknowledged({ ...lost, storedBytes })
    logger.warn({ object: path }, 'wal segment that the store had lost was sent again')
  }

  /** How long until it is to be looked whether everything is there; undefined: that is known. */
  #confirmDueInMs(place: Place | undefined): number | undefined {
    const { feed } = this.#options
    if (place === undefined) return undefined
    const isAwaited = this.#awaited !== undefined && hasReached(place.position, this.#awaited)
    const { current } = feed
    const isLast =
      this.#isEnding && current !== undefined && hasReached(place.position, current.end)
    const limitBytes = Math.min(maxUnconfirmedBytes, feed.maxSpoolBytes * unconfirmedShare)
    const isFilling = this.#confirmation.unconfirmedBytes > limitBytes
    const { firstLook } = feed
    const isFirst =
      !this.#isProven &&
      firstLook?.generation === place.generation &&
      hasReached(place.position, firstLook.position)
    const isUrgent = isAwaited || isLast || isFilling || isFirst
    return this.#confirmation.dueInMs({ isUrgent })
  }

  /** Tells the spool what has to be kept for this replica. */
  #acknowledge({ generation, position }: Place): void {
    const { feed, name } = this.#options
    const isProven = this.#tiling === undefined
    const confirmed = isProven ? (this.#confirmation.from ?? position) : undefined
    feed.acknowledge(name, generation, { acknowledged: position, confirmed })
  }

  /** Somebody else has our claim, too, and what is there may have been changed. */
  #doubtClaim(): void {
    this.#claim.doubt(this.#lastPlace?.generation)
    this.#place = undefined
    this.#doubtfulSinceMs ??= this.#options.clock.monotonic()
  }

  /** What we know of the replica, if it holds: else it is to be listed. */
  #trustedPlace(generation: Generation): Place | undefined {
    const { feed, clock, name } = this.#options
    if (this.#place?.generation !== generation || feed.isDetached(name)) return undefined
    if (clock.monotonic() - this.#locatedAt < trustMs) return this.#place
    this.#locator.sweepAgain()
    return undefined
  }

  /** As `#confirm`, but a failure of the moment does not cost the snapshot under way. */
  async #confirmMeanwhile(place: Place, kill: AbortSignal): Promise<boolean> {
    const { problems, clock } = this.#options
    try {
      return await this.#confirm(place, kill)
    } catch (error) {
      if (!(error instanceof ReplicaError && error.retryable)) throw error
      problems.report(error)
      await clock.sleep(firstPauseMs, kill).catch(ignoreAbort)
      return true
    }
  }

  /** Sleeps until something is due; undefined: until the signal. */
  async #until(dueInMs: number | undefined, signal: AbortSignal): Promise<void> {
    if (dueInMs === undefined) await aborted(signal)
    else await this.#options.clock.sleep(dueInMs, signal).catch(ignoreAbort)
  }

  /** How long until something is to be sent; undefined: there is nothing. */
  #sendDueInMs(place: Place | undefined): number | undefined {
    const { current } = this.#options.feed
    if (place === undefined || current?.generation !== place.generation) return undefined
    // Behind a hole nothing can be restored.
    if (this.#confirmation.isMending) return undefined
    const isUrgent = this.#isEnding || !place.hasSnapshot
    return this.#schedule.dueInMs({ position: place.position, end: current.end }, { isUrgent })
  }

  #nextSnapshot(place: Place): NextSnapshot {
    const { clock, snapshotIntervalMs, retentionMs } = this.#options
    if (place.newestSnapshot === undefined || place.position === undefined) return { kind: 'none' }
    return nextSnapshot(
      place.newestSnapshot,
      { end: { generation: place.generation, ...place.position }, nowMs: clock.now() },
      { snapshotIntervalMs, retentionMs },
    )
  }

  async #waitForWork(kill: AbortSignal): Promise<void> {
    const { feed, clock, name } = this.#options
    const woken = new AbortController()
    const any = AbortSignal.any([kill, woken.signal])
    // While a new generation is waited for, nothing is due of the one before.
    const isCurrent = this.#place?.generation === feed.current?.generation && !feed.isDetached(name)
    const place = isCurrent ? this.#place : undefined
    const waits = [
      feed.waitForChange(any),
      this.#until(this.#confirmDueInMs(place), any),
      this.#until(this.#sendDueInMs(place), any),
      this.#until(place === undefined ? undefined : this.#record?.dueInMs, any),
    ]
    // Idle, too, the replica is listed once a day.
    const trustedForMs = Math.max(0, this.#locatedAt + trustMs - clock.monotonic())
    if (place !== undefined) waits.push(clock.sleep(trustedForMs, any).catch(ignoreAbort))
    const next = place === undefined ? undefined : this.#nextSnapshot(place)
    if (next?.kind === 'at') {
      // Timers longer than 24 days fire at once, and a clock that is set is to be noticed some day.
      const dueInMs = Math.min(Math.max(next.timeMs - clock.now(), 0), maxTimerMs)
      waits.push(clock.sleep(dueInMs, any).catch(ignoreAbort))
    }
    await Promise.race(waits)
    woken.abort()
  }

  /** Finds out what of a generation is stored here, and whether the spool goes on from there. */
  async #locate(generation: Generation, kill: AbortSignal): Promise<Place | undefined> {
    const { feed, name } = this.#options
    const located = await this.#locator.locate(generation, this.#lastPlace, kill)
    if (located === undefined) return undefined
    if (located.kind === 'broken') {
      feed.requestNewGeneration(located.reason, located.detail)
      return undefined
    }
    const { position, newest, lineage, unlisted, next, tiling } = located
    const place: Place = {
      generation,
      position,
      hasSnapshot: newest !== undefined,
      newestSnapshot: newest?.snapshot,
      lineage,
    }
    this.#tiling = tiling
    this.#confirmation.begin(
      { generation, position },
      newest && {
        ref: { kind: 'snapshot', generation, index: newest.info.index },
        storedBytes: newest.info.sizeBytes,
      },
    )
    for (const each of unlisted) this.#noteStored(each)
    this.#acknowledge(place)
    // The process before may have sent it already.
    if (next !== undefined) feed.attempt(name, endOf(next))
    return place
  }

  /** It is there already, and is to be confirmed as if it had been sent now. */
  #noteStored({ segment, storedBytes }: StoredSegment): void {
    const { clock, logger } = this.#options
    const { generation, index, startOffset: offset } = segment
    this.#confirmation.acknowledged({ segment, storedBytes, sinceMs: clock.monotonic() })
    logger.info(
      { position: formatPosition({ generation, index, offset }) },
      'wal segment was there already',
    )
  }

  /** Once all that was sent is known to be there, it may be said so. */
  #noteConfirmed({ generation, lineage, hasSnapshot, position }: Place): void {
    const { current } = this.#options.feed
    if (
      !this.#confirmation.isComplete ||
      this.#tiling !== undefined ||
      current?.generation !== generation
    )
      return
    const commitTimeMs =
      position === undefined ? current.origin?.beganAtMs : lastCommitMs(current.segments, position)
    if (commitTimeMs === undefined) return
    this.#record?.confirmed({ generation, lineage, hasSnapshot, position, commitTimeMs })
  }

  /** Takes a snapshot. The first of a generation goes ahead of its segments. */
  async #snapshot(place: Place, reason: SnapshotReason, kill: AbortSignal): Promise<void> {
    const { database, client, compressor, clock, feed, snapshotSlots } = this.#options
    const logger = this.#options.logger.child({ reason })
    const current = feed.current
    if (current?.generation !== place.generation) throw new GenerationEndedError()
    const first = !place.hasSnapshot
    const ended = new AbortController()
    const signal = AbortSignal.any([kill, ended.signal])
    let holding = first
    const options = {
      database,
      client,
      compressor,
      clock,
      logger,
      generation: place.generation,
      lineage: place.lineage,
      pageSizeBytes: current.pageSizeBytes,
      barrier: () => feed.barrier(),
      storedUpTo: async (position: WalPosition, waiting: AbortSignal) => {
        holding = false
        feed.announce()
        this.#awaited = position
        while (!this.#isConfirmed(place, position)) {
          if (feed.current?.generation !== place.generation) throw new GenerationEndedError()
          await feed.waitForChange(waiting)
          waiting.throwIfAborted()
        }
      },
    }
    const takeInTurn = async (): ReturnType<typeof takeSnapshot> => {
      const slot = await snapshotSlots.take(signal)
      try {
        return await takeSnapshot(options, signal)
      } finally {
        slot[Symbol.dispose]()
      }
    }
    const body = takeInTurn()
    let done = false
    const settled = body.then(
      () => (done = true),
      () => (done = true),
    )
    try {
      while (!isDone()) {
        if (feed.current?.generation !== place.generation) throw new GenerationEndedError()
        const maySend = !holding || feed.isHalfFull
        if (await this.#confirmMeanwhile(place, kill)) continue
        if (maySend && (await this.#sendNext(place, kill))) continue
        const woken = new AbortController()
        const any = AbortSignal.any([kill, woken.signal])
        await Promise.race([
          settled,
          feed.waitForChange(any),
          this.#until(this.#confirmDueInMs(place), any),
          this.#until(maySend ? this.#sendDueInMs(place) : undefined, any),
        ])
        woken.abort()
        kill.throwIfAborted()
      }
    } finally {
      if (!isDone()) ended.abort(new GenerationEndedError())
      await settled
      this.#awaited = undefined
    }
    const finished = await body
    const { index, consistentFrom, storedBytes } = finished
    if (first) this.#isFirstUnconfirmed = true
    place.hasSnapshot = true
    place.newestSnapshot = { index, consistentFrom, atMs: clock.now() }
    this.#confirmation.acknowledgedSnapshot({
      ref: { kind: 'snapshot', generation: place.generation, index },
      storedBytes,
    })
    this.#lastStoredAtMs = clock.now()
    this.#options.owner?.stored()
    feed.announce()
    this.#snapshotCounts[reason] += 1
    if (reason === 'generation') this.#burst.finished()

    function isDone(): boolean {
      return done
    }
  }

  /** Whether everything up to a position is known to be there. */
  #isConfirmed(place: Place, position: WalPosition): boolean {
    const { from } = this.#confirmation
    if (!hasReached(place.position, position)) return false
    return from === undefined || comparePositions(position, from) <= 0
  }

  /** Sends the next segment, if one is due. */
  async #sendNext(place: Place, kill: AbortSignal): Promise<boolean> {
    const { feed, clock, client, logger } = this.#options
    const current = feed.current
    if (current === undefined || this.#sendDueInMs(place) !== 0) return false
    if (nextInLog(current.segments, place.position) === undefined) {
      throw new LocalStateError(`the spool does not have what ${client.location} needs next`)
    }
    this.#schedule.begin({ position: place.position, end: current.end })
    const segment = await this.#choose.after(place, kill)
    if (segment === undefined) return true
    await this.#choose.mustBeWhole([segment], kill)
    const started = clock.monotonic()
    const sent = { wallMs: clock.now(), monotonicMs: started }
    const stored = await this.#send(place, segment, kill)
    if (stored === undefined) return true
    this.#lastSent = sent
    place.position = endOf(segment)
    this.#sentWalBytes += segment.walBytes
    this.#lastStoredAtMs = clock.now()
    const sinceMs = feed.sinceMs(segment) ?? clock.monotonic()
    this.#confirmation.acknowledged({ segment, storedBytes: stored.storedBytes, sinceMs })
    this.#acknowledge(place)
    this.#options.owner?.stored()
    // Listings lag, and what follows it may be there, too.
    if (stored.wasThere) {
      this.#passOver(place, await readBehind(this.#where(place), place.position, kill))
    }
    logger.info(
      {
        position: formatPosition({
          generation: segment.generation,
          index: segment.index,
          offset: segment.startOffset,
        }),
        elapsed: `${Math.round(clock.monotonic() - started)}ms`,
        sz: segment.walBytes,
      },
      'wal segment written',
    )
    return true
  }

  /** Undefined: the object that is there has what we have, and only ends elsewhere. */
  async #send(
    place: Place,
    segment: SpooledSegment,
    kill: AbortSignal,
  ): Promise<StoredSent | undefined> {
    const { client, spool } = this.#options
    try {
      return await sendSegment({ client, spool, isNew: true }, segment, kill)
    } catch (error) {
      if (!(error instanceof ObjectExistsError)) throw error
      const { index, startOffset: offset } = segment
      const found = await readByName(this.#where(place), { index, offset }, kill)
      if (found === undefined || !this.#passOver(place, [found])) throw error
      return undefined
    }
  }

  /** Goes on behind what is there already, as far as it is a piece of what we have. False: it is not, or there is nothing. */
  #passOver(place: Place, found: readonly StoredSegment[]): boolean {
    const spooled = this.#options.feed.current?.segments ?? []
    const isOurs = found.map(({ segment }) => isPieceOf(spooled, segment.trailer))
    const count = isOurs.indexOf(false) === -1 ? found.length : isOurs.indexOf(false)
    for (const each of found.slice(0, count)) {
      this.#noteStored(each)
      place.position = each.position
    }
    this.#acknowledge(place)
    return count > 0
  }

  #where({ generation }: Place): Parameters<typeof readByName>[0] {
    const { client, feed } = this.#options
    return { client, generation, spooled: feed.current?.segments ?? [] }
  }

  get #isEnding(): boolean {
    return this.#options.feed.ended || this.#leave.aborted
  }
}

/** Spooled segments that fill a hole; undefined: there are none, or not all. */
function spooledBetween(
  segments: readonly SpooledSegment[],
  { from, to }: Hole,
): readonly SpooledSegment[] | undefined {
  const found: SpooledSegment[] = []
  let end: WalPosition = from
  while (comparePositions(end, to) < 0) {
    const next = nextInLog(segments, end)
    if (next === undefined) return undefined
    found.push(next)
    // A hole may end where an index does.
    const isAtEnd = next.index + 1 === to.index && to.offset === 0
    end = endOf(next)
    if (isAtEnd && nextInLog(segments, end)?.index === to.index) return found
  }
  return comparePositions(end, to) === 0 ? found : undefined
}

/** How far a replica has got. Before the first segment, a snapshot holds all up to the beginning of its index. */
function storedUpTo({ generation, position, newestSnapshot }: Place): Position | undefined {
  if (position !== undefined) return { generation, ...position }
  if (newestSnapshot === undefined) return undefined
  return { generation, index: newestSnapshot.index, offset: 0 }
}

/** When the last transaction was seen to be committed of what ends at a position; undefined: nothing tells. */
function lastCommitMs(
  segments: readonly SpooledSegment[],
  { index, offset }: WalPosition,
): number | undefined {
  const last = segments.findLast((each) => each.index === index && each.endOffset === offset)
  return last?.trailer.captures.at(-1)?.timeMs
}
