/**
 * Watches one number and says when it is worth a warning: when it reaches a level that was not warned of, and again
 * after a while as long as it stays there.
 */
export class LevelAlarm {
  readonly #levels: readonly number[]
  readonly #repeatMs: number
  #said: { readonly level: number; readonly atMs: number } | undefined

  /** `levels` rise. */
  constructor(levels: readonly number[], repeatMs: number) {
    this.#levels = levels
    this.#repeatMs = repeatMs
  }

  /** Whether to warn of `value` now. */
  isDue(value: number, nowMs: number): boolean {
    const level = this.#levels.filter((each) => value >= each).length
    if (level === 0) {
      // A number that swings around the first level is one matter, not many.
      if (this.#said !== undefined && nowMs - this.#said.atMs >= this.#repeatMs) {
        this.#said = undefined
      }
      return false
    }
    const said = this.#said
    if (said !== undefined && level <= said.level && nowMs - said.atMs < this.#repeatMs) {
      return false
    }
    this.#said = { level, atMs: nowMs }
    return true
  }
}

const mebibyte = 1024 * 1024

/** From 256 MiB on, each doubling. */
export const sizeLevels: readonly number[] = Array.from(
  { length: 24 },
  (_, i) => 256 * mebibyte * 2 ** i,
)
