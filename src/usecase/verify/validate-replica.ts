/**
 * Validates a replica: the newest commit is restored into scratch space, checked by SQLite, and compared page
 * by page with the live database at that commit, if it is here.
 */
import { CheckTimeoutError, CorruptionError } from '../../domain/errors.js'
import { type Generation } from '../../domain/wal/generation.js'
import { type GenerationOrder } from '../../domain/stored/lineage.js'
import {
  comparePositions,
  formatPosition,
  type Position,
  type WalPosition,
} from '../../domain/wal/position.js'
import { ignoreAbort, waitIsOver } from '../../kit/abort.js'
import { formatDuration } from '../../kit/duration.js'
import { countOf } from '../../kit/quantity.js'
import { formatObjectPath } from '../../domain/stored/replica-layout.js'
import { SegmentVerifier } from '../../domain/wal/segment-verifier.js'
import { indexHeaderOf, ownTrailer, type WalSegmentTrailer } from '../../domain/stored/trailer.js'
import { frameBytes, framePageNumber } from '../../domain/wal/wal-format.js'
import { type Clock } from '../ports/clock.js'
import { type LiveComparison, type WalEnd } from '../ports/live-comparison.js'
import { type WalSegmentInfo } from '../ports/replica-client.js'
import { type ScratchSpace } from '../ports/scratch.js'
import { readTrailer } from '../stored/trailers.js'
import { readHistory } from '../stored/replica-history.js'
import {
  type RestoreReport,
  type RestoreRequest,
  type RestoreSource,
} from '../restore/restore-types.js'
import { TrailerReader } from '../stored/trailers.js'
import { type Decode } from './verify-replica.js'

export interface ValidateReplicaOptions {
  readonly source: RestoreSource
  /** Undefined: there is no live database to compare with. */
  readonly databasePath: string | undefined
  readonly restore: (request: RestoreRequest, signal: AbortSignal) => Promise<RestoreReport>
  readonly scratch: ScratchSpace
  readonly comparison: LiveComparison
  readonly decode: Decode
  readonly clock: Clock
  /**
   * Resolves when everything committed by now is stored, with where that is. Undefined: nobody here knows what was committed,
   * as another process replicates.
   */
  readonly stored: ((signal: AbortSignal) => Promise<StoredCommit>) | undefined
  /** How long to restore, check and compare so many bytes may take; undefined: as long as each of these may. */
  readonly maxMs?: (bytes: number) => number
}

/** A commit that a replica has confirmed to hold. */
export interface StoredCommit {
  readonly generation: Generation
  readonly position: WalPosition
  readonly commitTimeMs: number
}

export type Comparison =
  /** Byte for byte the database, as far as it has not been changed since. */
  | { readonly verdict: 'same'; readonly comparedPages: number; readonly changedPages: number }
  /** There is no live database. */
  | { readonly verdict: 'absent' }
  /** It has been changed since by commits that are not stored yet, or by nobody's knowledge. */
  | { readonly verdict: 'inconclusive'; readonly changedPages: number }

export interface ValidationReport {
  readonly replica: string
  readonly position: Position
  readonly commitTimeMs: number | undefined
  readonly pageCount: number | undefined
  readonly pageSizeBytes: number | undefined
  readonly segmentCount: number
  readonly storedBytes: number
  readonly comparison: Comparison
  readonly notes: readonly string[]
  readonly durationMs: number
}

const parallelism = 16
/** How long it is waited for segments of another process that explain a difference. */
const explainMs = 10_000
const explainPauseMs = 500
const maxShownPages = 8

/**
 * Throws {@link CorruptionError} when the restored database is damaged, older than what was confirmed to be stored, or not
 * the live one; {@link CheckTimeoutError} when that is not known in time; and whatever else kept it from being restored.
 */
export async function validateReplica(
  options: ValidateReplicaOptions,
  signal: AbortSignal,
): Promise<ValidationReport> {
  const { clock } = options
  const startedMs = clock.monotonic()
  const committed = await options.stored?.(signal)
  const request: RestoreRequest = {
    sources: [options.source],
    generation: undefined,
    target: { kind: 'latest' },
    outputPath: '',
    parallelism,
    integrityCheck: 'full',
    dryRun: true,
  }
  const plan = await options.restore(request, signal)
  const neededBytes = (plan.pageCount ?? 0) * (plan.pageSizeBytes ?? 0)
  const bytes = Math.max(neededBytes, plan.storedBytes)
  const outcome = await inTime(options, { bytes, signal }, (stop) =>
    validateRestored(options, { request, bytes, committed }, stop),
  )
  return { ...outcome, durationMs: clock.monotonic() - startedMs }
}

