import { uptime } from 'node:os'
import { setTimeout as delay } from 'node:timers/promises'

import { type Clock, type MachineClock } from '../../usecase/ports/clock.js'

/** Both clocks are read with less than this. */
const minStepMs = 500

class SystemClock implements Clock {
  /** The wall clock at the start of the monotonic one, as it was last read. */
  #startMs = Number.NEGATIVE_INFINITY
  #setBackMs = 0

  now(): number {
    const wallMs = Date.now()
    const startMs = wallMs - this.monotonic()
    const backMs = this.#startMs - startMs
    if (backMs > minStepMs) this.#setBackMs += backMs
    this.#startMs = startMs
    return wallMs
  }

  monotonic(): number {
    return performance.now()
  }

  async sleep(durationMs: number, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted()
    try {
      await delay(durationMs, undefined, { signal })
    } catch (error) {
      signal.throwIfAborted()
      throw error
    }
  }

  setBackMs(): number {
    this.now()
    return this.#setBackMs
  }
}

const clock = new SystemClock()
/** The time of this machine. */
export const systemClock: Clock = clock

export function machineClock({ boot }: Pick<MachineClock, 'boot'>): MachineClock {
  return { boot, sinceBootMs: () => uptime() * 1000, setBackMs: () => clock.setBackMs() }
}
