/**
 * The version of each object that was read last, by its name. A body that breaks is read on by another request from where
 * it broke, and large objects are read by several: all of them must be of one version. Only so many are remembered that
 * all running reads find theirs.
 */
export class ObjectVersions {
  readonly #versions = new Map<string, string>()
  readonly #maxCount = 1024

  of(name: string): string | undefined {
    return this.#versions.get(name)
  }

  remember(name: string, version: string): void {
    this.#versions.delete(name)
    this.#versions.set(name, version)
    if (this.#versions.size <= this.#maxCount) return
    const [oldest] = this.#versions.keys()
    if (oldest !== undefined) this.#versions.delete(oldest)
  }

  forget(name: string): void {
    this.#versions.delete(name)
  }
}
