import { ObjectNotFoundError } from '../../domain/errors.js'
import { type Generation } from '../../domain/wal/generation.js'
import { type Lineage } from '../../domain/stored/lineage.js'
import { comparePositions, type WalPosition } from '../../domain/wal/position.js'
import { formatObjectPath } from '../../domain/stored/replica-layout.js'
import { type StoredSegment, type StoredSnapshot } from '../../domain/stored/restore-plan.js'
import {
  type RetainedGeneration,
  type RetainedSnapshot,
} from '../../domain/policy/retention-policy.js'
import { chainStart, headOf, succession, tailOf } from '../../domain/stored/segment-chain.js'
import { isTrailerOf, type Trailer, type WalSegmentTrailer } from '../../domain/stored/trailer.js'
import { isAbortError } from '../../kit/abort.js'
import { type ReplicaClient } from '../ports/replica-client.js'
import { readTrailerOrDamage } from '../stored/trailers.js'
import { listGeneration, storedSpan } from '../stored/replica-history.js'

type Found = Trailer | 'none' | 'unreadable'

/** Reads what a replica has, and the trailers that say of when it is. Trailers never change, and are kept. */
export class RetainedListing {
  readonly #client: ReplicaClient
  #trailers = new Map<string, Found>()
  #used = new Map<string, Found>()
  readonly #broken = new Set<string>()
  /** Snapshots that can be restored, with what of the segments they need was there. */
  readonly #whole = new Set<string>()

  constructor(client: ReplicaClient) {
    this.#client = client
  }

  /** All of the replica, or an error: half a listing is none. */
  async read(signal: AbortSignal): Promise<RetainedGeneration[]> {
    this.#used = new Map()
    const names = await Array.fromAsync(this.#client.listGenerations(signal))
    const generations: RetainedGeneration[] = []
    for (const name of names) generations.push(await this.#generation(name, signal))
    this.#trailers = this.#used
    return generations
  }

  async #generation(generation: Generation, signal: AbortSignal): Promise<RetainedGeneration> {
    const listing = await listGeneration(this.#client, generation, signal)
    const snapshots: RetainedSnapshot[] = []
    let lineage: Lineage | undefined
    for (const snapshot of listing.snapshots) {
      const found = await this.#trailer(snapshot, signal)
      const trailer = typeof found === 'object' && isTrailerOf(snapshot, found) ? found : undefined
      snapshots.push({
        ...snapshot,
        consistentFrom: trailer?.consistentFrom,
        commitTimeMs: trailer?.commitTimeMs ?? snapshot.createdAtMs,
        finishedAtMs: Math.max(snapshot.createdAtMs, trailer?.endTimeMs ?? 0),
        broken:
          (found !== 'none' && trailer === undefined) || this.#broken.has(identityOf(snapshot)),
      })
      if (trailer !== undefined) lineage = trailer.lineage
    }
    const last = listing.segments.at(-1)
    const trailer = last === undefined ? undefined : await this.#segmentTrailer(last, signal)
    const lastTimeMs = trailer?.captures.at(-1)?.timeMs ?? last?.createdAtMs ?? 0
    return {
      generation,
      lineage,
      snapshots,
      segments: listing.segments,
      endMs: Math.max(lastTimeMs, ...snapshots.map(({ commitTimeMs }) => commitTimeMs)),
      newestObjectMs: storedSpan(listing)?.lastStoredMs ?? 0,
      endPosition:
        last === undefined || trailer === undefined
          ? undefined
          : { index: last.index, offset: trailer.endOffset },
    }
  }

  async #segmentTrailer(
    segment: StoredSegment,
    signal: AbortSignal,
  ): Promise<WalSegmentTrailer | undefined> {
    const found = await this.#trailer(segment, signal)
    return typeof found === 'object' && isTrailerOf(segment, found) ? found : undefined
  }

  async #trailer(object: StoredSegment | StoredSnapshot, signal: AbortSignal): Promise<Found> {
    const key = identityOf(object)
    let found = this.#trailers.get(key) ?? this.#used.get(key)
    if (found === undefined) {
      const read = await readTrailerOrDamage(this.#client, object, signal)
      found = read.kind === 'trailer' ? read.trailer : read.kind
    }
    this.#used.set(key, found)
    return found
  }

  /**
   * Whether a snapshot can be restored by the trailers of its segments: they follow each other without a gap up to where it
   * is consistent. One for which they do not is marked as broken in later listings.
   */
  async isWhole(
    snapshot: RetainedSnapshot,
    segments: readonly StoredSegment[],
    signal: AbortSignal,
  ): Promise<boolean> {
    const end = snapshot.consistentFrom
    if (end === undefined) return true
    const start: WalPosition = { index: snapshot.index, offset: 0 }
    const needed = segments.filter(
      (each) => comparePositions(each, start) >= 0 && comparePositions(each, end) < 0,
    )
    const bytes = needed.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)
    const identity = identityOf(snapshot)
    const known = `${identity} ${needed.length} ${bytes}`
    if (this.#whole.has(known)) return true
    const isWhole = await this.#tiles(start, end, needed, signal)
    if (isWhole) this.#whole.add(known)
    else this.#broken.add(identity)
    return isWhole
  }

  async #tiles(
    start: WalPosition,
    end: WalPosition,
    segments: readonly StoredSegment[],
    signal: AbortSignal,
  ): Promise<boolean> {
    let tail = chainStart(start.index)
    for (const segment of segments) {
      const trailer = await this.#segmentOrMissing(segment, signal)
      if (trailer === undefined) return false
      if (succession(tail, headOf(segment, trailer)).kind !== 'continues') return false
      tail = tailOf(segment, trailer)
    }
    const endsBefore = end.offset === 0 && end.index === tail.index + 1
    return endsBefore || comparePositions(tail, end) >= 0
  }

  async #segmentOrMissing(
    segment: StoredSegment,
    signal: AbortSignal,
  ): Promise<WalSegmentTrailer | undefined> {
    try {
      return await this.#segmentTrailer(segment, signal)
    } catch (error) {
      if (isAbortError(error) || !(error instanceof ObjectNotFoundError)) throw error
      return undefined
    }
  }
}

/** Tells an object from another one that was stored under its name. */
function identityOf(object: StoredSegment | StoredSnapshot): string {
  return `${formatObjectPath(object)} ${object.sizeBytes} ${object.createdAtMs}`
}
