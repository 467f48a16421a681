/**
 * What was composed for a command, or for the engine of the library, and ends with it: threads, servers, watches, the log's
 * output. All of it is disposed of in reverse order. After that nothing keeps the process alive, and it ends by itself.
 */
export class Lifetime implements AsyncDisposable {
  readonly #made: (AsyncDisposable | Disposable)[] = []

  /** From now on it ends with all else here. Returns it. */
  add<T extends AsyncDisposable | Disposable>(made: T): T {
    this.#made.push(made)
    return made
  }

  /** What fails keeps nothing else from its end; the first failure is thrown. Twice is harmless. */
  async [Symbol.asyncDispose](): Promise<void> {
    const failures: unknown[] = []
    for (let last = this.#made.pop(); last !== undefined; last = this.#made.pop()) {
      try {
        if (Symbol.asyncDispose in last) await last[Symbol.asyncDispose]()
        else last[Symbol.dispose]()
      } catch (error) {
        failures.push(error)
      }
    }
    if (failures.length > 0) throw failures[0]
  }
}
