/** What one replica offers for a restore: which generation, which snapshot, which segments; or what of it is lost. */
import { AmbiguousBackupError, CorruptionError, ObjectNotFoundError } from '../../domain/errors.js'
import { BrokenChainError } from '../../domain/stored/chain-verifier.js'
import { type Generation } from '../../domain/wal/generation.js'
import {
  comparePositions,
  formatPosition,
  formatWalPosition,
  type WalPosition,
} from '../../domain/wal/position.js'
import { formatObjectPath } from '../../domain/stored/replica-layout.js'
import {
  type ChainEnd,
  chainSegments,
  type GenerationListing,
  type StoredSegment,
  type StoredSnapshot,
} from '../../domain/stored/restore-plan.js'
import { type SnapshotTrailer, type WalSegmentTrailer } from '../../domain/stored/trailer.js'
import { describeForks } from './describe-forks.js'
import { findRestorePoint, type RestorePoint } from './find-restore-point.js'
import { lastProvable, type ProvableCommit } from './last-provable.js'
import {
  isUnderWay,
  readHistory,
  type ReplicaHistory,
  type StoredGeneration,
} from '../stored/replica-history.js'
import { restoreCommand, type RestoreRequest, type RestoreSource } from './restore-types.js'
import { TrailerReader } from '../stored/trailer-reader.js'

const maxSearches = 3

/** What a restore reads, and where it ends. */
export interface Backup {
  readonly source: RestoreSource
  readonly listing: GenerationListing
  readonly snapshot: StoredSnapshot
  readonly snapshotTrailer: SnapshotTrailer | undefined
  readonly segments: readonly StoredSegment[]
  readonly storedBytes: number
  readonly end: ChainEnd
  /** The last segment is to be cut at `position`. */
  readonly isCut: boolean
  /** Nothing is stored of the generation behind it. */
  readonly isAtEnd: boolean
  readonly lastTrailer: WalSegmentTrailer | undefined
  readonly position: WalPosition
  readonly commitTimeMs: number
  readonly timeIsApproximate: boolean
  readonly notes: readonly string[]
  /** The same error, with what is left when the backup turns out to be damaged, and how to get that. */
  readonly explainDamage: (error: CorruptionError) => Promise<Error>
}

/** What is proven to have been stored, and cannot be restored. */
export interface Loss {
  readonly source: RestoreSource
  readonly generation: Generation
  /** Undefined: it is not known how far it went. */
  readonly position: WalPosition | undefined
  readonly timeMs: number
  /** What is missing. */
  readonly problem: string
  /** An error that says what is missing, what is left, and how to get that. */
  readonly explain: () => Promise<Error>
}

export interface Moment {
  readonly timeMs: number
  readonly approximate: boolean
}

export type SearchOutcome =
  | { readonly kind: 'backup'; readonly backup: Backup }
  | { readonly kind: 'loss'; readonly loss: Loss }
  /** Nothing tells which of them is the newest. */
  | { readonly kind: 'ambiguous'; readonly choices: readonly Generation[]; readonly error: Error }
  | { readonly kind: 'none' }

export interface Searched {
  readonly outcome: SearchOutcome
  /** The first moment that can be restored of what was looked at. */
  readonly earliest: Moment | undefined
  readonly history: ReplicaHistory
}

/** Looks for what comes nearest to the target, again when objects vanish under our eyes. */
export async function searchReplica(
  source: RestoreSource,
  request: RestoreRequest,
  notes: string[],
  signal: AbortSignal,
): Promise<Searched> {
  for (let attempt = 1; ; attempt += 1) {
    const found: string[] = []
    try {
      const trailers = new TrailerReader(source.client, found, signal)
      const { generation: only } = request
      const options = { only, trailers, notes: found }
      const history = await readHistory(source.client, options, signal)
      const search = new ReplicaSearch(history, { source, request, trailers, notes: found })
      const outcome = await search.run()
      notes.push(...found)
      return { outcome, earliest: search.earliest, history }
    } catch (error) {
      if (!(error instanceof ObjectNotFoundError) || attempt === maxSearches) throw error
    }
  }
}

