/**
 * What a daemon can be asked to do, by a socket of this machine alone: what is listened for on the network only reads.
 */
import { ConfigError, hintOf, NotStoredError, UsageError } from '../../domain/errors.js'
import { codeOf, messageOf } from '../../kit/error-text.js'
import { isAbortError } from '../../kit/abort.js'
import { type Replication } from '../../usecase/daemon/replicated-databases.js'
import { type Stored } from '../../usecase/daemon/commit-waits.js'
import { parseSyncRequest } from './sync-request.js'

/** Rejects as what was asked fails. */
type Action = (body: unknown, signal: AbortSignal) => Promise<object>

/** By their paths. */
export type Control = ReadonlyMap<string, Action>

export function controlOf(replication: Pick<Replication, 'awaitStored' | 'wanted'>): Control {
  return new Map<string, Action>([['/api/sync', (body, signal) => sync(replication, body, signal)]])
}

async function sync(
  replication: Pick<Replication, 'awaitStored' | 'wanted'>,
  body: unknown,
  signal: AbortSignal,
): Promise<{ readonly stored: readonly Stored[] }> {
  const { database, ...request } = parseSyncRequest(body)
  const paths = database === undefined ? replication.wanted : [database]
  const waits = paths.map((path) => replication.awaitStored(path, request, signal))
  return { stored: await Promise.all(waits) }
}

/** What a failure is to whoever asked. */
export function refusal(error: unknown): { readonly status: number; readonly body: object } {
  const code = codeOf(error) ?? 'OTHER'
  const missing = error instanceof NotStoredError ? error.missing : undefined
  return {
    status: statusOf(error),
    body: { error: { code, message: messageOf(error), hint: hintOf(error), missing } },
  }
}

function statusOf(error: unknown): number {
  if (error instanceof UsageError) return 400
  if (error instanceof ConfigError) return 404
  if (error instanceof NotStoredError) return 504
  return isAbortError(error) ? 503 : 500
}
