import { unscheduledBurst, unscheduledWaitMs } from '../../domain/policy/snapshot-schedule.js'
import { changeOrDue } from './change-or-due.js'
import { type LoopParts } from './loop-parts.js'

/**
 * The first snapshots of one generation, which somebody removes: after several, the next one waits, so that the database
 * isn't sent over and over. How fast generations follow each other is decided where they begin.
 */
export class SnapshotBurst {
  readonly #parts: LoopParts
  /** When they were finished, by the monotonic clock. */
  #finishedAtMs: readonly number[] = []
  #isSaid = false

  constructor(parts: LoopParts) {
    this.#parts = parts
  }

  /** Another generation begins. */
  clear(): void {
    this.#finishedAtMs = []
  }

  /** One was finished that no schedule asked for. */
  finished(): void {
    this.#finishedAtMs = [...this.#finishedAtMs, this.#parts.clock.monotonic()].slice(
      -unscheduledBurst,
    )
  }

  /** True: it waited, and the world is to be looked at again. A spool that fills is not waited for. */
  async hasWaited(stop: AbortSignal, kill: AbortSignal): Promise<boolean> {
    const { clock, logger, feed } = this.#parts
    const waitMs = unscheduledWaitMs(this.#finishedAtMs, clock.monotonic())
    if (waitMs === 0 || stop.aborted || feed.isHalfFull) {
      this.#isSaid = false
      return false
    }
    if (!this.#isSaid) {
      logger.warn(
        { waitSeconds: Math.ceil(waitMs / 1000), snapshots: this.#finishedAtMs.length },
        'the snapshot of this generation keeps disappearing from the replica: the next one is delayed, and until then the new commits cannot be restored',
      )
    }
    this.#isSaid = true
    await changeOrDue({ clock, feed }, [waitMs], AbortSignal.any([stop, kill]))
    return true
  }
}
