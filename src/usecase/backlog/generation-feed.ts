/**
 * What a database's capture loop and its replicas' loops share: the current generation and its spooled segments, how
 * far each replica has confirmed, and the wishes that one has of the other. In memory only; the spool is the truth.
 */
import { type BreakReason } from '../../domain/wal/break-reason.js'
import { type Generation } from '../../domain/wal/generation.js'
import { type GenerationOrigin } from '../../domain/stored/lineage.js'
import { startOf } from '../../domain/stored/segment-chain.js'
import { comparePositions, type WalPosition } from '../../domain/wal/position.js'
import { wokenOrAborted } from '../../kit/abort.js'
import { type SpooledSegment } from '../ports/spool.js'
import { earliest } from './waiting-commits.js'

/** Where everything committed at some moment had been captured and spooled. */
export interface Barrier {
  readonly generation: Generation
  readonly position: WalPosition
  readonly schemaCookie: number
  /** Time of the last commit at the position. */
  readonly commitTimeMs: number
  /** How often the generation went on though its WAL did not prove it: in between, the file may have had what no commit stored. */
  readonly breaks: number
  /**
   * The index at the position begins within SQLite's WAL, and not all in front of it is copied back: the file lacks what only
   * earlier indexes have, and a snapshot of it would be replayed from this one on.
   */
  readonly isWithinWal: boolean
  /** The database file has all of it. */
  readonly isAllCopied: boolean
}

export interface FeedGeneration {
  readonly generation: Generation
  readonly pageSizeBytes: number
  /** Absent: the local state of an earlier version does not tell. */
  readonly origin?: GenerationOrigin
  segments: SpooledSegment[]
  end: WalPosition
}

/** Digests the pages of a snapshot while it is read, for the page map. Its calls never fail. */
export interface SnapshotDigests extends AsyncDisposable {
  /** Of the piece of the file that follows; whole pages, but for the last. */
  add(piece: Uint8Array): Promise<void>
  /** Everything that was read was committed at the position, or is overwritten up to there. */
  keep(upTo: WalPosition): Promise<void>
}

interface ReplicaPlace {
  /** Up to where the store says that it has everything. */
  acknowledged: WalPosition | undefined
  /** Up to where that was seen to be so: what lies past it may have to be sent again. */
  confirmed: WalPosition | undefined
  /** End of what was sent last, or may have been: the replica has it or not, until that is acknowledged. */
  attempted: WalPosition | undefined
  generation: Generation | undefined
  /** Given up for now: the spool keeps nothing for it. */
  detached: boolean
  /** The generation that is known to be restorable from it. */
  restorable: Generation | undefined
  /** Since when commits wait that were to be stored in earlier generations; undefined: there are none. */
  owedSinceMs: number | undefined
  /** Somebody waits until everything up to there is stored, and not for the next interval. */
  hurriedTo: Pick<Barrier, 'generation' | 'position'> | undefined
  /** Somebody wants a snapshot of this index, or of a later one. */
  snapshotWanted: { readonly generation: Generation; readonly index: number } | undefined
}

interface BarrierWaiter {
  /** Resolved with the next segment: none is finished early for it. */
  readonly rides: boolean
  readonly resolve: (barrier: Barrier) => void
  readonly reject: (error: Error) => void
}

/** Barriers that were asked for before a look at the database. */
export interface TakenBarriers {
  readonly count: number
  /** Whether a segment is to be finished for one of them. */
  readonly isUrgent: boolean
  resolve(barrier: Barrier): void
  reject(error: Error): void
  /** Another look is to take them. */
  giveBack(): void
  /** All up to the barrier is captured: those that ride are resolved once it is spooled, too. */
  ride(barrier: Barrier): void
}

/** Resolves its waiters all at once; a second wake-up before anybody waits is the same one. */
class Signal {
  #waiters = new Set<() => void>()
  #count = 0

  /** How often it has woken anybody: who looks at the world before he waits can tell that it has changed since. */
  get count(): number {
    return this.#count
  }

  wake(): void {
    this.#count += 1
    const waiters = this.#waiters
    this.#waiters = new Set()
    for (const waiter of waiters) waiter()
  }

  /** Resolves at the next wake-up or when `signal` is aborted. */
  async wait(signal: AbortSignal): Promise<void> {
    await wokenOrAborted(signal, (wake) => {
      this.#waiters.add(wake)
      return () => this.#waiters.delete(wake)
    })
  }
}

