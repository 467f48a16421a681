/**
 * The port to what retention remembers locally. Deletions under way: a generation whose snapshots are deleted looks like
 * one whose first snapshot is still being written; only this tells the two apart after a crash. And the clock: what it did
 * in an earlier process makes stamps wrong that are still in the window.
 */
import { type Generation } from '../../domain/wal/generation.js'
import { type ClockMemory } from '../../domain/policy/wall-clock.js'

/** A deletion that was decided. */
export interface RecordedDeletion {
  readonly generation: Generation
  /** All of the generation goes. */
  readonly whole: boolean
  readonly reason: string
  readonly decidedAtMs: number
}

export interface RetentionRecord {
  /** What was decided and is not known to be done. Absent: nothing. Throws {@link LocalStateError}. */
  load(signal: AbortSignal): Promise<readonly RecordedDeletion[]>
  /** Puts `deletions` in the place of what was recorded, durably. */
  save(deletions: readonly RecordedDeletion[], signal: AbortSignal): Promise<void>
  /** Undefined: nothing is known of it. Throws {@link LocalStateError}. */
  loadClock(signal: AbortSignal): Promise<ClockMemory | undefined>
  saveClock(memory: ClockMemory, signal: AbortSignal): Promise<void>
}
