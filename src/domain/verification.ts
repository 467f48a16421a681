/** What can be said of a generation's objects from their names, sizes and trailers alone. */
import { type Generation } from './generation.js'
import { comparePositions, formatPosition, type WalPosition } from './position.js'
import { formatObjectPath, type ObjectRef } from './replica-layout.js'
import { type GenerationListing, type StoredSegment, type StoredSnapshot } from './restore-plan.js'
import { type SnapshotTrailer, type TrailerTail, type WalSegmentTrailer } from './trailer.js'
import { sameChecksum, sameSalts } from './wal-format.js'

/** Something that is not as it should be. `damage`: an object is missing or is not what was stored. */
export interface Finding {
  readonly severity: 'damage' | 'warning'
  readonly generation: Generation
  /** Path of the object, relative to the replica. Undefined: the generation is meant. */
  readonly object: string | undefined
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
  { isNewest }: { readonly isNewest: boolean },
): readonly Finding[] {
  return new StructureCheck(listing, tails).run(isNewest)
}

class StructureCheck {
  readonly #listing: GenerationListing
  readonly #tails: Tails
  readonly #findings: Finding[] = []
  /** The last commit up to which nothing is missing. */
  #provenTo: WalPosition | undefined

  constructor(listing: GenerationListing, tails: Tails) {
    this.#listing = listing
    this.#tails = tails
  }

  run(isNewest: boolean): readonly Finding[] {
    const { snapshots, segments } = this.#listing
    const [oldest] = snapshots
    if (oldest === undefined) {
      if (segments.length > 0) {
        this.#warn(
          undefined,
          isNewest
            ? 'it has no snapshot yet: until its first one is finished, nothing of it can be restored'
            : 'it has no snapshot: nothing of it can be restored',
        )
      }
      return this.#findings
    }
    const useless = segments.filter((segment) => segment.index < oldest.index)
    if (useless.length > 0) {
      this.#warn(
        undefined,
        `${useless.length} segments lie before its oldest snapshot and serve no restore`,
      )
    }
    const used = segments.filter((segment) => segment.index >= oldest.index)
    this.#checkSegments(oldest.index, used)
    for (const snapshot of snapshots) this.#checkSnapshot(snapshot, used.at(-1))
    return this.#findings
  }

  #checkSegments(firstIndex: number, segments: readonly StoredSegment[]): void {
    let isWhole = true
    let before: StoredSegment | undefined
    let expectedIndex = firstIndex
    for (const segment of segments) {
      const begins = before?.index !== segment.index
      const problems = [
        ...this.#checkSegment(segment),
        ...(begins
          ? this.#checkBegin(segment, before, expectedIndex)
          : this.#checkNext(segment, before)),
      ]
      for (const { ref, problem } of problems) {
        isWhole = false
        this.#damage(ref, problem)
      }
      expectedIndex = segment.index + 1
      if (isWhole) {
        const end = this.#segmentTrailer(segment)?.endOffset
        if (end !== undefined) this.#provenTo = { index: segment.index, offset: end }
      }
      before = segment
    }
  }

  #checkSegment(segment: StoredSegment): Problem[] {
    if (segment.offset > maxShortOffset) {
      this.#warn(segment, 'its offset is past 4 GiB: Litestream passes it over')
    }
    if (segment.sizeBytes === 0) return [{ ref: segment, problem: 'it is empty' }]
    const tail = this.#tails.get(formatObjectPath(segment))
    if (tail?.kind === 'unreadable') return [{ ref: segment, problem: unreadable(tail) }]
    if (tail?.kind !== 'trailer') return []
    const { trailer } = tail
    const isItsOwn =
      trailer.kind === 'wal-segment' &&
      trailer.generation === segment.generation &&
      trailer.index === segment.index &&
      trailer.startOffset === segment.offset
    return isItsOwn ? [] : [{ ref: segment, problem: 'its trailer belongs to another object' }]
  }

  /** The first segment of an index. */
  #checkBegin(
    segment: StoredSegment,
    before: StoredSegment | undefined,
    expectedIndex: number,
  ): Problem[] {
    if (segment.index !== expectedIndex) {
      const { generation } = segment
      const ref = { kind: 'wal-segment', generation, index: expectedIndex, offset: 0 } as const
      const last = segment.index - 1
      const more = last === expectedIndex ? '' : `, and the indexes up to ${last}`
      return [{ ref, problem: `it is missing${more}` }]
    }
    if (segment.offset !== 0) return [{ ref: { ...segment, offset: 0 }, problem: 'it is missing' }]
    const stated = this.#segmentTrailer(segment)?.previousIndexEnd
    const stored = before && this.#segmentTrailer(before)
    if (stated === undefined || stored === undefined) return []
    if (stated.offset === stored.endOffset && sameChecksum(stated.checksum, stored.checksumAfter)) {
      return []
    }
    const problem = `the index before it ended at offset ${stated.offset}, but its stored segments end at ${stored.endOffset}: a segment is missing`
    return [{ ref: segment, problem }]
  }

  /** Another segment of the same index. */
  #checkNext(segment: StoredSegment, before: StoredSegment | undefined): Problem[] {
    const previous = before && this.#segmentTrailer(before)
    if (previous === undefined) return []
    if (segment.offset < previous.endOffset) {
      const problem = `it begins before the end of the one before it, at offset ${previous.endOffset}: segments are doubled`
      return [{ ref: segment, problem }]
    }
    if (segment.offset > previous.endOffset) {
      const ref = { ...segment, offset: previous.endOffset }
      return [{ ref, problem: `it is missing: the next one begins at offset ${segment.offset}` }]
    }
    const trailer = this.#segmentTrailer(segment)
    if (trailer === undefined) return []
    if ((trailer.captures[0]?.timeMs ?? 0) < (previous.captures.at(-1)?.timeMs ?? 0)) {
      this.#warn(segment, 'its commits are older than those of the one before it')
    }
    return sameChecksum(trailer.checksumBefore, previous.checksumAfter) &&
      sameSalts(trailer.salts, previous.salts)
      ? []
      : [{ ref: segment, problem: 'it does not continue the one before it' }]
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
    if (!isOf(snapshot, trailer)) {
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
    const tail = this.#tails.get(formatObjectPath(segment))
    return tail?.kind === 'trailer' && tail.trailer.kind === 'wal-segment'
      ? tail.trailer
      : undefined
  }

  #at(position: WalPosition): string {
    return formatPosition({ generation: this.#listing.generation, ...position })
  }

  #damage(ref: ObjectRef, problem: string): void {
    const proven =
      this.#provenTo === undefined
        ? ''
        : `; the last commit before it that can be restored ends at ${this.#at(this.#provenTo)}`
    this.#add('damage', ref, `${problem}${proven}`)
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

function unreadable({ problem }: { readonly problem: string }): string {
  return `its trailer is damaged: ${problem}`
}

function isOf(
  snapshot: StoredSnapshot,
  trailer: SnapshotTrailer | WalSegmentTrailer,
): trailer is SnapshotTrailer {
  return (
    trailer.kind === 'snapshot' &&
    trailer.generation === snapshot.generation &&
    trailer.index === snapshot.index
  )
}
