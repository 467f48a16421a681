import { type Generation } from '../../domain/wal/generation.js'
import { comparePositions } from '../../domain/wal/position.js'
import {
  type ReplicaClient,
  type SnapshotInfo,
  type WalSegmentInfo,
} from '../ports/replica-client.js'
import { listGeneration, storedSpan } from './replica-history.js'

/** A generation on a replica. */
export interface GenerationInfo {
  /** Its name. */
  readonly generation: Generation
  /** When its first object was created, milliseconds since 1970; undefined: it has none. */
  readonly startMs: number | undefined
  /** When its last object was created, milliseconds since 1970; undefined: it has none. */
  readonly endMs: number | undefined
}

/** The generations of a replica with their bounds, oldest first; those without objects come last. */
export async function listGenerations(
  client: ReplicaClient,
  signal: AbortSignal,
): Promise<GenerationInfo[]> {
  const found: GenerationInfo[] = []
  for (const generation of await sortedGenerations(client, signal)) {
    const span = storedSpan(await listGeneration(client, generation, signal))
    found.push({ generation, startMs: span?.firstStoredMs, endMs: span?.lastStoredMs })
  }
  const order = ({ startMs }: GenerationInfo): number => startMs ?? Number.MAX_SAFE_INTEGER
  return found.sort((a, b) => order(a) - order(b))
}

/** All snapshots of a replica, by generation and index. */
export async function listSnapshots(
  client: ReplicaClient,
  signal: AbortSignal,
): Promise<SnapshotInfo[]> {
  const found: SnapshotInfo[] = []
  for (const generation of await sortedGenerations(client, signal)) {
    const snapshots = await Array.fromAsync(client.listSnapshots(generation, signal))
    found.push(...snapshots.sort((a, b) => a.index - b.index))
  }
  return found
}

/** All WAL segments of a replica or of one of its generations, by generation and position. */
export async function listWalSegments(
  client: ReplicaClient,
  only: Generation | undefined,
  signal: AbortSignal,
): Promise<WalSegmentInfo[]> {
  const found: WalSegmentInfo[] = []
  const generations = only === undefined ? await sortedGenerations(client, signal) : [only]
  for (const generation of generations) {
    const segments = await Array.fromAsync(client.listWalSegments(generation, signal))
    for (const segment of segments.sort(comparePositions)) found.push(segment)
  }
  return found
}

async function sortedGenerations(
  client: ReplicaClient,
  signal: AbortSignal,
): Promise<Generation[]> {
  return (await Array.fromAsync(client.listGenerations(signal))).sort()
}