type Judged =
  | { readonly kind: 'backup'; readonly backup: Backup }
  | { readonly kind: 'loss'; readonly loss: Loss }
  /** The target lies before it. */
  | { readonly kind: 'none' }

class ReplicaSearch {
  readonly #history: ReplicaHistory
  readonly #source: RestoreSource
  readonly #request: RestoreRequest
  readonly #trailers: TrailerReader
  readonly #notes: string[]
  readonly #judged = new Map<Generation, Judged>()
  earliest: Moment | undefined

  constructor(
    history: ReplicaHistory,
    options: {
      readonly source: RestoreSource
      readonly request: RestoreRequest
      readonly trailers: TrailerReader
      readonly notes: string[]
    },
  ) {
    this.#history = history
    this.#source = options.source
    this.#request = options.request
    this.#trailers = options.trailers
    this.#notes = options.notes
  }

  async run(): Promise<SearchOutcome> {
    const { newest, passedOver } = await this.#newestThatReaches()
    if (newest.length > 1) return await this.#ambiguous(newest)
    const [only] = newest
    const judged: Judged = only === undefined ? { kind: 'none' } : await this.#judge(only)
    const unfinished = await this.#unfinished(judged)
    if (unfinished !== undefined) return { kind: 'loss', loss: unfinished }
    if (judged.kind !== 'backup') return judged
    const { backup } = judged
    const lost = await this.#lostSince(backup, passedOver)
    if (lost !== undefined) return { kind: 'loss', loss: lost }
    if (passedOver.length === 0 && isBehind(backup, this.#request)) {
      const last = formatTime(backup.commitTimeMs)
      this.#notes.push(`nothing is stored after ${last}, which is before the requested time`)
    }
    const forks =
      this.#request.generation === undefined
        ? await describeForks({ ...backup, generation: backup.listing.generation }, this.#history, {
            trailers: this.#trailers,
            command: (generation) => this.#command(['-generation', generation]),
          })
        : []
    return { kind: 'backup', backup: { ...backup, notes: [...backup.notes, ...forks] } }
  }

