/** Finds the place in a generation that a restore's target names. */
import { type WalPosition } from '../domain/position.js'
import {
  type ChainEnd,
  type GenerationListing,
  isBefore,
  type StoredSegment,
} from '../domain/restore-plan.js'
import { type WalSegmentTrailer } from '../domain/trailer.js'
import { type RestoreTarget } from './restore-types.js'
import { type TrailerReader } from './trailer-reader.js'

export interface Place {
  readonly end: ChainEnd
  /** Where the end lies; behind a segment without trailer only its start is known. */
  readonly position: WalPosition
  readonly timeMs: number
  readonly approximate: boolean
  readonly trailer: WalSegmentTrailer | undefined
}

/** The place in a generation's segments that the target names; undefined when it lies before all of them. */
export async function findPlace(
  listing: GenerationListing,
  target: RestoreTarget,
  trailers: TrailerReader,
): Promise<Place | undefined> {
  if (target.kind === 'timestamp') return findMoment(listing.segments, target.timeMs, trailers)
  const end: ChainEnd =
    target.kind === 'index' ? { kind: 'index', index: target.index } : { kind: 'newest' }
  const last = listing.segments.findLast((segment) => isBefore(segment, end))
  if (last === undefined) return undefined
  const trailer = await trailers.segment(last)
  return {
    end,
    position: { index: last.index, offset: trailer?.endOffset ?? last.offset },
    timeMs: trailer?.captures.at(-1)?.timeMs ?? last.createdAtMs,
    approximate: trailer === undefined,
    trailer,
  }
}

async function findMoment(
  segments: readonly StoredSegment[],
  timeMs: number,
  trailers: TrailerReader,
): Promise<Place | undefined> {
  const newest = segments.at(-1)
  if (newest === undefined) return undefined
  if ((await trailers.segment(newest)) === undefined) {
    // The original's: it takes segments until the first that is later.
    const later = segments.findIndex((segment) => segment.createdAtMs > timeMs)
    const last = segments.at((later === -1 ? segments.length : later) - 1)
    if (later === 0 || last === undefined) return undefined
    return moment(last, timeMs, await trailers.segment(last))
  }
  let low = 0
  let high = segments.length
  // Everything below `low` begins at or before the moment, everything from `high` on after it.
  while (low < high) {
    const middle = (low + high) >> 1
    const segment = segments[middle]
    if (segment === undefined) break
    const first = (await trailers.segment(segment))?.captures[0]?.timeMs ?? segment.createdAtMs
    if (first <= timeMs) low = middle + 1
    else high = middle
  }
  const last = low === 0 ? undefined : segments[low - 1]
  return last === undefined ? undefined : moment(last, timeMs, await trailers.segment(last))
}

function moment(
  segment: StoredSegment,
  timeMs: number,
  trailer: WalSegmentTrailer | undefined,
): Place {
  const capture = trailer?.captures.findLast((each) => each.timeMs <= timeMs)
  if (capture === undefined) {
    return {
      end: { kind: 'position', position: { index: segment.index, offset: segment.offset + 1 } },
      position: segment,
      timeMs: segment.createdAtMs,
      approximate: true,
      trailer: undefined,
    }
  }
  const position = { index: segment.index, offset: capture.endOffset }
  return {
    end: { kind: 'position', position },
    position,
    timeMs: capture.timeMs,
    approximate: false,
    trailer,
  }
}
