/**
 * The multipart uploads of this process that are not finished. Some stores list unfinished uploads only under their
 * exact key, so that whoever began them has to remember them.
 */
export class UnfinishedUploads {
  /** Upload id → key. */
  readonly #running = new Map<string, string>()
  readonly #leftover = new Map<string, string>()
  /** Keys of uploads that may have begun: the answer that named their id was lost. */
  readonly #uncertainKeys = new Set<string>()

  began(uploadId: string, key: string): void {
    this.#running.set(uploadId, key)
  }

  mayHaveBegun(key: string): void {
    this.#uncertainKeys.add(key)
  }

  /** It exists no more. */
  ended(uploadId: string): void {
    this.#running.delete(uploadId)
    this.#leftover.delete(uploadId)
  }

  /** Nobody works at it any more, but the store may still hold parts of it. */
  left(uploadId: string): void {
    const key = this.#running.get(uploadId)
    if (key === undefined) return
    this.#running.delete(uploadId)
    this.#leftover.set(uploadId, key)
  }

  isRunning(uploadId: string): boolean {
    return this.#running.has(uploadId)
  }

  leftovers(): { readonly uploadId: string; readonly key: string }[] {
    return [...this.#leftover].map(([uploadId, key]) => ({ uploadId, key }))
  }

  uncertainKeys(): string[] {
    return [...this.#uncertainKeys]
  }

  isCertain(key: string): void {
    this.#uncertainKeys.delete(key)
  }
}
