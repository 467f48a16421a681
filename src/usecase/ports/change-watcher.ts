/** Tells that a database's files may have changed. It may be late or silent: whoever waits also looks now and then. */
export interface ChangeWatcher {
  /** From the next `arm` on this is the database file, to which links lead from the path that it was made for. */
  follow(file: string): void
  /** Watches from now on. Resolves when a sign of a change would be noticed, or cannot be. */
  arm(signal: AbortSignal): Promise<void>
  /** Stops watching. */
  disarm(): Promise<void>
  /** Resolves at a sign of a change since it was armed or last waited for, after `timeoutMs`, or when the signal is aborted. */
  waitForChange(timeoutMs: number, signal: AbortSignal): Promise<void>
  /**
   * The same, for as long as the fingerprint of the files is `before`: they are looked at every `intervalMs`. Costs next
   * to nothing while nothing happens.
   */
  waitForSign(
    look: { readonly before: string; readonly intervalMs: number },
    signal: AbortSignal,
  ): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}
