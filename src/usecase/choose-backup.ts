/** Chooses what to restore from: replica, generation, snapshot and segments, from listings and trailers. */
import {
  CorruptionError,
  isAbortError,
  NoBackupError,
  ObjectNotFoundError,
} from '../domain/errors.js'
import { type Generation } from '../domain/generation.js'
import { comparePositions, formatPosition, type WalPosition } from '../domain/position.js'
import { formatObjectPath } from '../domain/replica-layout.js'
import {
  type ChainEnd,
  chainSegments,
  type GenerationListing,
  isBefore,
  orderListing,
  type StoredSegment,
  type StoredSnapshot,
} from '../domain/restore-plan.js'
import { type SnapshotTrailer, type WalSegmentTrailer } from '../domain/trailer.js'
import { findPlace, type Place } from './find-place.js'
import { mapAtOnce } from './map-at-once.js'
import { type RestoreRequest, type RestoreSource } from './restore-types.js'
import { firstOf, isSourceFailure, messageOf } from './source-failures.js'
import { TrailerReader } from './trailer-reader.js'

const maxGenerationsAtOnce = 8
const maxSearches = 3

interface Candidate {
  readonly source: RestoreSource
  readonly listing: GenerationListing
  readonly snapshot: StoredSnapshot
  readonly snapshotTrailer: SnapshotTrailer | undefined
  readonly end: ChainEnd
  readonly lastTrailer: WalSegmentTrailer | undefined
  readonly position: WalPosition
  readonly commitTimeMs: number
  readonly timeIsApproximate: boolean
  readonly notes: readonly string[]
}

/** What a restore reads, and where it ends. */
export interface Backup extends Candidate {
  readonly segments: readonly StoredSegment[]
  readonly storedBytes: number
}

export interface Choosing {
  /** What the user should know is added to them. */
  readonly notes: string[]
  /** Sources that failed are added to them. */
  readonly failed: Map<RestoreSource, unknown>
  readonly signal: AbortSignal
}

/** The backup that comes nearest to the target. Throws {@link NoBackupError}, or what kept every source from it. */
export async function chooseBackup(
  request: RestoreRequest,
  sources: readonly RestoreSource[],
  choosing: Choosing,
): Promise<Backup> {
  const { notes, failed, signal } = choosing
  const candidates: Candidate[] = []
  const searched = new Map<RestoreSource, Searched>()
  let earliest: Moment | undefined
  const search = async (source: RestoreSource): Promise<readonly Found[]> => {
    try {
      const result = await searchSource(source, request, notes, signal)
      searched.set(source, result)
      return result.found
    } catch (error) {
      if (signal.aborted || isAbortError(error) || !isSourceFailure(error)) throw error
      failed.set(source, error)
      notes.push(`replica ${source.name} was passed over: ${messageOf(error)}`)
      return []
    }
  }
  for (const { candidate, earliest: moment } of (await Promise.all(sources.map(search))).flat()) {
    if (candidate !== undefined) candidates.push(candidate)
    if (moment !== undefined && (earliest === undefined || moment.timeMs < earliest.timeMs)) {
      earliest = moment
    }
  }
  candidates.sort((a, b) => b.commitTimeMs - a.commitTimeMs)
  let gap: unknown
  for (const candidate of candidates) {
    if (failed.has(candidate.source)) continue
    const chain = chainSegments(candidate.listing, candidate.snapshot.index, candidate.end)
    if (chain.kind === 'whole') {
      const { segments } = chain
      const storedBytes = segments.reduce(
        (sum, segment) => sum + segment.sizeBytes,
        candidate.snapshot.sizeBytes,
      )
      return { ...candidate, segments, storedBytes }
    }
    const { generation } = candidate.listing
    const known = chain.lastKnown
    gap = new CorruptionError(
      `${formatObjectPath(chain.missing)} is missing on replica ${candidate.source.name}; the segments before it end behind ${formatPosition(
        known ?? { generation, index: candidate.snapshot.index, offset: 0 },
      )}`,
      { hint: 'An earlier index or time can be restored.' },
    )
    failed.set(candidate.source, gap)
    notes.push(`replica ${candidate.source.name} was passed over: ${messageOf(gap)}`)
  }
  if (failed.size > 0) throw firstOf(failed)
  if (earliest === undefined) {
    throw new NoBackupError(
      ['no matching backups found', notes.join('; ')].filter((text) => text !== '').join(': '),
      { hint: describeSearch(searched) },
    )
  }
  throw request.target.kind === 'timestamp'
    ? new NoBackupError(
        `no matching backups found: the first moment that can be restored is ${earliest.approximate ? 'approximately ' : ''}${new Date(earliest.timeMs).toISOString()}`,
      )
    : new NoBackupError('no matching backups found: no snapshot reaches what is stored of the WAL')
}

interface Found {
  readonly candidate: Candidate | undefined
  readonly earliest: Moment | undefined
}

interface Searched {
  readonly generationCount: number
  readonly found: readonly Found[]
}

