/** What points at a database. */
export type Sign =
  /** A process has it open. */
  | { readonly kind: 'open'; readonly pid: number; readonly program: string }
  /** An application is configured to use it, by this file or variable. */
  | { readonly kind: 'named'; readonly by: string }
  /** A file of a usual name that lies here. */
  | { readonly kind: 'lying' }

export interface Sighting {
  /** Absolute, and of the file itself, not of a link to it. */
  readonly path: string
  readonly sizeBytes: number
  readonly sign: Sign
}

/** Looks for SQLite databases. It changes nothing, and passes over what it may not read. */
export interface DatabaseFinder {
  /** In the order of the signs; a database is seen as often as something points at it. */
  find(signal: AbortSignal): Promise<readonly Sighting[]>
}
