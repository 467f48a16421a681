/**
 * Whether one stored segment continues another. Everything that has to know it asks here: planning and verifying a restore,
 * verifying, retention, and going on with what a replica has.
 *
 * Segments of an index follow each other byte by byte, and each says with which running checksum it begins and ends. The
 * first one of an index says where the index before it ended. Segments without trailer, as the original's, have only their
 * names: then much is unknown, and nothing is wrong because of that.
 */
import { type WalPosition } from '../wal/position.js'
import { type PreviousIndexEnd, type WalSegmentTrailer } from './trailer.js'
import { type Checksum, sameChecksum, sameSalts, type Salts } from '../wal/wal-format.js'

export interface ChainTail {
  readonly index: number
  readonly offset: number
  /** False: no trailer says where the last segment ends, and `offset` is where it begins. */
  readonly isExact: boolean
  /** Of the last frame; undefined: not known, or there is none. */
  readonly checksum: Checksum | undefined
  readonly salts: Salts | undefined
}

export interface SegmentHead {
  readonly index: number
  readonly offset: number
  /** What its first frame continues; undefined: not known. */
  readonly checksumBefore: Checksum | undefined
  readonly salts: Salts | undefined
  readonly previousIndexEnd: PreviousIndexEnd | undefined
}

export type Succession =
  | { readonly kind: 'continues' }
  /** Something between them is missing. */
  | {
      readonly kind: 'gap'
      readonly from: WalPosition
      readonly to: WalPosition
      /** Where the first object begins that is missing for certain. */
      readonly missing: WalPosition
    }
  /** It begins before the end. */
  | { readonly kind: 'overlap' }
  /** The places fit, the frames do not: they are of another history. */
  | { readonly kind: 'other frames' }
  /** Nothing speaks against it, and nothing proves it. */
  | { readonly kind: 'unknown' }

/** Where a chain begins that is replayed on a snapshot of this index. */
export function chainStart(index: number): ChainTail {
  return { index, offset: 0, isExact: true, checksum: undefined, salts: undefined }
}

/** The end of a segment, as its trailer says. */
export function tailOf(
  { index, offset }: WalPosition,
  trailer: WalSegmentTrailer | undefined,
): ChainTail {
  return {
    index,
    offset: trailer?.endOffset ?? offset,
    isExact: trailer !== undefined,
    checksum: trailer?.checksumAfter,
    salts: trailer?.salts,
  }
}

/** The beginning of a segment, as its trailer says. */
export function headOf(
  { index, offset }: WalPosition,
  trailer: WalSegmentTrailer | undefined,
): SegmentHead {
  return {
    index,
    offset,
    checksumBefore: trailer?.checksumBefore,
    salts: trailer?.salts,
    previousIndexEnd: trailer?.previousIndexEnd,
  }
}

/** A segment of the local log, of which all is known. */
export interface LogSegment {
  readonly index: number
  readonly startOffset: number
  readonly endOffset: number
  readonly trailer: WalSegmentTrailer
}

export function startOf({
  index,
  startOffset,
}: Pick<LogSegment, 'index' | 'startOffset'>): WalPosition {
  return { index, offset: startOffset }
}

export function endOf({ index, endOffset }: Pick<LogSegment, 'index' | 'endOffset'>): WalPosition {
  return { index, offset: endOffset }
}

/** The segment of a log that begins at a place; undefined as `end`: the first of all. */
export function nextInLog<T extends LogSegment>(
  log: readonly T[],
  end: WalPosition | undefined,
): T | undefined {
  const tail = { ...chainStart(0), ...(end === undefined ? {} : place(end)) }
  return log.find(
    ({ index, startOffset, trailer }) =>
      (index === tail.index || index === tail.index + 1) &&
      succession(tail, headOf({ index, offset: startOffset }, trailer)).kind === 'continues',
  )
}

