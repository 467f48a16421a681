import { ObjectNotFoundError } from '../../domain/errors.js'
import { type Generation } from '../../domain/wal/generation.js'
import { type FoundGeneration } from '../../domain/stored/lineage.js'
import { type ObjectRef } from '../../domain/stored/replica-layout.js'
import { comparePositions, type WalPosition } from '../../domain/wal/position.js'
import { type StoredSnapshot } from '../../domain/stored/restore-plan.js'
import { ownTrailer, type SnapshotTrailer, type TrailerOf } from '../../domain/stored/trailer.js'
import { type ReplicaClient } from '../ports/replica-client.js'
import { listGeneration, storedSpan } from './replica-history.js'
import { readTrailerOrDamage } from './trailers.js'

/**
 * What of a stored generation tells its place among the others: the listing, and the trailers of its newest snapshot and
 * its last segment. Undefined: nothing of it is there.
 */
export async function readGeneration(
  client: ReplicaClient,
  generation: Generation,
  signal: AbortSignal,
): Promise<FoundGeneration | undefined> {
  const listing = await listGeneration(client, generation, signal)
  const span = storedSpan(listing)
  if (span === undefined) return undefined
  const { snapshots } = listing
  const last = listing.segments.at(-1)
  const snapshot = await newestTrailer(client, snapshots, signal)
  const segment = last === undefined ? undefined : await trailerOf(client, last, signal)
  const ends: WalPosition[] = []
  const moments: number[] = []
  if (segment !== undefined) {
    ends.push({ index: segment.index, offset: segment.endOffset })
    moments.push(...segment.captures.map(({ timeMs }) => timeMs).slice(-1))
  }
  if (snapshot !== undefined) {
    ends.push(snapshot.consistentFrom)
    moments.push(snapshot.commitTimeMs)
  }
  const isTold = last === undefined ? snapshot !== undefined : segment !== undefined
  return {
    generation,
    lineage: snapshot?.lineage,
    ...span,
    end: isTold ? ends.toSorted(comparePositions).at(-1) : undefined,
    lastMomentMs: Math.max(...moments, ...(isTold ? [] : [span.lastStoredMs])),
  }
}

/** Of the newest snapshot that has one which can be read. */
async function newestTrailer(
  client: ReplicaClient,
  snapshots: readonly StoredSnapshot[],
  signal: AbortSignal,
): Promise<SnapshotTrailer | undefined> {
  for (const snapshot of snapshots.toReversed()) {
    const trailer = await trailerOf(client, snapshot, signal)
    if (trailer !== undefined) return trailer
  }
  return undefined
}

/** Undefined: it has none of its own that can be read, or is deleted under our eyes. */
async function trailerOf<Ref extends ObjectRef>(
  client: ReplicaClient,
  object: Ref & { readonly sizeBytes: number },
  signal: AbortSignal,
): Promise<TrailerOf<Ref> | undefined> {
  try {
    return ownTrailer<Ref>(object, await readTrailerOrDamage(client, object, signal))
  } catch (error) {
    if (error instanceof ObjectNotFoundError) return undefined
    throw error
  }
}
