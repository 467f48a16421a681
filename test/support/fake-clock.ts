/** Time that passes only when a test says so. */
import { setTimeout as realSleep } from 'node:timers/promises'
import { type Clock } from '../../src/usecase/ports/clock.ts'

interface Sleeper {
  readonly untilMs: number
  readonly wake: () => void
}

export class FakeClock implements Clock {
  readonly #startMs = 1_700_000_000_000
  #passedMs = 0
  #setByMs = 0
  readonly #sleepers = new Set<Sleeper>()

  now(): number {
    return this.#startMs + this.#passedMs + this.#setByMs
  }

  /** The wall clock is set. */
  set(byMs: number): void {
    this.#setByMs += byMs
  }

  monotonic(): number {
    return this.#passedMs
  }

  async sleep(durationMs: number, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted()
    await new Promise<void>((resolve, reject) => {
      const stop = (): void => {
        this.#sleepers.delete(sleeper)
        reject(signal.reason as Error)
      }
      const sleeper = {
        untilMs: this.#passedMs + durationMs,
        wake: () => {
          this.#sleepers.delete(sleeper)
          signal.removeEventListener('abort', stop)
          resolve()
        },
      }
      this.#sleepers.add(sleeper)
      signal.addEventListener('abort', stop, { once: true })
    })
  }

  /** Lets time pass, from one sleeper to the next, with room for what each of them does then. */
  async pass(durationMs: number): Promise<void> {
    const endMs = this.#passedMs + durationMs
    for (;;) {
      await realSleep(5)
      const next = [...this.#sleepers].sort((a, b) => a.untilMs - b.untilMs)[0]
      if (next === undefined || next.untilMs > endMs) break
      this.#passedMs = Math.max(this.#passedMs, next.untilMs)
      next.wake()
    }
    this.#passedMs = endMs
  }
}
