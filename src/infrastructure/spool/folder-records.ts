/** What the local state remembers of a replica, each thing in a file of its own beside the spool. */
import { type RememberedClaims } from '../../domain/stored/replica-owner.js'
import { type StoredRun, type StoredRuns } from '../../domain/stored/stored-runs.js'
import { parseGeneration } from '../../domain/wal/generation.js'
import { type WalPosition } from '../../domain/wal/position.js'
import { type Remembered } from '../../usecase/ports/remembered.js'
import { JsonRecord, type JsonRecordOptions } from './json-record.js'

type Fields = Readonly<Record<string, unknown>>

/**
 * The claims on it: `owner-<name of the replica>.json`. What cannot be read is nothing: the claim is then somebody else's,
 * which costs a generation.
 */
export function openClaimRecord(options: JsonRecordOptions): Remembered<RememberedClaims> {
  return remembered(new JsonRecord('owner', options), ({ instance, tokens }) => {
    if (typeof instance !== 'string' || !Array.isArray(tokens)) return undefined
    return { instance, tokens: tokens.filter((token) => typeof token === 'string') }
  })
}

/** What was seen there: `stored-<name of the replica>.json`. */
export function openStoredRecord(options: JsonRecordOptions): Remembered<StoredRuns> {
  return remembered(new JsonRecord('stored', options), ({ generation: name, runs: found }) => {
    const generation = typeof name === 'string' ? parseGeneration(name) : undefined
    if (generation === undefined || !Array.isArray(found)) return undefined
    const runs = found.flatMap(parseRun)
    return runs.length === found.length ? { generation, runs } : undefined
  })
}

/** When it was last validated, milliseconds since 1970: `validation-<name of the replica>.json`. */
export function openValidationRecord(options: JsonRecordOptions): Remembered<number> {
  const record = remembered(new JsonRecord('validation', options), ({ provenAtMs }) =>
    typeof provenAtMs === 'number' ? { provenAtMs } : undefined,
  )
  return {
    load: async (signal) => {
      signal.throwIfAborted()
      // Without it, a restore is only tried later or sooner than it was due.
      return (await record.load(signal).catch(() => undefined))?.provenAtMs
    },
    save: (provenAtMs, signal) => record.save({ provenAtMs }, signal),
  }
}

function remembered<T extends object>(
  record: JsonRecord,
  parse: (fields: Fields) => T | undefined,
): Remembered<T> {
  return {
    load: async (signal) => {
      signal.throwIfAborted()
      return parse(await record.load())
    },
    save: async (value, signal) => {
      signal.throwIfAborted()
      await record.save(value)
    },
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
