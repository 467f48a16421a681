/** Reads what a replica holds of each generation, which of them is the newest, and what is known to have been stored. */
import { ReplicaError } from '../../domain/errors.js'
import { type Generation } from '../../domain/wal/generation.js'
import {
  type GenerationFacts,
  type GenerationOrder,
  type Lineage,
  orderGenerations,
} from '../../domain/stored/lineage.js'
import { comparePositions, type WalPosition } from '../../domain/wal/position.js'
import { formatObjectPath } from '../../domain/stored/replica-layout.js'
import {
  parseReplicaOwner,
  type ReplicaOwner,
  type StoredRecord,
} from '../../domain/stored/replica-owner.js'
import { type GenerationListing, orderListing } from '../../domain/stored/restore-plan.js'
import { type SnapshotTrailer } from '../../domain/stored/trailer.js'
import { isAbortError } from '../../kit/abort.js'
import { mapAtOnce } from '../../kit/map-at-once.js'
import { type ReplicaClient } from '../ports/replica-client.js'
import { type TrailerReader } from './trailers.js'

const maxGenerationsAtOnce = 8

/** Something says that all of a generation up to here was stored. */
export interface StoredExtent {
  readonly position: WalPosition
  readonly timeMs: number
  /** What says so, as the beginning of a sentence. */
  readonly evidence: string
}

export interface StoredGeneration extends GenerationListing {
  /** Of the newest snapshot that has a trailer which can be read. */
  readonly newestTrailer: SnapshotTrailer | undefined
  /** The furthest; undefined: nothing tells. */
  readonly extent: StoredExtent | undefined
}

export interface ReplicaHistory {
  /** Of which there is any object. */
  readonly generations: readonly StoredGeneration[]
  /** Of those that have a snapshot or are recorded, and of a recorded one that is gone. */
  readonly order: GenerationOrder
  readonly facts: readonly GenerationFacts[]
  readonly owner: ReplicaOwner | undefined
  /** What the owner object says of the newest generation, and of the newest that has a snapshot. */
  readonly records: readonly StoredRecord[]
  /** All that have a folder, whatever was asked for. */
  readonly names: readonly Generation[]
}

/** `only`: nothing else is listed. */
export async function readHistory(
  client: ReplicaClient,
  options: {
    readonly only: Generation | undefined
    readonly trailers: TrailerReader
    readonly notes: string[]
  },
  signal: AbortSignal,
): Promise<ReplicaHistory> {
  const { only, trailers, notes } = options
  // Before the listings: what it says to be stored is then seen in them.
  const owner = await readOwner(client, notes, signal)
  const records = [owner?.stored, owner?.stored?.before].filter((each) => each !== undefined)
  const names = await Array.fromAsync(client.listGenerations(signal))
  const wanted = names.filter((name) => only === undefined || name === only)
  const found = await mapAtOnce(wanted, maxGenerationsAtOnce, async (name) => {
    const listing = await listGeneration(client, name, signal)
    if (listing.snapshots.length + listing.segments.length === 0) return undefined
    const newestTrailer = await newestSnapshotTrailer(listing, trailers)
    return { ...listing, newestTrailer, extent: extentOf(listing, newestTrailer, records) }
  })
  const generations = found.filter((each) => each !== undefined)
  const facts = factsOf(generations, records, only)
  return { generations, order: orderGenerations(facts), facts, owner, records, names }
}

/** The newest but for some: of these, none is known to come before another. */
export function newestBut(
  { facts, order }: ReplicaHistory,
  passedOver: readonly Generation[],
): readonly Generation[] {
  const rest = facts
    .map(({ generation }) => generation)
    .filter((each) => !passedOver.includes(each))
  const newest = rest.filter((each) => !rest.some((other) => order.isBefore(each, other)))
  return newest.length > 0 ? newest : rest
}

/** All generations that are there, the newest last. Where nothing tells, the time of the newest object does. */
export function inOrder({ generations, order }: ReplicaHistory): readonly StoredGeneration[] {
  const lastMs = (each: GenerationListing): number => storedSpan(each)?.lastStoredMs ?? 0
  const byTime = generations.toSorted((a, b) => lastMs(a) - lastMs(b))
  const sorted: StoredGeneration[] = []
  for (const each of byTime) {
    const later = sorted.findIndex((other) => order.isBefore(each.generation, other.generation))
    sorted.splice(later === -1 ? sorted.length : later, 0, each)
  }
  return sorted
}

