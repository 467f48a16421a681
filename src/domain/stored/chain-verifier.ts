/**
 * Verifies, object by object and in order, that a snapshot and the segments after it are one unbroken history up to a
 * commit. Whatever is less is thrown as a {@link CorruptionError} that names the object, the position and the last
 * commit that is verified: people read it when nothing else is left of their database.
 */
import { CorruptionError } from '../errors.js'
import { comparePositions, formatPosition, type WalPosition } from '../wal/position.js'
import { refusePages } from './content-bounds.js'
import { formatObjectPath, type ObjectRef } from './replica-layout.js'
import { type StoredSegment, type StoredSnapshot } from './restore-plan.js'
import { type ChainTail, succession } from './segment-chain.js'
import { type SegmentContent } from '../wal/segment-verifier.js'
import {
  isTrailerOf,
  type SnapshotTrailer,
  type Trailer,
  type WalSegmentTrailer,
} from './trailer.js'
import { type Checksum, sameChecksum, sameSalts, type WalHeader } from '../wal/wal-format.js'

/** What is stored does not go on from a place, up to which it is verified. */
export class BrokenChainError extends CorruptionError {
  readonly verifiedTo: WalPosition

  constructor(
    message: string,
    verifiedTo: WalPosition,
    options: { cause?: unknown; hint?: string } = {},
  ) {
    super(message, options)
    this.verifiedTo = verifiedTo
  }
}

/** What was found in the body of a stored object. `problem` is what is wrong with it by itself. */
export interface SnapshotFacts {
  /** Undefined for an empty database. */
  readonly pageSizeBytes: number | undefined
  readonly sizeBytes: number
  readonly trailer: Trailer | undefined
  readonly problem: string | undefined
}
export interface SegmentFacts {
  readonly content: SegmentContent
  readonly trailer: Trailer | undefined
  readonly problem: string | undefined
}

interface VerifiedCommit {
  readonly position: WalPosition
  readonly pageCount: number
  readonly timeMs: number | undefined
}

/** Where the proof has got to. */
export interface Verified {
  readonly position: WalPosition
  readonly pageSizeBytes: number | undefined
  readonly sizeBytes: number
  /** Whether a commit states the size; else the snapshot's is it. */
  readonly isCommitted: boolean
}

export class ChainVerifier {
  readonly #snapshot: StoredSnapshot
  readonly #target: WalPosition | undefined
  readonly #maxPageCount: number
  #pageSizeBytes: number | undefined
  #imageBytes = 0
  #snapshotTrailer: SnapshotTrailer | undefined
  #header: WalHeader | undefined
  #checksum: Checksum = { s0: 0, s1: 0 }
  #position: WalPosition
  #commit: VerifiedCommit | undefined
  #last: ObjectRef

  /** `target` is where the last segment is to be cut, if it is; `maxPageCount`, what the database can have of pages. */
  constructor(
    snapshot: StoredSnapshot,
    { target, maxPageCount }: { target: WalPosition | undefined; maxPageCount: number },
  ) {
    this.#snapshot = snapshot
    this.#target = target
    this.#maxPageCount = maxPageCount
    this.#position = { index: snapshot.index, offset: 0 }
    this.#last = snapshot
  }

  addSnapshot(facts: SnapshotFacts): void {
    this.#guard(this.#snapshot, () => {
      if (facts.problem !== undefined) throw new CorruptionError(facts.problem)
      this.#pageSizeBytes = facts.pageSizeBytes
      this.#imageBytes = facts.sizeBytes
      const { trailer } = facts
      if (trailer === undefined) return
      if (
        !isTrailerOf(this.#snapshot, trailer) ||
        trailer.pageSizeBytes !== (this.#pageSizeBytes ?? trailer.pageSizeBytes)
      ) {
        throw new CorruptionError('its trailer belongs to another object')
      }
      this.#snapshotTrailer = trailer
    })
  }

