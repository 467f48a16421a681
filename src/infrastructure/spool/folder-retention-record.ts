/** Deletions under way, `retention-<name of the replica>.json`, and the clock, `clock-<name of the replica>.json`. */
import { parseGeneration } from '../../domain/wal/generation.js'
import { type ClockLeap, type ClockMemory } from '../../domain/policy/wall-clock.js'
import {
  type RecordedDeletion,
  type RetentionRecord,
} from '../../usecase/ports/retention-record.js'
import { JsonRecord, type JsonRecordOptions } from './json-record.js'

export class FolderRetentionRecord implements RetentionRecord {
  readonly #record: JsonRecord
  readonly #clock: JsonRecord

  constructor(options: JsonRecordOptions) {
    this.#record = new JsonRecord('retention', options)
    this.#clock = new JsonRecord('clock', options)
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

  async loadClock(signal: AbortSignal): Promise<ClockMemory | undefined> {
    signal.throwIfAborted()
    const { boot, atBootMs, leaps } = await this.#clock.load()
    if (typeof boot !== 'string' || typeof atBootMs !== 'number') return undefined
    return { boot, atBootMs, leaps: Array.isArray(leaps) ? leaps.flatMap(parseLeap) : [] }
  }

  async saveClock(memory: ClockMemory, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted()
    await this.#clock.save({ ...memory })
  }
}

function parseLeap(value: unknown): ClockLeap[] {
  if (typeof value !== 'object' || value === null) return []
  const { toMs, byMs } = value as Partial<Record<keyof ClockLeap, unknown>>
  return typeof toMs === 'number' && typeof byMs === 'number' ? [{ toMs, byMs }] : []
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
