import {
  type NextSnapshot,
  nextSnapshot,
  type SnapshotReason,
} from '../../domain/policy/snapshot-schedule.js'
import { type WalPosition } from '../../domain/wal/position.js'
import { changeOrDue } from './change-or-due.js'
import { type ConfirmStored } from './confirm-stored.js'
import { type Place } from './replica-standing.js'
import { type SendSegments } from './send-segments.js'
import { SnapshotBurst } from './snapshot-burst.js'
import { SnapshotTurn } from './snapshot-turn.js'
import { type FinishedSnapshot, GenerationEndedError, takeSnapshot } from './take-snapshot.js'
import { type LoopParts } from './loop-parts.js'

type SendSnapshotsParts = LoopParts & {
  readonly sender: SendSegments
  readonly confirm: ConfirmStored
}

/** Timers of more than 24 days fire at once, and a clock that is set is to be noticed some day. */
const maxTimerMs = 24 * 3_600_000

/**
 * Takes snapshots for a replica, and carries its segments on meanwhile. In a new generation they are held back until the
 * snapshot's body is up, because without it they are worthless, unless the spool is filling up.
 */
export class SendSnapshots {
  readonly #parts: SendSnapshotsParts
  /** Those that no schedule asked for. */
  readonly burst: SnapshotBurst

  constructor(parts: SendSnapshotsParts) {
    this.#parts = parts
    this.burst = new SnapshotBurst(parts)
  }

  /** When the next one is due, by the schedule or because somebody asked for one. */
  next(place: Place): NextSnapshot {
    const { name, clock, feed, snapshotIntervalMs, retentionMs } = this.#parts
    if (feed.isWithinWal) return { kind: 'none' }
    if (place.newestSnapshot === undefined || place.position === undefined) return { kind: 'none' }
    const wanted = feed.snapshotWanted(name, place.generation)
    if (wanted !== undefined && place.newestSnapshot.index < wanted) {
      return { kind: 'due', reason: 'request' }
    }
    return nextSnapshot(
      place.newestSnapshot,
      { end: { generation: place.generation, ...place.position }, nowMs: clock.now() },
      { snapshotIntervalMs, retentionMs },
    )
  }

  /** How long until it is to be looked whether one is due; undefined: that does not depend on the time. */
  dueInMs(place: Place): number | undefined {
    const next = this.next(place)
    if (next.kind !== 'at') return undefined
    return Math.min(Math.max(next.timeMs - this.#parts.clock.now(), 0), maxTimerMs)
  }

  /** Takes one. The first of a generation goes ahead of its segments. */
  async take(place: Place, reason: SnapshotReason, kill: AbortSignal): Promise<void> {
    const { feed, clock, sender, confirm, confirmation, owner, standing } = this.#parts
    const ended = new AbortController()
    const hold = { isHolding: !place.hasSnapshot }
    const body = this.#takeInTurn(place, { reason, hold }, AbortSignal.any([kill, ended.signal]))
    const done = new AbortController()
    const isDone = (): boolean => done.signal.aborted
    const settled = body.then(
      () => done.abort(),
      () => done.abort(),
    )
    try {
      while (!isDone()) {
        if (feed.current?.generation !== place.generation) throw new GenerationEndedError()
        const maySend = !hold.isHolding || feed.isHalfFull
        if (await confirm.stepMeanwhile(place, kill)) continue
        if (maySend && (await sender.sendNext(place, kill))) continue
        const dueInMs = [confirm.dueInMs(place), maySend ? sender.dueInMs(place) : undefined]
        await changeOrDue({ feed, clock }, dueInMs, AbortSignal.any([kill, done.signal]))
        kill.throwIfAborted()
      }
    } finally {
      if (!isDone()) ended.abort(new GenerationEndedError())
      await settled
      confirm.awaited = undefined
    }
    const finished = await body
    standing.snapshotSent(place, finished, reason)
    confirmation.acknowledgedSnapshot({
      ref: { kind: 'snapshot', generation: place.generation, index: finished.index },
      storedBytes: finished.storedBytes,
    })
    owner?.stored()
    feed.announce()
    if (reason === 'generation') this.burst.finished()
  }

  /** Takes it when it is its turn. Its body up, `hold` ends: it is finished when all that it needs is known to be there. */
  async #takeInTurn(
    place: Place,
    { reason, hold }: { readonly reason: SnapshotReason; readonly hold: { isHolding: boolean } },
    signal: AbortSignal,
  ): Promise<FinishedSnapshot> {
    const { database, client, compressor, feed, clock, logger } = this.#parts
    const { standing, confirm, snapshotSlots } = this.#parts
    const { generation, lineage } = place
    const { current } = feed
    if (current?.generation !== generation) throw new GenerationEndedError()
    const { pageSizeBytes } = current
    using slot = await SnapshotTurn.take({ slots: snapshotSlots, clock }, signal)
    return await takeSnapshot(
      {
        ...{ database, client, compressor, clock, generation, lineage, pageSizeBytes },
        logger: logger.child({ reason }),
        barrier: () => feed.barrier(),
        letOthers: () => slot.letOthers(signal),
        digests: (from) => feed.digestSnapshot(from),
        storedUpTo: async (position: WalPosition, waiting: AbortSignal) => {
          hold.isHolding = false
          // What is read of the database is sent: a replica that cannot be reached holds up no other snapshot.
          slot[Symbol.dispose]()
          feed.announce()
          confirm.awaited = position
          while (!standing.isConfirmed(place, position)) {
            if (feed.current?.generation !== generation) throw new GenerationEndedError()
            await feed.waitForChange(waiting)
            waiting.throwIfAborted()
          }
        },
      },
      signal,
    )
  }
}
