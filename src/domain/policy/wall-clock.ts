/**
 * What a wall clock can be trusted with. It may be set while commits are stamped by it: from then on, what was stamped
 * before looks older, or younger, than it is. Only time that has passed since the machine started is sure.
 */

/** A look at both: the wall clock, and what has passed since this start of the machine. */
export interface ClockLook {
  readonly wallMs: number
  /** This start of the machine; empty where that cannot be told. */
  readonly boot: string
  /** Suspensions included. */
  readonly sinceBootMs: number
  /** By how much the wall clock was set back, altogether, since the look before. */
  readonly setBackMs: number
}

/** The wall clock was set ahead: what was stamped before `toMs` is younger by `byMs` than it looks. */
export interface ClockLeap {
  readonly toMs: number
  readonly byMs: number
}

export interface ClockMemory {
  readonly boot: string
  /** The wall clock at the start of the machine, by the last look. */
  readonly atBootMs: number
  /** In the order in which they happened. */
  readonly leaps: readonly ClockLeap[]
}

/** Less than this is what the clocks are read with, or NTP does by and by. */
const minLeapMs = 1000
/** Of more, the oldest become one: that keeps more, never less. */
const maxLeaps = 20

/**
 * The memory after another look; the same object when there is nothing to remember. What a clock did while the machine
 * was off, nobody knows.
 */
export function rememberClock(memory: ClockMemory | undefined, look: ClockLook): ClockMemory {
  const { boot, wallMs, sinceBootMs, setBackMs } = look
  const atBootMs = wallMs - sinceBootMs
  if (memory?.boot !== boot) return { boot, atBootMs, leaps: memory?.leaps ?? [] }
  // Set back and ahead again, it is where it was.
  const byMs = atBootMs - memory.atBootMs + setBackMs
  if (byMs < minLeapMs) {
    const isSame = Math.abs(atBootMs - memory.atBootMs) < minLeapMs
    return isSame ? memory : { ...memory, atBootMs }
  }
  return { boot, atBootMs, leaps: bounded([...memory.leaps, { toMs: wallMs, byMs }]) }
}

function bounded(leaps: readonly ClockLeap[]): readonly ClockLeap[] {
  const [first, second, ...rest] = leaps
  if (leaps.length <= maxLeaps || first === undefined || second === undefined) return leaps
  return [{ toMs: second.toMs, byMs: first.byMs + second.byMs }, ...rest]
}

/** The stamp of a moment that is at least `durationMs` before the one stamped `fromMs`, whatever the clock did since. */
export function stampBefore(
  fromMs: number,
  { durationMs, leaps }: { readonly durationMs: number; readonly leaps: readonly ClockLeap[] },
): number {
  let stampMs = fromMs - durationMs
  for (const { toMs, byMs } of leaps.toReversed()) if (toMs > stampMs) stampMs -= byMs
  return stampMs
}

/** When a request began, by both clocks of ours. */
export interface Sent {
  readonly wallMs: number
  readonly monotonicMs: number
}

/** More than this is no matter of how exactly clocks run. */
export const maxAheadMs = 60_000

/**
 * By how much our clock is proven to be ahead of the store's: what we sent cannot have been created before. It was ahead
 * at that time, and is it still: neither a machine that slept since nor a clock that was put right counts.
 */
export function aheadOfStoreMs(
  sent: Sent,
  { now, createdAtMs }: { readonly now: Sent; readonly createdAtMs: number },
): number {
  const thenMs = sent.wallMs - createdAtMs
  const nowMs = now.wallMs - createdAtMs - (now.monotonicMs - sent.monotonicMs)
  return Math.max(0, Math.min(thenMs, nowMs))
}
