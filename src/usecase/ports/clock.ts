/** Time, so that tests can hold it. */
export interface Clock {
  /** Wall clock, milliseconds since 1970. May jump. */
  now(): number
  /** Milliseconds that only go forward, from an arbitrary start. */
  monotonic(): number
  /** Resolves after `durationMs`; rejects with the signal's reason when it is aborted first. */
  sleep(durationMs: number, signal: AbortSignal): Promise<void>
}

/** Since when this machine runs, so that what the wall clock did meanwhile can be told, by a later process too. */
export interface MachineClock {
  /** This start of the machine; empty where that cannot be told. */
  readonly boot: string
  /** Milliseconds since then, suspensions included. */
  sinceBootMs(): number
  /** By how much the wall clock was set back, altogether, between the times that this process has read it. */
  setBackMs(): number
}
