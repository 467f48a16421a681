import { InUseError, ReplicaError, TsreplicateError } from '../../domain/errors.js'
import { type Generation } from '../../domain/wal/generation.js'
import { formatIndex } from '../../domain/wal/position.js'
import { pauseAfter } from '../../kit/pause.js'
import { countOf } from '../../kit/quantity.js'
import { formatObjectPath, type ObjectRef } from '../../domain/stored/replica-layout.js'
import { type StoredSegment, type StoredSnapshot } from '../../domain/stored/restore-plan.js'
import {
  type Deletion,
  deletionPasses,
  planRetention,
  type RetainedGeneration,
  type RetentionPlan,
  type RetentionRules,
} from '../../domain/policy/retention-policy.js'
import {
  aheadOfStoreMs,
  type ClockMemory,
  maxAheadMs,
  rememberClock,
  type Sent,
} from '../../domain/policy/wall-clock.js'
import { RetainedListing } from './list-retained.js'
import { Complaints } from '../complaints.js'
import { type Clock, type MachineClock } from '../ports/clock.js'
import { type Logger } from '../ports/logger.js'
import { type ReplicaClient } from '../ports/replica-client.js'
import { type RecordedDeletion, type RetentionRecord } from '../ports/retention-record.js'

export interface EnforceRetentionOptions {
  readonly client: ReplicaClient
  readonly rules: RetentionRules
  /** Deletions under way; undefined: there is no local state. */
  readonly record: RetentionRecord | undefined
  /** The generation being written; undefined: nobody knows. */
  readonly currentGeneration: () => Generation | undefined
  /**
   * When this process began to send its last segment; undefined: it has sent none, or the store's clock is ours.
   */
  readonly lastSent?: () => Sent | undefined
  readonly clock: Clock
  readonly machine: MachineClock
  readonly logger: Logger
}

/** What a run deleted. */
export interface RetentionReport {
  readonly plan: RetentionPlan
  readonly deletedSnapshots: number
  readonly deletedSegments: number
  /** What could not be deleted, or did not go away: one sentence each. It is tried again by the next run. */
  readonly failures: readonly string[]
}

/** How often a deletion is asked for before it is left to the next run, and the pauses between. */
const attempts = 3
const pauses = { firstMs: 500, mostMs: 1000 }
/** No store takes more in one request. */
const batchSize = 1000
/** What is refused once is refused at every check. */
const betweenComplaintsMs = 30_000

interface DeletionFailure {
  readonly generation: Generation
  readonly reason: string
  readonly error: TsreplicateError
}

/**
 * Deletes from one replica what the policy lets go. Nothing is deleted unless all of the replica was listed. The decision
 * is recorded before the first deletion; each pass is confirmed by a listing before the next begins. The next run
 * finishes what was interrupted, because it judges what it finds.
 */
export class EnforceRetention {
  readonly #options: EnforceRetentionOptions
  readonly #listing: RetainedListing
  /** Undefined: not looked at yet. */
  #memory: ClockMemory | undefined
  #setBackMs = 0
  readonly #complaints: Complaints