async function validateRestored(
  options: ValidateReplicaOptions,
  {
    request,
    bytes,
    committed,
  }: { request: RestoreRequest; bytes: number; committed: StoredCommit | undefined },
  signal: AbortSignal,
): Promise<Omit<ValidationReport, 'durationMs'>> {
  await using folder = await options.scratch.open(bytes)
  const outputPath = `${folder.path}/restored.db`
  const report = await options.restore({ ...request, outputPath, dryRun: false }, signal)
  const position: Position = { generation: report.generation, ...report.position }
  if (committed !== undefined) {
    refuseOlder(report, committed, await orderOf(options.source, report, committed, signal))
  }
  const comparison = await compare(options, { position, imagePath: outputPath }, signal)
  const { commitTimeMs, pageCount, pageSizeBytes, segmentCount, storedBytes, notes } = report
  return {
    replica: options.source.name,
    position,
    commitTimeMs,
    pageCount,
    pageSizeBytes,
    segmentCount,
    storedBytes,
    comparison,
    notes,
  }
}

/** Timers that are longer fire at once. */
const mostMs = 24 * 24 * 3_600_000

async function inTime<T>(
  { clock, maxMs, source }: ValidateReplicaOptions,
  { bytes, signal }: { bytes: number; signal: AbortSignal },
  work: (stop: AbortSignal) => Promise<T>,
): Promise<T> {
  if (maxMs === undefined) return await work(signal)
  const limitMs = Math.min(maxMs(bytes), mostMs)
  const [late, ended] = [new AbortController(), new AbortController()]
  const sleeping = clock.sleep(limitMs, ended.signal).then(() => late.abort(), ignoreAbort)
  try {
    return await work(AbortSignal.any([signal, late.signal]))
  } catch (error) {
    if (!late.signal.aborted || signal.aborted) throw error
    throw new CheckTimeoutError(
      `the database restored from replica ${source.name} could not be validated in ${formatDuration(Math.round(limitMs / 1000) * 1000)}, and others wait`,
      {
        cause: error,
        hint: 'What its schema computes may take so long, or the disk, or the store: `tsreplicate verify -level restore` takes the time that it needs.',
      },
    )
  } finally {
    ended.abort(waitIsOver)
    await sleeping
  }
}

/** Another generation may have begun meanwhile, whose positions say nothing here. Undefined: none has. */
async function orderOf(
  { client }: RestoreSource,
  restored: Pick<RestoreReport, 'generation'>,
  committed: StoredCommit,
  signal: AbortSignal,
): Promise<GenerationOrder | undefined> {
  if (restored.generation === committed.generation) return undefined
  const trailers = new TrailerReader(client, [], signal)
  const { order } = await readHistory(client, { only: undefined, trailers, notes: [] }, signal)
  return order
}

/** Generations are told by what they follow, and only where that does not tell by the times of commits. */
function refuseOlder(
  restored: RestoreReport,
  committed: StoredCommit,
  order: GenerationOrder | undefined,
): void {
  const { generation, position, replica } = restored
  const isOlder =
    order === undefined
      ? comparePositions(position, committed.position) < 0
      : order.isBefore(generation, committed.generation) ||
        (!order.isBefore(committed.generation, generation) &&
          (restored.commitTimeMs ?? 0) < committed.commitTimeMs)
  if (!isOlder) return
  const at = formatPosition({ generation, ...position })
  const wanted = formatPosition({ generation: committed.generation, ...committed.position })
  throw new CorruptionError(
    `replica ${replica} has confirmed everything up to ${wanted}, but a restore ends at ${at}`,
  )
}

async function compare(
  options: ValidateReplicaOptions,
  { position, imagePath }: { position: Position; imagePath: string },
  signal: AbortSignal,
): Promise<Comparison> {
  const { databasePath, comparison } = options
  if (databasePath === undefined) return { verdict: 'absent' }
  const later = new LaterSegments(options, position)
  const trailer = await later.lastTrailer(signal)
  const end = trailer === undefined ? undefined : walEndOf(trailer)
  const result = await comparison.compare({ databasePath, imagePath, end }, signal)
  if (result === undefined) return { verdict: 'absent' }
  const { pageCount, comparedCount, differing, atSameCommit } = result
  const same: Comparison = {
    verdict: 'same',
    comparedPages: comparedCount - differing.length,
    changedPages: pageCount - comparedCount + differing.length,
  }
  if (differing.length === 0) return same
  const changed = await later.pagesChanged(differing, signal)
  const unexplained = differing.filter((page) => changed?.has(page) !== true)
  if (unexplained.length === 0) return same
  const allIsKnown = options.stored !== undefined && changed !== undefined
  if (!atSameCommit && !allIsKnown) {
    return { verdict: 'inconclusive', changedPages: pageCount - comparedCount + differing.length }
  }
  const shown = unexplained.slice(0, maxShownPages).join(', ')
  throw new CorruptionError(
    `the database restored from replica ${options.source.name} at ${formatPosition(position)} is different from the live database ${databasePath} in ${countOf(unexplained.length, 'page')} (${shown}${unexplained.length > maxShownPages ? ', …' : ''})`,
    {
      hint: 'Run PRAGMA integrity_check on the live database. If it finds no damage, stop tsreplicate, remove the local state, and start it again: a new generation begins.',
    },
  )
}

