import { type Clock } from '../ports/clock.js'

/** Before what a listing lacks is taken for lost. */
const lookAgainMs = 5000

/** What is missing counts when it is missing at the next look, too: a listing may lag. */
export class SecondLook {
  readonly #clock: Clock
  #suspected: string | undefined

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** Whether `what` is seen for the first time. Then it has waited, and the replica is to be looked at once more. */
  async isDue(what: string, signal: AbortSignal): Promise<boolean> {
    if (this.#suspected === what) {
      this.#suspected = undefined
      return false
    }
    this.#suspected = what
    await this.#clock.sleep(lookAgainMs, signal)
    return true
  }

  /** Nothing is missing. */
  clear(): void {
    this.#suspected = undefined
  }
}
