/** Finds the place in a generation that a restore's target names. */
import { type WalPosition } from '../../domain/wal/position.js'
import {
  type ChainEnd,
  type GenerationListing,
  isBefore,
  type StoredSegment,
} from '../../domain/stored/restore-plan.js'
import { headOf, succession, tailOf } from '../../domain/stored/segment-chain.js'
import { type WalSegmentTrailer } from '../../domain/stored/trailer.js'
import { type RestoreTarget } from './restore-types.js'
import { type TrailerReader } from '../stored/trailers.js'

export interface RestorePoint {
  readonly end: ChainEnd
  /** Where the end lies; after a segment without trailer only its start is known. */
  readonly position: WalPosition
  readonly timeMs: number
  readonly approximate: boolean
  readonly trailer: WalSegmentTrailer | undefined
  /** The last segment that is needed is to be cut at `position`. */
  readonly isCut: boolean
  /** Nothing is stored after it. */
  readonly isAtEnd: boolean
  /** What is missing after it and belongs to the target, or may. */
  readonly gap: { readonly from: WalPosition; readonly to: WalPosition } | undefined
}

/** The place in a generation's segments that the target names; undefined when it lies before all of them. */
export async function findRestorePoint(
  { segments }: GenerationListing,
  target: RestoreTarget,
  trailers: TrailerReader,
): Promise<RestorePoint | undefined> {
  switch (target.kind) {
    case 'latest':
      return placeBehind(segments, { kind: 'newest' }, trailers)
    case 'index':
      return findIndexEnd(segments, target.index, trailers)
    case 'position':
      return findPosition(segments, target.position, trailers)
    case 'timestamp':
      return findMoment(segments, target.timeMs, trailers)
  }
}

/** Behind the last segment before an end. */
async function placeBehind(
  segments: readonly StoredSegment[],
  end: ChainEnd,
  trailers: TrailerReader,
): Promise<RestorePoint | undefined> {
  const last = segments.findLast((segment) => isBefore(segment, end))
  if (last === undefined) return undefined
  const trailer = await trailers.segment(last)
  return {
    end,
    position: { index: last.index, offset: trailer?.endOffset ?? last.offset },
    timeMs: trailer?.captures.at(-1)?.timeMs ?? last.createdAtMs,
    approximate: trailer === undefined,
    trailer,
    isCut: false,
    isAtEnd: last === segments.at(-1),
    gap: undefined,
  }
}

/** What follows may say that the end of the index is missing, or all of it. */
async function findIndexEnd(
  segments: readonly StoredSegment[],
  index: number,
  trailers: TrailerReader,
): Promise<RestorePoint | undefined> {
  const end: ChainEnd = { kind: 'index', index }
  const place = await placeBehind(segments, end, trailers)
  const next = segments.find((segment) => !isBefore(segment, end))
  const last = segments.findLast((segment) => isBefore(segment, end))
  if (place === undefined || next === undefined || last === undefined) return place
  const follows = succession(
    tailOf(last, place.trailer),
    headOf(next, await trailers.segment(next)),
  )
  const isMissing = follows.kind === 'gap' && follows.missing.index <= index
  return isMissing ? { ...place, gap: follows } : place
}

async function findPosition(
  segments: readonly StoredSegment[],
  position: WalPosition,
  trailers: TrailerReader,
): Promise<RestorePoint | undefined> {
  const end: ChainEnd = { kind: 'position', position }
  const place = await placeBehind(segments, end, trailers)
  if (place?.trailer === undefined) {
    return place && { ...place, position, isCut: place.position.index === position.index }
  }
  const { trailer } = place
  const capture = trailer.captures.find(
    ({ endOffset }) => trailer.index === position.index && endOffset >= position.offset,
  )
  // It lies after the segment: nothing is stored there.
  if (capture === undefined) return place
  const isAtEnd = place.isAtEnd && position.offset === trailer.endOffset
  return { ...place, position, timeMs: capture.timeMs, isCut: true, isAtEnd }
}

async function findMoment(
  segments: readonly StoredSegment[],
  timeMs: number,
  trailers: TrailerReader,
): Promise<RestorePoint | undefined> {
  const newest = segments.at(-1)
  if (newest === undefined) return undefined
  if ((await trailers.segment(newest)) === undefined) {
    // The original's: it takes segments until the first that is later.
    const later = segments.findIndex((segment) => segment.createdAtMs > timeMs)
    const last = segments.at((later === -1 ? segments.length : later) - 1)
    if (later === 0 || last === undefined) return undefined
    return momentIn(last, undefined, timeMs, trailers)
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
  return last === undefined ? undefined : momentIn(last, segments[low], timeMs, trailers)
}

async function momentIn(
  segment: StoredSegment,
  next: StoredSegment | undefined,
  timeMs: number,
  trailers: TrailerReader,
): Promise<RestorePoint> {
  const trailer = await trailers.segment(segment)
  const capture = trailer?.captures.findLast((each) => each.timeMs <= timeMs)
  if (trailer === undefined || capture === undefined) {
    return {
      end: { kind: 'position', position: { index: segment.index, offset: segment.offset + 1 } },
      position: segment,
      timeMs: segment.createdAtMs,
      approximate: true,
      trailer: undefined,
      isCut: false,
      isAtEnd: next === undefined,
      gap: undefined,
    }
  }
  const position = { index: segment.index, offset: capture.endOffset }
  const isSegmentEnd = capture.endOffset === trailer.endOffset
  // Commits of a gap after the segment may be earlier than the moment.
  const follows =
    next === undefined || !isSegmentEnd || capture.timeMs === timeMs
      ? undefined
      : succession(tailOf(segment, trailer), headOf(next, await trailers.segment(next)))
  return {
    end: { kind: 'position', position },
    position,
    timeMs: capture.timeMs,
    approximate: false,
    trailer,
    isCut: true,
    isAtEnd: next === undefined && isSegmentEnd,
    gap: follows?.kind === 'gap' ? follows : undefined,
  }
}
