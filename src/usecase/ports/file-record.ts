/**
 * The port to what the local state remembers of the database file while no process captures it. It holds for one start:
 * later, checkpoints that nobody remembers have written the file.
 */
import { type Generation } from '../../domain/wal/generation.js'

export interface RememberedFile {
  readonly generation: Generation
  readonly size: number
  readonly mtimeMs: number
  /** Frames of the WAL that were copied back. */
  readonly copiedCount: number
}

export interface FileRecord {
  /** What is remembered, and never again; undefined: nothing. Throws {@link LocalStateError}. */
  take(signal: AbortSignal): Promise<RememberedFile | undefined>
  /** Durably. */
  save(file: RememberedFile, signal: AbortSignal): Promise<void>
}
