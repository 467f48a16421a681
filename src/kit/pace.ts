/**
 * Lets something happen once per interval, and in the long run no more often. One that comes late does not put off those behind
 * it, so that what comes once per interval waits for nothing: two may be closer than that, three never are. (The generic
 * cell rate algorithm of ITU-T I.371, with a tolerance of one interval.)
 */
export class Pace {
  #dueAtMs = Number.NEGATIVE_INFINITY

  /** How long the next one has to wait. */
  dueInMs(nowMs: number): number {
    return Math.max(0, this.#dueAtMs - nowMs)
  }

  /** It happens, the next one an interval later or, once, sooner. */
  happens(nowMs: number, intervalMs: number): void {
    this.#dueAtMs = Math.max(nowMs, this.#dueAtMs + intervalMs)
  }
}
