import { type NotStored } from '../../domain/errors.js'
import { aborted } from '../../kit/abort.js'
import { formatDuration } from '../../kit/duration.js'
import { type Clock } from '../ports/clock.js'
import { type CommitWaits, notStored, type Stored, type WantedStored } from './commit-waits.js'

export interface StoredRequest extends WantedStored {
  /** How long that may take. */
  readonly timeoutMs: number
  /** Whether it is waited until that is so; else until it is captured and asked for. */
  readonly waits: boolean
}

/** A database of which somebody waits for his commits, as it is now. */
export interface AwaitedDatabase {
  readonly path: string
  /** Undefined: it does not run now. */
  readonly waits: CommitWaits | undefined
  /** Resolves when that may have changed; undefined: nothing tells. */
  readonly changed: Promise<unknown> | undefined
  /** Why it does not run. */
  readonly problem: string | undefined
}

const lookMs = 100

/**
 * Resolves once everything that was committed to a database before the call is stored. Rejects with `NotStoredError`
 * after the timeout, or before, when it will not be; with the signal's reason at an abort.
 */
export async function awaitStored(
  find: () => AwaitedDatabase,
  { timeoutMs, waits, ...wanted }: StoredRequest,
  { clock, signal }: { readonly clock: Clock; readonly signal: AbortSignal },
): Promise<Stored> {
  const late = new AbortController()
  const done = new AbortController()
  const any = AbortSignal.any([signal, late.signal])
  const timer = clock.sleep(timeoutMs, AbortSignal.any([signal, done.signal])).then(
    () => late.abort(),
    () => undefined,
  )
  try {
    for (;;) {
      const database = find()
      const running = database.waits
      if (running !== undefined) {
        return await (waits ? running.wait(wanted, any) : running.request(wanted, any))
      }
      await Promise.race([database.changed ?? clock.sleep(lookMs, any), aborted(any)])
      any.throwIfAborted()
    }
  } catch (error) {
    if (signal.aborted || !late.signal.aborted) throw error
    throw notStored(`${find().path}: not within ${formatDuration(timeoutMs)}`, {
      missing: missingOf(find(), wanted),
    })
  } finally {
    done.abort()
    await timer
  }
}

function missingOf({ path, waits, problem }: AwaitedDatabase, wanted: WantedStored): NotStored[] {
  if (waits !== undefined) return [...waits.missing(wanted)]
  const names = typeof wanted.replicas === 'string' ? [wanted.replicas] : wanted.replicas
  const detail = problem === undefined ? 'it is not open yet' : `it cannot be opened: ${problem}`
  return names.map((replica) => ({ database: path, replica, detail }))
}
