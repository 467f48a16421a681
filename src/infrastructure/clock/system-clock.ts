import { uptime } from 'node:os'
import { setTimeout as delay } from 'node:timers/promises'

import { type Clock, type MachineClock } from '../../usecase/ports/clock.js'

/** Both clocks are read with less than this. */
const minStepMs = 500

/** The wall clock at the start of the monotonic one, as it was last read; and by how much it was set back until then. */
let startMs = Number.NEGATIVE_INFINITY
let setBackMs = 0

function readWallClock(): number {
  const wallMs = Date.now()
  const nowStartMs = wallMs - performance.now()
  if (startMs - nowStartMs > minStepMs) setBackMs += startMs - nowStartMs
  startMs = nowStartMs
  return wallMs
}

export const systemClock: Clock = {
  now: readWallClock,
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

export function machineClock({ boot }: Pick<MachineClock, 'boot'>): MachineClock {
  return {
    boot,
    sinceBootMs: () => uptime() * 1000,
    setBackMs: () => {
      readWallClock()
      return setBackMs
    },
  }
}
