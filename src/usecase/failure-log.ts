import { TsreplicateError } from '../domain/errors.js'
import { type Counts, type Failure } from '../domain/status.js'
import { messageOf } from '../kit/error-text.js'
import { type Clock } from './ports/clock.js'

export class FailureLog {
  readonly #clock: Pick<Clock, 'now'>
  readonly #counts: Record<string, number> = {}
  #last: Failure | undefined

  constructor(clock: Pick<Clock, 'now'>) {
    this.#clock = clock
  }

  add(error: unknown): void {
    const kind = error instanceof TsreplicateError ? error.code : 'OTHER'
    const message = messageOf(error)
    this.#counts[kind] = (this.#counts[kind] ?? 0) + 1
    this.#last = { message, kind, atMs: this.#clock.now(), isOver: false }
  }

  end(): void {
    if (this.#last?.isOver === false) this.#last = { ...this.#last, isOver: true }
  }

  get last(): Failure | undefined {
    return this.#last
  }

  get counts(): Counts {
    return this.#counts
  }
}
