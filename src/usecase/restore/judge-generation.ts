/** Whether a generation of a replica has what a restore asks for, and from which snapshot and segments it is restored. */
import {
  type ChainEnd,
  chainSegments,
  type StoredSnapshot,
} from '../../domain/stored/restore-plan.js'
import { type SnapshotTrailer } from '../../domain/stored/trailer.js'
import { type Generation } from '../../domain/wal/generation.js'
import { comparePositions, type WalPosition } from '../../domain/wal/position.js'
import { type ReplicaHistory, type StoredGeneration } from '../stored/replica-history.js'
import { type TrailerReader } from '../stored/trailers.js'
import { ExplainLoss } from './explain-loss.js'
import { findRestorePoint, type RestorePoint } from './find-restore-point.js'
import {
  type Backup,
  describeEnd,
  type Judged,
  type Loss,
  type Moment,
  type RestoreRequest,
  type RestoreSource,
  type RestoreTarget,
} from './restore-types.js'

export interface JudgeGenerationOptions {
  readonly history: ReplicaHistory
  readonly source: RestoreSource
  readonly request: RestoreRequest
  readonly trailers: TrailerReader
}

export class JudgeGeneration {
  readonly #options: JudgeGenerationOptions
  /** What is said of what is lost. */
  readonly losses: ExplainLoss
  /** The first moment that can be restored of what was looked at. */
  earliest: Moment | undefined

  constructor(options: JudgeGenerationOptions) {
    this.#options = options
    this.losses = new ExplainLoss({
      ...options,
      judgeNewest: (generation) => this.judge(generation, { kind: 'latest' }),
    })
  }

  /** Whether a generation has the target, and from what it is restored. */
  async judge(generation: Generation, target: RestoreTarget): Promise<Judged> {
    const stored = this.#options.history.generations.find((each) => each.generation === generation)
    if (stored === undefined || stored.snapshots.length === 0) {
      return await this.#judgeWithoutSnapshot(generation, stored, target)
    }
    let place: RestorePoint | undefined
    for (const snapshot of stored.snapshots.toReversed()) {
      if (target.kind === 'index' && snapshot.index > target.index) continue
      if (target.kind === 'position' && snapshot.index > target.position.index) continue
      const trailer = await this.#options.trailers.snapshot(snapshot)
      const timeMs = trailer?.commitTimeMs ?? snapshot.createdAtMs
      this.#noteEarliest({ timeMs, approximate: trailer === undefined })
      if (target.kind === 'timestamp' && timeMs > target.timeMs) continue
      place ??= await findRestorePoint(stored, target, this.#options.trailers)
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
      readonly target: RestoreTarget
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
      return isWanted ? asLoss(this.losses.shortOf(stored, position, from, snapshot)) : undefined
    }
    if (target.kind === 'position' && comparePositions(position, target.position) < 0) {
      return undefined
    }
    if (place?.gap !== undefined)
      return asLoss(this.losses.gap(stored, place.gap.from, place.gap.to))
    // Commits before the moment asked for may be among those that are lost.
    const isMissed = next !== undefined && comparePositions(next, start) > 0
    if (isLater && place === undefined && isMissed)
      return asLoss(this.losses.gap(stored, start, next))
    const { extent } = stored
    const isWanted =
      isAtEnd &&
      (target.kind === 'latest' ||
        (target.kind === 'index' && (extent?.position.index ?? 0) <= target.index) ||
        // While a clock is behind, many commits have one and the same time.
        (target.kind === 'timestamp' && (isLater || (extent?.timeMs ?? 0) <= target.timeMs)))
    if (isWanted && extent !== undefined && endsBefore(extent.position)) {
      return asLoss(this.losses.shortOf(stored, position, extent.position, undefined))
    }
    const end: ChainEnd = place?.end ?? { kind: 'position', position: start }
    const chain = chainSegments(stored, snapshot.index, end)
    if (chain.kind === 'gap') return asLoss(this.losses.gap(stored, chain.missing, chain.next))
    const { segments } = chain
    const backup: Backup = {
      source: this.#options.source,
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
      explainDamage: (error) => this.losses.explainDamage(backup, error),
    }
    return { kind: 'backup', backup }
  }

  /** Of a generation of which it is recorded that it had a snapshot. */
  async #judgeWithoutSnapshot(
    generation: Generation,
    stored: StoredGeneration | undefined,
    target: RestoreTarget,
  ): Promise<Judged> {
    const record = this.#options.history.records.find((each) => each.generation === generation)
    const first = stored?.segments[0]
    const firstMs =
      first &&
      ((await this.#options.trailers.segment(first))?.captures[0]?.timeMs ?? first.createdAtMs)
    const timeMs = record?.commitTimeMs ?? 0
    if (target.kind === 'timestamp' && target.timeMs < (firstMs ?? timeMs)) return { kind: 'none' }
    const position = record?.position
    const upTo =
      position === undefined ? '' : `, which was stored up to ${describeEnd(generation, position)}`
    const problem =
      stored === undefined
        ? `generation ${generation} is gone${upTo}`
        : `the snapshots of generation ${generation} are gone${upTo}`
    return asLoss(this.losses.nothingOf({ generation, position, timeMs, problem }))
  }

  #noteEarliest(moment: Moment): void {
    if (this.earliest === undefined || moment.timeMs < this.earliest.timeMs) this.earliest = moment
  }
}

function asLoss(loss: Loss): Judged {
  return { kind: 'loss', loss }
}
