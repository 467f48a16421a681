/**
 * Restores a database from a replica: plans from listings and trailers, then applies the snapshot and every segment
 * forward to an image that gets its name only when all of it is proven.
 */
import {
  CorruptionError,
  isAbortError,
  NoBackupError,
  ObjectNotFoundError,
} from '../domain/errors.js'
import { type Generation } from '../domain/generation.js'
import { comparePositions, formatPosition, type WalPosition } from '../domain/position.js'
import { formatObjectPath, type ObjectRef } from '../domain/replica-layout.js'
import {
  type ChainEnd,
  chainSegments,
  type GenerationListing,
  isBefore,
  orderListing,
  type StoredSegment,
  type StoredSnapshot,
} from '../domain/restore-plan.js'
import {
  parseTrailer,
  type SnapshotTrailer,
  type TrailerTail,
  type WalSegmentTrailer,
} from '../domain/trailer.js'
import {
  type Checksum,
  frameBytes,
  framePageNumber,
  frameHeaderBytes,
  isPageSize,
  parseWalHeader,
  sameChecksum,
  sameSalts,
  verifyFrames,
  walHeaderBytes,
  type WalHeader,
} from '../domain/wal-format.js'
import { type Clock } from './ports/clock.js'
import {
  type DatabaseImage,
  type DatabaseImageFactory,
  type ImageRun,
} from './ports/database-image.js'
import { readTrailer } from './read-trailer.js'
import { type ReplicaClient } from './ports/replica-client.js'
import {
  type RestoreProgress,
  type RestoreReport,
  type RestoreRequest,
  type RestoreSource,
} from './restore-types.js'

/** Decompresses the body of an object and throws {@link CorruptionError} unless it is whole. */
export type DecodeObject = (source: AsyncIterable<Uint8Array>) => AsyncIterable<Uint8Array>

export interface RestoreDependencies {
  readonly image: DatabaseImageFactory
  readonly decode: DecodeObject
  readonly clock: Clock
  readonly onProgress?: (progress: RestoreProgress) => void
}

/** Larger bodies are not held in memory. */
const maxBufferedBytes = 16 * 1024 * 1024
const maxBytesInFlight = 64 * 1024 * 1024
/** Of a body that is not held in memory, this much of the end is. */
const keptTailBytes = 64 * 1024
const maxPlans = 3

export async function restoreDatabase(
  request: RestoreRequest,
  dependencies: RestoreDependencies,
  signal: AbortSignal,
): Promise<RestoreReport> {
  const startedMs = dependencies.clock.monotonic()
  const notes: string[] = []
  const failed = new Map<RestoreSource, unknown>()
  let plans = 0
  for (;;) {
    signal.throwIfAborted()
    plans += 1
    const sources = request.sources.filter((source) => !failed.has(source))
    const plan = await choose(request, sources, { notes, failed, signal })
    try {
      const result = await execute(plan, request, dependencies, signal)
      return {
        replica: plan.source.name,
        generation: plan.listing.generation,
        snapshotIndex: plan.snapshot.index,
        position: result.position,
        commitTimeMs: plan.commitTimeMs,
        timeIsApproximate: plan.timeIsApproximate,
        segmentCount: plan.segments.length,
        storedBytes: totalBytes(plan),
        pageSizeBytes: result.pageSizeBytes,
        pageCount: result.pageCount,
        notes: [...new Set([...notes, ...plan.notes, ...result.notes])],
        durationMs: dependencies.clock.monotonic() - startedMs,
      }
    } catch (error) {
      if (signal.aborted || isAbortError(error)) throw error
      if (error instanceof ObjectNotFoundError && plans < maxPlans) {
        notes.push(`${error.message}: planned again`)
        continue
      }
      if (!isSourceError(error)) throw error
      failed.set(plan.source, error)
      notes.push(`replica ${plan.source.name} was given up: ${messageOf(error)}`)
      if (failed.size === request.sources.length) throw firstOf(failed)
    }
  }
}

