import { readFileSync } from 'node:fs'
import { availableParallelism, loadavg } from 'node:os'

/**
 * How many times more there is to run than this machine can; at least 1. So many times later, about, a thread runs on that has
 * slept. Off Linux only the load of the last minute is known.
 */
export function busyness(): number {
  return Math.max(1, Math.max(loadavg()[0] ?? 0, runnable()) / availableParallelism())
}

/** How many threads want a core at this moment (`Documentation/filesystems/proc.rst`: loadavg). */
function runnable(): number {
  try {
    return Number(/ (\d+)\//.exec(readFileSync('/proc/loadavg', 'utf8'))?.[1] ?? 0)
  } catch {
    return 0
  }
}