  /**
   * The newest generations of those that reach the target: of these, none is known to come before another. A moment may
   * lie before newer ones, which are passed over then.
   */
  async #newestThatReaches(): Promise<{
    readonly newest: readonly Generation[]
    readonly passedOver: readonly Generation[]
  }> {
    const passedOver: Generation[] = []
    for (;;) {
      const newest = this.#newestBut(passedOver)
      const before: Generation[] = []
      if (this.#request.target.kind === 'timestamp') {
        for (const each of newest) {
          if ((await this.#judge(each)).kind === 'none') before.push(each)
        }
      }
      if (before.length === 0) return { newest, passedOver }
      passedOver.push(...before)
    }
  }

  #newestBut(passedOver: readonly Generation[]): readonly Generation[] {
    const { facts, order } = this.#history
    const rest = facts
      .map(({ generation }) => generation)
      .filter((each) => !passedOver.includes(each))
    const newest = rest.filter((each) => !rest.some((other) => order.isBefore(each, other)))
    return newest.length > 0 ? newest : rest
  }

  async #judge(generation: Generation): Promise<Judged> {
    let judged = this.#judged.get(generation)
    judged ??= await this.#judgeNow(generation, this.#request.target)
    this.#judged.set(generation, judged)
    return judged
  }

  async #judgeNow(generation: Generation, target: RestoreRequest['target']): Promise<Judged> {
    const stored = this.#history.generations.find((each) => each.generation === generation)
    if (stored === undefined || stored.snapshots.length === 0) {
      return await this.#judgeWithoutSnapshot(generation, stored, target)
    }
    let place: RestorePoint | undefined
    for (const snapshot of stored.snapshots.toReversed()) {
      if (target.kind === 'index' && snapshot.index > target.index) continue
      if (target.kind === 'position' && snapshot.index > target.position.index) continue
      const trailer = await this.#trailers.snapshot(snapshot)
      const timeMs = trailer?.commitTimeMs ?? snapshot.createdAtMs
      this.#noteEarliest({ timeMs, approximate: trailer === undefined })
      if (target.kind === 'timestamp' && timeMs > target.timeMs) continue
      place ??= await findRestorePoint(stored, target, this.#trailers)
      const judged = this.#judgeSnapshot(stored, { snapshot, trailer, place, target })
      if (judged !== undefined) return judged
    }
    return { kind: 'none' }
  }

  /** Undefined: the target lies before what the snapshot can be used for. */
  #judgeSnapshot(
    stored: StoredGeneration,
    found: {
      readonly snapshot: StoredSnapshot
      readonly trailer: SnapshotTrailer | undefined
      readonly place: RestorePoint | undefined
      readonly target: RestoreRequest['target']
    },
  ): Judged | undefined {
    const { snapshot, trailer, target } = found
    const start: WalPosition = { index: snapshot.index, offset: 0 }
    const from = trailer?.consistentFrom ?? start
    // A place before the snapshot's start means that nothing was written since.
    const place =
      found.place !== undefined && comparePositions(found.place.position, start) >= 0
        ? found.place
        : undefined
    const position = place?.position ?? start
    const snapshotMs = trailer?.commitTimeMs ?? snapshot.createdAtMs
    const commitTimeMs = Math.max(place?.timeMs ?? snapshotMs, snapshotMs)
    const next = stored.segments.find((each) => comparePositions(each, start) >= 0)
    // Before the first commit that was captured, the end is not asked for.
    const isAtEnd = place?.isAtEnd ?? next === undefined
    const isLater = target.kind === 'timestamp' && target.timeMs > commitTimeMs
    // Where a segment without trailer ends is not known.
    const endsBefore = (bound: WalPosition): boolean =>
      place?.approximate === true
        ? position.index < bound.index
        : comparePositions(position, bound) < 0
    if (endsBefore(from)) {
      const isWanted =
        target.kind === 'index' ? from.index <= target.index : target.kind !== 'position'
      return isWanted ? this.#shortOf(stored, position, from, snapshot) : undefined
    }
    if (target.kind === 'position' && comparePositions(position, target.position) < 0) {
      return undefined
    }
    if (place?.gap !== undefined) return this.#gap(stored, place.gap.from, place.gap.to)
    // Commits before the moment asked for may be among those that are lost.
    const isMissed = next !== undefined && comparePositions(next, start) > 0
    if (isLater && place === undefined && isMissed) return this.#gap(stored, start, next)
    const { extent } = stored
    const isWanted =
      isAtEnd &&
      (target.kind === 'latest' ||
        (target.kind === 'index' && (extent?.position.index ?? 0) <= target.index) ||
        // While a clock is behind, many commits have one and the same time.
        (target.kind === 'timestamp' && (isLater || (extent?.timeMs ?? 0) <= target.timeMs)))
    if (isWanted && extent !== undefined && endsBefore(extent.position)) {
      return this.#shortOf(stored, position, extent.position, undefined)
    }
    const end: ChainEnd = place?.end ?? { kind: 'position', position: start }
    const chain = chainSegments(stored, snapshot.index, end)
    if (chain.kind === 'gap') return this.#gap(stored, chain.missing, chain.next)
    const { segments } = chain
    const backup: Backup = {
      source: this.#source,
      listing: stored,
      snapshot,
      snapshotTrailer: trailer,
      segments,
      storedBytes: segments.reduce((sum, { sizeBytes }) => sum + sizeBytes, snapshot.sizeBytes),
      end,
      isCut: place?.isCut ?? false,
      isAtEnd,
      lastTrailer: place?.trailer,
      position,
      commitTimeMs,
      timeIsApproximate: place?.approximate ?? trailer === undefined,
      notes: [],
      explainDamage: (error) => this.#explainDamage(backup, error),
    }
    return { kind: 'backup', backup }
  }

  /** Of a generation of which it is recorded that it had a snapshot. */
  async #judgeWithoutSnapshot(
    generation: Generation,
    stored: StoredGeneration | undefined,
    target: RestoreRequest['target'],
  ): Promise<Judged> {
    const record = this.#history.records.find((each) => each.generation === generation)
    const first = stored?.segments[0]
    const firstMs =
      first && ((await this.#trailers.segment(first))?.captures[0]?.timeMs ?? first.createdAtMs)
    const timeMs = record?.commitTimeMs ?? 0
    if (target.kind === 'timestamp' && target.timeMs < (firstMs ?? timeMs)) return { kind: 'none' }
    const position = record?.position
    const upTo =
      position === undefined ? '' : `, which was stored up to ${at(generation, position)}`
    const what =
      stored === undefined
        ? `generation ${generation} is gone${upTo}`
        : `the snapshots of generation ${generation} are gone${upTo}`
    return this.#loss({ generation, position, timeMs, problem: what, left: () => none })
  }

  /**
   * Generations with segments and without a snapshot that nobody has recorded to have had one. Of the newest, it is under
   * way at best. Returns what is lost for the target.
   */
  async #unfinished(judged: Judged): Promise<Loss | undefined> {
    const { generations, facts, records } = this.#history
    for (const { generation, segments } of generations) {
      if (facts.some((each) => each.generation === generation)) continue
      const where = `generation ${generation} on replica ${this.#source.name} has no snapshot`
      const last = segments.at(-1)
      const trailer = last && (await this.#trailers.segment(last))
      const timeMs = trailer?.captures.at(-1)?.timeMs
      const isRecorded = records.length > 0
      const isLater = judged.kind !== 'backup' || (timeMs ?? 0) > judged.backup.commitTimeMs
      if (isUnderWay(generation, this.#history)) {
        this.#notes.push(`${where} yet: its commits cannot be restored until that is finished`)
      } else if (timeMs === undefined || isRecorded || !isLater) {
        this.#notes.push(where)
      } else if (trailer !== undefined && (await this.#isReached(segments))) {
        const position = { index: trailer.index, offset: trailer.endOffset }
        const problem = `the snapshots of generation ${generation} are gone, which was stored up to ${at(generation, position)}`
        return this.#loss({ generation, position, timeMs, problem, left: () => none }).loss
      }
    }
    return undefined
  }

  /** Whether the target may lie in a generation that cannot be restored. */
  async #isReached([first]: readonly StoredSegment[]): Promise<boolean> {
    const { target } = this.#request
    if (target.kind !== 'timestamp' || first === undefined) return true
    const trailer = await this.#trailers.segment(first)
    return (trailer?.captures[0]?.timeMs ?? first.createdAtMs) <= target.timeMs
  }

  /** A moment that newer generations do not reach may lie in what is lost of one, or in what no snapshot of it reaches. */
  async #lostSince(backup: Backup, passedOver: readonly Generation[]): Promise<Loss | undefined> {
    for (const generation of passedOver) {
      const stored = this.#history.generations.find((each) => each.generation === generation)
      if (stored !== undefined && stored.snapshots.length > 0) {
        const beginning = await this.#lostBeginning(stored, backup)
        if (beginning !== undefined) return beginning
      } else if (isBehind(backup, this.#request)) {
        const judged = await this.#judgeNow(generation, { kind: 'latest' })
        if (judged.kind === 'loss') return judged.loss
      }
    }
    return undefined
  }

  /** Of a generation that has snapshots, of which none reaches the moment. Of one of the original nothing tells. */
  async #lostBeginning(stored: StoredGeneration, backup: Backup): Promise<Loss | undefined> {
    const { target } = this.#request
    const { generation, newestTrailer } = stored
    const [segment] = stored.segments
    const [snapshot] = stored.snapshots
    if (target.kind !== 'timestamp' || newestTrailer?.lineage === undefined) return undefined
    const first = segment && (await this.#trailers.segment(segment))?.captures[0]?.timeMs
    const oldest = snapshot && (await this.#trailers.snapshot(snapshot))
    if (oldest === undefined) return undefined
    const isBegun = first !== undefined && first <= target.timeMs
    const isThere = [oldest.consistentFrom, segment].some(
      (each) => each !== undefined && comparePositions(place(each), beginning) === 0,
    )
    if (!isBegun && (isThere || !isBehind(backup, this.#request))) return undefined
    const what = isBegun
      ? `generation ${generation} has commits from ${formatTime(first)} on`
      : `the beginning of generation ${generation} is gone`
    const position = beginning
    const problem = `${what}, and the first moment of it that can be restored is ${formatTime(oldest.commitTimeMs)}`
    return this.#loss({ generation, position, timeMs: target.timeMs, problem, left: () => none })
      .loss
  }

  #noteEarliest(moment: Moment): void {
    if (this.earliest === undefined || moment.timeMs < this.earliest.timeMs) this.earliest = moment
  }

  /** More was stored than is there. */
  #shortOf(
    stored: StoredGeneration,
    end: WalPosition,
    proven: WalPosition,
    snapshot: StoredSnapshot | undefined,
  ): Judged {
    const { generation, extent } = stored
    const evidence =
      snapshot === undefined
        ? extent?.evidence
        : `${formatObjectPath(snapshot)} was finished when everything was stored`
    const range = `${at(generation, end)} to ${at(generation, proven)}`
    return this.#loss({
      generation,
      position: proven,
      timeMs: extent?.timeMs ?? 0,
      problem: `WAL is missing from ${range}: ${evidence} up to there`,
      left: () => lastProvable(stored, end, this.#trailers),
    })
  }

  #gap(stored: StoredGeneration, from: WalPosition, to: WalPosition): Judged {
    const { generation, extent, segments } = stored
    const path = formatObjectPath({ kind: 'wal-segment', generation, ...place(from) })
    const last = segments.at(-1)
    const range = `${at(generation, from)} to ${at(generation, to)}`
    return this.#loss({
      generation,
      position: last && place(last),
      timeMs: extent?.timeMs ?? last?.createdAtMs ?? 0,
      problem: `${path} is missing: nothing is stored from ${range}`,
      left: () => lastProvable(stored, from, this.#trailers),
    })
  }

  #loss({
    problem,
    left,
    ...facts
  }: {
    readonly generation: Generation
    readonly position: WalPosition | undefined
    readonly timeMs: number
    readonly problem: string
    readonly left: () => Promise<ProvableCommit | undefined>
  }): { readonly kind: 'loss'; readonly loss: Loss } {
    const source = this.#source
    const explain = async (): Promise<Error> =>
      this.#explain(facts.generation, problem, await left())
    return { kind: 'loss', loss: { source, ...facts, problem, explain } }
  }

  async #explain(
    generation: Generation,
    problem: string,
    left: ProvableCommit | undefined,
  ): Promise<Error> {
    const what = `replica ${this.#source.name}: ${problem}`
    if (left !== undefined) {
      const commit = `${at(generation, left.position)}${ofTime(left.timeMs)}`
      return new CorruptionError(
        `${what}; the last commit before it that can be restored ends at ${commit}`,
        { hint: `To restore that one anyway: ${this.#command(left.flags)}` },
      )
    }
    const other = await this.#generationBefore(generation)
    const nothing = `${what}; no commit of this generation can be restored${this.#byThen}`
    if (other === undefined) return new CorruptionError(nothing)
    const end = `${at(other.generation, other.commit.position)}${ofTime(other.commit.timeMs)}`
    return new CorruptionError(`${nothing}; the generation before it ends at ${end}`, {
      hint: `To restore that one anyway: ${this.#command(other.commit.flags)}`,
    })
  }

  async #explainDamage(backup: Backup, error: CorruptionError): Promise<Error> {
    const { listing, snapshot, snapshotTrailer } = backup
    const { generation } = listing
    const from = snapshotTrailer?.consistentFrom ?? { index: snapshot.index, offset: 0 }
    const verifiedTo = error instanceof BrokenChainError ? error.verifiedTo : undefined
    let flags: readonly string[] | undefined
    if (
      verifiedTo !== undefined &&
      comparePositions(verifiedTo, from) >= 0 &&
      verifiedTo.offset > 0
    ) {
      flags = ['-generation', generation, '-index', formatWalPosition(verifiedTo)]
    } else {
      // What lies before where the snapshot can be used is restored from an older one.
      const limit = { index: from.index, offset: from.offset - 1 }
      const isBefore = verifiedTo !== undefined && comparePositions(verifiedTo, limit) < 0
      const left = await lastProvable(listing, isBefore ? verifiedTo : limit, this.#trailers)
      flags = left?.flags ?? (await this.#generationBefore(generation))?.commit.flags
    }
    if (flags === undefined) return error
    return new CorruptionError(error.message, {
      cause: error,
      hint: `To restore what is left anyway: ${this.#command(flags)}`,
    })
  }

  get #byThen(): string {
    const { target } = this.#request
    return target.kind === 'timestamp' ? ` at ${formatTime(target.timeMs)}` : ''
  }

  /** What can be restored of the newest of the generations that do not come after one. */
  async #generationBefore(
    last: Generation,
  ): Promise<{ readonly generation: Generation; readonly commit: ProvableCommit } | undefined> {
    const { facts, order } = this.#history
    const after = facts.filter(({ generation }) => order.isBefore(last, generation))
    const passedOver = [last, ...after.map(({ generation }) => generation)]
    for (;;) {
      const newest = this.#newestBut(passedOver)
      if (newest.length === 0) return undefined
      for (const generation of newest) {
        const commit = await this.#endOf(generation)
        if (commit !== undefined) return { generation, commit }
      }
      passedOver.push(...newest)
    }
  }

  /** The end of a generation, or what is left of it. */
  async #endOf(generation: Generation): Promise<ProvableCommit | undefined> {
    const stored = this.#history.generations.find((each) => each.generation === generation)
    if (stored === undefined) return undefined
    const end = { index: Number.MAX_SAFE_INTEGER, offset: 0 }
    const left = await lastProvable(stored, end, this.#trailers)
    const judged = await this.#judgeNow(generation, { kind: 'latest' })
    const isWhole =
      left !== undefined &&
      judged.kind === 'backup' &&
      comparePositions(judged.backup.position, left.position) === 0
    return isWhole ? { ...left, flags: ['-generation', generation] } : left
  }

  async #ambiguous(choices: readonly Generation[]): Promise<SearchOutcome> {
    const lines: string[] = []
    for (const generation of choices) {
      const judged = await this.#judge(generation)
      const flags = ['-generation', generation, ...targetFlags(this.#request)]
      lines.push(
        judged.kind === 'backup'
          ? `${at(generation, judged.backup.position)}${ofTime(judged.backup.commitTimeMs)}: ${this.#command(flags)}`
          : `${generation}, of which nothing can be restored${judged.kind === 'loss' ? `: ${judged.loss.problem}` : ''}`,
      )
    }
    const error = new AmbiguousBackupError(
      `replica ${this.#source.name} has ${choices.length} histories, and it is not known which of them is the newest: generations ${choices.join(', ')}`,
      { hint: ['Choose one:', ...lines].join('\n  ') },
    )
    return { kind: 'ambiguous', choices, error }
  }

  #command(flags: readonly string[]): string {
    return restoreCommand(this.#request, this.#source, flags)
  }
}

const none = Promise.resolve(undefined)
const beginning: WalPosition = { index: 0, offset: 0 }

/** Whether a moment is asked for that lies behind all that is stored of the backup's generation. */
function isBehind({ isAtEnd, commitTimeMs }: Backup, { target }: RestoreRequest): boolean {
  return target.kind === 'timestamp' && isAtEnd && target.timeMs > commitTimeMs
}

/** The flags that say which commit is wanted. */
export function targetFlags({ target }: Pick<RestoreRequest, 'target'>): readonly string[] {
  switch (target.kind) {
    case 'latest':
      return []
    case 'index':
      return ['-index', target.index.toString(16)]
    case 'position':
      return ['-index', `${target.position.index.toString(16)}:${target.position.offset}`]
    case 'timestamp':
      return ['-timestamp', new Date(target.timeMs).toISOString()]
  }
}

function at(generation: Generation, position: WalPosition): string {
  return formatPosition({ generation, ...place(position) })
}

function place({ index, offset }: WalPosition): WalPosition {
  return { index, offset }
}

function ofTime(timeMs: number | undefined): string {
  return timeMs === undefined ? '' : ` of ${formatTime(timeMs)}`
}

function formatTime(timeMs: number): string {
  return new Date(timeMs).toISOString()
}
