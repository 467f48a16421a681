/**
 * Where what a replica has of a generation ends. A listing tells, and it may lag behind what is stored; then the names are
 * asked for that the next segment can have.
 */
import { type Generation } from '../../domain/wal/generation.js'
import { type WalPosition } from '../../domain/wal/position.js'
import { type WalSegmentRef } from '../../domain/stored/replica-layout.js'
import { ownTrailer } from '../../domain/stored/trailer.js'
import { type Checksum } from '../../domain/wal/wal-format.js'
import { nextInLog } from '../../domain/stored/segment-chain.js'
import { type ReplicaClient, type WalSegmentInfo } from '../ports/replica-client.js'
import { type SpooledSegment } from '../ports/spool.js'
import { readTrailer, readTrailerByName } from '../stored/trailers.js'
import { markOf } from './send-segment.js'

export interface StoredEnd {
  readonly position: WalPosition
  /** Of the last frame; undefined: it cannot be read. */
  readonly checksum: Checksum | undefined
}

/** A segment that is stored, whatever a listing shows. */
export interface StoredSegment extends StoredEnd {
  /** As it would be in the spool. */
  readonly segment: SpooledSegment
  /** As a listing shows it; undefined: not known. */
  readonly storedBytes: number | undefined
}

interface Where {
  readonly client: ReplicaClient
  readonly generation: Generation
  readonly spooled: readonly SpooledSegment[]
}

/**
 * Where a stored segment ends, as its trailer says. One that is encrypted and cannot be read here is told by its name, size
 * and mark to be one that the spool still has. Undefined: it cannot be told.
 */
export async function readEnd(
  where: Where,
  stored: WalSegmentInfo,
  signal: AbortSignal,
): Promise<StoredEnd | undefined> {
  const { client } = where
  const found = await readTrailer(client, stored, signal)
  if (found.kind === 'trailer') {
    const trailer = ownTrailer(stored, found)
    if (trailer === undefined) return undefined
    const position = { index: stored.index, offset: trailer.endOffset }
    return { position, checksum: trailer.checksumAfter }
  }
  const object = { ref: stored, sizeBytes: stored.sizeBytes }
  const contentBytes = await client.contentBytes(object, signal)
  const same = await spooledAs(where, { ref: stored, contentBytes }, signal)
  const position = same && { index: same.index, offset: same.endOffset }
  return position && { position, checksum: undefined }
}

/** A segment that is stored under the name, whatever a listing shows; undefined: there is none that can be told. */
export async function readByName(
  where: Where,
  at: WalPosition,
  signal: AbortSignal,
): Promise<StoredSegment | undefined> {
  const { client, generation } = where
  const ref: WalSegmentRef = { kind: 'wal-segment', generation, ...at }
  const read = await readTrailerByName(client, ref, signal)
  if (read === undefined) return undefined
  const { found } = read
  if (found.kind === 'trailer') {
    const trailer = ownTrailer(ref, found)
    if (trailer === undefined) return undefined
    const { index, startOffset, endOffset } = trailer
    const walBytes = endOffset - startOffset
    const place = { generation, index, startOffset, endOffset }
    return {
      position: { index, offset: endOffset },
      checksum: trailer.checksumAfter,
      segment: { ...place, sizeBytes: read.contentBytes, walBytes, trailer },
      // Encrypted, it has another size there.
      storedBytes: client.isEncrypted ? undefined : read.contentBytes,
    }
  }
  const object = { ref, sizeBytes: read.contentBytes }
  const contentBytes = await client.contentBytes(object, signal)
  const same = await spooledAs(where, { ref, contentBytes }, signal)
  if (same === undefined) return undefined
  return {
    position: { index: same.index, offset: same.endOffset },
    checksum: undefined,
    segment: same,
    storedBytes: read.contentBytes,
  }
}

/** The segments that follow a place and that no listing shows, in order. */
export async function readBehind(
  where: Where,
  end: WalPosition | undefined,
  signal: AbortSignal,
): Promise<readonly StoredSegment[]> {
  const all: StoredSegment[] = []
  for (let at = end; ;) {
    const found = await readNext(where, at, signal)
    if (found === undefined) return all
    all.push(found)
    at = found.position
  }
}

async function readNext(
  where: Where,
  end: WalPosition | undefined,
  signal: AbortSignal,
): Promise<StoredSegment | undefined> {
  const next = nextInLog(where.spooled, end)
  if (next !== undefined) {
    return readByName(where, { index: next.index, offset: next.startOffset }, signal)
  }
  if (end === undefined) return readByName(where, { index: 0, offset: 0 }, signal)
  const within = await readByName(where, end, signal)
  if (within !== undefined) return within
  const first = await readByName(where, { index: end.index + 1, offset: 0 }, signal)
  return first?.segment.trailer.previousIndexEnd?.offset === end.offset ? first : undefined
}

/** The segment of the spool that an object is which cannot be read. */
async function spooledAs(
  { client, spooled }: Where,
  { ref, contentBytes }: { readonly ref: WalSegmentRef; readonly contentBytes: number },
  signal: AbortSignal,
): Promise<SpooledSegment | undefined> {
  const same = spooled.find(
    ({ index, startOffset, sizeBytes }) =>
      index === ref.index && startOffset === ref.offset && sizeBytes === contentBytes,
  )
  if (same === undefined) return undefined
  const isMarked = (await client.isMarked({ ref, mark: markOf(same) }, signal)) ?? true
  return isMarked ? same : undefined
}
