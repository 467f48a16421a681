import { setTimeout as delay } from 'node:timers/promises'

import { type Clock } from '../../usecase/ports/clock.js'

/** The time of this machine. */
export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  async sleep(durationMs, signal) {
    signal.throwIfAborted()
    try {
      await delay(durationMs, undefined, { signal })
    } catch (error) {
      signal.throwIfAborted()
      throw error
    }
  },
}
