import { type Generation } from '../../domain/wal/generation.js'
import { comparePositions } from '../../domain/wal/position.js'
import { extendRuns, type StoredRun, type StoredRuns } from '../../domain/stored/stored-runs.js'
import { isAbortError } from '../../kit/abort.js'
import { type SeenSegment } from './confirmation.js'
import { type Logger } from '../ports/logger.js'
import { type Remembered } from '../ports/remembered.js'

/** Keeps in memory, and locally, which segments were seen on a replica, each following the one before it. */
export class RememberStored {
  readonly #record: Remembered<StoredRuns> | undefined
  readonly #logger: Logger
  #known: StoredRuns | undefined
  /** What was seen while it was not known yet what it goes on from. */
  #later: SeenSegment[] = []

  constructor(options: {
    readonly record: Remembered<StoredRuns> | undefined
    readonly logger: Logger
  }) {
    this.#record = options.record
    this.#logger = options.logger
  }

  /** What is remembered; undefined: nothing. Until {@link begin} nothing is added to it. */
  async load(signal: AbortSignal): Promise<StoredRuns | undefined> {
    const known = this.#known ?? (await this.#record?.load(signal))
    this.#known = undefined
    this.#later = []
    return known
  }

  /** All of this was seen. */
  async begin(runs: StoredRuns, signal: AbortSignal): Promise<void> {
    this.#known = runs
    const later = this.#later
    this.#later = []
    this.#extend(runs.generation, later)
    await this.#save(signal)
  }

  /** These were seen, too, and follow each other. */
  async add(
    generation: Generation,
    segments: readonly SeenSegment[],
    signal: AbortSignal,
  ): Promise<void> {
    if (segments.length === 0) return
    if (this.#known === undefined) {
      this.#later.push(...segments)
      return
    }
    this.#extend(generation, segments)
    await this.#save(signal)
  }

  #extend(generation: Generation, segments: readonly SeenSegment[]): void {
    const same = this.#known?.generation === generation
    let runs: readonly StoredRun[] = same ? (this.#known?.runs ?? []) : []
    for (const { segment, storedBytes } of segments) {
      const { index, startOffset: offset, endOffset } = segment
      const to = runs.at(-1)?.to
      if (segment.generation !== generation) continue
      if (to !== undefined && comparePositions({ index, offset }, to) < 0) continue
      runs = extendRuns(
        runs,
        { index, offset, sizeBytes: storedBytes },
        { index, offset: endOffset },
      )
    }
    this.#known = { generation, runs }
  }

  /** A failure costs reading after the next start, no more. */
  async #save(signal: AbortSignal): Promise<void> {
    if (this.#known === undefined) return
    try {
      await this.#record?.save(this.#known, signal)
    } catch (err) {
      if (isAbortError(err)) throw err
      this.#logger.debug({ err }, 'what was seen on the replica could not be recorded')
    }
  }
}
