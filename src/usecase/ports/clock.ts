/** Time, so that tests can hold it. */
export interface Clock {
  /** Wall clock, milliseconds since 1970. May jump. */
  now(): number
  /** Milliseconds that only go forward, from an arbitrary start. */
  monotonic(): number
  /** Resolves after `durationMs`; rejects with the signal's reason when it is aborted first. */
  sleep(durationMs: number, signal: AbortSignal): Promise<void>
}
