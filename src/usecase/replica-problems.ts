import { TsreplicateError } from '../domain/errors.js'
import { messageOf } from '../kit/error-text.js'
import { FailureLog } from './failure-log.js'
import { type Clock } from './ports/clock.js'
import { type Logger } from './ports/logger.js'

/** The same message is logged again after this long. */
const repeatMs = 30 * 60_000
/** Failures of one outage can have as many messages as there are objects and answers: this long lies between two. */
const betweenMs = 30_000

/** Tells the operator that a replica fails and that it works again, however often it does, without filling the log. */
export class ReplicaProblems {
  readonly #logger: Logger
  readonly #clock: Pick<Clock, 'monotonic'>
  readonly #location: string
  readonly log: FailureLog
  #last: { readonly message: string; readonly at: number } | undefined
  #isSaid = false

  constructor(options: {
    logger: Logger
    clock: Pick<Clock, 'monotonic' | 'now'>
    location: string
  }) {
    this.#logger = options.logger
    this.#clock = options.clock
    this.#location = options.location
    this.log = new FailureLog(options.clock)
  }

  report(error: unknown): void {
    this.log.add(error)
    const message = messageOf(error)
    const now = this.#clock.monotonic()
    const sinceMs = this.#last === undefined ? Infinity : now - this.#last.at
    const isSame = this.#isSaid && this.#last?.message === message
    if (sinceMs < (isSame ? repeatMs : betweenMs)) return
    this.#last = { message, at: now }
    this.#isSaid = true
    const hint = error instanceof TsreplicateError ? error.hint : undefined
    this.#logger.error(
      { location: this.#location, err: error, ...(hint === undefined ? {} : { hint }) },
      'replica sync failed: it is tried again until it works',
    )
  }

  /** Says so if a problem was said before. */
  recovered(): void {
    this.log.end()
    if (!this.#isSaid) return
    this.#isSaid = false
    this.#logger.info({}, 'replica recovered')
  }
}
