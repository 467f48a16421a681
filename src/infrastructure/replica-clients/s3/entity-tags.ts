/**
 * The version of each object that was read last, by key. A body that breaks is read on by another request from where it
 * broke, and large objects are read by several: all of them must be of one version. Only so many keys are remembered
 * that all running reads find theirs.
 */
export class EntityTags {
  readonly #tags = new Map<string, string>()
  readonly #maxCount = 1024

  of(key: string): string | undefined {
    return this.#tags.get(key)
  }

  remember(key: string, tag: string): void {
    this.#tags.delete(key)
    this.#tags.set(key, tag)
    if (this.#tags.size <= this.#maxCount) return
    const [oldest] = this.#tags.keys()
    if (oldest !== undefined) this.#tags.delete(oldest)
  }

  forget(key: string): void {
    this.#tags.delete(key)
  }
}
