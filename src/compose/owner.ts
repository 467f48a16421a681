/**
 * Owns what a composition has made, and disposes of it at the end, in reverse order: threads, servers, watches, the log's
 * output. After that nothing keeps the process alive, and it ends by itself.
 */
export class Owner implements AsyncDisposable {
  readonly #ends: (() => Promise<void> | void)[] = []

  /** From now on it is disposed of here. Returns it. */
  owns<T extends AsyncDisposable | Disposable>(made: T): T {
    this.atEnd(async () => {
      if (Symbol.asyncDispose in made) await made[Symbol.asyncDispose]()
      else made[Symbol.dispose]()
    })
    return made
  }

  /** Is called before all that was added so far. */
  atEnd(end: () => Promise<void> | void): void {
    this.#ends.push(end)
  }

  /** What fails keeps nothing else from its end; the first failure is thrown. Twice is harmless. */
  async [Symbol.asyncDispose](): Promise<void> {
    const failures: unknown[] = []
    for (let end = this.#ends.pop(); end !== undefined; end = this.#ends.pop()) {
      try {
        await end()
      } catch (error) {
        failures.push(error)
      }
    }
    if (failures.length > 0) throw failures[0]
  }
}
