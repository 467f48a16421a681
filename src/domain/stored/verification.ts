/** What can be said of a generation's objects from their names, sizes and trailers alone. */
import { type Generation } from '../wal/generation.js'
import {
  comparePositions,
  formatPosition,
  formatWalPosition,
  type WalPosition,
} from '../wal/position.js'
import { countOf } from '../../kit/quantity.js'
import { formatObjectPath, type ObjectRef } from './replica-layout.js'
import { type GenerationListing, type StoredSegment, type StoredSnapshot } from './restore-plan.js'
import { chainStart, headOf, succession, type Succession, tailOf } from './segment-chain.js'
import { isTrailerOf, ownTrailer, type TrailerTail, type WalSegmentTrailer } from './trailer.js'

/** Something that is not as it should be. */
export interface Finding {
  /** `damage`: an object is missing or is not what was stored. `warning`: it is as it was stored, and should be known. */
  readonly severity: 'damage' | 'warning'
  /** Where it was found. */
  readonly generation: Generation
  /** Path of the object, relative to the replica. Undefined: the generation is meant. */
  readonly object: string | undefined
  /** What is not as it should be, for people. */
  readonly problem: string
}

/** The trailers of a generation's objects, by path. */
export type Tails = ReadonlyMap<string, TrailerTail>

/** Longer offsets have names that Litestream does not list. */
const maxShortOffset = 0xffff_ffff

/** Checks that snapshots are there and that segments tile: nothing missing, doubled or misnamed. */
export function checkStructure(
  listing: GenerationListing,
  tails: Tails,
  known: KnownOfGeneration,
): readonly Finding[] {
  return new StructureCheck(listing, tails).run(known)
}

/** What is known of a generation by other means than its objects. */
export interface KnownOfGeneration {
  /** Of one without a snapshot: whether its first one is not finished yet, was lost, or nobody knows. */
  readonly withoutSnapshot: 'under way' | 'lost' | 'unknown'
  /** Up to here all was stored; undefined: nothing tells. */
  readonly storedTo: WalPosition | undefined
}

class StructureCheck {
  readonly #listing: GenerationListing
  readonly #tails: Tails
  readonly #findings: Finding[] = []
  /** The last commit up to which nothing is missing. */
  #verifiedTo: WalPosition | undefined

  constructor(listing: GenerationListing, tails: Tails) {
    this.#listing = listing
    this.#tails = tails
  }

