import { type InUseError } from '../domain/errors.js'
import { type Clock } from './ports/clock.js'

/** Whoever starts a daemon still looks at it for this long. */
const startMs = 30_000

/**
 * How a loop says that its work is already done by another process. At the start of a daemon of one database that is a
 * mistake of whoever started it, and ends it. Later, or beside other databases, it is a problem like others, which the loop
 * reports and outlives: who can make one database seem to be in use stops no other.
 */
export class Refusal {
  readonly #clock: Pick<Clock, 'monotonic'>
  readonly #startedAt: number
  #isStartOver: boolean
  readonly #refused: Promise<never>
  #reject: (error: InUseError) => void = () => undefined

  constructor(clock: Pick<Clock, 'monotonic'>, { isAlone }: { readonly isAlone: boolean }) {
    this.#clock = clock
    this.#isStartOver = !isAlone
    this.#startedAt = clock.monotonic()
    this.#refused = new Promise((_, reject) => {
      this.#reject = reject
    })
    // It may come before anybody waits for it.
    this.#refused.catch(() => undefined)
  }

  refuse(error: InUseError): void {
    const isStart = !this.#isStartOver && this.#clock.monotonic() - this.#startedAt < startMs
    if (isStart) this.#reject(error)
  }

  /** Something else is wanted by now: what is refused may not be what the daemon was started for. */
  startIsOver(): void {
    this.#isStartOver = true
  }

  /** As `work`, but rejects when the daemon is refused. */
  orElse<T>(work: Promise<T>): Promise<T> {
    return Promise.race([work, this.#refused])
  }
}