/** The running checksum at a place where a segment of a log ends or begins; undefined: there is none. */
export function checksumAt(
  log: readonly LogSegment[],
  { index, offset }: WalPosition,
): Checksum | undefined {
  const before = log.find((each) => each.index === index && each.endOffset === offset)
  if (before !== undefined) return before.trailer.checksumAfter
  const behind = log.find((each) => each.index === index && each.startOffset === offset)
  if (behind !== undefined) return behind.trailer.checksumBefore
  const next = log.find((each) => each.index === index + 1 && each.startOffset === 0)
  const previous = next?.trailer.previousIndexEnd
  return previous?.offset === offset ? previous.checksum : undefined
}

/** Whether a stored segment is a piece of a log: of the same frames, from where one of its segments begins to where one ends. */
export function isPieceOf(log: readonly LogSegment[], stored: WalSegmentTrailer): boolean {
  const { index, startOffset, endOffset } = stored
  const first = log.find((each) => each.index === index && each.startOffset === startOffset)
  const after = checksumAt(log, { index, offset: endOffset })
  if (first === undefined || after === undefined || endOffset <= startOffset) return false
  const { generation, salts, checksumBefore } = first.trailer
  return (
    stored.generation === generation &&
    sameSalts(stored.salts, salts) &&
    sameChecksum(stored.checksumBefore, checksumBefore) &&
    sameChecksum(stored.checksumAfter, after)
  )
}

/** Whether frames that begin at `start` go on from where others end. */
export function isNext(end: WalPosition, start: WalPosition): boolean {
  const { kind } = succession(
    { ...chainStart(end.index), offset: end.offset },
    headOf(start, undefined),
  )
  return kind === 'continues' || kind === 'unknown'
}

/**
 * Whether of some index there are segments and not the one that it begins with: no snapshot can be in between, so that nobody
 * can restore them. Litestream 0.3 refuses the whole generation then ("missing initial wal segment"), whatever snapshot follows.
 * In order of positions.
 */
export function lacksBeginning(segments: readonly WalPosition[]): boolean {
  return segments.some(({ index, offset }, at) => offset > 0 && segments[at - 1]?.index !== index)
}

/** How `next` stands to the end of what was before it. */
export function succession(before: ChainTail, next: SegmentHead): Succession {
  if (next.index < before.index) return { kind: 'overlap' }
  if (next.index === before.index) return withinIndex(before, next)
  // An index begins with its first commit: there is none without segments.
  const isEmpty = before.isExact && before.offset === 0
  if (isEmpty) return gap(before, next, before)
  if (next.index > before.index + 1) {
    return gap(before, next, { index: before.index + 1, offset: 0 })
  }
  if (next.offset !== 0) return gap(before, next, { index: next.index, offset: 0 })
  return behindIndex(before, next.previousIndexEnd)
}

function withinIndex(before: ChainTail, next: SegmentHead): Succession {
  if (next.offset < before.offset) return { kind: 'overlap' }
  if (!before.isExact) return { kind: next.offset === before.offset ? 'overlap' : 'unknown' }
  if (next.offset > before.offset) return gap(before, next, before)
  if (next.offset === 0) return { kind: 'continues' }
  const isOther =
    differs(before.checksum, next.checksumBefore, sameChecksum) ||
    differs(before.salts, next.salts, sameSalts)
  return { kind: isOther ? 'other frames' : 'continues' }
}

/** Of the first segment of the next index. */
function behindIndex(before: ChainTail, stated: PreviousIndexEnd | undefined): Succession {
  if (stated === undefined) return { kind: 'unknown' }
  const { index, offset, isExact } = before
  if (!isExact) return { kind: stated.offset <= offset ? 'overlap' : 'unknown' }
  if (stated.offset < offset) return { kind: 'overlap' }
  if (stated.offset > offset) return gap(before, { index, offset: stated.offset }, before)
  const isOther = differs(before.checksum, stated.checksum, sameChecksum)
  return { kind: isOther ? 'other frames' : 'continues' }
}

function gap(before: WalPosition, to: WalPosition, missing: WalPosition): Succession {
  return { kind: 'gap', from: place(before), to: place(to), missing: place(missing) }
}

function place({ index, offset }: WalPosition): WalPosition {
  return { index, offset }
}

/** Two of which one is not known do not differ. */
function differs<T>(a: T | undefined, b: T | undefined, isSame: (a: T, b: T) => boolean): boolean {
  return a !== undefined && b !== undefined && !isSame(a, b)
}