  addSegment(segment: StoredSegment, facts: SegmentFacts): void {
    this.#guard(segment, () => {
      const { content, trailer } = facts
      if (trailer !== undefined && !isTrailerOf(segment, trailer)) {
        throw new CorruptionError('its trailer belongs to another object')
      }
      this.#follow(segment, content, trailer)
      this.#last = segment
      if (segment.offset === 0) {
        if (segment.index !== this.#snapshot.index) this.#endIndex()
        this.#header = undefined
      }
      const before = this.#header === undefined ? undefined : this.#checksum
      this.#takeContent(segment, content)
      if (facts.problem !== undefined) throw new CorruptionError(facts.problem)
      if (trailer === undefined) return
      this.#compare(trailer, before)
      const commit = this.#commit
      if (commit !== undefined) {
        const at = commit.position.offset
        const capture = trailer.captures.find((each) => each.endOffset >= at)
        this.#commit = { ...commit, timeMs: capture?.timeMs }
      }
    })
  }

  /** The end of the history; nothing may be missing of the last transaction. */
  finish(): Verified {
    this.#guard(this.#last, () => {
      if (this.#last.kind === 'wal-segment') this.#endIndex()
      const from = this.#snapshotTrailer?.consistentFrom
      const reached = this.#commit?.position ?? this.#position
      if (from !== undefined && comparePositions(reached, from) < 0) {
        throw new CorruptionError(
          `the snapshot can be restored from ${this.#at(from)} on, but the stored segments end at ${this.#at(reached)}`,
        )
      }
    })
    return {
      position: this.#commit?.position ?? this.#position,
      pageSizeBytes: this.#pageSizeBytes,
      sizeBytes: this.#imageBytes,
      isCommitted: this.#commit !== undefined,
    }
  }

  /** Nothing may be missing between what is verified and a segment, or be there twice. */
  #follow(
    segment: StoredSegment,
    { checksumBefore, salts }: SegmentContent,
    trailer: WalSegmentTrailer | undefined,
  ): void {
    const tail: ChainTail = {
      ...this.#position,
      isExact: true,
      checksum: this.#header === undefined ? undefined : this.#checksum,
      salts: this.#header?.salts,
    }
    const { index, offset } = segment
    const previousIndexEnd = trailer?.previousIndexEnd
    const found = succession(tail, { index, offset, checksumBefore, salts, previousIndexEnd })
    switch (found.kind) {
      case 'gap': {
        const { generation } = segment
        const path = formatObjectPath({ kind: 'wal-segment', generation, ...found.missing })
        throw new CorruptionError(
          `a segment is missing before it, ${path}: nothing is stored from ${this.#at(found.from)} to ${this.#at(found.to)}`,
        )
      }
      case 'overlap':
        throw new CorruptionError(
          `it begins before ${this.#at(tail)}, where what comes before it ends: segments overlap`,
        )
      case 'other frames':
        throw new CorruptionError('the frame there does not continue the previous one')
      case 'continues':
      case 'unknown':
    }
  }

  #takeContent(segment: StoredSegment, content: SegmentContent): void {
    const { header } = content
    if (header !== undefined) {
      this.#pageSizeBytes ??= header.pageSizeBytes
      if (header.pageSizeBytes !== this.#pageSizeBytes) {
        throw new CorruptionError(
          `pages of ${header.pageSizeBytes} bytes, but the database has ${this.#pageSizeBytes}`,
        )
      }
      this.#header = header
    } else if (this.#header === undefined && content.salts !== undefined) {
      throw new CorruptionError('its index has no header')
    }
    this.#checksum = content.checksumAfter ?? this.#checksum
    this.#position = { index: segment.index, offset: content.endOffset }
    if (content.commit !== undefined) {
      refusePages(content.commit.pageCount, this.#maxPageCount)
      this.#commit = {
        position: { index: segment.index, offset: content.commit.endOffset },
        pageCount: content.commit.pageCount,
        timeMs: undefined,
      }
    }
  }

  /** The size of the database is the one that the last commit of an index states. */
  #endIndex(): void {
    const target = this.#target
    const commit = this.#commit
    const isCut =
      target !== undefined &&
      target.index === this.#position.index &&
      commit !== undefined &&
      comparePositions(commit.position, target) === 0
    if (
      commit === undefined ||
      (!isCut && comparePositions(commit.position, this.#position) !== 0)
    ) {
      throw new CorruptionError(
        `the segments end at ${this.#at(this.#position)} within a transaction`,
      )
    }
    this.#imageBytes = commit.pageCount * (this.#pageSizeBytes ?? 0)
  }

  #compare(trailer: WalSegmentTrailer, before: Checksum | undefined): void {
    const header = this.#header
    if (
      trailer.endOffset !== this.#position.offset ||
      trailer.pageSizeBytes !== this.#pageSizeBytes ||
      header === undefined ||
      !sameSalts(trailer.salts, header.salts) ||
      !sameChecksum(trailer.checksumAfter, this.#checksum) ||
      (before !== undefined && !sameChecksum(trailer.checksumBefore, before))
    ) {
      throw new CorruptionError('its content is not what its trailer says')
    }
  }

  #at(position: WalPosition): string {
    const { generation } = this.#snapshot
    return formatPosition({ generation, index: position.index, offset: position.offset })
  }

  /** Says which object failed, and what is verified still. */
  #guard(ref: ObjectRef, work: () => void): void {
    try {
      work()
    } catch (error) {
      if (!(error instanceof CorruptionError)) throw error
      const commit = this.#commit
      const time =
        commit?.timeMs === undefined ? '' : ` of ${new Date(commit.timeMs).toISOString()}`
      throw new BrokenChainError(
        `${formatObjectPath(ref)}: ${error.message}; at ${this.#at(this.#position)}; ${
          commit === undefined
            ? 'no commit before it is verified'
            : `the last verified commit ends at ${this.#at(commit.position)}${time}`
        }`,
        commit?.position ?? { index: this.#snapshot.index, offset: 0 },
        { cause: error, ...(error.hint === undefined ? {} : { hint: error.hint }) },
      )
    }
  }
}
