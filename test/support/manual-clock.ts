import { setImmediate as turn } from 'node:timers/promises'
import { type Clock } from '../../src/usecase/ports/clock.ts'

interface Sleeper {
  readonly dueMs: number
  readonly wake: () => void
}

/** A clock that stands still until a test advances it, from one sleeper to the next. */
export class ManualClock implements Clock {
  readonly #startMs = Date.parse('2026-01-01T00:00:00Z')
  #nowMs = 0
  readonly #sleepers = new Set<Sleeper>()

  now(): number {
    return this.#startMs + this.#nowMs
  }

  monotonic(): number {
    return this.#nowMs
  }

  async sleep(durationMs: number, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted()
    await new Promise<void>((resolve, reject) => {
      const end = (): void => {
        this.#sleepers.delete(sleeper)
        signal.removeEventListener('abort', abort)
      }
      const abort = (): void => {
        end()
        reject(signal.reason as Error)
      }
      const sleeper = {
        dueMs: this.#nowMs + durationMs,
        wake: () => {
          end()
          resolve()
        },
      }
      this.#sleepers.add(sleeper)
      signal.addEventListener('abort', abort)
    })
  }

  /** Lets so much time pass, and everything happen that happens meanwhile. */
  async advance(durationMs: number): Promise<void> {
    const untilMs = this.#nowMs + durationMs
    for (;;) {
      await settled()
      const next = [...this.#sleepers].sort((a, b) => a.dueMs - b.dueMs)[0]
      if (next === undefined || next.dueMs > untilMs) break
      this.#nowMs = Math.max(this.#nowMs, next.dueMs)
      next.wake()
    }
    this.#nowMs = untilMs
  }
}

/**
 * All that can happen without time has happened. What only promises hold up does within some turns of the event loop; what
 * the disk holds up, as long as it takes.
 */
async function settled(): Promise<void> {
  for (let idle = 0; idle < 20; idle += 1) {
    await turn()
    const pending = process.getActiveResourcesInfo()
    if (pending.some((name) => name.includes('Req'))) idle = 0
  }
}
