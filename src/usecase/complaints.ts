import { messageOf } from '../kit/error-text.js'
import { type Clock } from './ports/clock.js'
import { type LogFields, type Logger } from './ports/logger.js'

export interface ComplaintsOptions {
  readonly logger: Logger
  readonly clock: Pick<Clock, 'monotonic'>
  readonly phrases: {
    readonly failed: string
    /** Absent: it is not said that it works again. */
    readonly recovered?: string
  }
  /** The same problem is said again after this long. Absent: never, until another was said or it works again. */
  readonly repeatMs?: number
  /** One outage can have as many messages as there are objects and answers: at least this long lies between two. */
  readonly betweenMs?: number
  /** Of every line, those of the recovery included. */
  readonly fields?: LogFields
}

interface Complaint {
  readonly level?: 'error' | 'warn' | 'info'
  /** In place of that of the options. */
  readonly phrase?: string
  readonly fields: LogFields
}

/** Tells the operator that something fails and that it works again, however often it does, without filling the log. */
export class Complaints {
  readonly #options: ComplaintsOptions
  #last: { readonly kind: string; readonly at: number } | undefined
  #isSaid = false

  constructor(options: ComplaintsOptions) {
    this.#options = options
  }

  /** An error; what it is about is told apart by its message. */
  report(error: unknown, fields: LogFields = {}): void {
    this.say(messageOf(error), { fields: { ...fields, err: error } })
  }

  /** A problem of a kind: two of one kind are the same one. */
  say(kind: string, { level = 'error', phrase, fields }: Complaint): void {
    const { logger, clock, phrases, repeatMs = Infinity, betweenMs = 0 } = this.#options
    const now = clock.monotonic()
    const sinceMs = this.#last === undefined ? Infinity : now - this.#last.at
    const isSame = this.#isSaid && this.#last?.kind === kind
    if (isSame ? sinceMs < repeatMs : sinceMs < betweenMs) return
    this.#last = { kind, at: now }
    this.#isSaid = true
    logger[level]({ ...this.#options.fields, ...fields }, phrase ?? phrases.failed)
  }

  /** Says so if a problem was said before. */
  recovered(): void {
    if (!this.#isSaid) return
    this.#isSaid = false
    const { logger, phrases, fields = {} } = this.#options
    if (phrases.recovered !== undefined) logger.info(fields, phrases.recovered)
  }
}