/** For somebody who has found nothing: where it was looked for, and what is there. */
function describeSearch(searched: ReadonlyMap<RestoreSource, Searched>): string {
  if (searched.size === 0) return 'The database has no replica.'
  return [...searched]
    .map(([{ name, client }, { generationCount: count }]) => {
      const generations = count === 1 ? '1 generation' : `${count} generations`
      const held = count === 0 ? 'no backup' : `${generations}, but nothing that was asked for`
      return `Replica ${name}, ${client.location}, holds ${held}.`
    })
    .join(' ')
}

/** What each generation offers; looked up again when objects vanish under our eyes. */
async function searchSource(
  source: RestoreSource,
  request: RestoreRequest,
  notes: string[],
  signal: AbortSignal,
): Promise<Searched> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      const all = await Array.fromAsync(source.client.listGenerations(signal))
      const generations = all.filter(
        (generation) => request.generation === undefined || request.generation === generation,
      )
      const found = await mapAtOnce(generations, maxGenerationsAtOnce, async (generation) => {
        const listing = await listGeneration(source, generation, notes, signal)
        return listing === undefined ? undefined : findCandidate(source, listing, request, signal)
      })
      return { generationCount: all.length, found: found.filter((each) => each !== undefined) }
    } catch (error) {
      if (!(error instanceof ObjectNotFoundError) || attempt === maxSearches) throw error
    }
  }
}

/** Undefined for a generation that cannot be restored, for it has no snapshot. */
async function listGeneration(
  source: RestoreSource,
  generation: Generation,
  notes: string[],
  signal: AbortSignal,
): Promise<GenerationListing | undefined> {
  const { client } = source
  // Snapshots first: whatever one of them needs is stored before it.
  const snapshots = await Array.fromAsync(client.listSnapshots(generation, signal))
  const segments = await Array.fromAsync(client.listWalSegments(generation, signal))
  if (snapshots.length > 0) return orderListing({ generation, snapshots, segments })
  if (segments.length > 0) {
    notes.push(`generation ${generation} on replica ${source.name} has no snapshot`)
  }
  return undefined
}

interface Moment {
  readonly timeMs: number
  readonly approximate: boolean
}

/** The newest snapshot that serves the target, and the place in the generation that the target names. */
async function findCandidate(
  source: RestoreSource,
  listing: GenerationListing,
  request: RestoreRequest,
  signal: AbortSignal,
): Promise<Found> {
  const { target } = request
  const notes: string[] = []
  const trailers = new TrailerReader(source.client, notes, signal)
  let earliest: Moment | undefined
  let place: Place | undefined
  for (const snapshot of listing.snapshots.toReversed()) {
    if (target.kind === 'index' && snapshot.index > target.index) continue
    const snapshotTrailer = await trailers.snapshot(snapshot)
    const timeMs = snapshotTrailer?.commitTimeMs ?? snapshot.createdAtMs
    if (earliest === undefined || timeMs < earliest.timeMs) {
      earliest = { timeMs, approximate: snapshotTrailer === undefined }
    }
    if (target.kind === 'timestamp' && timeMs > target.timeMs) continue
    place ??= await findPlace(listing, target, trailers)
    const start: WalPosition = { index: snapshot.index, offset: 0 }
    const consistentFrom = snapshotTrailer?.consistentFrom ?? start
    // A place before the snapshot's start means that nothing was written since.
    const useful = place !== undefined && comparePositions(place.position, start) >= 0
    const end: ChainEnd =
      useful && place !== undefined ? place.end : { kind: 'position', position: start }
    const position = useful && place !== undefined ? place.position : start
    if (comparePositions(position, consistentFrom) < 0) continue
    const commitTimeMs = useful && place !== undefined ? Math.max(place.timeMs, timeMs) : timeMs
    const approximate =
      useful && place !== undefined ? place.approximate : snapshotTrailer === undefined
    if (
      target.kind === 'timestamp' &&
      isNewest(listing, end, useful ? place?.trailer : undefined) &&
      target.timeMs > commitTimeMs
    ) {
      notes.push(
        `nothing is stored after ${new Date(commitTimeMs).toISOString()}, which is before the moment asked for`,
      )
    }
    const candidate: Candidate = {
      source,
      listing,
      snapshot,
      snapshotTrailer,
      end,
      lastTrailer: useful ? place?.trailer : undefined,
      position,
      commitTimeMs,
      timeIsApproximate: approximate,
      notes,
    }
    return { candidate, earliest }
  }
  return { candidate: undefined, earliest }
}

/** Whether nothing is stored behind the end. */
function isNewest(
  listing: GenerationListing,
  end: ChainEnd,
  lastTrailer: WalSegmentTrailer | undefined,
): boolean {
  const last = listing.segments.at(-1)
  if (last === undefined) return true
  const cut =
    lastTrailer !== undefined &&
    end.kind === 'position' &&
    end.position.offset !== lastTrailer.endOffset
  return isBefore(last, end) && !cut
}
