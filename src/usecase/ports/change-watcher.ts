/** Tells that a database's files may have changed. It may be late or silent: whoever waits also looks now and then. */
export interface ChangeWatcher {
  /** Stops watching until it is waited for again. */
  disarm(): Promise<void>
  /** Resolves at the next sign of a change, after `timeoutMs`, or when the signal is aborted. Watches only while it waits. */
  waitForChange(timeoutMs: number, signal: AbortSignal): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}
