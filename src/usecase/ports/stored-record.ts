/** The port to the local memory of what was seen on a replica. Without it, more is read there after a start. */
import { type StoredRuns } from '../../domain/stored/stored-runs.js'

export interface StoredRecord {
  /** Undefined: nothing is remembered, or nothing that can be understood. Throws {@link LocalStateError}. */
  load(signal: AbortSignal): Promise<StoredRuns | undefined>
  /** Puts `runs` in the place of what was recorded, durably. Throws {@link LocalStateError}. */
  save(runs: StoredRuns, signal: AbortSignal): Promise<void>
}
