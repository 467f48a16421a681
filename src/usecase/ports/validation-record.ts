/** When a replica was last proven, remembered across restarts. */
export interface ProvenRestore {
  /** Milliseconds since 1970. */
  readonly atMs: number
}

export interface ValidationRecord {
  /** Undefined: never, or what is remembered cannot be read. */
  load(signal: AbortSignal): Promise<ProvenRestore | undefined>
  save(proven: ProvenRestore, signal: AbortSignal): Promise<void>
}