  run({ withoutSnapshot, storedTo }: KnownOfGeneration): readonly Finding[] {
    const { snapshots, segments } = this.#listing
    const [oldest] = snapshots
    if (oldest === undefined) {
      this.#checkWithoutSnapshot(withoutSnapshot)
      return this.#findings
    }
    const useless = segments.filter((segment) => segment.index < oldest.index)
    if (useless.length > 0) {
      this.#warn(
        undefined,
        `${countOf(useless.length, 'segment')} before its oldest snapshot cannot be used by any restore`,
      )
    }
    const used = segments.filter((segment) => segment.index >= oldest.index)
    this.#checkSegments(oldest.index, used)
    for (const snapshot of snapshots) this.#checkSnapshot(snapshot, used.at(-1))
    if (storedTo !== undefined) this.#checkEnd(segments.at(-1), storedTo)
    return this.#findings
  }

  #checkWithoutSnapshot(known: KnownOfGeneration['withoutSnapshot']): void {
    if (known === 'lost') {
      this.#add('damage', undefined, 'its snapshots are missing: nothing of it can be restored')
    } else if (this.#listing.segments.length > 0) {
      this.#warn(
        undefined,
        known === 'under way'
          ? 'it has no snapshot yet: until its first one is finished, nothing of it can be restored'
          : 'it has no snapshot: nothing of it can be restored',
      )
    }
  }

  #checkEnd(last: StoredSegment | undefined, storedTo: WalPosition): void {
    const trailer = last && this.#segmentTrailer(last)
    if (last !== undefined && trailer === undefined) return
    const end = trailer && { index: trailer.index, offset: trailer.endOffset }
    if (end !== undefined && comparePositions(end, storedTo) >= 0) return
    const there = end === undefined ? 'there is no segment' : `the segments end at ${this.#at(end)}`
    const problem = `the owner of the replica had stored everything up to ${this.#at(storedTo)}, but ${there}`
    this.#add('damage', undefined, problem)
  }

  #checkSegments(firstIndex: number, segments: readonly StoredSegment[]): void {
    let isWhole = true
    let before: StoredSegment | undefined
    let tail = chainStart(firstIndex)
    for (const segment of segments) {
      const trailer = this.#segmentTrailer(segment)
      const follows = succession(tail, headOf(segment, trailer))
      const problems = [...this.#checkSegment(segment), ...describeSuccession(segment, follows)]
      for (const { ref, problem } of problems) {
        isWhole = false
        this.#damage(ref, problem)
      }
      if (before !== undefined) this.#checkTimes(before, segment)
      if (isWhole && trailer !== undefined) {
        this.#verifiedTo = { index: segment.index, offset: trailer.endOffset }
      }
      tail = tailOf(segment, trailer)
      before = segment
    }
  }

  #checkSegment(segment: StoredSegment): Problem[] {
    if (segment.offset > maxShortOffset) {
      this.#warn(segment, 'its offset is above 4 GiB: Litestream ignores it')
    }
    if (segment.sizeBytes === 0) return [{ ref: segment, problem: 'it is empty' }]
    const tail = this.#tails.get(formatObjectPath(segment))
    if (tail?.kind === 'unreadable') return [{ ref: segment, problem: unreadable(tail) }]
    if (tail?.kind !== 'trailer') return []
    if (isTrailerOf(segment, tail.trailer)) return []
    return [{ ref: segment, problem: 'its trailer belongs to another object' }]
  }

  #checkTimes(before: StoredSegment, segment: StoredSegment): void {
    const lastMs = this.#segmentTrailer(before)?.captures.at(-1)?.timeMs
    const firstMs = this.#segmentTrailer(segment)?.captures[0]?.timeMs
    if (lastMs === undefined || firstMs === undefined || firstMs >= lastMs) return
    this.#warn(segment, 'its commits are older than those of the previous segment')
  }

  #checkSnapshot(snapshot: StoredSnapshot, last: StoredSegment | undefined): void {
    if (snapshot.sizeBytes === 0) {
      this.#damage(snapshot, 'it is empty')
      return
    }
    const tail = this.#tails.get(formatObjectPath(snapshot))
    if (tail?.kind === 'unreadable') this.#damage(snapshot, unreadable(tail))
    if (tail?.kind !== 'trailer') return
    const { trailer } = tail
    if (!isTrailerOf(snapshot, trailer)) {
      this.#damage(snapshot, 'its trailer belongs to another object')
      return
    }
    const { consistentFrom } = trailer
    const lastTrailer = last && this.#segmentTrailer(last)
    const end =
      last === undefined
        ? { index: snapshot.index, offset: 0 }
        : lastTrailer && { index: last.index, offset: lastTrailer.endOffset }
    if (end !== undefined && comparePositions(end, consistentFrom) < 0) {
      this.#damage(
        snapshot,
        `it can be restored from ${this.#at(consistentFrom)} on, but the stored segments end at ${this.#at(end)}`,
      )
    }
  }

  #segmentTrailer(segment: StoredSegment): WalSegmentTrailer | undefined {
    return ownTrailer(segment, this.#tails.get(formatObjectPath(segment)))
  }

  #at(position: WalPosition): string {
    return formatPosition({ generation: this.#listing.generation, ...position })
  }

  #damage(ref: ObjectRef, problem: string): void {
    const upTo =
      this.#verifiedTo === undefined
        ? ''
        : `; the last commit before it that can be restored ends at ${this.#at(this.#verifiedTo)}`
    this.#add('damage', ref, `${problem}${upTo}`)
  }

  #warn(ref: ObjectRef | undefined, problem: string): void {
    this.#add('warning', ref, problem)
  }

  #add(severity: Finding['severity'], ref: ObjectRef | undefined, problem: string): void {
    const { generation } = this.#listing
    const object = ref === undefined ? undefined : formatObjectPath(ref)
    this.#findings.push({ severity, generation, object, problem })
  }
}

interface Problem {
  readonly ref: ObjectRef
  readonly problem: string
}

function describeSuccession(segment: StoredSegment, follows: Succession): readonly Problem[] {
  switch (follows.kind) {
    case 'continues':
    case 'unknown':
      return []
    case 'gap': {
      const { from, to, missing } = follows
      const { generation } = segment
      const ref: ObjectRef = { kind: 'wal-segment', generation, ...missing }
      const range = `nothing is stored from ${formatWalPosition(from)} to ${formatWalPosition(to)}`
      return [{ ref, problem: `it is missing: ${range}` }]
    }
    case 'overlap':
      return [
        {
          ref: segment,
          problem: 'it begins before the previous segment ends: the segments overlap',
        },
      ]
    case 'other frames':
      return [{ ref: segment, problem: 'it does not continue the previous segment' }]
  }
}

function unreadable({ problem }: { readonly problem: string }): string {
  return `its trailer is damaged: ${problem}`
}
