/**
 * Where a replica stands: what of which generation it has, as far as is known, and what is said of that. The loop of the
 * replica and its parts write it; a place that they hold on to while the world changes is only given up by being forgotten.
 */
import { type NewestSnapshot, type SnapshotReason } from '../../domain/policy/snapshot-schedule.js'
import { type Sent } from '../../domain/policy/wall-clock.js'
import { type CaptureStatus, longest, type ReplicaDetails } from '../../domain/status.js'
import { type Lineage } from '../../domain/stored/lineage.js'
import { endOf } from '../../domain/stored/segment-chain.js'
import { type Generation } from '../../domain/wal/generation.js'
import {
  comparePositions,
  formatPosition,
  type Position,
  type WalPosition,
} from '../../domain/wal/position.js'
import { type Barrier, type GenerationFeed } from '../backlog/generation-feed.js'
import { type Clock } from '../ports/clock.js'
import { type ReplicaClient } from '../ports/replica-client.js'
import { type SpooledSegment } from '../ports/spool.js'
import { type ReplicaProblems } from '../replica-problems.js'
import { type CheckTiling } from './check-tiling.js'
import { type Confirmation } from './confirmation.js'
import { type OwnReplica } from './own-replica.js'
import { type FinishedSnapshot, hasReached } from './take-snapshot.js'

/** What others do to the replica is noticed after this long at the latest. */
const trustMs = 24 * 3_600_000

/** Where a replica stands in a generation. */
export interface Place {
  readonly generation: Generation
  /** Undefined: what is stored of the generation does not tell. */
  readonly lineage: Lineage | undefined
  /** End of what is stored; undefined: no segment is. */
  position: WalPosition | undefined
  hasSnapshot: boolean
  newestSnapshot: NewestSnapshot | undefined
  /** Finds out whether the segments there follow each other; undefined: they do. */
  tiling: CheckTiling | undefined
}

/** What of a replica's status its loop knows. */
export type SyncReplicaStatus = Pick<
  ReplicaDetails,
  | 'name'
  | 'type'
  | 'location'
  | 'position'
  | 'hasSnapshot'
  | 'isKnownRestorable'
  | 'lagMs'
  | 'confirmedLagMs'
  | 'pendingBytes'
  | 'lastFailure'
  | 'lastStoredAtMs'
  | 'lastSnapshotAtMs'
> & {
  readonly totals: Pick<ReplicaDetails['totals'], 'walBytes' | 'snapshots' | 'errors'>
}

export interface ReplicaStandingOptions {
  readonly name: string
  readonly client: ReplicaClient
  readonly feed: GenerationFeed
  readonly clock: Clock
  readonly problems: ReplicaProblems
  readonly confirmation: Confirmation
  /** Undefined: nobody else writes there. */
  readonly owner: OwnReplica | undefined
}

