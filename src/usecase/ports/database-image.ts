/** The port to a database file that is being restored: nothing is seen under its name before it is whole. */
export interface DatabaseImageFactory {
  /**
   * Begins the file beside `outputPath`. Throws {@link OutputExistsError} when that path, or its `-wal`, `-shm` or
   * `-journal`, exists.
   */
  create(outputPath: string): Promise<DatabaseImage>
}

export interface DatabaseImage extends AsyncDisposable {
  write(offset: number, bytes: Uint8Array): Promise<void>
  /** Cuts the file, or lets it grow by zeros. */
  resize(sizeBytes: number): Promise<void>
  /** Makes everything durable, lets SQLite check it, and gives it its name. Throws {@link CorruptionError}. */
  finish(integrityCheck: 'none' | 'quick' | 'full'): Promise<void>
  /** Without a finish before it, nothing stays. */
  [Symbol.asyncDispose](): Promise<void>
}
