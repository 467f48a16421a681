/** What was seen on a replica: `stored-<name of the replica>.json`. */
import { parseGeneration } from '../../domain/wal/generation.js'
import { type WalPosition } from '../../domain/wal/position.js'
import { type StoredRun, type StoredRuns } from '../../domain/stored/stored-runs.js'
import { type StoredRecord } from '../../usecase/ports/stored-record.js'
import { JsonRecord, type JsonRecordOptions } from './json-record.js'

export class FolderStoredRecord implements StoredRecord {
  readonly #record: JsonRecord

  constructor(options: JsonRecordOptions) {
    this.#record = new JsonRecord('stored', options)
  }

  async load(signal: AbortSignal): Promise<StoredRuns | undefined> {
    signal.throwIfAborted()
    const { generation: name, runs: found } = await this.#record.load()
    const generation = typeof name === 'string' ? parseGeneration(name) : undefined
    if (generation === undefined || !Array.isArray(found)) return undefined
    const runs = found.flatMap(parseRun)
    return runs.length === found.length ? { generation, runs } : undefined
  }

  async save(runs: StoredRuns, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted()
    await this.#record.save({ ...runs })
  }
}

function parseRun(value: unknown): StoredRun[] {
  if (typeof value !== 'object' || value === null) return []
  const { from, to, count, digest } = value as Partial<Record<keyof StoredRun, unknown>>
  if (!isPosition(from) || !isPosition(to)) return []
  if (typeof count !== 'number' || typeof digest !== 'string') return []
  return /^[0-9a-f]{16}$/.test(digest) ? [{ from, to, count, digest }] : []
}

function isPosition(value: unknown): value is WalPosition {
  if (typeof value !== 'object' || value === null) return false
  const { index, offset } = value as Partial<Record<keyof WalPosition, unknown>>
  return typeof index === 'number' && typeof offset === 'number'
}
