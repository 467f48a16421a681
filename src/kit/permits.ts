import { onAbort } from './abort.js'
import { asError } from './error-text.js'

/** Who waits: a user by number; undefined: ourselves. */
type Owner = number | undefined

/** Permits as one owner sees them. */
export interface Slots {
  readonly isWanted: boolean
  take(signal: AbortSignal): Promise<Disposable>
}

/** Bounds how much is done at once. Owners take turns: whoever asks a thousand times holds up nobody else for longer. */
export class Permits implements Slots {
  #free: number
  /** Of each owner who waits, in the order of their turns. */
  readonly #queues = new Map<Owner, (() => void)[]>()

  constructor(count: number) {
    this.#free = count
  }

  /** Whether somebody waits for one. */
  get isWanted(): boolean {
    return this.#queues.size > 0
  }

  /** Waits for a permit, first come, first served among those of one owner. Dispose of it when what it was taken for has ended. */
  async take(signal: AbortSignal, owner?: Owner): Promise<Disposable> {
    signal.throwIfAborted()
    if (this.#free > 0) this.#free -= 1
    else await this.#queue(signal, owner)
    let held = true
    return {
      [Symbol.dispose]: () => {
        if (!held) return
        held = false
        this.#release()
      },
    }
  }

  /** The same permits, taken for an owner, who is asked for each time. */
  of(owner: () => Owner): Slots {
    const isWanted = (): boolean => this.isWanted
    return {
      get isWanted() {
        return isWanted()
      },
      take: (signal) => this.take(signal, owner()),
    }
  }

  async #queue(signal: AbortSignal, owner: Owner): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      const enter = (): void => {
        leaving[Symbol.dispose]()
        resolve()
      }
      const leaving = onAbort(signal, () => {
        this.#leave(owner, enter)
        reject(asError(signal.reason))
      })
      const queue = this.#queues.get(owner)
      if (queue === undefined) this.#queues.set(owner, [enter])
      else queue.push(enter)
    })
  }

  #leave(owner: Owner, waiter: () => void): void {
    const left = this.#queues.get(owner)?.filter((each) => each !== waiter) ?? []
    if (left.length > 0) this.#queues.set(owner, left)
    else this.#queues.delete(owner)
  }

  #release(): void {
    const [turn] = this.#queues
    if (turn === undefined) {
      this.#free += 1
      return
    }
    const [owner, queue] = turn
    const next = queue.shift()
    // Whoever has had a turn goes behind all the other owners.
    this.#queues.delete(owner)
    if (queue.length > 0) this.#queues.set(owner, queue)
    next?.()
  }
}
