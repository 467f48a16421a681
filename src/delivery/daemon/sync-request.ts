/** What is asked of `stored`, `/api/sync` and `/api/snapshot`, checked: a slip must not make somebody believe that his commit is stored. */
import { UsageError } from '../../domain/errors.js'
import { type ReplicaPlace } from '../../domain/settings/replica-place.js'
import { areStrings, isFields, isListOf } from '../../kit/forms.js'
import { type SnapshotRequest, type StoredRequest } from '../../usecase/daemon/await-stored.js'

export interface SyncRequest extends StoredRequest {
  /** Its path; undefined: all. */
  readonly database: string | undefined
  /** Where the replicas of that database lie to whoever asks: stored elsewhere, it is not stored. Absent: as the daemon has it. */
  readonly places?: readonly ReplicaPlace[] | undefined
}

/** What is asked of `/api/snapshot`. */
export interface SnapshotOfRequest extends SnapshotRequest {
  /** Its path; undefined: all. */
  readonly database: string | undefined
}

export const defaultSyncTimeoutMs = 30_000
/** A snapshot takes as long as its database is large. */
export const defaultSnapshotTimeoutMs = 3_600_000

const storedNames = ['database', 'replicas', 'urgency', 'timeoutMs'] as const

/** Undefined is the default. Throws {@link UsageError} for what does not exist, or is of a wrong kind. */
export function parseSyncRequest(given: unknown): SyncRequest {
  const value = valuesOf(given, [...storedNames, 'waits', 'places'])
  const waits = value('waits') ?? true
  if (typeof waits !== 'boolean') throw wrong('waits', 'true or false')
  return { ...wantedOf(value), waits, places: parsePlaces(value('places')) }
}

/** As {@link parseSyncRequest}, of somebody who waits, whatever he asks for. */
export function parseStoredRequest(given: unknown): SyncRequest {
  return { ...wantedOf(valuesOf(given, storedNames)), waits: true }
}

function wantedOf(
  value: (name: (typeof storedNames)[number]) => unknown,
): Omit<SyncRequest, 'waits' | 'places'> {
  const database = parseDatabase(value('database'))
  const urgency = value('urgency') ?? 'ride'
  if (urgency !== 'ride' && urgency !== 'now') throw wrong('urgency', "'ride' or 'now'")
  const timeoutMs = parseTimeout(value('timeoutMs'), defaultSyncTimeoutMs)
  return { database, replicas: parseReplicas(value('replicas')), urgency, timeoutMs }
}

/** As {@link parseSyncRequest}. */
export function parseSnapshotRequest(given: unknown): SnapshotOfRequest {
  const value = valuesOf(given, ['database', 'replicas', 'timeoutMs'])
  return {
    database: parseDatabase(value('database')),
    replicas: parseReplicas(value('replicas')),
    timeoutMs: parseTimeout(value('timeoutMs'), defaultSnapshotTimeoutMs),
  }
}

/** Reads what is given by its name, of these names alone. */
function valuesOf<Name extends string>(
  given: unknown,
  names: readonly Name[],
): (name: Name) => unknown {
  if (typeof given !== 'object' || given === null) throw wrong('the request', 'an object')
  const unknown = Object.keys(given).find((name) => !names.some((each) => each === name))
  if (unknown !== undefined) throw new UsageError(`there is no option ${unknown}`)
  return (name) => Reflect.get(given, name)
}

function parseDatabase(database: unknown): string | undefined {
  if (database === undefined || (typeof database === 'string' && database !== '')) return database
  throw wrong('database', 'the path of a database')
}

/** A timer can be no longer. */
const maxTimeoutMs = 2 ** 31 - 1

function parseTimeout(timeoutMs: unknown, otherwiseMs: number): number {
  if (timeoutMs === undefined) return otherwiseMs
  if (typeof timeoutMs === 'number' && timeoutMs > 0 && timeoutMs <= maxTimeoutMs) return timeoutMs
  throw wrong('timeoutMs', `milliseconds above 0, and at most ${maxTimeoutMs}`)
}

function parseReplicas(replicas: unknown = 'all'): StoredRequest['replicas'] {
  if (replicas === 'all' || replicas === 'any') return replicas
  if (Array.isArray(replicas) && replicas.length > 0) {
    const known = replicas.filter((name) => typeof name === 'string')
    if (known.length === replicas.length) return known
  }
  throw wrong('replicas', "'all', 'any' or a list of names")
}

function parsePlaces(places: unknown): SyncRequest['places'] {
  if (places === undefined || isPlaces(places)) return places
  throw wrong('places', 'a list of names and places')
}

export function isPlaces(value: unknown): value is readonly ReplicaPlace[] {
  return isListOf(value, (each) => isFields(each) && areStrings(each, ['name', 'place']))
}

function wrong(name: string, wants: string): UsageError {
  return new UsageError(`${name} must be ${wants}`)
}
