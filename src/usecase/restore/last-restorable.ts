import {
  formatIndex,
  formatWalPosition,
  comparePositions,
  type WalPosition,
} from '../../domain/wal/position.js'
import { type GenerationListing } from '../../domain/stored/restore-plan.js'
import { chainStart, headOf, succession, tailOf } from '../../domain/stored/segment-chain.js'
import { mapAtOnce } from '../../kit/map-at-once.js'
import { type TrailerReader } from '../stored/trailers.js'

const maxReadsAtOnce = 16

/** A commit that can be restored, and how that is asked for. */
export interface RestorableCommit {
  readonly position: WalPosition
  /** Undefined: nothing tells. */
  readonly timeMs: number | undefined
  readonly flags: readonly string[]
}

/**
 * The last commit of a generation at or before `limit` that a snapshot and an unbroken chain of segments lead to, as their
 * trailers say. Reads the tails of all of them: for those who ask what is left when something is lost.
 */
export async function lastRestorable(
  listing: GenerationListing,
  limit: WalPosition,
  trailers: TrailerReader,
): Promise<RestorableCommit | undefined> {
  const { generation } = listing
  for (const snapshot of listing.snapshots.toReversed()) {
    const start: WalPosition = { index: snapshot.index, offset: 0 }
    if (comparePositions(start, limit) > 0) continue
    const trailer = await trailers.snapshot(snapshot)
    const segments = listing.segments.filter(
      (segment) => segment.index >= snapshot.index && comparePositions(segment, limit) < 0,
    )
    const read = await mapAtOnce(segments, maxReadsAtOnce, async (segment) => ({
      segment,
      trailer: await trailers.segment(segment),
    }))
    let tail = chainStart(snapshot.index)
    let timeMs = trailer?.commitTimeMs
    for (const each of read) {
      const { kind } = succession(tail, headOf(each.segment, each.trailer))
      const next = tailOf(each.segment, each.trailer)
      if ((kind !== 'continues' && kind !== 'unknown') || comparePositions(next, limit) > 0) break
      tail = next
      timeMs = Math.max(
        timeMs ?? 0,
        each.trailer?.captures.at(-1)?.timeMs ?? each.segment.createdAtMs,
      )
    }
    if (comparePositions(tail, trailer?.consistentFrom ?? start) < 0) continue
    const { index, offset } = tail
    const isWholeIndex = comparePositions({ index: index + 1, offset: 0 }, limit) <= 0
    if (!tail.isExact && !isWholeIndex) continue
    const place = tail.isExact ? formatWalPosition(tail) : formatIndex(index)
    return {
      position: { index, offset },
      timeMs,
      flags: ['-generation', generation, '-index', place],
    }
  }
  return undefined
}
