import { type Slots } from '../../kit/permits.js'
import { type Clock } from '../ports/clock.js'

/** Long enough for the snapshots of most databases. Whoever waits behind ones that take hours waits for so long for each of them. */
const turnMs = 10_000

interface TurnParts {
  readonly slots: Slots
  readonly clock: Pick<Clock, 'monotonic'>
}

/** A slot for a snapshot, shared fairly: however long one takes, the others get their turns meanwhile. */
export class SnapshotTurn implements Disposable {
  readonly #parts: TurnParts
  #slot: Disposable
  #sinceMs: number

  private constructor(parts: TurnParts, slot: Disposable) {
    this.#parts = parts
    this.#slot = slot
    this.#sinceMs = parts.clock.monotonic()
  }

  static async take(parts: TurnParts, signal: AbortSignal): Promise<SnapshotTurn> {
    return new SnapshotTurn(parts, await parts.slots.take(signal))
  }

  /** Goes to the end of the queue once its turn is over, if anybody waits. */
  async letOthers(signal: AbortSignal): Promise<void> {
    const { slots, clock } = this.#parts
    if (clock.monotonic() - this.#sinceMs < turnMs || !slots.isWanted) return
    this.#slot[Symbol.dispose]()
    this.#slot = await slots.take(signal)
    this.#sinceMs = clock.monotonic()
  }

  [Symbol.dispose](): void {
    this.#slot[Symbol.dispose]()
  }
}
