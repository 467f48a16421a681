/** The port to what has started the daemon and looks after it. */
export interface ServiceManager {
  /** It expects a sign of life within this time, again and again; undefined: it expects none. */
  readonly watchdogMs: number | undefined

  /** Tells it something, as `READY=1`. In order; never throws: one that cannot be told is logged once. */
  notify(assignments: readonly string[]): void

  /** Resolves when all has been told. */
  flush(): Promise<void>
}