export class GenerationFeed {
  current: FeedGeneration | undefined
  /** The generation that an earlier process began, and this one goes on with. */
  continued: Generation | undefined
  /** No more will be captured: replicas carry on what there is and stop. */
  ended = false
  /** All that was committed when this process had looked once. Until a replica has it, nobody knows how old that is. */
  firstLook: Pick<Barrier, 'generation' | 'position'> | undefined
  /** The newest moment that a replica holds: a new generation begins later. */
  notBeforeMs = 0
  /** One replica is merging segments: no other may begin to send a part of them. */
  merging = false
  maxSpoolBytes = Number.POSITIVE_INFINITY
  /** See {@link Barrier}. */
  breaks = 0
  /** See {@link Barrier}. */
  isWithinWal = false
  /**
   * For whoever reads the file as a snapshot from now on, when everything up to the position is captured: its digests, if the page
   * map lacks them.
   */
  digestSnapshot: (from: WalPosition) => SnapshotDigests | undefined = () => undefined
  #final: Barrier | undefined
  readonly #changed = new Signal()
  readonly #wanted = new Signal()
  readonly #replicas = new Map<string, ReplicaPlace>()
  /** Since when each segment waits, by the monotonic clock. */
  readonly #sinceMs = new WeakMap<SpooledSegment, number>()
  #currentSinceMs = Number.POSITIVE_INFINITY
  #barriers: BarrierWaiter[] = []
  /** Those for which everything is captured, and not spooled yet, in the order of their positions. */
  #riding: { readonly barrier: Barrier; readonly taken: TakenBarriers }[] = []
  #newGeneration: { reason: BreakReason; detail: string } | undefined

