/**
 * Since when commits of a database wait to be durable in the spool, by the monotonic clock. A commit counts from the last
 * look that cannot have seen it, until what it was captured into is on the disk; what was captured and lost from memory
 * by a failure goes on counting until all that was committed by a later look is durable.
 */
import { type Clock } from '../ports/clock.js'

/** Beyond its interval, a look may be late by this before commits are taken to be waiting for it. */
const lateMs = 1000

export class WaitingCommits {
  readonly #clock: Pick<Clock, 'monotonic'>
  #lookedAt: number
  #isBlind = false
  #unsealedSinceMs: number | undefined
  readonly #sealing: { readonly walBytes: number; readonly sinceMs: number }[] = []
  #lostSinceMs: number | undefined
  /** Everything that was committed when something was lost has been captured again. */
  #isRegained = false

  constructor(clock: Pick<Clock, 'monotonic'>) {
    this.#clock = clock
    this.#lookedAt = clock.monotonic()
  }

  /** Everything committed until now was captured, or there is no database. */
  looked(): void {
    this.#lookedAt = this.#clock.monotonic()
    this.#isBlind = false
    this.#isRegained = true
    if (this.#unsealedSinceMs === undefined && this.#sealing.length === 0) {
      this.#lostSinceMs = undefined
    }
  }

  /** Nothing can be captured, until the next look. */
  failed(): void {
    this.#isBlind = true
  }

  captured(): void {
    this.#unsealedSinceMs ??= this.#lookedAt
  }

  /** What was captured is a segment of so many bytes, and not durable yet. */
  sealing(walBytes: number): void {
    const moments = [this.#unsealedSinceMs, this.#isRegained ? this.#lostSinceMs : undefined]
    if (this.#isRegained) this.#lostSinceMs = undefined
    this.#unsealedSinceMs = undefined
    this.#sealing.push({ walBytes, sinceMs: earliest(moments) ?? this.#lookedAt })
  }

  /** The oldest of these is durable. Returns since when it had waited. */
  sealed(): number {
    return this.#sealing.shift()?.sinceMs ?? this.#lookedAt
  }

  /** What is not durable is lost from memory: it has to be captured again. */
  discarded(): void {
    this.#lostSinceMs = this.sinceMs
    this.#isRegained = false
    this.#sealing.length = 0
    this.#unsealedSinceMs = undefined
  }

  /** A generation begins: returns since when commits wait for it. */
  began(): number {
    const sinceMs = earliest([this.sinceMs, this.#lookedAt]) ?? this.#lookedAt
    this.#lostSinceMs = undefined
    return sinceMs
  }

  /** Since when the oldest waits that was captured; undefined: there is none. */
  get sinceMs(): number | undefined {
    return earliest([this.#lostSinceMs, this.#sealing[0]?.sinceMs, this.#unsealedSinceMs])
  }

  /** Since when commits may be waiting that nobody has looked for; undefined: somebody looks. */
  blindSinceMs(intervalMs: number): number | undefined {
    const isLate = this.#clock.monotonic() - this.#lookedAt > intervalMs + lateMs
    return this.#isBlind || isLate ? this.#lookedAt : undefined
  }

  /** Bytes of segments that are not durable yet. */
  get sealingBytes(): number {
    return this.#sealing.reduce((sum, { walBytes }) => sum + walBytes, 0)
  }
}

/** The earliest of these moments; undefined: there is none. */
export function earliest(moments: readonly (number | undefined)[]): number | undefined {
  let found: number | undefined
  for (const moment of moments) {
    if (moment !== undefined && (found === undefined || moment < found)) found = moment
  }
  return found
}
