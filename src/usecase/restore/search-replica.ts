/** What one replica offers for a restore: which generation, which snapshot, which segments; or what of it is lost. */
import { AmbiguousBackupError, ObjectNotFoundError } from '../../domain/errors.js'
import { type StoredSegment } from '../../domain/stored/restore-plan.js'
import { type Generation } from '../../domain/wal/generation.js'
import { comparePositions, type WalPosition } from '../../domain/wal/position.js'
import {
  isUnderWay,
  newestBut,
  readHistory,
  type ReplicaHistory,
  type StoredGeneration,
} from '../stored/replica-history.js'
import { TrailerReader } from '../stored/trailers.js'
import { describeForks } from './describe-forks.js'
import { type ExplainLoss } from './explain-loss.js'
import { JudgeGeneration, type JudgeGenerationOptions } from './judge-generation.js'
import {
  type Backup,
  describeEnd,
  type Judged,
  type Loss,
  type Moment,
  type RestoreRequest,
  type RestoreSource,
  targetFlags,
} from './restore-types.js'

/** An object that is listed, and cannot be found so often, is missing. */
const maxSightings = 3

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

/** Looks for what comes nearest to the target, again as long as objects vanish under our eyes: retention deletes one after the other. */
export async function searchReplica(
  source: RestoreSource,
  request: RestoreRequest,
  notes: string[],
  signal: AbortSignal,
): Promise<Searched> {
  const sightings = new Map<string, number>()
  for (;;) {
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
      if (!(error instanceof ObjectNotFoundError)) throw error
      const times = (sightings.get(error.message) ?? 0) + 1
      if (times === maxSightings) throw error
      sightings.set(error.message, times)
    }
  }
}

class ReplicaSearch {
  readonly #history: ReplicaHistory
  readonly #source: RestoreSource
  readonly #request: RestoreRequest
  readonly #trailers: TrailerReader
  readonly #notes: string[]
  readonly #judged = new Map<Generation, Judged>()
  readonly #judgeGeneration: JudgeGeneration
  readonly #losses: ExplainLoss

  constructor(
    history: ReplicaHistory,
    options: Omit<JudgeGenerationOptions, 'history'> & { readonly notes: string[] },
  ) {
    this.#history = history
    this.#source = options.source
    this.#request = options.request
    this.#trailers = options.trailers
    this.#notes = options.notes
    this.#judgeGeneration = new JudgeGeneration({ ...options, history })
    this.#losses = this.#judgeGeneration.losses
  }

  get earliest(): Moment | undefined {
    return this.#judgeGeneration.earliest
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
            command: (generation) => this.#losses.command(['-generation', generation]),
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
      const newest = newestBut(this.#history, passedOver)
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

  async #judge(generation: Generation): Promise<Judged> {
    let judged = this.#judged.get(generation)
    judged ??= await this.#judgeGeneration.judge(generation, this.#request.target)
    this.#judged.set(generation, judged)
    return judged
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
        const problem = `the snapshots of generation ${generation} are gone, which was stored up to ${describeEnd(generation, position)}`
        return this.#losses.nothingOf({ generation, position, timeMs, problem })
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
        const judged = await this.#judgeGeneration.judge(generation, { kind: 'latest' })
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
    return this.#losses.nothingOf({ generation, position, timeMs: target.timeMs, problem })
  }

  async #ambiguous(choices: readonly Generation[]): Promise<SearchOutcome> {
    const lines: string[] = []
    for (const generation of choices) {
      const judged = await this.#judge(generation)
      const flags = ['-generation', generation, ...targetFlags(this.#request)]
      lines.push(
        judged.kind === 'backup'
          ? `${describeEnd(generation, judged.backup.position, judged.backup.commitTimeMs)}: ${this.#losses.command(flags)}`
          : `${generation}, of which nothing can be restored${judged.kind === 'loss' ? `: ${judged.loss.problem}` : ''}`,
      )
    }
    const error = new AmbiguousBackupError(
      `replica ${this.#source.name} has ${choices.length} histories, and it is not known which of them is the newest: generations ${choices.join(', ')}`,
      { hint: ['Choose one:', ...lines].join('\n  ') },
    )
    return { kind: 'ambiguous', choices, error }
  }
}

const beginning: WalPosition = { index: 0, offset: 0 }

/** Whether a moment is asked for that lies after all that is stored of the backup's generation. */
function isBehind({ isAtEnd, commitTimeMs }: Backup, { target }: RestoreRequest): boolean {
  return target.kind === 'timestamp' && isAtEnd && target.timeMs > commitTimeMs
}

function place({ index, offset }: WalPosition): WalPosition {
  return { index, offset }
}

function formatTime(timeMs: number): string {
  return new Date(timeMs).toISOString()
}