/** When the first and the last object of a generation were stored; undefined: there is none. */
export function storedSpan({
  snapshots,
  segments,
}: GenerationListing): Pick<GenerationFacts, 'firstStoredMs' | 'lastStoredMs'> | undefined {
  const times = [...snapshots, ...segments].map(({ createdAtMs }) => createdAtMs)
  if (times.length === 0) return undefined
  return {
    firstStoredMs: times.reduce((a, b) => Math.min(a, b)),
    lastStoredMs: times.reduce((a, b) => Math.max(a, b)),
  }
}

/** What the owner object says of the place of a generation stands in for what nothing there tells. */
export function lineageOfRecord({ ordinal }: StoredRecord): Lineage {
  return { ordinal, epoch: 0, follows: [] }
}

/** What is known of a generation that has segments and no snapshot. */
export function isUnderWay(
  generation: Generation,
  { owner, records }: Pick<ReplicaHistory, 'owner' | 'records'>,
): boolean {
  const [record] = records
  if (record === undefined) return owner?.released === false
  return record.generation === generation && !record.hasSnapshot
}

export async function listGeneration(
  client: ReplicaClient,
  generation: Generation,
  signal: AbortSignal,
): Promise<GenerationListing> {
  // Snapshots first: whatever one of them needs is stored before it.
  const snapshots = await Array.fromAsync(client.listSnapshots(generation, signal))
  const segments = await Array.fromAsync(client.listWalSegments(generation, signal))
  return orderListing({ generation, snapshots, segments })
}

async function readOwner(
  client: ReplicaClient,
  notes: string[],
  signal: AbortSignal,
): Promise<ReplicaOwner | undefined> {
  try {
    const found = await client.readOwner(signal)
    return found === undefined ? undefined : parseReplicaOwner(found.content)
  } catch (error) {
    if (isAbortError(error) || !(error instanceof ReplicaError) || error.retryable) throw error
    // Whoever may only read what was stored is to have it.
    notes.push(`it is not known what was stored last: ${error.message}`)
    return undefined
  }
}

async function newestSnapshotTrailer(
  { snapshots }: GenerationListing,
  trailers: TrailerReader,
): Promise<SnapshotTrailer | undefined> {
  for (const snapshot of snapshots.toReversed()) {
    const trailer = await trailers.snapshot(snapshot)
    if (trailer !== undefined) return trailer
  }
  return undefined
}

function extentOf(
  { generation }: GenerationListing,
  trailer: SnapshotTrailer | undefined,
  records: readonly StoredRecord[],
): StoredExtent | undefined {
  const extents: StoredExtent[] = []
  if (trailer !== undefined) {
    const path = formatObjectPath({ kind: 'snapshot', generation, index: trailer.index })
    const { consistentFrom: position, commitTimeMs: timeMs } = trailer
    extents.push({ position, timeMs, evidence: `${path} was finished when everything was stored` })
  }
  for (const { generation: recorded, position, commitTimeMs: timeMs } of records) {
    if (recorded !== generation || position === undefined) continue
    extents.push({ position, timeMs, evidence: 'the owner of the replica had stored everything' })
  }
  return extents.toSorted((a, b) => comparePositions(a.position, b.position)).at(-1)
}

/** What orders the generations. The owner object stands in for the snapshots of its generation. */
function factsOf(
  generations: readonly StoredGeneration[],
  records: readonly StoredRecord[],
  only: Generation | undefined,
): readonly GenerationFacts[] {
  const withSnapshot = records.find(({ hasSnapshot }) => hasSnapshot)
  const recorded = withSnapshot && lineageOfRecord(withSnapshot)
  const facts = generations.flatMap((each): GenerationFacts[] => {
    const { generation, snapshots, newestTrailer } = each
    const span = storedSpan(each)
    const isRecorded = withSnapshot?.generation === generation
    if (span === undefined || (snapshots.length === 0 && !isRecorded)) return []
    const lineage = newestTrailer?.lineage ?? (isRecorded ? recorded : undefined)
    return [{ generation, lineage, ...span }]
  })
  if (withSnapshot === undefined) return facts
  const { generation, commitTimeMs } = withSnapshot
  if (only !== undefined && only !== generation) return facts
  if (facts.some((each) => each.generation === generation)) return facts
  const gone = { generation, lineage: recorded, firstStoredMs: commitTimeMs }
  return [...facts, { ...gone, lastStoredMs: commitTimeMs }]
}
