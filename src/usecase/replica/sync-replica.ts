import { ReplicaError } from '../../domain/errors.js'
import { type Generation } from '../../domain/wal/generation.js'
import { type WalPosition } from '../../domain/wal/position.js'
import { endOf } from '../../domain/stored/segment-chain.js'
import { aborted, ignoreAbort, never } from '../../kit/abort.js'
import { pauseAfter } from '../../kit/pause.js'
import { ChooseSegment } from './choose-segment.js'
import { changeOrDue } from './change-or-due.js'
import { ConfirmStored } from './confirm-stored.js'
import { Confirmation } from './confirmation.js'
import { LocateReplica } from './locate-replica.js'
import { MendHoles } from './mend-holes.js'
import { type OwnReplica } from './own-replica.js'
import { type GivenParts } from './loop-parts.js'
import { type Place, ReplicaStanding } from './replica-standing.js'
import { RememberStored } from './remember-stored.js'
import { type Remembered } from '../ports/remembered.js'
import { type StoredRuns } from '../../domain/stored/stored-runs.js'
import { RecordStored } from './record-stored.js'
import { SecondLook } from './second-look.js'
import { SendSchedule } from './send-schedule.js'
import { SendSegments } from './send-segments.js'
import { SendSnapshots } from './send-snapshots.js'
import { GenerationEndedError } from './take-snapshot.js'
import { WriteClaim } from './write-claim.js'

export interface SyncReplicaOptions extends GivenParts {
  readonly syncIntervalMs: number
  /** The shortest time between two sendings for who waits; by default the same. */
  readonly urgentSyncIntervalMs?: number
  /** How often it is looked whether what was sent is there, while there is something new; by default once a minute. */
  readonly readBackIntervalMs?: number
  /** Absent: nobody else writes there. */
  readonly owner?: OwnReplica
  /** Absent: after a start it is read there how the segments follow each other. */
  readonly storedRecord?: Remembered<StoredRuns>
}

const usualReadBackIntervalMs = 60_000
/** Short enough that a store that is there again is used within half a minute. */
const pauses = { firstMs: 1000, mostMs: 15_000 }

/**
 * Carries spooled segments, and snapshots, to one replica, for ever. Segments go up in order, each acknowledged before the
 * next, and a retry sends the same name and bytes. What is done next is decided here, one step at a time: to claim the
 * replica, to look what is there, to confirm, to mend, to say what is stored, to take a snapshot, to send. How each is
 * done, its part knows.
 */
export class SyncReplica {
  readonly #options: SyncReplicaOptions
  readonly #standing: ReplicaStanding
  readonly #claim: WriteClaim
  readonly #schedule: SendSchedule
  readonly #record: RecordStored | undefined
  readonly #confirmation: Confirmation
  readonly #locator: LocateReplica
  readonly #sender: SendSegments
  readonly #confirm: ConfirmStored
  readonly #snapshots: SendSnapshots
  readonly #mend: MendHoles
  #leave = never
  /** All that was committed when this replica was told to leave. */
  #farewell: { readonly generation: Generation; readonly position: WalPosition } | undefined

  constructor(options: SyncReplicaOptions) {
    this.#options = options
    const { name, client, clock, feed, logger, owner, storedRecord } = options
    const { syncIntervalMs, readBackIntervalMs = usualReadBackIntervalMs } = options
    const confirmation = new Confirmation({ client, clock, intervalMs: readBackIntervalMs })
    const hurriedIntervalMs = options.urgentSyncIntervalMs ?? syncIntervalMs
    const schedule = new SendSchedule({ clock, intervalMs: syncIntervalMs, hurriedIntervalMs })
    const record = owner && new RecordStored({ owner, clock, logger })
    const standing = new ReplicaStanding({ ...options, confirmation, owner })
    const parts = {
      ...options,
      ...{ owner, confirmation, schedule, record, standing },
      remembered: new RememberStored({ record: storedRecord, logger }),
      secondLook: new SecondLook(clock),
      isEnding: () => this.#isEnding,
    }
    const sender = new SendSegments({ ...parts, choose: new ChooseSegment(parts) })
    const confirm = new ConfirmStored({ ...parts, sender })
    const snapshots = new SendSnapshots({ ...parts, sender, confirm })
    this.#confirmation = confirmation
    this.#schedule = schedule
    this.#record = record
    this.#standing = standing
    this.#sender = sender
    this.#confirm = confirm
    this.#snapshots = snapshots
    this.#claim = new WriteClaim({ client, feed, owner })
    this.#mend = new MendHoles({ ...parts, snapshots })
    this.#locator = new LocateReplica(parts)
    feed.addReplica(name)
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
    const { place } = this.#standing
    if (place !== undefined) this.#confirm.noteConfirmed(place)
    if (!kill.aborted) await this.#record?.release(kill)
  }