  /** One that takes the place of another of this name stands where that one stood, until it has looked. */
  addReplica(name: string): void {
    if (this.#replicas.has(name)) return
    this.#replicas.set(name, {
      acknowledged: undefined,
      confirmed: undefined,
      attempted: undefined,
      generation: undefined,
      detached: false,
      restorable: undefined,
      owedSinceMs: undefined,
      hurriedTo: undefined,
      snapshotWanted: undefined,
    })
  }

  /**
   * Another generation is the current one, for which commits wait since `sinceMs`. What a replica lacks of the one before
   * goes on waiting, until the new one can be restored from it.
   */
  begin(current: FeedGeneration, sinceMs: number): void {
    const former = this.current
    for (const place of this.#replicas.values()) {
      if (former === undefined || former.generation === current.generation) break
      place.owedSinceMs = earliest([place.owedSinceMs, this.#lackedSinceMs(place, former)])
    }
    this.current = current
    this.#currentSinceMs = sinceMs
  }

  /** Since when something waits of a generation that a replica does not have. */
  #lackedSinceMs(
    place: ReplicaPlace,
    { generation, segments }: FeedGeneration,
  ): number | undefined {
    if (place.restorable !== generation) return this.#currentSinceMs
    const lacked = segments.find(
      ({ index, endOffset }) =>
        place.confirmed === undefined ||
        comparePositions({ index, offset: endOffset }, place.confirmed) > 0,
    )
    return lacked === undefined ? undefined : this.sinceMs(lacked)
  }

  /** A segment waits since then, by the monotonic clock. */
  noteSince(segment: SpooledSegment, sinceMs: number): void {
    this.#sinceMs.set(segment, sinceMs)
  }

  /** Since when the first commit of a segment waits; undefined: nothing is known of it. */
  sinceMs(segment: SpooledSegment): number | undefined {
    return this.#sinceMs.get(segment)
  }

  /** The generation is known to be restorable from a replica: with that it has what it lacked of earlier ones. */
  restorable(name: string, generation: Generation): void {
    const place = this.#replicas.get(name)
    if (place === undefined || generation !== this.current?.generation) return
    place.restorable = generation
    place.owedSinceMs = undefined
  }

  /** Since when commits wait that a replica lacks of earlier generations; undefined: there are none. */
  owedSinceMs(name: string): number | undefined {
    return this.#replicas.get(name)?.owedSinceMs
  }

  removeReplica(name: string): void {
    this.#replicas.delete(name)
    this.#changed.wake()
  }

  /** Something here has changed: segments, generation, the end. */
  announce(): void {
    this.#changed.wake()
  }

  waitForChange(signal: AbortSignal): Promise<void> {
    return this.#changed.wait(signal)
  }

  get changeCount(): number {
    return this.#changed.count
  }

  /** A replica wants something of the capture loop, or has wanted it since before this wait. */
  waitForWish(signal: AbortSignal): Promise<void> {
    return this.hasWish ? Promise.resolve() : this.#wanted.wait(signal)
  }

  get hasWish(): boolean {
    return this.#newGeneration !== undefined || this.#barriers.length > 0
  }

  /** A barrier waits for which a segment is to be finished. */
  get hasUrgentWish(): boolean {
    return this.#newGeneration !== undefined || this.#barriers.some(({ rides }) => !rides)
  }

  /** As {@link waitForWish}, but one that rides is no reason to look before the time. */
  async waitForUrgentWish(signal: AbortSignal): Promise<void> {
    while (!signal.aborted && !this.hasUrgentWish) await this.#wanted.wait(signal)
  }

  requestNewGeneration(reason: BreakReason, detail: string): void {
    this.#newGeneration ??= { reason, detail }
    this.#wanted.wake()
  }

  takeNewGeneration(): { reason: BreakReason; detail: string } | undefined {
    const wish = this.#newGeneration
    this.#newGeneration = undefined
    return wish
  }

  /**
   * No more is captured. `final` is where capturing ended: it stays a barrier for ever, because the last reader is
   * still held, and so nothing past its mark gets into the database file.
   */
  end(final: Barrier | undefined): void {
    this.ended = true
    this.#final = final
    const waiting = this.takeBarriers()
    if (final === undefined) waiting.reject(new Error('capture has ended'))
    else waiting.resolve(final)
    this.dropRiding(new Error('capture has ended'))
    this.#changed.wake()
  }

  /** It has ended, and where capturing ended is not known: no snapshot can be finished any more. */
  get isCutShort(): boolean {
    return this.ended && this.#final === undefined
  }

  /**
   * Everything committed by now, captured and spooled. Rejects when capturing fails meanwhile. One that `rides` waits for
   * the segment that is finished next in any case.
   */
  async barrier({ rides = false }: { readonly rides?: boolean } = {}): Promise<Barrier> {
    if (this.ended) {
      if (this.#final === undefined) throw new Error('capture has ended')
      return this.#final
    }
    return new Promise<Barrier>((resolve, reject) => {
      this.#barriers.push({ rides, resolve, reject })
      this.#wanted.wake()
    })
  }

  /** The barriers asked for so far; the caller captures, spools, and settles them. */
  takeBarriers(): TakenBarriers {
    const waiting = this.#barriers
    this.#barriers = []
    const taken: TakenBarriers = {
      count: waiting.length,
      isUrgent: waiting.some(({ rides }) => !rides),
      resolve: (barrier) => waiting.forEach((each) => each.resolve(barrier)),
      reject: (error) => waiting.forEach((each) => each.reject(error)),
      giveBack: () => {
        this.#barriers.unshift(...waiting)
      },
      ride: (barrier) => {
        if (waiting.length > 0) this.#riding.push({ barrier, taken })
      },
    }
    return taken
  }

  /** Everything up to the end of what is current is spooled. */
  settleRiding(): void {
    const current = this.current
    const riding = this.#riding
    const isSpooled = ({ barrier }: { readonly barrier: Barrier }): boolean =>
      barrier.generation === current?.generation &&
      comparePositions(barrier.position, current.end) <= 0
    this.#riding = riding.filter((each) => !isSpooled(each))
    for (const each of riding.filter(isSpooled)) each.taken.resolve(each.barrier)
  }

  /** What was captured for those that ride, and not spooled, is lost: it is captured anew, and may end elsewhere then. */
  dropRiding(error: Error): void {
    const riding = this.#riding
    this.#riding = []
    for (const { taken } of riding) taken.reject(error)
  }

  /** Everything up to the barrier is to be sent to a replica before its next interval. */
  hurry(name: string, { generation, position }: Barrier): void {
    const place = this.#replicas.get(name)
    if (place === undefined) return
    const { hurriedTo } = place
    const isFurther =
      hurriedTo?.generation !== generation || comparePositions(position, hurriedTo.position) > 0
    if (isFurther) place.hurriedTo = { generation, position }
    this.#changed.wake()
  }

  /** Up to where a replica is to have the generation as soon as may be; undefined: it has its time. */
  hurriedTo(name: string, generation: Generation): WalPosition | undefined {
    const hurriedTo = this.#replicas.get(name)?.hurriedTo
    return hurriedTo?.generation === generation ? hurriedTo.position : undefined
  }

  /** A replica is to have a snapshot by which a restore of the barrier needs nothing of earlier indexes. */
  wantSnapshot(name: string, { generation, position: { index } }: Barrier): void {
    const place = this.#replicas.get(name)
    if (place === undefined) return
    place.snapshotWanted = { generation, index }
    this.#changed.wake()
  }

  /** The index of which a replica is to have a snapshot, or of a later one; undefined: nobody asked for one. */
  snapshotWanted(name: string, generation: Generation): number | undefined {
    const wanted = this.#replicas.get(name)?.snapshotWanted
    return wanted?.generation === generation ? wanted.index : undefined
  }

  /** Whether the spool is filled so far that nothing may wait for something better. */
  get isHalfFull(): boolean {
    return this.spoolBytes > this.maxSpoolBytes / 2
  }

  get spoolBytes(): number {
    return this.current?.segments.reduce((sum, segment) => sum + segment.sizeBytes, 0) ?? 0
  }

  /** Records how far a replica has stored the current generation. */
  acknowledge(
    name: string,
    generation: Generation,
    reached: {
      readonly acknowledged: WalPosition | undefined
      readonly confirmed: WalPosition | undefined
    },
  ): void {
    const place = this.#replicas.get(name)
    if (place === undefined) return
    if (place.generation !== generation) place.attempted = undefined
    place.generation = generation
    place.acknowledged = reached.acknowledged
    place.confirmed = reached.confirmed
    place.detached = false
    this.#changed.wake()
  }

  /** Records that what ends at `end` is about to be sent, or may have been sent before. */
  attempt(name: string, end: WalPosition): void {
    const place = this.#replicas.get(name)
    if (place !== undefined) place.attempted = end
  }

  /** Stops keeping segments for the replica that is furthest behind. Returns its name; undefined: none is. */
  detachLaggard(): string | undefined {
    const current = this.current
    if (current === undefined) return undefined
    const reached = ({ generation, acknowledged }: ReplicaPlace): WalPosition | undefined =>
      generation === current.generation ? acknowledged : undefined
    const isBehind = (a: WalPosition | undefined, b: WalPosition | undefined): boolean =>
      b !== undefined && (a === undefined || comparePositions(a, b) < 0)
    let furthest: readonly [name: string, place: ReplicaPlace] | undefined
    for (const [name, place] of this.#replicas) {
      if (place.detached || !isBehind(reached(place), current.end)) continue
      if (furthest === undefined || isBehind(reached(place), reached(furthest[1])))
        furthest = [name, place]
    }
    if (furthest === undefined) return undefined
    const [name, place] = furthest
    // What is no longer in the spool goes on waiting.
    place.owedSinceMs = earliest([place.owedSinceMs, this.#lackedSinceMs(place, current)])
    place.detached = true
    return name
  }

  detach(name: string): void {
    const place = this.#replicas.get(name)
    if (place !== undefined) place.detached = true
  }

  isDetached(name: string): boolean {
    return this.#replicas.get(name)?.detached ?? false
  }

  /**
   * Segments that every replica is known to have (`isFull`: those, too, of which its store only says so), but for the newest of them, by which a replica is known again that is encrypted and
   * cannot be read here, and for the last one, which remembers where capturing stands. Those of the index that is captured stay, too (but `isScarce`): a replica that lacks
   * what is gone can go on with a snapshot of its own and these.
   */
  releasable({
    isFull,
    isScarce = false,
  }: {
    readonly isFull: boolean
    readonly isScarce?: boolean
  }): readonly SpooledSegment[] {
    const current = this.current
    if (current === undefined) return []
    const places = [...this.#replicas.values()].filter((place) => !place.detached)
    const isEverywhere = ({ index, endOffset }: SpooledSegment): boolean =>
      places.every(({ generation, acknowledged, confirmed }) => {
        const reached = isFull ? acknowledged : confirmed
        if (generation !== current.generation || reached === undefined) return false
        return comparePositions({ index, offset: endOffset }, reached) <= 0
      })
    return current.segments
      .slice(0, -1)
      .filter(isEverywhere)
      .slice(0, -1)
      .filter(({ index }) => isScarce || index < current.end.index)
  }

  /** Where a replica can begin that lacks what is gone: all of the index that is captured is here. Undefined: it is not. */
  get beginningOfIndex(): WalPosition | undefined {
    const { segments = [], end } = this.current ?? {}
    const first = segments.find(({ index }) => index === end?.index)
    return first?.startOffset === 0 ? startOf(first) : undefined
  }

  /**
   * How far segments from `start` on may become one object: no replica may stand inside it, nor have been sent a part
   * of it, because what it has been sent must never come again with other bytes.
   */
  mayMergeUpTo(start: WalPosition): WalPosition {
    const current = this.current
    let limit = current?.end ?? start
    for (const {
      generation,
      acknowledged = start,
      attempted = acknowledged,
    } of this.#replicas.values()) {
      if (generation !== current?.generation) return start
      const isBefore = comparePositions(later(attempted, acknowledged), start) <= 0
      if (!isBefore && comparePositions(acknowledged, limit) < 0) limit = acknowledged
    }
    return limit
  }
}

function later(a: WalPosition, b: WalPosition): WalPosition {
  return comparePositions(a, b) > 0 ? a : b
}
