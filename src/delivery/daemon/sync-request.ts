/** What is asked of `stored` and of `/api/sync`, checked: a slip must not make somebody believe that his commit is stored. */
import { UsageError } from '../../domain/errors.js'
import { type StoredRequest } from '../../usecase/daemon/await-stored.js'

export interface SyncRequest extends StoredRequest {
  /** Its path; undefined: all. */
  readonly database: string | undefined
}

export const defaultSyncTimeoutMs = 30_000

const names = ['database', 'replicas', 'urgency', 'timeoutMs', 'waits'] as const

/** Undefined is the default. Throws {@link UsageError} for what does not exist, or is of a wrong kind. */
export function parseSyncRequest(given: unknown): SyncRequest {
  if (typeof given !== 'object' || given === null) throw wrong('the request', 'an object')
  const unknown = Object.keys(given).find((name) => !names.some((each) => each === name))
  if (unknown !== undefined) throw new UsageError(`there is no option ${unknown}`)
  const value = (name: (typeof names)[number]): unknown => Reflect.get(given, name)
  const database = value('database')
  if (database !== undefined && (typeof database !== 'string' || database === '')) {
    throw wrong('database', 'the path of a database')
  }
  const urgency = value('urgency') ?? 'ride'
  if (urgency !== 'ride' && urgency !== 'now') throw wrong('urgency', "'ride' or 'now'")
  const timeoutMs = value('timeoutMs') ?? defaultSyncTimeoutMs
  if (typeof timeoutMs !== 'number' || !(timeoutMs > 0) || timeoutMs > maxTimeoutMs) {
    throw wrong('timeoutMs', `milliseconds above 0, and at most ${maxTimeoutMs}`)
  }
  const waits = value('waits') ?? true
  if (typeof waits !== 'boolean') throw wrong('waits', 'true or false')
  return { database, replicas: parseReplicas(value('replicas')), urgency, timeoutMs, waits }
}

/** A timer can be no longer. */
const maxTimeoutMs = 2 ** 31 - 1

function parseReplicas(replicas: unknown = 'all'): StoredRequest['replicas'] {
  if (replicas === 'all' || replicas === 'any') return replicas
  if (Array.isArray(replicas) && replicas.length > 0) {
    const known = replicas.filter((name) => typeof name === 'string')
    if (known.length === replicas.length) return known
  }
  throw wrong('replicas', "'all', 'any' or a list of names")
}

function wrong(name: string, wants: string): UsageError {
  return new UsageError(`${name} must be ${wants}`)
}
