import { comparePositions, type WalPosition } from '../../domain/wal/position.js'
import { Pace } from '../../kit/pace.js'
import { type Clock } from '../ports/clock.js'
import { hasReached } from './take-snapshot.js'

/**
 * When what is pending for one replica is sent: once per interval, all that there is at that moment; sooner what somebody
 * waits for, in a shorter one. What is due is decided here, before anything is waited for or sent, so that the replica's loop has its time for everything else.
 */
export class SendSchedule {
  readonly #clock: Pick<Clock, 'monotonic'>
  readonly #intervalMs: number
  readonly #hurriedIntervalMs: number
  #startedAt = Number.NEGATIVE_INFINITY
  /** Of all sendings, as it holds for the hurried ones. */
  readonly #pace = new Pace()
  /** Where that ended which was pending when it was due: without a break, it is one sending. */
  #upTo: WalPosition | undefined

  constructor(options: {
    readonly clock: Pick<Clock, 'monotonic'>
    readonly intervalMs: number
    readonly hurriedIntervalMs: number
  }) {
    this.#clock = options.clock
    this.#intervalMs = options.intervalMs
    this.#hurriedIntervalMs = Math.min(options.hurriedIntervalMs, options.intervalMs)
  }

  /**
   * How long until what lies between `position` and `end` is to be sent; undefined: there is nothing. Somebody waits for
   * what lies before `hurriedTo`.
   */
  dueInMs(
    { position, end }: { readonly position: WalPosition | undefined; readonly end: WalPosition },
    {
      isUrgent,
      hurriedTo,
    }: { readonly isUrgent: boolean; readonly hurriedTo?: WalPosition | undefined },
  ): number | undefined {
    if (hasReached(position, end)) return undefined
    if (isUrgent || this.#isUnderWay(position)) return 0
    const isHurried = hurriedTo !== undefined && !hasReached(position, hurriedTo)
    const now = this.#clock.monotonic()
    if (isHurried) return this.#pace.dueInMs(now)
    return Math.max(0, this.#startedAt + this.#intervalMs - now)
  }

  /** Something is about to be sent from `position` on; all up to `end` belongs to it. */
  begin({ position, end }: { readonly position: WalPosition | undefined; end: WalPosition }): void {
    if (this.#isUnderWay(position)) return
    this.#startedAt = this.#clock.monotonic()
    this.#pace.happens(this.#startedAt, this.#hurriedIntervalMs)
    this.#upTo = end
  }

  /** What is left has to wait for the next time. */
  defer(): void {
    this.#upTo = undefined
  }

  #isUnderWay(position: WalPosition | undefined): boolean {
    if (this.#upTo === undefined) return false
    return position === undefined || comparePositions(position, this.#upTo) < 0
  }
}
