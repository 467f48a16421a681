import { NotStoredError } from '../../domain/errors.js'
import { askDaemon, type DaemonAnswer, UnansweredError } from '../daemon/ask-daemon.js'
import { possibleDaemons } from '../daemon/possible-daemons.js'
import { type SnapshotOfRequest } from '../daemon/sync-request.js'

/** How long a daemon may take to answer beyond what it was asked to wait. */
const answerMs = 5000

/**
 * Asks the daemon to store something. Throws `NotRunningError` where none runs, and {@link NotStoredError} for one that does not answer:
 * it may be storing it.
 */
export async function askToStore(
  path: '/api/sync' | '/api/snapshot',
  body: SnapshotOfRequest,
  flags: Parameters<typeof possibleDaemons>[1],
  signal: AbortSignal,
): Promise<DaemonAnswer> {
  const { database, replicas, timeoutMs } = body
  const daemons = await possibleDaemons(database, flags)
  const request = { method: 'POST', path, body, timeoutMs: timeoutMs + answerMs } as const
  try {
    return await askDaemon(daemons, request, signal)
  } catch (cause) {
    if (!(cause instanceof UnansweredError)) throw cause
    const { message: detail, hint } = cause
    const names = typeof replicas === 'string' ? ['all'] : replicas
    const of = database === undefined ? '' : `${database}: `
    throw new NotStoredError(`not known to be stored: ${of}${detail}`, {
      ...(hint === undefined ? {} : { hint }),
      cause,
      missing: names.flatMap((replica) =>
        database === undefined ? [] : { database, replica, detail },
      ),
    })
  }
}
