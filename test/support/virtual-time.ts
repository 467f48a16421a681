import { setImmediate as turn } from 'node:timers/promises'
import { type Clock } from '../../src/usecase/ports/clock.ts'

interface Sleeper {
  readonly dueMs: number
  readonly owner: VirtualClock
  readonly wake: () => void
}

/** Time for many hosts, for tests in which nothing takes real time: between two turns of the loop everything has happened. */
export class VirtualTime {
  nowMs = 0
  readonly sleepers = new Set<Sleeper>()

  /** Lets so much time pass, and everything happen that happens meanwhile. Clocks that are stopped stand still. */
  async pass(durationMs: number): Promise<void> {
    const untilMs = this.nowMs + durationMs
    for (;;) {
      await turn()
      let next: Sleeper | undefined
      for (const sleeper of this.sleepers) {
        if (sleeper.owner.isStopped || sleeper.dueMs > untilMs) continue
        if (next === undefined || sleeper.dueMs < next.dueMs) next = sleeper
      }
      if (next === undefined) break
      this.nowMs = Math.max(this.nowMs, next.dueMs)
      next.wake()
    }
    this.nowMs = untilMs
  }
}

/** The clock of one host: ahead of the time or behind it, and set at will. */
export class VirtualClock implements Clock {
  static readonly startMs = Date.parse('2026-01-01T00:00:00Z')
  readonly #time: VirtualTime
  readonly #offsetMs: () => number
  /** Nothing that sleeps by it is woken: the host is frozen. */
  isStopped = false

  constructor(time: VirtualTime, offsetMs: () => number) {
    this.#time = time
    this.#offsetMs = offsetMs
  }

  now(): number {
    return VirtualClock.startMs + Math.floor(this.#time.nowMs) + this.#offsetMs()
  }

  monotonic(): number {
    return this.#time.nowMs
  }

  async sleep(durationMs: number, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted()
    await new Promise<void>((resolve, reject) => {
      const end = (): void => {
        this.#time.sleepers.delete(sleeper)
        signal.removeEventListener('abort', abort)
      }
      const abort = (): void => {
        end()
        reject(signal.reason as Error)
      }
      const sleeper: Sleeper = {
        dueMs: this.#time.nowMs + durationMs,
        owner: this,
        wake: () => {
          end()
          resolve()
        },
      }
      this.#time.sleepers.add(sleeper)
      signal.addEventListener('abort', abort)
    })
  }
}
