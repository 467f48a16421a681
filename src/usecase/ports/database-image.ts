/** The port to a database file that is being restored: nothing is seen under its name before it is whole. */
export interface DatabaseImageFactory {
  /**
   * Begins the file beside `outputPath`. Throws {@link OutputExistsError} when that path, or its `-wal`, `-shm` or
   * `-journal`, exists.
   */
  create(outputPath: string): Promise<DatabaseImage>
}

/** Neighbouring pages. */
export interface ImageRun {
  readonly offset: number
  readonly parts: readonly Uint8Array[]
}

export interface DatabaseImage extends AsyncDisposable {
  write(offset: number, bytes: Uint8Array): Promise<void>
  /**
   * Writes many small runs, a few MiB in all. Each run is written where it says, its parts one behind the other.
   * Faster than as many calls of {@link write}: a page at a time, handing over costs more than writing.
   */
  writeRuns(runs: readonly ImageRun[]): Promise<void>
  /** Cuts the file, or lets it grow by zeros. */
  resize(sizeBytes: number): Promise<void>
  /** Makes everything durable, lets SQLite check it, and gives it its name. Throws {@link CorruptionError}. */
  finish(integrityCheck: 'none' | 'quick' | 'full'): Promise<void>
  /** Without a finish before it, nothing stays. */
  [Symbol.asyncDispose](): Promise<void>
}
