import { ReplicaError } from '../../domain/errors.js'
import { type WalPosition } from '../../domain/wal/position.js'
import { ignoreAbort } from '../../kit/abort.js'
import { type FeedGeneration } from '../backlog/generation-feed.js'
import { type Place } from './replica-standing.js'
import { type SendSegments } from './send-segments.js'
import { hasReached } from './take-snapshot.js'
import { type LoopParts } from './loop-parts.js'

type ConfirmStoredParts = LoopParts & { readonly sender: SendSegments }

/** So much may wait in the spool to be confirmed, and no larger share of it: beyond that, it is time. */
const maxUnconfirmedBytes = 64 * 1024 * 1024
const unconfirmedShare = 1 / 8
/** After a failure that does not end a snapshot under way. */
const pauseMs = 1000

/**
 * Sees to it that a replica has what its store acknowledged: when it is looked for, that what is lost is sent again, and
 * what follows from it that everything is there.
 */
export class ConfirmStored {
  readonly #parts: ConfirmStoredParts
  /** What a snapshot waits for that is to be finished; undefined: nothing waits. */
  awaited: WalPosition | undefined

  constructor(parts: ConfirmStoredParts) {
    this.#parts = parts
  }

  /** How long until it is to be looked whether everything is there; undefined: that is known. */
  dueInMs(place: Place | undefined): number | undefined {
    const { feed, confirmation, standing, isEnding } = this.#parts
    if (place === undefined) return undefined
    const { current, firstLook } = feed
    const isAwaited = this.awaited !== undefined && hasReached(place.position, this.awaited)
    const isLast = isEnding() && current !== undefined && hasReached(place.position, current.end)
    const limitBytes = Math.min(maxUnconfirmedBytes, feed.maxSpoolBytes * unconfirmedShare)
    const isFilling = confirmation.unconfirmedBytes > limitBytes
    const isFirst =
      !standing.isKnownRestorable &&
      firstLook?.generation === place.generation &&
      hasReached(place.position, firstLook.position)
    return confirmation.dueInMs({ isUrgent: isAwaited || isLast || isFilling || isFirst })
  }

  /** Looks whether what was sent is there, when it is time for that, and sends again what is not. False: it is not time. */
  async step(place: Place, kill: AbortSignal): Promise<boolean> {
    const { confirmation, sender, remembered, standing } = this.#parts
    const { lost } = confirmation
    if (lost !== undefined) {
      await sender.sendAgain(place, lost, kill)
      return true
    }
    if (this.dueInMs(place) !== 0) return false
    await confirmation.check(kill, (segments) => remembered.add(place.generation, segments, kill))
    if (confirmation.isSnapshotConfirmed && place.hasSnapshot) standing.snapshotSeen()
    // This machine may have been taken back, and the names that it writes next be free all the same.
    if (confirmation.isSurpassed) standing.forget()
    standing.acknowledge(place)
    return true
  }

  /** As {@link step}, but a failure of the moment does not cost the snapshot under way. */
  async stepMeanwhile(place: Place, kill: AbortSignal): Promise<boolean> {
    const { problems, clock } = this.#parts
    try {
      return await this.step(place, kill)
    } catch (error) {
      if (!(error instanceof ReplicaError && error.retryable)) throw error
      problems.report(error)
      await clock.sleep(pauseMs, kill).catch(ignoreAbort)
      return true
    }
  }

  /** Notes when the generation is known to be restorable from here, with all that was committed before this process. */
  noteRestorable(place: Place): void {
    const { feed, name, confirmation, standing } = this.#parts
    const { generation, hasSnapshot, tiling } = place
    const { firstLook } = feed
    if (firstLook === undefined || !hasSnapshot || tiling !== undefined) return
    if (!confirmation.isSnapshotConfirmed) return
    // The snapshot of a later generation has all that.
    const isSame = firstLook.generation === generation
    if (isSame && !standing.isConfirmed(place, firstLook.position)) return
    standing.isKnownRestorable = true
    feed.restorable(name, generation)
  }

  /** Once all that was sent is known to be there, it may be said so in the owner object. */
  noteConfirmed({ generation, lineage, hasSnapshot, position, tiling }: Place): void {
    const { feed, confirmation, record } = this.#parts
    const { current } = feed
    if (!confirmation.isComplete || tiling !== undefined) return
    if (current?.generation !== generation) return
    const commitTimeMs = lastCommitMs(current, position)
    if (commitTimeMs === undefined) return
    record?.confirmed({ generation, lineage, hasSnapshot, position, commitTimeMs })
  }
}

/** When the last transaction was seen to be committed of what ends at a position; undefined: nothing tells. */
function lastCommitMs(
  { segments, origin }: FeedGeneration,
  position: WalPosition | undefined,
): number | undefined {
  if (position === undefined) return origin?.beganAtMs
  const { index, offset } = position
  const last = segments.findLast((each) => each.index === index && each.endOffset === offset)
  return last?.trailer.captures.at(-1)?.timeMs
}
