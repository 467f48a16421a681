/** When a replica was last validated, remembered across restarts. */
export interface ValidatedRestore {
  /** Milliseconds since 1970. */
  readonly atMs: number
}

export interface ValidationRecord {
  /** Undefined: never, or what is remembered cannot be read. */
  load(signal: AbortSignal): Promise<ValidatedRestore | undefined>
  save(proven: ValidatedRestore, signal: AbortSignal): Promise<void>
}
