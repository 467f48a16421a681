import { onAbort } from './abort.js'
import { asError } from './error-text.js'

/** Bounds how much is done at once. */
export class Permits {
  #free: number
  readonly #waiters: (() => void)[] = []

  constructor(count: number) {
    this.#free = count
  }

  /** Whether somebody waits for one. */
  get isWanted(): boolean {
    return this.#waiters.length > 0
  }

  /** Waits for a permit, first come, first served. Dispose of it when what it was taken for has ended. */
  async take(signal: AbortSignal): Promise<Disposable> {
    signal.throwIfAborted()
    if (this.#free > 0) this.#free -= 1
    else await this.#queue(signal)
    let held = true
    return {
      [Symbol.dispose]: () => {
        if (!held) return
        held = false
        this.#release()
      },
    }
  }

  async #queue(signal: AbortSignal): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      const enter = (): void => {
        leaving[Symbol.dispose]()
        resolve()
      }
      const leaving = onAbort(signal, () => {
        this.#waiters.splice(this.#waiters.indexOf(enter), 1)
        reject(asError(signal.reason))
      })
      this.#waiters.push(enter)
    })
  }

  #release(): void {
    const next = this.#waiters.shift()
    if (next === undefined) this.#free += 1
    else next()
  }
}