/** Where one replica stands, and what people and other loops are told of that. */
export class ReplicaStanding {
  readonly #options: ReplicaStandingOptions
  #place: Place | undefined
  /** The last place that was known, also while it is in doubt. */
  #last: Place | undefined
  #doubtfulSinceMs: number | undefined
  /** Since when it lacks a snapshot, however old the generation is. */
  #lacksSinceMs: number
  #locatedAt = 0
  /** The first snapshot of the generation was acknowledged, and whether it is there is not known yet. */
  #isFirstUnconfirmed = false
  /** There was something to restore here when it was last looked at, in this generation or the one before. */
  #isKnownRestorable = false
  readonly #snapshotCounts: Record<SnapshotReason, number> = {
    generation: 0,
    interval: 0,
    retention: 0,
    request: 0,
  }
  #sentWalBytes = 0
  #lastSent: Sent | undefined
  #lastStoredAtMs: number | undefined

  constructor(options: ReplicaStandingOptions) {
    this.#options = options
    this.#lacksSinceMs = options.clock.monotonic()
  }

  /** Undefined: it is to be looked what is there. */
  get place(): Place | undefined {
    return this.#place
  }

  /** The last place that was known, also while it is in doubt. */
  get last(): Place | undefined {
    return this.#last
  }

  /** The place, if it is one of the generation that is current, and was not given up. */
  get currentPlace(): Place | undefined {
    const { feed, name } = this.#options
    const isCurrent = this.#place?.generation === feed.current?.generation
    return isCurrent && !feed.isDetached(name) ? this.#place : undefined
  }

  /** How long until what is known is too old to go by. */
  get trustedForMs(): number {
    return Math.max(0, this.#locatedAt + trustMs - this.#options.clock.monotonic())
  }

  /** It was looked what is there. */
  found(place: Place): void {
    const former = this.#last
    this.#place = place
    this.#last = place
    const isEmptied = former?.generation === place.generation && former.hasSnapshot
    const now = this.#options.clock.monotonic()
    if (isEmptied && !place.hasSnapshot) {
      this.#isKnownRestorable = false
      this.#lacksSinceMs = this.#doubtfulSinceMs ?? now
    }
    this.#doubtfulSinceMs = undefined
    this.#locatedAt = now
  }

  /** It is to be looked again what is there. */
  forget(): void {
    this.#place = undefined
  }

  /** As {@link forget}, because something is wrong: what is there may not be what was stored. */
  doubt(): void {
    this.#place = undefined
    this.#doubtfulSinceMs ??= this.#options.clock.monotonic()
  }

  /** From the snapshot that is there nothing can be restored any more: another is needed, and then a look at what is there. */
  loseSnapshot(place: Place): void {
    place.hasSnapshot = false
    place.newestSnapshot = undefined
    this.#lacksSinceMs = this.#options.clock.monotonic()
    this.#locatedAt = Number.NEGATIVE_INFINITY
  }

  /** Whether it is known that a generation can be restored from here. */
  get isKnownRestorable(): boolean {
    return this.#isKnownRestorable
  }

  set isKnownRestorable(isKnownRestorable: boolean) {
    this.#isKnownRestorable = isKnownRestorable
  }

  /** The newest snapshot was seen there. */
  snapshotSeen(): void {
    this.#isFirstUnconfirmed = false
  }

  /** The store acknowledged a segment that was begun to be sent at a moment. */
  sent(place: Place, segment: SpooledSegment, sent: Sent): void {
    this.#lastSent = sent
    place.position = endOf(segment)
    this.#sentWalBytes += segment.walBytes
    this.#lastStoredAtMs = this.#options.clock.now()
  }

  /** The store acknowledged a snapshot. */
  snapshotSent(place: Place, finished: FinishedSnapshot, reason: SnapshotReason): void {
    const { index, consistentFrom } = finished
    const { clock } = this.#options
    if (!place.hasSnapshot) this.#isFirstUnconfirmed = true
    place.hasSnapshot = true
    place.newestSnapshot = { index, consistentFrom, atMs: clock.now() }
    this.#lastStoredAtMs = clock.now()
    this.#snapshotCounts[reason] += 1
  }

  /** Tells the spool what has to be kept for this replica. */
  acknowledge({ generation, position, tiling }: Place): void {
    const { feed, name, confirmation } = this.#options
    const confirmed = tiling === undefined ? (confirmation.from ?? position) : undefined
    feed.acknowledge(name, generation, { acknowledged: position, confirmed })
  }

  /** Whether everything up to a position is known to be there. */
  isConfirmed(place: Place, position: WalPosition): boolean {
    const { from } = this.#options.confirmation
    if (!hasReached(place.position, position)) return false
    return from === undefined || comparePositions(position, from) <= 0
  }

  /** Whether everything up to a position, and a snapshot to begin with, is stored here. */
  hasStored({ generation, position }: Pick<Barrier, 'generation' | 'position'>): boolean {
    const place = this.#place
    if (place?.generation !== generation || !place.hasSnapshot) return false
    return hasReached(place.position, position)
  }

  /**
   * As {@link hasStored}, as far as this process knows: what lies before was found to follow each other, nothing of it is
   * known to be lost, and nobody else writes here.
   */
  isRestorableTo(barrier: Pick<Barrier, 'generation' | 'position'>): boolean {
    const { confirmation, owner } = this.#options
    if (owner?.isOurs === false || confirmation.isMending) return false
    return this.#place?.tiling === undefined && this.hasStored(barrier)
  }

  /** The newest snapshot, if a restore of the barrier from it needs nothing of earlier indexes. */
  snapshotOf({
    generation,
    position,
  }: Pick<Barrier, 'generation' | 'position'>): NewestSnapshot | undefined {
    const place = this.#place
    if (place?.generation !== generation || place.newestSnapshot === undefined) return undefined
    return place.newestSnapshot.index >= position.index ? place.newestSnapshot : undefined
  }

  /** When the store last acknowledged something; undefined: nothing since the start. */
  get lastStoredAtMs(): number | undefined {
    return this.#lastStoredAtMs
  }

  /** What keeps failing here; undefined: nothing does. */
  get failure(): string | undefined {
    const { last } = this.#options.problems.log
    return last?.isOver === false ? last.message : undefined
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

  /** Who has taken the replica from this process, for people: it is not written any more then. */
  get takenBy(): string | undefined {
    return this.#options.owner?.takenBy
  }

  /** What is not stored here, or not known to be there, for people; undefined when all is. */
  get missing(): string | undefined {
    const { feed, confirmation } = this.#options
    const { current } = feed
    const lacking = this.#lacking
    if (current === undefined || lacking !== undefined || confirmation.isComplete) return lacking
    const { from } = confirmation
    const what =
      from === undefined
        ? 'a snapshot'
        : `the commits from ${formatPosition({ generation: current.generation, ...from })}`
    return `the store acknowledged ${what}, but has not listed them since`
  }

  /** What whoever waits for his commits is still waiting for, for people. */
  get awaited(): string {
    const place = this.#place
    const stored = place === undefined ? undefined : storedUpTo(place)
    return (
      this.#lacking ??
      `the newest commits${stored === undefined ? '' : `, after ${formatPosition(stored)}`}`
    )
  }

  /** What the store has not acknowledged of what is spooled. */
  get #lacking(): string | undefined {
    const { current } = this.#options.feed
    if (current === undefined) return undefined
    if (this.takenBy !== undefined) return `it was taken over by ${this.takenBy}`
    const place = this.#place
    if (place?.generation !== current.generation) {
      return `nothing is known to be stored of generation ${current.generation}`
    }
    if (!place.hasSnapshot) return `generation ${current.generation} has no snapshot`
    const formatPlace = (position: WalPosition): string =>
      formatPosition({ generation: current.generation, ...position })
    if (hasReached(place.position, current.end)) return undefined
    const from = place.position ?? { index: 0, offset: 0 }
    return `the commits from ${formatPlace(from)} to ${formatPlace(current.end)}`
  }

  /** Measured against what is captured. */
  status(capture: CaptureStatus): SyncReplicaStatus {
    const { name, client, clock, problems, feed, confirmation } = this.#options
    const generation = capture.position?.generation
    const place = this.#last?.generation === generation ? this.#last : undefined
    const pending = this.#pending(place)
    const now = clock.monotonic()
    const ageOf = (sinceMs: number | undefined): number | undefined =>
      sinceMs === undefined ? undefined : now - sinceMs
    // Until it can be restored, what is to be restored from it waits.
    const untilRestorable = [
      Math.min(capture.generationForMs, now - this.#lacksSinceMs),
      ageOf(feed.owedSinceMs(name)),
    ]
    // What is no longer kept for it is not among what is spooled.
    const isRestorable =
      !feed.isDetached(name) && (generation === undefined || place?.hasSnapshot === true)
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
      isKnownRestorable: this.#isKnownRestorable,
      lagMs,
      confirmedLagMs: longest([
        lagMs,
        ageOf(confirmation.sinceMs),
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
      if (segment === undefined || hasReached(place?.position, endOf(segment))) break
      walBytes += segment.walBytes
      sinceMs = feed.sinceMs(segment) ?? sinceMs
    }
    return { walBytes, sinceMs }
  }
}

/** How far a replica has got. Before the first segment, a snapshot holds all up to the beginning of its index. */
function storedUpTo({ generation, position, newestSnapshot }: Place): Position | undefined {
  if (position !== undefined) return { generation, ...position }
  if (newestSnapshot === undefined) return undefined
  return { generation, index: newestSnapshot.index, offset: 0 }
}