function walEndOf(trailer: WalSegmentTrailer): WalEnd {
  if (trailer.source !== undefined) return trailer.source
  const { salts, endOffset, checksumAfter: checksum } = trailer
  return { salts, endOffset, checksum }
}

/** What is stored of a generation after a position. */
class LaterSegments {
  readonly #options: ValidateReplicaOptions
  readonly #from: Position

  constructor(options: ValidateReplicaOptions, from: Position) {
    this.#options = options
    this.#from = from
  }

  /** Of the segment that ends at the position; undefined: none does, or it has none. */
  async lastTrailer(signal: AbortSignal): Promise<WalSegmentTrailer | undefined> {
    const segments = await this.#list(signal)
    const last = segments.findLast((segment) => comparePositions(segment, this.#from) < 0)
    if (last === undefined) return undefined
    const trailer = await this.#trailer(last, signal)
    return trailer?.endOffset === this.#from.offset && trailer.index === this.#from.index
      ? trailer
      : undefined
  }

  /**
   * Pages among `wanted` that later segments change. Where we replicate ourselves, all that is committed by now is stored
   * first; else it is waited for a while. Undefined: another generation has begun, and nobody knows.
   */
  async pagesChanged(
    wanted: readonly number[],
    signal: AbortSignal,
  ): Promise<ReadonlySet<number> | undefined> {
    const { stored, clock } = this.#options
    const committed = await stored?.(signal)
    if (committed !== undefined && committed.generation !== this.#from.generation) return undefined
    const missing = new Set(wanted)
    const found = new Set<number>()
    const deadline = clock.monotonic() + explainMs
    let seen: WalPosition = this.#from
    for (;;) {
      for (const segment of await this.#list(signal)) {
        if (comparePositions(segment, seen) < 0) continue
        for (const page of await this.#pagesOf(segment, signal)) {
          if (missing.delete(page)) found.add(page)
        }
        seen = { index: segment.index, offset: segment.offset + 1 }
      }
      if (missing.size === 0 || stored !== undefined || clock.monotonic() >= deadline) return found
      await clock.sleep(explainPauseMs, signal)
    }
  }

  async #list(signal: AbortSignal): Promise<WalSegmentInfo[]> {
    const { generation, index } = this.#from
    const { client } = this.#options.source
    const all = await Array.fromAsync(client.listWalSegments(generation, signal))
    return all.filter((segment) => segment.index >= index).sort(comparePositions)
  }

  async #trailer(
    segment: WalSegmentInfo,
    signal: AbortSignal,
  ): Promise<WalSegmentTrailer | undefined> {
    return ownTrailer(segment, await readTrailer(this.#options.source.client, segment, signal))
  }

  async #pagesOf(segment: WalSegmentInfo, signal: AbortSignal): Promise<ReadonlySet<number>> {
    const { source, decode } = this.#options
    const { offset } = segment
    const trailer = await this.#trailer(segment, signal)
    const header = offset === 0 ? undefined : indexHeaderOf(trailer)
    const pages = new Set<number>()
    if (offset !== 0 && header === undefined) return pages
    const latestEndOffset = trailer?.endOffset ?? Infinity
    const start = { offset, header, wantedEndOffset: Infinity, latestEndOffset }
    const verifier = new SegmentVerifier(start)
    const body = source.client.read(segment, { offset: 0, length: undefined }, signal)
    try {
      for await (const block of decode(body)) {
        for (const run of verifier.push(block)) {
          const stepBytes = frameBytes(verifier.header?.pageSizeBytes ?? 0)
          const data = new DataView(run.buffer, run.byteOffset, run.byteLength)
          for (let at = 0; at < run.length; at += stepBytes) pages.add(framePageNumber(data, at))
        }
      }
    } catch (error) {
      if (!(error instanceof CorruptionError)) throw error
      throw new CorruptionError(`${formatObjectPath(segment)}: ${error.message}`, { cause: error })
    }
    return pages
  }
}