  async #carry(stop: AbortSignal, kill: AbortSignal): Promise<void> {
    const { clock, feed, problems, owner, name } = this.#options
    let failures = 0
    for (;;) {
      try {
        kill.throwIfAborted()
        if (owner?.takenBy !== undefined) {
          feed.detach(name)
          // Who waits for commits here is refused.
          feed.announce()
          return
        }
        const seen = feed.changeCount
        const idle = await this.#step(stop, kill)
        if (!this.#confirmation.isMending) problems.recovered()
        failures = 0
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
        if (!(error instanceof ReplicaError && error.retryable)) this.#standing.forget()
        if (error instanceof GenerationEndedError || owner?.takenBy !== undefined) continue
        // That is said, and the replica is claimed anew.
        if (this.#claim.isCopied) continue
        if (this.#standing.place === undefined) this.#standing.doubt()
        problems.report(error)
        failures += 1
        const pauseMs = pauseAfter(failures, pauses) * (0.75 + Math.random() / 2)
        await clock.sleep(pauseMs, kill).catch(ignoreAbort)
      }
    }
  }

  /** Whether the end has come, and what was sent is known to be there. */
  get #isDone(): boolean {
    return (
      this.#options.feed.ended &&
      (this.#standing.place === undefined || this.#confirmation.isComplete)
    )
  }

  /** Where this replica stands. */
  get standing(): ReplicaStanding {
    return this.#standing
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
    return this.#standing.hasStored(this.#farewell ?? captured) && this.#confirmation.isComplete
  }

  /** One thing at a time; true when nothing is left to do. */
  async #step(stop: AbortSignal, kill: AbortSignal): Promise<boolean> {
    const { feed } = this.#options
    const current = feed.current
    if (current === undefined) return true
    if (this.#claim.isCopied) this.#doubtClaim()
    if (!this.#claim.mayWrite) return !(await this.#claim.obtain(current.generation, kill))
    let place = this.#trustedPlace()
    if (place === undefined) {
      place = await this.#locate(current.generation, kill)
      if (place === undefined) return true
      const { last } = this.#standing
      if (last?.generation !== place.generation) {
        this.#snapshots.burst.clear()
        // The local state, which remembers the claim, may have been lost with the generation before.
        if (last !== undefined) await this.#options.owner?.begun(kill)
      }
      this.#standing.found(place)
      this.#schedule.defer()
    }
    // Before what is to be sent, of which there may always be some.
    if (await this.#confirm.step(place, kill)) return false
    const { tiling } = place
    if (tiling !== undefined && (!place.hasSnapshot || this.#sender.dueInMs(place) !== 0)) {
      await this.#mend.step(place, tiling, kill)
      return false
    }
    this.#confirm.noteRestorable(place)
    this.#confirm.noteConfirmed(place)
    if (this.#record?.dueInMs === 0) {
      await this.#record.write(kill)
      return false
    }
    if (!place.hasSnapshot) {
      if (feed.isCutShort || (feed.ended && !stop.aborted)) return true
      if (await this.#snapshots.burst.hasWaited(stop, kill)) return false
      await this.#snapshots.take(place, 'generation', kill)
      return false
    }
    // Under load there is always a segment to send, which a snapshot under way does not hold up.
    const next = this.#snapshots.next(place)
    if (!stop.aborted && next.kind === 'due') {
      await this.#snapshots.take(place, next.reason, kill)
      return false
    }
    return !(await this.#sender.sendNext(place, kill))
  }

  /** Somebody else has our claim, too, and what is there may have been changed. */
  #doubtClaim(): void {
    this.#claim.doubt(this.#standing.last?.generation)
    this.#standing.doubt()
  }

  /** What we know of the replica, if it holds: else it is to be listed. */
  #trustedPlace(): Place | undefined {
    const place = this.#standing.currentPlace
    if (place === undefined || this.#standing.trustedForMs > 0) return place
    this.#locator.sweepAgain()
    return undefined
  }

  async #waitForWork(kill: AbortSignal): Promise<void> {
    // While a new generation is waited for, nothing is due of the one before.
    const place = this.#standing.currentPlace
    const dueInMs =
      place === undefined
        ? []
        : [
            this.#confirm.dueInMs(place),
            this.#sender.dueInMs(place),
            this.#record?.dueInMs,
            this.#snapshots.dueInMs(place),
            // Idle, too, the replica is listed once a day.
            this.#standing.trustedForMs,
          ]
    await changeOrDue(this.#options, dueInMs, kill)
  }

  /** Finds out what of a generation is stored here, and whether the spool goes on from there. */
  async #locate(generation: Generation, kill: AbortSignal): Promise<Place | undefined> {
    const { feed, name } = this.#options
    const located = await this.#locator.locate(generation, this.#standing.last, kill)
    if (located === undefined) return undefined
    if (located.kind === 'broken') {
      feed.requestNewGeneration(located.reason, located.detail)
      return undefined
    }
    const { position, isCutOff, lineage, unlisted, next, tiling } = located
    const newest = isCutOff ? undefined : located.newest
    const place: Place = {
      generation,
      position,
      hasSnapshot: newest !== undefined,
      newestSnapshot: newest?.snapshot,
      lineage,
      tiling,
    }
    this.#confirmation.begin(
      { generation, position },
      newest && {
        ref: { kind: 'snapshot', generation, index: newest.info.index },
        storedBytes: newest.info.sizeBytes,
      },
    )
    for (const each of unlisted) this.#sender.noteStored(each)
    this.#standing.acknowledge(place)
    // The process before may have sent it already.
    if (next !== undefined) feed.attempt(name, endOf(next))
    return place
  }

  get #isEnding(): boolean {
    return this.#options.feed.ended || this.#leave.aborted
  }
}
