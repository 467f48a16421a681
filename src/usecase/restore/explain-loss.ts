/** What is said of what a replica has lost: what is missing, what is left, and how to get that. */
import { CorruptionError } from '../../domain/errors.js'
import { BrokenChainError } from '../../domain/stored/chain-verifier.js'
import { formatObjectPath } from '../../domain/stored/replica-layout.js'
import { type StoredSnapshot } from '../../domain/stored/restore-plan.js'
import { type Generation } from '../../domain/wal/generation.js'
import { comparePositions, formatWalPosition, type WalPosition } from '../../domain/wal/position.js'
import { newestBut, type ReplicaHistory, type StoredGeneration } from '../stored/replica-history.js'
import { type TrailerReader } from '../stored/trailers.js'
import { lastRestorable, type RestorableCommit } from './last-restorable.js'
import {
  type Backup,
  describeEnd,
  type Judged,
  type Loss,
  restoreCommand,
  type RestoreRequest,
  type RestoreSource,
} from './restore-types.js'

export interface ExplainLossOptions {
  readonly history: ReplicaHistory
  readonly source: RestoreSource
  readonly request: RestoreRequest
  readonly trailers: TrailerReader
  /** What a restore of the newest commit of a generation comes to. */
  readonly judgeNewest: (generation: Generation) => Promise<Judged>
}

type Lost = Pick<Loss, 'generation' | 'position' | 'timeMs' | 'problem'>

export class ExplainLoss {
  readonly #options: ExplainLossOptions

  constructor(options: ExplainLossOptions) {
    this.#options = options
  }

  /** More was stored than is there. */
  shortOf(
    stored: StoredGeneration,
    end: WalPosition,
    storedTo: WalPosition,
    snapshot: StoredSnapshot | undefined,
  ): Loss {
    const { generation, extent } = stored
    const evidence =
      snapshot === undefined
        ? extent?.evidence
        : `${formatObjectPath(snapshot)} was finished when everything was stored`
    const range = `${describeEnd(generation, end)} to ${describeEnd(generation, storedTo)}`
    return this.#loss({
      generation,
      position: storedTo,
      timeMs: extent?.timeMs ?? 0,
      problem: `WAL is missing from ${range}: ${evidence} up to there`,
      left: () => lastRestorable(stored, end, this.#options.trailers),
    })
  }

  /** Something between two places is missing. */
  gap(stored: StoredGeneration, from: WalPosition, to: WalPosition): Loss {
    const { generation, extent, segments } = stored
    const path = formatObjectPath({ kind: 'wal-segment', generation, ...place(from) })
    const last = segments.at(-1)
    const range = `${describeEnd(generation, from)} to ${describeEnd(generation, to)}`
    return this.#loss({
      generation,
      position: last && place(last),
      timeMs: extent?.timeMs ?? last?.createdAtMs ?? 0,
      problem: `${path} is missing: nothing is stored from ${range}`,
      left: () => lastRestorable(stored, from, this.#options.trailers),
    })
  }

  /** Nothing is left of a generation, or nothing that can be restored. */
  nothingOf(lost: Lost): Loss {
    return this.#loss({ ...lost, left: () => Promise.resolve(undefined) })
  }

  #loss({
    left,
    ...lost
  }: Lost & { readonly left: () => Promise<RestorableCommit | undefined> }): Loss {
    const explain = async (): Promise<Error> =>
      this.#explain(lost.generation, lost.problem, await left())
    return { source: this.#options.source, ...lost, explain }
  }

  async #explain(
    generation: Generation,
    problem: string,
    left: RestorableCommit | undefined,
  ): Promise<Error> {
    const what = `replica ${this.#options.source.name}: ${problem}`
    if (left !== undefined) {
      const commit = describeEnd(generation, left.position, left.timeMs)
      return new CorruptionError(
        `${what}; the last commit before it that can be restored ends at ${commit}`,
        { hint: `To restore that one anyway: ${this.command(left.flags)}` },
      )
    }
    const other = await this.#generationBefore(generation)
    const nothing = `${what}; no commit of this generation can be restored${this.#byThen}`
    if (other === undefined) return new CorruptionError(nothing)
    const end = describeEnd(other.generation, other.commit.position, other.commit.timeMs)
    return new CorruptionError(`${nothing}; the generation before it ends at ${end}`, {
      hint: `To restore that one anyway: ${this.command(other.commit.flags)}`,
    })
  }

  /** The same error, with what is left of a backup that is damaged, and how to get that. */
  async explainDamage(backup: Backup, error: CorruptionError): Promise<Error> {
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
      const left = await lastRestorable(
        listing,
        isBefore ? verifiedTo : limit,
        this.#options.trailers,
      )
      flags = left?.flags ?? (await this.#generationBefore(generation))?.commit.flags
    }
    if (flags === undefined) return error
    return new CorruptionError(error.message, {
      cause: error,
      hint: `To restore what is left anyway: ${this.command(flags)}`,
    })
  }

  get #byThen(): string {
    const { target } = this.#options.request
    return target.kind === 'timestamp' ? ` at ${new Date(target.timeMs).toISOString()}` : ''
  }

  /** What can be restored of the newest of the generations that do not come after one. */
  async #generationBefore(
    last: Generation,
  ): Promise<{ readonly generation: Generation; readonly commit: RestorableCommit } | undefined> {
    const { facts, order } = this.#options.history
    const after = facts.filter(({ generation }) => order.isBefore(last, generation))
    const passedOver = [last, ...after.map(({ generation }) => generation)]
    for (;;) {
      const newest = newestBut(this.#options.history, passedOver)
      if (newest.length === 0) return undefined
      for (const generation of newest) {
        const commit = await this.#endOf(generation)
        if (commit !== undefined) return { generation, commit }
      }
      passedOver.push(...newest)
    }
  }

  /** The end of a generation, or what is left of it. */
  async #endOf(generation: Generation): Promise<RestorableCommit | undefined> {
    const { history, trailers, judgeNewest } = this.#options
    const stored = history.generations.find((each) => each.generation === generation)
    if (stored === undefined) return undefined
    const end = { index: Number.MAX_SAFE_INTEGER, offset: 0 }
    const left = await lastRestorable(stored, end, trailers)
    const judged = await judgeNewest(generation)
    const isWhole =
      left !== undefined &&
      judged.kind === 'backup' &&
      comparePositions(judged.backup.position, left.position) === 0
    return isWhole ? { ...left, flags: ['-generation', generation] } : left
  }

  /** The command that restores from this replica what the flags say, for people. */
  command(flags: readonly string[]): string {
    return restoreCommand(this.#options.request, this.#options.source, flags)
  }
}

function place({ index, offset }: WalPosition): WalPosition {
  return { index, offset }
}
