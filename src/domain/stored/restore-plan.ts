/** What a restore reads, planned from listings alone. */
import { type Generation } from '../wal/generation.js'
import { comparePositions, type WalPosition } from '../wal/position.js'
import { type SnapshotRef, type WalSegmentRef } from './replica-layout.js'
import { chainStart, headOf, succession, tailOf } from './segment-chain.js'

interface Stored {
  readonly sizeBytes: number
  readonly createdAtMs: number
}
export type StoredSnapshot = SnapshotRef & Stored
export type StoredSegment = WalSegmentRef & Stored

/** What a replica has of one generation, in the order of positions. */
export interface GenerationListing {
  readonly generation: Generation
  readonly snapshots: readonly StoredSnapshot[]
  readonly segments: readonly StoredSegment[]
}

/** Puts a listing in the order of positions: a store's order is another one past 8 digits. */
export function orderListing(listing: GenerationListing): GenerationListing {
  return {
    generation: listing.generation,
    snapshots: listing.snapshots.toSorted((a, b) => a.index - b.index),
    segments: listing.segments.toSorted(comparePositions),
  }
}

/** Where the chain of segments is to end. */
export type ChainEnd =
  | { readonly kind: 'newest' }
  /** With the last commit of this index. */
  | { readonly kind: 'index'; readonly index: number }
  /** At this position. */
  | { readonly kind: 'position'; readonly position: WalPosition }

/** Whether a segment is needed to get to the end. */
export function isBefore(segment: WalPosition, end: ChainEnd): boolean {
  switch (end.kind) {
    case 'newest':
      return true
    case 'index':
      return segment.index <= end.index
    case 'position':
      return comparePositions(segment, end.position) < 0
  }
}

export type Chain =
  | { readonly kind: 'whole'; readonly segments: readonly StoredSegment[] }
  /** An object is not there; everything up to `lastKnown` can still be had. */
  | {
      readonly kind: 'gap'
      readonly missing: WalSegmentRef
      readonly lastKnown: StoredSegment | undefined
      /** Where the next segment begins that is there. */
      readonly next: WalPosition
    }

/** The segments that lead from a snapshot to the end. Segments of indexes before the snapshot's play no part. */
export function chainSegments(
  listing: GenerationListing,
  snapshotIndex: number,
  end: ChainEnd,
): Chain {
  const segments = listing.segments.filter(
    (segment) => segment.index >= snapshotIndex && isBefore(segment, end),
  )
  let tail = chainStart(snapshotIndex)
  let last: StoredSegment | undefined
  for (const segment of segments) {
    const follows = succession(tail, headOf(segment, undefined))
    if (follows.kind === 'gap') {
      const { generation } = listing
      const missing: WalSegmentRef = { kind: 'wal-segment', generation, ...follows.missing }
      return { kind: 'gap', missing, lastKnown: last, next: follows.to }
    }
    tail = tailOf(segment, undefined)
    last = segment
  }
  return { kind: 'whole', segments }
}