  constructor(options: EnforceRetentionOptions) {
    this.#options = options
    this.#listing = new RetainedListing(options.client)
    this.#complaints = new Complaints({
      ...options,
      repeatMs: betweenComplaintsMs,
      betweenMs: betweenComplaintsMs,
      phrases: { failed: 'retention could not delete, retrying at the next check' },
    })
  }

  /** Looks at the clock, to tell later that it was set: what was stamped before it was set ahead looks older than it is. */
  async lookAtClock(signal: AbortSignal): Promise<void> {
    const { record, machine, logger } = this.#options
    const { before, now } = await this.#memories(signal)
    this.#memory = now
    this.#setBackMs = machine.setBackMs()
    if (now === before) return
    await record?.saveClock(now, signal)
    const leap = now.leaps.at(-1)
    if (leap === undefined || now.leaps === before?.leaps) return
    logger.warn(
      { byMs: Math.round(leap.byMs) },
      'the clock was set ahead: what was stored before that is kept for that much longer',
    )
  }

  /** What is remembered of the clock, before a look at it and after. */
  async #memories(
    signal: AbortSignal,
  ): Promise<{ readonly before: ClockMemory | undefined; readonly now: ClockMemory }> {
    const { record, clock, machine } = this.#options
    const before = this.#memory ?? (await record?.loadClock(signal))
    const look = {
      wallMs: clock.now(),
      boot: machine.boot,
      sinceBootMs: machine.sinceBootMs(),
      setBackMs: machine.setBackMs() - this.#setBackMs,
    }
    return { before, now: rememberClock(before, look) }
  }

  /** What would be deleted now, and why the rest stays. Changes nothing. */
  async plan(signal: AbortSignal): Promise<RetentionPlan> {
    const { rules, clock, currentGeneration, logger } = this.#options
    const condemned = new Set((await this.#condemned(signal)).map(({ generation }) => generation))
    const { leaps } = (await this.#memories(signal)).now
    for (;;) {
      const found = await this.#listing.read(signal)
      this.#refuseClockAhead(found)
      const moment = { nowMs: clock.now(), leaps, current: currentGeneration(), condemned }
      const plan = planRetention(found, rules, moment)
      let broken = false
      for (const snapshot of plan.reliedOn) {
        const segments =
          found.find(({ generation }) => generation === snapshot.generation)?.segments ?? []
        if (!(await this.#listing.isWhole(snapshot, segments, signal))) {
          broken = true
          logger.error(
            { snapshot: formatObjectPath(snapshot) },
            'segments that this snapshot needs are missing: older snapshots are kept instead',
          )
        }
      }
      if (!broken) return plan
    }
  }

  /** Plans and deletes. Throws when planning fails; what fails later is in the report. */
  async enforce(signal: AbortSignal): Promise<RetentionReport> {
    await this.lookAtClock(signal)
    const plan = await this.plan(signal)
    const failures: string[] = []
    let firstFailure: DeletionFailure | undefined
    let deletedSnapshots = 0
    let deletedSegments = 0
    await this.#remember(plan, signal)
    for (const deletion of plan.deletions) {
      const { generation, reason } = deletion
      try {
        deletedSnapshots += await this.#deleteSnapshots(deletion, signal)
        deletedSegments += await this.#deleteSegments(deletion, signal)
      } catch (error) {
        if (error instanceof InUseError || !(error instanceof TsreplicateError)) throw error
        failures.push(`generation ${generation}: ${error.message}`)
        firstFailure ??= { generation, reason, error }
      }
    }
    if (firstFailure !== undefined) this.#complain(firstFailure, failures.length)
    if (failures.length === 0) await this.#forget(plan, signal)
    return { plan, deletedSnapshots, deletedSegments, failures }
  }

  /** A clock that is minutes ahead of the store's is wrong in what it stamps: until it is put right, nothing goes. */
  #refuseClockAhead(found: readonly RetainedGeneration[]): void {
    const { client, clock, lastSent } = this.#options
    const sent = lastSent?.()
    if (sent === undefined) return
    const createdAtMs = Math.max(...found.map(({ newestObjectMs }) => newestObjectMs))
    const now = { wallMs: clock.now(), monotonicMs: clock.monotonic() }
    const aheadMs = aheadOfStoreMs(sent, { now, createdAtMs })
    if (aheadMs <= maxAheadMs || !Number.isFinite(aheadMs)) return
    const minutes = Math.floor(aheadMs / 60_000)
    throw new ReplicaError(
      `the clock of this machine is ${minutes} min ahead of that of ${client.location}: what was stored just now has a time there that is so much earlier`,
      {
        retryable: false,
        hint: 'set the clock, and keep it right with NTP; if it is right, the store’s is wrong, and retention waits until both agree',
      },
    )
  }

  /** One line, however many generations fail for the same reason, and however often it is checked. */
  #complain({ generation, reason, error }: DeletionFailure, count: number): void {
    this.#complaints.report(error, { generation, reason, generations: count })
  }

  /** Generations that are to go as a whole. */
  async #condemned(signal: AbortSignal): Promise<readonly RecordedDeletion[]> {
    return ((await this.#options.record?.load(signal)) ?? []).filter(({ whole }) => whole)
  }

  async #remember(plan: RetentionPlan, signal: AbortSignal): Promise<void> {
    const { record, clock } = this.#options
    if (record === undefined || plan.deletions.length === 0) return
    const decided = plan.deletions.map(({ generation, whole, reason }): RecordedDeletion => ({
      generation,
      whole,
      reason,
      decidedAtMs: clock.now(),
    }))
    const names = new Set(decided.map(({ generation }) => generation))
    const earlier = await this.#condemned(signal)
    await record.save(
      [...earlier.filter(({ generation }) => !names.has(generation)), ...decided],
      signal,
    )
  }

  /** What was decided is done, but for generations that were condemned earlier and are still there. */
  async #forget(plan: RetentionPlan, signal: AbortSignal): Promise<void> {
    const { record } = this.#options
    if (record === undefined) return
    const recorded = await record.load(signal)
    const kept = new Set(plan.kept.map(({ generation }) => generation))
    const rest = recorded.filter(({ generation, whole }) => whole && kept.has(generation))
    if (rest.length < recorded.length) await record.save(rest, signal)
  }

  async #deleteSnapshots(deletion: Deletion, signal: AbortSignal): Promise<number> {
    const { client, logger } = this.#options
    const { generation, snapshots, reason } = deletion
    if (snapshots.length === 0) return 0
    const deleted = await this.#deletePass(snapshots, signal, () =>
      client.listSnapshots(generation, signal),
    )
    for (const { index } of snapshots) {
      logger.info({ generation, index: formatIndex(index), reason }, 'snapshot deleted')
    }
    return deleted
  }

  async #deleteSegments(deletion: Deletion, signal: AbortSignal): Promise<number> {
    const { client, logger } = this.#options
    const { generation, segments, reason } = deletion
    if (segments.length === 0) return 0
    let count = 0
    for (const pass of deletionPasses(segments)) {
      count += await this.#deletePass(pass, signal, () =>
        client.listWalSegments(generation, signal),
      )
    }
    const indexes = segments.map(({ index }) => index)
    const first = indexes[0] ?? 0
    const last = indexes.at(-1) ?? first
    logger.info(
      { generation, from: formatIndex(first), to: formatIndex(last), n: count, reason },
      'wal segments deleted',
    )
    return count
  }

  /**
   * Deletes and looks whether they are gone: some stores answer that they have deleted what they keep, or fail for
   * some of a batch.
   */
  async #deletePass(
    refs: readonly (StoredSnapshot | StoredSegment)[],
    signal: AbortSignal,
    list: () => AsyncIterable<ObjectRef>,
  ): Promise<number> {
    const { client, clock, logger } = this.#options
    let left: readonly ObjectRef[] = refs
    let failure: ReplicaError | undefined
    for (let attempt = 1; ; attempt += 1) {
      try {
        for (let at = 0; at < left.length; at += batchSize) {
          await client.delete(left.slice(at, at + batchSize), signal)
        }
        failure = undefined
      } catch (error) {
        if (!(error instanceof ReplicaError)) throw error
        failure = error
      }
      const wanted = new Set(left.map(formatObjectPath))
      const still: ObjectRef[] = []
      for await (const ref of list()) if (wanted.has(formatObjectPath(ref))) still.push(ref)
      const [first] = still
      if (first === undefined) return refs.length
      left = still
      const mayRetry = failure === undefined || failure.retryable
      if (attempt === attempts || !mayRetry) throw notDeleted(client, still, failure)
      if (failure === undefined) {
        logger.warn(
          { left: still.length, of: refs.length, first: formatObjectPath(first) },
          'the store reported objects as deleted, but still lists them: deleting them again',
        )
      }
      await clock.sleep(pauseAfter(attempt, pauses), signal)
    }
  }
}

function notDeleted(
  client: ReplicaClient,
  still: readonly ObjectRef[],
  cause: ReplicaError | undefined,
): ReplicaError {
  const first = still[0]
  const example = first === undefined ? '' : `, ${formatObjectPath(first)} first`
  const why = cause === undefined ? 'the store still lists them' : cause.message
  return new ReplicaError(
    `cannot delete ${countOf(still.length, 'object')} on ${client.location}${example}: ${why}`,
    {
      ...(cause === undefined ? {} : { cause }),
      hint:
        cause?.hint ??
        'grant the permission to delete, or set `retention: none` where the store itself removes old objects',
    },
  )
}