/** Whether another replica may do better. */
function isSourceError(error: unknown): boolean {
  if (!(error instanceof Error) || !('code' in error)) return false
  return ['CORRUPTION', 'REPLICA', 'OBJECT_NOT_FOUND', 'NO_BACKUP'].includes(String(error.code))
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

function firstOf(errors: ReadonlyMap<unknown, unknown>): unknown {
  return errors.values().next().value
}

// Planning

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

interface Plan extends Candidate {
  readonly segments: readonly StoredSegment[]
}

interface Choosing {
  readonly notes: string[]
  readonly failed: Map<RestoreSource, unknown>
  readonly signal: AbortSignal
}

async function choose(
  request: RestoreRequest,
  sources: readonly RestoreSource[],
  choosing: Choosing,
): Promise<Plan> {
  const { notes, failed, signal } = choosing
  const candidates: Candidate[] = []
  let earliest: { timeMs: number; approximate: boolean } | undefined
  for (const source of sources) {
    try {
      for (const found of await findCandidates(source, request, notes, signal)) {
        if (found.candidate !== undefined) candidates.push(found.candidate)
        const moment = found.earliest
        if (moment !== undefined && (earliest === undefined || moment.timeMs < earliest.timeMs)) {
          earliest = moment
        }
      }
    } catch (error) {
      if (signal.aborted || isAbortError(error)) throw error
      if (!isSourceError(error)) throw error
      failed.set(source, error)
      notes.push(`replica ${source.name} was passed over: ${messageOf(error)}`)
    }
  }
  candidates.sort((a, b) => b.commitTimeMs - a.commitTimeMs)
  let gap: unknown
  for (const candidate of candidates) {
    if (failed.has(candidate.source)) continue
    const chain = chainSegments(candidate.listing, candidate.snapshot.index, candidate.end)
    if (chain.kind === 'whole') return { ...candidate, segments: chain.segments }
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

/** What each generation offers; looked up again when objects vanish under our eyes. */
async function findCandidates(
  source: RestoreSource,
  request: RestoreRequest,
  notes: string[],
  signal: AbortSignal,
): Promise<Found[]> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      const found: Found[] = []
      for (const listing of await listSource(source, request, notes, signal)) {
        found.push(await findCandidate(source, listing, request, signal))
      }
      return found
    } catch (error) {
      if (!(error instanceof ObjectNotFoundError) || attempt === maxPlans) throw error
    }
  }
}

