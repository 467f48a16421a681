import { isAbortError } from '../../kit/abort.js'
import { type EnforceRetention, type RetentionReport } from './enforce-retention.js'
import { Complaints } from '../complaints.js'
import { type Clock } from '../ports/clock.js'
import { type Logger } from '../ports/logger.js'

export interface ScheduleRetentionOptions {
  readonly retention: Pick<EnforceRetention, 'enforce' | 'lookAtClock'>
  readonly checkIntervalMs: number
  /** Changes whenever something was stored on the replica. */
  readonly storedState: () => string
  /** Absent: yes. Where the replica is another's, nothing is deleted. */
  readonly isOurs?: () => boolean
  readonly clock: Clock
  readonly logger: Logger
  /** A number from 0 up to 1. */
  readonly random: () => number
}

/** How often it is looked at the start whether the replica is claimed. */
const claimLookMs = 1000
/** Timers longer than 24 days fire at once. */
const maxTimerMs = 24 * 3_600_000

/**
 * Enforces retention on one replica now and then, for ever: the first time one interval after the start. While nothing
 * is stored and nothing falls out of the window, there is nothing to find out, and the replica is left alone.
 */
export class ScheduleRetention {
  readonly #options: ScheduleRetentionOptions
  #state: string | undefined
  #nextChangeMs: number | undefined
  readonly #complaints: Complaints
  #lastAtMs: number | undefined
  #deletedSnapshots = 0
  #deletedSegments = 0

  constructor(options: ScheduleRetentionOptions) {
    this.#options = options
    this.#complaints = new Complaints({
      ...options,
      repeatMs: 30 * 60_000,
      phrases: {
        failed: 'retention failed, nothing was deleted, retrying at the next check',
        recovered: 'retention recovered',
      },
    })
  }

  /** When it was last looked without a failure, and what was deleted since the start. */
  get status(): {
    readonly lastAtMs: number | undefined
    readonly deletedSnapshots: number
    readonly deletedSegments: number
  } {
    return {
      lastAtMs: this.#lastAtMs,
      deletedSnapshots: this.#deletedSnapshots,
      deletedSegments: this.#deletedSegments,
    }
  }

  /** Runs until `stop`, which also ends deletions under way: they are finished after the next start. */
  async run(stop: AbortSignal): Promise<void> {
    const { retention, checkIntervalMs, clock, random } = this.#options
    const attempt = async (action: () => Promise<unknown>): Promise<void> => {
      try {
        await action()
      } catch (error) {
        if (!isAbortError(error)) this.#complaints.report(error)
      }
    }
    await attempt(async () => {
      // The local state, which remembers the clock, is this process's own only then.
      while (this.#options.isOurs?.() === false) await clock.sleep(claimLookMs, stop)
      await retention.lookAtClock(stop)
    })
    while (!stop.aborted) {
      await attempt(async () => {
        await clock.sleep(Math.min(checkIntervalMs * (0.9 + random() * 0.2), maxTimerMs), stop)
        await this.#check(stop)
      })
    }
  }

  async #check(stop: AbortSignal): Promise<void> {
    const { retention, storedState, clock } = this.#options
    if (this.#options.isOurs?.() === false) return
    const state = storedState()
    const nothingNew = state === this.#state
    const isDue = this.#nextChangeMs !== undefined && clock.now() >= this.#nextChangeMs
    if (nothingNew && !isDue) {
      this.#lastAtMs = clock.now()
      return
    }
    const report = await retention.enforce(stop)
    this.#deletedSnapshots += report.deletedSnapshots
    this.#deletedSegments += report.deletedSegments
    if (report.failures.length === 0) this.#lastAtMs = clock.now()
    this.#log(report)
    this.#state = report.failures.length === 0 ? state : undefined
    this.#nextChangeMs = report.plan.nextChangeMs
  }

  #log({ deletedSnapshots, deletedSegments, failures, plan }: RetentionReport): void {
    const { logger } = this.#options
    if (failures.length === 0) this.#complaints.recovered()
    if (deletedSnapshots + deletedSegments === 0) return
    logger.info(
      { snapshots: deletedSnapshots, segments: deletedSegments, kept: plan.kept.length },
      'retention enforced',
    )
  }
}
