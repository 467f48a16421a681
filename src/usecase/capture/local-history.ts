import { type Generation } from '../../domain/wal/generation.js'
import {
  type FollowedGeneration,
  type GenerationOrigin,
  maxFollowedGenerations,
} from '../../domain/stored/lineage.js'
import { type WalPosition } from '../../domain/wal/position.js'
import { type Clock } from '../ports/clock.js'
import { type Logger } from '../ports/logger.js'
import { type SpoolState } from '../ports/spool.js'

/** A clock that lags behind commit times by less is not worth a word. */
const usualLagMs = 1000
/** A clock that lags behind by more is wrong, here or where the newest commit was made: somebody has to set it. */
const wrongClockMs = 60_000

/**
 * What one database's local state knows of its history: the generations before the current one, and the newest commit
 * time. Times never go back along a history, whatever the clock does, over generations, restarts and changes of the writer.
 */
export class LocalHistory {
  readonly #clock: Pick<Clock, 'now'>
  readonly #logger: Logger
  #lastMs = 0
  #isBehind = false
  /** The current generation and those before it, the newest first. */
  #generations: readonly FollowedGeneration[] = []

  constructor(options: { clock: Pick<Clock, 'now'>; logger: Logger }) {
    this.#clock = options.clock
    this.#logger = options.logger
  }

  /** Time of the last commit, or of the beginning of the generation. */
  get lastMs(): number {
    return this.#lastMs
  }

  /** Goes on from what an earlier process left. */
  resume({ generation, segments, origin }: SpoolState): void {
    const last = segments.at(-1)
    const lastMs = last?.trailer.captures.at(-1)?.timeMs ?? 0
    this.#lastMs = Math.max(this.#lastMs, lastMs, origin?.beganAtMs ?? 0)
    const end = last === undefined ? undefined : { index: last.index, offset: last.endOffset }
    this.#generations = [{ generation, end: end ?? beginning }, ...(origin?.follows ?? [])]
  }

  /**
   * Begins a generation after all that was captured, and after `notBeforeMs`.
   */
  begin(
    generation: Generation,
    options: {
      /** Where what was captured of the one before ends, if this process has it. */
      readonly former: { readonly generation: Generation; readonly end: WalPosition } | undefined
      /** Whether the database is what was captured before, and not a file that took its place. */
      readonly isSameFile: boolean
      readonly notBeforeMs: number
    },
  ): GenerationOrigin {
    const { former, isSameFile, notBeforeMs } = options
    const follows = this.#generations
      .map((each) => (each.generation === former?.generation ? former : each))
      .map((each) => (isSameFile ? each : { generation: each.generation, end: undefined }))
      .slice(0, maxFollowedGenerations)
    const beganAtMs = Math.max(this.#clock.now(), this.#lastMs + 1, notBeforeMs + 1)
    this.#lookAt(this.#clock.now(), beganAtMs)
    this.#lastMs = beganAtMs
    this.#generations = [{ generation, end: beginning }, ...follows]
    return { beganAtMs, follows }
  }

  /** The time to record for what was seen to be committed at a moment by the clock. */
  stamp(timeMs: number): number {
    this.#lastMs = Math.max(timeMs, this.#lastMs)
    this.#lookAt(timeMs, this.#lastMs)
    return this.#lastMs
  }

  /** Says once that the clock is behind what was recorded. */
  #lookAt(clockMs: number, recordedMs: number): void {
    const isBehind = recordedMs > clockMs + usualLagMs
    if (isBehind && !this.#isBehind) {
      const level = recordedMs > clockMs + wrongClockMs ? 'error' : 'warn'
      this.#logger[level](
        {
          byMs: recordedMs - clockMs,
          until: new Date(recordedMs).toISOString(),
          hint: 'set the clock, here or on the host that wrote before: until then, a restore can select the new commits only by position, not by time',
        },
        'the clock is behind the newest commit: new commits get its time until the clock has passed it',
      )
    }
    this.#isBehind = isBehind
  }
}

const beginning: WalPosition = { index: 0, offset: 0 }