async function listSource(
  source: RestoreSource,
  request: RestoreRequest,
  notes: string[],
  signal: AbortSignal,
): Promise<GenerationListing[]> {
  const { client } = source
  const generations: Generation[] = []
  for await (const generation of client.listGenerations(signal)) {
    if (request.generation === undefined || request.generation === generation) {
      generations.push(generation)
    }
  }
  const listings: GenerationListing[] = []
  for (const generation of generations) {
    // Snapshots first: whatever one of them needs is stored before it.
    const snapshots = await Array.fromAsync(client.listSnapshots(generation, signal))
    const segments = await Array.fromAsync(client.listWalSegments(generation, signal))
    if (snapshots.length > 0) {
      listings.push(orderListing({ generation, snapshots, segments }))
    } else if (segments.length > 0) {
      notes.push(`generation ${generation} on replica ${source.name} has no snapshot`)
    }
  }
  return listings
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
  const tails = new TailReader(source.client, notes, signal)
  let earliest: Moment | undefined
  let place: Place | undefined
  for (const snapshot of listing.snapshots.toReversed()) {
    if (target.kind === 'index' && snapshot.index > target.index) continue
    const snapshotTrailer = await tails.snapshot(snapshot)
    const timeMs = snapshotTrailer?.commitTimeMs ?? snapshot.createdAtMs
    if (earliest === undefined || timeMs < earliest.timeMs) {
      earliest = { timeMs, approximate: snapshotTrailer === undefined }
    }
    if (target.kind === 'timestamp' && timeMs > target.timeMs) continue
    place ??= await findPlace(listing, request, tails)
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

interface Place {
  readonly end: ChainEnd
  /** Where the end lies; behind a segment without trailer only its start is known. */
  readonly position: WalPosition
  readonly timeMs: number
  readonly approximate: boolean
  readonly trailer: WalSegmentTrailer | undefined
}

/** The place in a generation's segments that the target names; undefined when it lies before all of them. */
async function findPlace(
  listing: GenerationListing,
  request: RestoreRequest,
  tails: TailReader,
): Promise<Place | undefined> {
  const { target } = request
  if (target.kind === 'timestamp') return findMoment(listing.segments, target.timeMs, tails)
  const end: ChainEnd =
    target.kind === 'index' ? { kind: 'index', index: target.index } : { kind: 'newest' }
  const last = listing.segments.findLast((segment) => isBefore(segment, end))
  if (last === undefined) return undefined
  const trailer = await tails.segment(last)
  return {
    end,
    position: { index: last.index, offset: trailer?.endOffset ?? last.offset },
    timeMs: trailer?.captures.at(-1)?.timeMs ?? last.createdAtMs,
    approximate: trailer === undefined,
    trailer,
  }
}

async function findMoment(
  segments: readonly StoredSegment[],
  timeMs: number,
  tails: TailReader,
): Promise<Place | undefined> {
  const newest = segments.at(-1)
  if (newest === undefined) return undefined
  if ((await tails.segment(newest)) === undefined) {
    // The original's: it takes segments until the first that is later.
    const later = segments.findIndex((segment) => segment.createdAtMs > timeMs)
    const last = segments.at((later === -1 ? segments.length : later) - 1)
    if (later === 0 || last === undefined) return undefined
    return moment(last, timeMs, await tails.segment(last))
  }
  let low = 0
  let high = segments.length
  // Everything below `low` begins at or before the moment, everything from `high` on after it.
  while (low < high) {
    const middle = (low + high) >> 1
    const segment = segments[middle]
    if (segment === undefined) break
    const first = (await tails.segment(segment))?.captures[0]?.timeMs ?? segment.createdAtMs
    if (first <= timeMs) low = middle + 1
    else high = middle
  }
  const last = low === 0 ? undefined : segments[low - 1]
  return last === undefined ? undefined : moment(last, timeMs, await tails.segment(last))
}

function moment(
  segment: StoredSegment,
  timeMs: number,
  trailer: WalSegmentTrailer | undefined,
): Place {
  const capture = trailer?.captures.findLast((each) => each.timeMs <= timeMs)
  if (capture === undefined) {
    return {
      end: { kind: 'position', position: { index: segment.index, offset: segment.offset + 1 } },
      position: segment,
      timeMs: segment.createdAtMs,
      approximate: true,
      trailer: undefined,
    }
  }
  const position = { index: segment.index, offset: capture.endOffset }
  return {
    end: { kind: 'position', position },
    position,
    timeMs: capture.timeMs,
    approximate: false,
    trailer,
  }
}

/** Reads trailers from the ends of stored objects, each once. */
class TailReader {
  readonly #client: ReplicaClient
  readonly #notes: string[]
  readonly #signal: AbortSignal
  readonly #known = new Map<string, WalSegmentTrailer | undefined>()

  constructor(client: ReplicaClient, notes: string[], signal: AbortSignal) {
    this.#client = client
    this.#notes = notes
    this.#signal = signal
  }

  async segment(segment: StoredSegment): Promise<WalSegmentTrailer | undefined> {
    const path = formatObjectPath(segment)
    if (this.#known.has(path)) return this.#known.get(path)
    const tail = await this.#read(segment, segment.sizeBytes)
    const trailer =
      tail.kind === 'trailer' &&
      tail.trailer.kind === 'wal-segment' &&
      tail.trailer.index === segment.index &&
      tail.trailer.startOffset === segment.offset
        ? tail.trailer
        : undefined
    this.#known.set(path, trailer)
    return trailer
  }

  async snapshot(snapshot: StoredSnapshot): Promise<SnapshotTrailer | undefined> {
    const tail = await this.#read(snapshot, snapshot.sizeBytes)
    return tail.kind === 'trailer' && tail.trailer.kind === 'snapshot' ? tail.trailer : undefined
  }

  async #read(ref: ObjectRef, sizeBytes: number): Promise<TrailerTail> {
    const tail = await readTrailer(this.#client, { ref, sizeBytes }, this.#signal)
    if (tail.kind === 'unreadable') {
      this.#notes.push(`${formatObjectPath(ref)} has an unreadable trailer: ${tail.problem}`)
    }
    return tail
  }
}

function totalBytes(plan: Plan): number {
  return plan.segments.reduce((sum, segment) => sum + segment.sizeBytes, plan.snapshot.sizeBytes)
}

// Execution

interface Applied {
  readonly position: WalPosition
  readonly pageSizeBytes: number | undefined
  readonly pageCount: number | undefined
  readonly notes: readonly string[]
}

async function execute(
  plan: Plan,
  request: RestoreRequest,
  dependencies: RestoreDependencies,
  signal: AbortSignal,
): Promise<Applied> {
  const report = dependencies.onProgress ?? ((): void => undefined)
  const total = totalBytes(plan)
  report({ phase: 'plan', doneBytes: 0, totalBytes: total })
  if (request.dryRun) {
    return {
      position: plan.position,
      pageSizeBytes: plan.snapshotTrailer?.pageSizeBytes ?? plan.lastTrailer?.pageSizeBytes,
      pageCount:
        plan.lastTrailer?.endOffset === plan.position.offset
          ? plan.lastTrailer.databaseSizePages
          : undefined,
      notes: [],
    }
  }
  await using image = await dependencies.image.create(request.outputPath)
  const stop = new AbortController()
  const fetches = new Fetches(
    plan.source.client,
    plan.segments,
    request.parallelism,
    AbortSignal.any([signal, stop.signal]),
  )
  try {
    const application = new Application(plan, image, signal)
    report({ phase: 'snapshot', doneBytes: 0, totalBytes: total })
    fetches.ahead(0)
    const snapshotBody = plan.source.client.read(
      plan.snapshot,
      { offset: 0, length: undefined },
      signal,
    )
    await application.snapshot(snapshotBody, dependencies.decode, (done) => {
      report({ phase: 'snapshot', doneBytes: done, totalBytes: total })
    })
    let done = plan.snapshot.sizeBytes
    for (const [at, segment] of plan.segments.entries()) {
      signal.throwIfAborted()
      const body = await fetches.take(at)
      await application.segment(segment, body, dependencies.decode)
      done += segment.sizeBytes
      report({ phase: 'wal', doneBytes: done, totalBytes: total })
    }
    const applied = await application.finish()
    signal.throwIfAborted()
    report({ phase: 'check', doneBytes: total, totalBytes: total })
    await image.finish(request.integrityCheck)
    return applied
  } finally {
    stop.abort()
    await fetches.settle()
  }
}

/** Fetches the bodies of segments ahead of their use, several at once, within a bound of memory. */
class Fetches {
  readonly #client: ReplicaClient
  readonly #segments: readonly StoredSegment[]
  readonly #parallelism: number
  readonly #signal: AbortSignal
  readonly #running = new Map<number, Promise<Uint8Array>>()
  #next = 0
  #bytes = 0

  constructor(
    client: ReplicaClient,
    segments: readonly StoredSegment[],
    parallelism: number,
    signal: AbortSignal,
  ) {
    this.#client = client
    this.#segments = segments
    this.#parallelism = Math.max(1, parallelism)
    this.#signal = signal
  }

  /** Starts what may be started, from the segment `at` on. */
  ahead(at: number): void {
    this.#next = Math.max(this.#next, at)
    while (this.#running.size < this.#parallelism) {
      const segment = this.#segments[this.#next]
      if (segment === undefined || segment.sizeBytes > maxBufferedBytes) return
      if (this.#running.size > 0 && this.#bytes + segment.sizeBytes > maxBytesInFlight) return
      const body = this.#fetch(segment)
      // Whoever takes it sees the failure; until then it is not unhandled.
      body.catch(() => undefined)
      this.#running.set(this.#next, body)
      this.#bytes += segment.sizeBytes
      this.#next += 1
    }
  }

  /** The body of a segment; segments are taken in order. */
  async take(at: number): Promise<AsyncIterable<Uint8Array>> {
    this.ahead(at)
    const segment = this.#segments[at]
    const running = this.#running.get(at)
    if (segment === undefined) throw new RangeError(`there is no segment ${at}`)
    if (running === undefined) {
      this.ahead(at + 1)
      return this.#client.read(segment, { offset: 0, length: undefined }, this.#signal)
    }
    const body = await running
    this.#running.delete(at)
    this.#bytes -= segment.sizeBytes
    this.ahead(at + 1)
    return once(body)
  }

  async settle(): Promise<void> {
    await Promise.allSettled(this.#running.values())
  }

  async #fetch(segment: StoredSegment): Promise<Uint8Array> {
    const range = { offset: 0, length: undefined }
    return concatenate(await Array.fromAsync(this.#client.read(segment, range, this.#signal)))
  }
}

// eslint-disable-next-line @typescript-eslint/require-await -- what decodes takes a stream
async function* once(body: Uint8Array): AsyncGenerator<Uint8Array> {
  yield body
}

function concatenate(parts: readonly Uint8Array[]): Uint8Array {
  const [only] = parts
  if (parts.length === 1 && only !== undefined) return only
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0))
  let at = 0
  for (const part of parts) {
    whole.set(part, at)
    at += part.length
  }
  return whole
}

/** Passes a body on and keeps its end, where the trailer is. */
class TailKeeper {
  #tail: Uint8Array = new Uint8Array(0)

  async *pass(
    body: AsyncIterable<Uint8Array>,
    onBytes: (doneBytes: number) => void,
  ): AsyncGenerator<Uint8Array> {
    let done = 0
    for await (const chunk of body) {
      this.#tail =
        chunk.length >= keptTailBytes
          ? chunk
          : concatenate([this.#tail.subarray(-keptTailBytes), chunk])
      yield chunk
      done += chunk.length
      onBytes(done)
    }
  }

  get trailer(): TrailerTail {
    return parseTrailer(this.#tail)
  }
}

/** Applies a snapshot and the segments after it, in order, and proves each of them. */
class Application {
  readonly #plan: Plan
  readonly #image: DatabaseImage
  readonly #signal: AbortSignal
  readonly #notes: string[] = []
  #pageSizeBytes: number | undefined
  #imageBytes = 0
  #snapshotTrailer: SnapshotTrailer | undefined
  #header: WalHeader | undefined
  #checksum: Checksum = { s0: 0, s1: 0 }
  #position: WalPosition
  /** The last commit that was proven and written. */
  #commit: { position: WalPosition; pageCount: number; timeMs: number | undefined } | undefined

  constructor(plan: Plan, image: DatabaseImage, signal: AbortSignal) {
    this.#plan = plan
    this.#signal = signal
    this.#image = image
    this.#position = { index: plan.snapshot.index, offset: 0 }
  }

  async snapshot(
    body: AsyncIterable<Uint8Array>,
    decode: DecodeObject,
    onBytes: (doneBytes: number) => void,
  ): Promise<void> {
    const { snapshot } = this.#plan
    const keeper = new TailKeeper()
    await this.#guard(snapshot, async () => {
      for await (const block of decode(keeper.pass(body, onBytes))) {
        if (this.#imageBytes === 0 && block.length >= 100) {
          const stated = ((block[16] ?? 0) << 8) | (block[17] ?? 0)
          const pageSizeBytes = stated === 1 ? 65536 : stated
          if (!isPageSize(pageSizeBytes)) throw new CorruptionError('it is no SQLite database')
          this.#pageSizeBytes = pageSizeBytes
        }
        await this.#image.write(this.#imageBytes, block)
        this.#imageBytes += block.length
      }
      const trailer = await this.#trailer(snapshot, keeper)
      if (trailer === undefined) return
      if (trailer.kind !== 'snapshot') throw new CorruptionError('its trailer is a WAL segment’s')
      if (
        trailer.generation !== snapshot.generation ||
        trailer.index !== snapshot.index ||
        trailer.pageSizeBytes !== (this.#pageSizeBytes ?? trailer.pageSizeBytes)
      ) {
        throw new CorruptionError('its trailer belongs to another object')
      }
      this.#snapshotTrailer = trailer
    })
  }

  async segment(
    segment: StoredSegment,
    body: AsyncIterable<Uint8Array>,
    decode: DecodeObject,
  ): Promise<void> {
    await this.#guard(segment, async () => {
      const previousEnd = { offset: this.#position.offset, checksum: this.#checksum }
      const isFirst = segment.index === this.#plan.snapshot.index
      if (segment.offset === 0) {
        if (segment.index !== this.#plan.snapshot.index) await this.#endIndex()
        this.#header = undefined
        this.#position = { index: segment.index, offset: 0 }
      } else if (comparePositions(segment, this.#position) !== 0) {
        throw new CorruptionError(
          `it begins at ${this.#at(segment)}, but what comes before it ends at ${this.#at(this.#position)}: ${
            segment.offset > this.#position.offset ? 'a segment is missing' : 'segments overlap'
          }`,
        )
      }
      const keeper = new TailKeeper()
      const before = this.#header === undefined ? undefined : this.#checksum
      let carry: Uint8Array = new Uint8Array(0)
      for await (const block of decode(keeper.pass(body, () => undefined))) {
        carry = await this.#frames(carry.length === 0 ? block : concatenate([carry, block]))
      }
      if (carry.length > 0) throw new CorruptionError('it ends within a frame')
      if (this.#position.offset === segment.offset) throw new CorruptionError('it is empty')
      const trailer = await this.#trailer(segment, keeper)
      if (trailer !== undefined) {
        if (trailer.kind !== 'wal-segment') throw new CorruptionError('its trailer is a snapshot’s')
        this.#compare(segment, trailer, before)
        const previous = trailer.previousIndexEnd
        if (
          segment.offset === 0 &&
          !isFirst &&
          previous !== undefined &&
          (previous.offset !== previousEnd.offset ||
            !sameChecksum(previous.checksum, previousEnd.checksum))
        ) {
          throw new CorruptionError(
            `the index before it ended at offset ${previous.offset}, but its stored segments end at ${previousEnd.offset}: a segment is missing`,
          )
        }
        const commit = this.#commit
        if (commit !== undefined) {
          const at = commit.position.offset
          const capture = trailer.captures.find((each) => each.endOffset >= at)
          this.#commit = { ...commit, timeMs: capture?.timeMs }
        }
      }
    })
  }

  /** Ends the image at the target. */
  async finish(): Promise<Applied> {
    const last = this.#plan.segments.at(-1)
    await this.#guard(last ?? this.#plan.snapshot, async () => {
      if (last !== undefined) await this.#endIndex()
      const from = this.#snapshotTrailer?.consistentFrom
      const reached = this.#commit?.position ?? this.#position
      if (from !== undefined && comparePositions(reached, from) < 0) {
        throw new CorruptionError(
          `the snapshot can be restored from ${this.#at(from)} on, but the stored segments end at ${this.#at(reached)}`,
        )
      }
    })
    const pageSizeBytes = this.#pageSizeBytes
    return {
      position: this.#commit?.position ?? this.#position,
      pageSizeBytes,
      pageCount: pageSizeBytes === undefined ? undefined : this.#imageBytes / pageSizeBytes,
      notes: this.#notes,
    }
  }

  /** Brings the file to the size that the last commit states. */
  async #endIndex(): Promise<void> {
    const { end } = this.#plan
    const target = end.kind === 'position' ? end.position : undefined
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
    await this.#image.resize(this.#imageBytes)
  }

  /** Verifies and writes the whole frames in `bytes`; returns what is left. */
  async #frames(bytes: Uint8Array): Promise<Uint8Array> {
    let rest = bytes
    if (this.#header === undefined) {
      if (rest.length < walHeaderBytes) return rest.slice()
      const parsed = parseWalHeader(rest)
      if (!parsed.ok) throw new CorruptionError(`bad WAL header: ${parsed.problem}`)
      this.#pageSizeBytes ??= parsed.header.pageSizeBytes
      if (parsed.header.pageSizeBytes !== this.#pageSizeBytes) {
        throw new CorruptionError(
          `pages of ${parsed.header.pageSizeBytes} bytes, but the database has ${this.#pageSizeBytes}`,
        )
      }
      this.#header = parsed.header
      this.#checksum = parsed.header.checksum
      this.#position = { index: this.#position.index, offset: walHeaderBytes }
      rest = rest.subarray(walHeaderBytes)
    }
    const { pageSizeBytes, bigEndian, salts } = this.#header
    const stepBytes = frameBytes(pageSizeBytes)
    const count = Math.floor(rest.length / stepBytes)
    const verified = verifyFrames(rest, {
      pageSizeBytes,
      bigEndian,
      salts,
      checksum: this.#checksum,
    })
    const { index, offset } = this.#position
    if (verified.frameCount < count) {
      const at = { index, offset: offset + verified.frameCount * stepBytes }
      throw new CorruptionError(`the frame at ${this.#at(at)} does not continue the one before it`)
    }
    const applied = Math.min(count, this.#framesWanted(stepBytes))
    await this.#write(rest.subarray(0, applied * stepBytes), pageSizeBytes)
    this.#noteCommit(rest, applied, stepBytes)
    this.#checksum = verified.checksum
    this.#position = { index, offset: offset + count * stepBytes }
    return rest.slice(count * stepBytes)
  }

  /** How many frames from here on lie before the target. */
  #framesWanted(stepBytes: number): number {
    const { end, lastTrailer } = this.#plan
    if (end.kind !== 'position' || end.position.index !== this.#position.index) return Infinity
    // Without a trailer the target is a whole segment.
    if (lastTrailer === undefined) return Infinity
    return Math.max(0, Math.floor((end.position.offset - this.#position.offset) / stepBytes))
  }

  #noteCommit(frames: Uint8Array, count: number, stepBytes: number): void {
    const data = new DataView(frames.buffer, frames.byteOffset, frames.byteLength)
    for (let frame = count - 1; frame >= 0; frame -= 1) {
      const pageCount = data.getUint32(frame * stepBytes + 4)
      if (pageCount === 0) continue
      const { index, offset } = this.#position
      this.#commit = {
        position: { index, offset: offset + (frame + 1) * stepBytes },
        pageCount,
        timeMs: undefined,
      }
      return
    }
  }

  /** Writes the last version of each page, neighbours together. */
  async #write(frames: Uint8Array, pageSizeBytes: number): Promise<void> {
    const data = new DataView(frames.buffer, frames.byteOffset, frames.byteLength)
    const stepBytes = frameBytes(pageSizeBytes)
    const newest = new Map<number, number>()
    for (let at = 0; at < frames.length; at += stepBytes) {
      const page = framePageNumber(data, at)
      if (page === 0) throw new CorruptionError('a frame is of page 0')
      newest.set(page, at + frameHeaderBytes)
    }
    const pages = [...newest.keys()].sort((a, b) => a - b)
    const runs: ImageRun[] = []
    for (let from = 0; from < pages.length;) {
      let to = from + 1
      const first = pages[from] ?? 0
      while (to < pages.length && pages[to] === first + to - from) to += 1
      const parts = pages.slice(from, to).map((page) => {
        const at = newest.get(page) ?? 0
        return frames.subarray(at, at + pageSizeBytes)
      })
      runs.push({ offset: (first - 1) * pageSizeBytes, parts })
      from = to
    }
    await this.#image.writeRuns(runs)
  }

  #compare(segment: StoredSegment, trailer: WalSegmentTrailer, before: Checksum | undefined): void {
    const header = this.#header
    if (
      trailer.generation !== segment.generation ||
      trailer.index !== segment.index ||
      trailer.startOffset !== segment.offset
    ) {
      throw new CorruptionError('its trailer belongs to another object')
    }
    if (
      trailer.endOffset !== this.#position.offset ||
      trailer.pageSizeBytes !== this.#pageSizeBytes ||
      header === undefined ||
      !sameSalts(trailer.salts, header.salts) ||
      !sameChecksum(trailer.checksumAfter, this.#checksum) ||
      (before !== undefined && !sameChecksum(trailer.checksumBefore, before))
    ) {
      throw new CorruptionError('its trailer states another content')
    }
  }

  async #trailer(
    object: StoredSegment | StoredSnapshot,
    keeper: TailKeeper,
  ): Promise<SnapshotTrailer | WalSegmentTrailer | undefined> {
    let tail = keeper.trailer
    if (tail.kind === 'longer') {
      const { client } = this.#plan.source
      tail = await readTrailer(client, { ref: object, sizeBytes: object.sizeBytes }, this.#signal)
    }
    if (tail.kind === 'unreadable') {
      this.#notes.push(`${formatObjectPath(object)} has an unreadable trailer: ${tail.problem}`)
    }
    return tail.kind === 'trailer' ? tail.trailer : undefined
  }

  #at(position: WalPosition): string {
    const { generation } = this.#plan.listing
    return formatPosition({ generation, index: position.index, offset: position.offset })
  }

  /** Says which object failed, and what can still be proven. */
  async #guard(ref: ObjectRef, work: () => Promise<void>): Promise<void> {
    try {
      await work()
    } catch (error) {
      if (!(error instanceof CorruptionError)) throw error
      const commit = this.#commit
      const time =
        commit?.timeMs === undefined ? '' : ` of ${new Date(commit.timeMs).toISOString()}`
      throw new CorruptionError(
        `${formatObjectPath(ref)}: ${error.message}; at ${this.#at(this.#position)}; ${
          commit === undefined
            ? 'no commit before it is proven'
            : `the last commit that is proven ends at ${this.#at(commit.position)}${time}`
        }`,
        { cause: error, ...(error.hint === undefined ? {} : { hint: error.hint }) },
      )
    }
  }
}
