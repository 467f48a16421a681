/** When a replica gets its next snapshot. */
import { comparePositions, type Position, type WalPosition } from '../wal/position.js'

/**
 * Why a snapshot is taken. `generation` is not scheduled: a generation is worth nothing without one.
 * `retention`: without a snapshot now and then nothing could ever be deleted. `request`: somebody asked for one.
 */
export type SnapshotReason = 'generation' | 'interval' | 'retention' | 'request'

export interface NewestSnapshot {
  readonly index: number
  /** Undefined: it is the original's. */
  readonly consistentFrom: WalPosition | undefined
  readonly atMs: number
}

export interface SnapshotIntervals {
  readonly snapshotIntervalMs: number | undefined
  /** Undefined: nothing is ever deleted, and no snapshot is needed for that. */
  readonly retentionMs: number | undefined
}

export type NextSnapshot =
  | { readonly kind: 'due'; readonly reason: SnapshotReason }
  | { readonly kind: 'at'; readonly timeMs: number; readonly reason: SnapshotReason }
  /** Nothing was written since the newest, or no snapshots are wanted. */
  | { readonly kind: 'none' }

/** Of the interval, up to this part is added, so that many databases don't take theirs at once. */
const jitterPart = 0.1
const maxJitterMs = 5 * 60_000

/**
 * When the next snapshot is due, timed from the newest stored one, so that restarts neither postpone snapshots nor
 * bunch them. `end` is where what is stored ends. A snapshot is named by its index and never replaced by another one: as
 * long as the WAL of the newest goes on, there is none.
 */
export function nextSnapshot(
  newest: NewestSnapshot,
  { end, nowMs }: { readonly end: Position; readonly nowMs: number },
  { snapshotIntervalMs, retentionMs }: SnapshotIntervals,
): NextSnapshot {
  const intervalMs = Math.min(
    snapshotIntervalMs ?? Number.POSITIVE_INFINITY,
    retentionMs ?? Number.POSITIVE_INFINITY,
  )
  if (!Number.isFinite(intervalMs) || end.index <= newest.index) return { kind: 'none' }
  if (newest.consistentFrom !== undefined && comparePositions(end, newest.consistentFrom) <= 0) {
    return { kind: 'none' }
  }
  const reason = intervalMs === snapshotIntervalMs ? 'interval' : 'retention'
  const jitterMs = Math.min(intervalMs * jitterPart, maxJitterMs) * fraction(end, newest.index)
  const dueMs = newest.atMs + intervalMs + jitterMs
  // One from the future is no reason to wait: a clock was wrong.
  const isFromTheFuture = newest.atMs > nowMs + intervalMs
  if (nowMs >= dueMs || isFromTheFuture) return { kind: 'due', reason }
  return { kind: 'at', timeMs: dueMs, reason }
}

/** From 0 to 1, always the same for one snapshot. */
function fraction({ generation }: Position, index: number): number {
  return ((Number.parseInt(generation.slice(0, 8), 16) + index * 0x9e37_79b9) % 2 ** 32) / 2 ** 32
}

/** How many snapshots that no schedule asked for are taken in a row, and how often after that. */
export const unscheduledBurst = 5
export const unscheduledPauseMs = 5 * 60_000

/**
 * Bounds the snapshots that nobody scheduled: some at once, then one per pause. Returns how long the next has to wait;
 * 0: it may be taken. `earlierMs` are the moments of earlier ones.
 */
export function unscheduledWaitMs(earlierMs: readonly number[], nowMs: number): number {
  const windowMs = unscheduledBurst * unscheduledPauseMs
  const recent = earlierMs.filter((each) => each > nowMs - windowMs)
  if (recent.length < unscheduledBurst) return 0
  const last = Math.max(...recent)
  return Math.max(0, last + unscheduledPauseMs - nowMs)
}
