/**
 * How long a test waits. Waits end by what they wait for; a limit only ends what hangs. So limits are told in the time of a
 * quiet machine, and on a busy one that time passes more slowly: by as much as there is more to run than there are cores.
 */
import { busyness } from '../../src/kit/busyness.ts'

/** What a test as a whole may take before it counts as hung. Its waits end sooner, and say what they wait for. */
export const hungMs = 900_000

/** How busy the machine was at each of the last seconds: what a limit is for lies behind it when the limit is asked for. */
const lately: number[] = []
setInterval(() => {
  lately.push(busyness())
  if (lately.length > 60) lately.shift()
}, 1000).unref()

/** A duration that would do on a quiet machine, as long as it has to be on this one, as busy as it was in the last minute. */
export function onThisMachine(quietMs: number): number {
  return quietMs * Math.max(busyness(), ...lately)
}

/** A limit that is spent in the time of a quiet machine. */
export class Patience {
  readonly #limitMs: number
  readonly #startedMs = performance.now()
  #lookedMs = this.#startedMs
  #spentMs = 0

  constructor(limitMs: number) {
    this.#limitMs = limitMs
  }

  /** Asked now and then while waiting. */
  get isOver(): boolean {
    const nowMs = performance.now()
    this.#spentMs += (nowMs - this.#lookedMs) / busyness()
    this.#lookedMs = nowMs
    return this.#spentMs > this.#limitMs
  }

  /** For the message of what hung. */
  get waited(): string {
    const waitedMs = Math.round(performance.now() - this.#startedMs)
    return `waited ${waitedMs} ms (the limit is ${this.#limitMs} ms on a quiet machine)`
  }
}
