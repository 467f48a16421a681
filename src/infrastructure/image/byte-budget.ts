/** Lets so many bytes be on their way at once. A single larger piece may go alone. */
export class ByteBudget {
  readonly #limitBytes: number
  readonly #waiting: (() => void)[] = []
  #usedBytes = 0

  constructor(limitBytes: number) {
    this.#limitBytes = limitBytes
  }

  /** Counts bytes in; resolves when more may follow. */
  async take(sizeBytes: number): Promise<void> {
    this.#usedBytes += sizeBytes
    while (this.#usedBytes >= this.#limitBytes) {
      await new Promise<void>((resolve) => this.#waiting.push(resolve))
    }
  }

  give(sizeBytes: number): void {
    this.#usedBytes -= sizeBytes
    if (this.#usedBytes >= this.#limitBytes) return
    for (const wake of this.#waiting.splice(0)) wake()
  }
}
