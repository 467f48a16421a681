/** Deletions under way: `retention-<name of the replica>.json`. */
import { parseGeneration } from '../../domain/generation.js'
import {
  type RecordedDeletion,
  type RetentionRecord,
} from '../../usecase/ports/retention-record.js'
import { JsonRecord, type JsonRecordOptions } from './json-record.js'

export class FolderRetentionRecord implements RetentionRecord {
  readonly #record: JsonRecord

  constructor(options: JsonRecordOptions) {
    this.#record = new JsonRecord('retention', options)
  }

  /** What cannot be read is left out: without it, less is deleted. */
  async load(signal: AbortSignal): Promise<readonly RecordedDeletion[]> {
    signal.throwIfAborted()
    const { deletions } = await this.#record.load()
    return Array.isArray(deletions) ? deletions.flatMap(parseDeletion) : []
  }

  async save(deletions: readonly RecordedDeletion[], signal: AbortSignal): Promise<void> {
    signal.throwIfAborted()
    await (deletions.length === 0 ? this.#record.remove() : this.#record.save({ deletions }))
  }
}

function parseDeletion(value: unknown): RecordedDeletion[] {
  if (typeof value !== 'object' || value === null) return []
  const fields = value as Partial<Record<keyof RecordedDeletion, unknown>>
  const generation =
    typeof fields.generation === 'string' ? parseGeneration(fields.generation) : undefined
  const { whole, reason, decidedAtMs } = fields
  if (generation === undefined || typeof whole !== 'boolean') return []
  if (typeof reason !== 'string' || typeof decidedAtMs !== 'number') return []
  return [{ generation, whole, reason, decidedAtMs }]
}
