/**
 * What a daemon can be asked to do, by a socket of this machine alone: what is listened for on the network only reads.
 */
import {
  ConfigError,
  hintOf,
  InUseError,
  NotStoredError,
  ReplicaError,
  UsageError,
} from '../../domain/errors.js'
import { type DatabaseConfig } from '../../domain/settings/config.js'
import { fileOf } from '../../domain/settings/database-folder.js'
import {
  describeElsewhere,
  placesOf,
  type ReplicaPlace,
  samePlaces,
} from '../../domain/settings/replica-place.js'
import { codeOf, messageOf } from '../../kit/error-text.js'
import { isAbortError } from '../../kit/abort.js'
import { formatDuration } from '../../kit/duration.js'
import { type Replication } from '../../usecase/daemon/replicated-databases.js'
import {
  EndedError,
  notStored,
  type Stored,
  type StoredWithSnapshot,
} from '../../usecase/daemon/commit-waits.js'
import { parseSnapshotRequest, parseSyncRequest } from './sync-request.js'

/** Rejects as what was asked fails. */
type Action = (body: unknown, signal: AbortSignal) => Promise<object>

/** By their paths. */
export type Control = ReadonlyMap<string, Action>

type Controlled = Pick<
  Replication,
  'awaitStored' | 'awaitSnapshot' | 'wanted' | 'lookAgain' | 'unreadable'
>

export function controlOf(replication: Controlled): Control {
  return new Map<string, Action>([
    ['/api/sync', (body, signal) => sync(replication, body, signal)],
    ['/api/snapshot', (body, signal) => snapshot(replication, body, signal)],
    ['/api/wanted', () => Promise.resolve({ wanted: replication.wanted.map(wantedOf) })],
  ])
}

async function sync(
  replication: Controlled,
  body: unknown,
  signal: AbortSignal,
): Promise<{ readonly stored: readonly Stored[] }> {
  const { database, places, ...request } = parseSyncRequest(body)
  const { paths, spentMs } = await find(replication, { database, ...request }, signal)
  const known = replication.wanted.find((each) => isAt(each, database))
  if (known !== undefined && places !== undefined) refuseElsewhere(known, places)
  const waits = paths.map((path) => replication.awaitStored(path, { ...request, spentMs }, signal))
  const stored = await Promise.all(waits)
  if (database === undefined) refuseUnknown(replication)
  return { stored }
}

async function snapshot(
  replication: Controlled,
  body: unknown,
  signal: AbortSignal,
): Promise<{ readonly stored: readonly StoredWithSnapshot[] }> {
  const { database, ...request } = parseSnapshotRequest(body)
  const { paths, spentMs } = await find(replication, { database, ...request }, signal)
  const waits = paths.map((path) =>
    replication.awaitSnapshot(path, { ...request, spentMs }, signal),
  )
  const stored = await Promise.all(waits)
  if (database === undefined) refuseUnknown(replication)
  return { stored }
}

/** The databases that are meant, those that have just been made in a folder included, and the time that it took to find them. */
async function find(
  replication: Controlled,
  asked: { readonly database: string | undefined; readonly timeoutMs: number },
  signal: AbortSignal,
): Promise<{ readonly paths: readonly string[]; readonly spentMs: number }> {
  const { database } = asked
  if (database !== undefined && replication.wanted.some((each) => isAt(each, database))) {
    return { paths: [database], spentMs: 0 }
  }
  const startedAt = performance.now()
  const late = AbortSignal.timeout(Math.ceil(asked.timeoutMs))
  await replication.lookAgain(AbortSignal.any([signal, late]))
  signal.throwIfAborted()
  if (late.aborted) {
    const within = formatDuration(asked.timeoutMs)
    throw notStored(`not all folders could be looked through within ${within}`, { missing: [] })
  }
  const spentMs = performance.now() - startedAt
  const paths = database === undefined ? replication.wanted.map(pathOf) : [database]
  if (paths.length > 0 || replication.unreadable.length > 0) return { paths, spentMs }
  throw new ConfigError('nothing is stored: no database is replicated', {
    hint: 'There is none in the folders of the configuration that its pattern means.',
  })
}

/** All are not stored where not all are known. */
function refuseUnknown({ unreadable }: Controlled): void {
  if (unreadable.length === 0) return
  const folders = unreadable.map((each) => each.database).join(', ')
  throw notStored(`what is committed in ${folders}`, {
    missing: unreadable.map(({ database, reason: detail }) => ({
      database,
      replica: 'all',
      detail,
    })),
  })
}

/** A database that a daemon is to replicate, for another process that may be to replicate it, too. */
export interface WantedDatabase {
  readonly path: string
  readonly replicas: readonly ReplicaPlace[]
}

function wantedOf(database: DatabaseConfig): WantedDatabase {
  return { path: database.path, replicas: placesOf(database) }
}

function pathOf({ path }: DatabaseConfig): string {
  return path
}

function isAt(database: DatabaseConfig, asked: string | undefined): boolean {
  return asked !== undefined && (database.path === asked || fileOf(database) === asked)
}

/** What is stored here says nothing of the places of whoever asks. */
function refuseElsewhere(database: DatabaseConfig, ours: readonly ReplicaPlace[]): void {
  const theirs = placesOf(database)
  if (samePlaces(theirs, ours)) return
  const { path } = database
  const why = describeElsewhere({ theirs, ours })
  throw new NotStoredError(`not stored: ${path}: ${why}`, {
    cause: new InUseError(`${path}: ${why}`),
    missing: ours.map(({ name, place }) => ({
      database: path,
      replica: name,
      detail: `nothing is sent to ${place} while that process runs`,
    })),
    hint: 'The commit itself is safe in the database. Stop that process, and this one takes over, or start both with the same replicas.',
  })
}

/** What a failure is to whoever asked. */
export function refusal(error: unknown): { readonly status: number; readonly body: object } {
  return { status: statusOf(error), body: { error: told(error) } }
}

function told(error: unknown): object {
  const code = codeOf(error) ?? 'OTHER'
  const missing = error instanceof NotStoredError ? error.missing : undefined
  const { cause } = error instanceof Error ? error : {}
  return {
    ...{ code, message: messageOf(error), hint: hintOf(error), missing },
    retryable: error instanceof ReplicaError ? error.retryable : undefined,
    cause: cause === undefined ? undefined : told(cause),
  }
}

function statusOf(error: unknown): number {
  if (error instanceof UsageError) return 400
  if (error instanceof ConfigError) return 404
  if (error instanceof EndedError) return 503
  if (error instanceof NotStoredError) return 504
  return isAbortError(error) ? 503 : 500
}
