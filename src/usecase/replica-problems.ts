import { Complaints } from './complaints.js'
import { FailureLog } from './failure-log.js'
import { type Clock } from './ports/clock.js'
import { type Logger } from './ports/logger.js'

/** Tells the operator that a replica fails and that it works again, and keeps count of it. */
export class ReplicaProblems {
  readonly #complaints: Complaints
  readonly #location: string
  readonly log: FailureLog

  constructor(options: {
    logger: Logger
    clock: Pick<Clock, 'monotonic' | 'now'>
    location: string
  }) {
    this.#complaints = new Complaints({
      ...options,
      repeatMs: 30 * 60_000,
      betweenMs: 30_000,
      phrases: {
        failed: 'replica sync failed, retrying until it works',
        recovered: 'replica recovered',
      },
    })
    this.#location = options.location
    this.log = new FailureLog(options.clock)
  }

  report(error: unknown): void {
    this.log.add(error)
    this.#complaints.report(error, { location: this.#location })
  }

  /** Says so if a problem was said before. */
  recovered(): void {
    this.log.end()
    this.#complaints.recovered()
  }
}
