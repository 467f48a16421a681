import { type InUseError, type NotStored } from '../../domain/errors.js'
import { formatDuration } from '../../kit/duration.js'
import { type Clock } from '../ports/clock.js'
import {
  type Captured,
  type CommitWaits,
  notStored,
  type Stored,
  type StoredWithSnapshot,
  type Wanted,
  type WantedStored,
} from './commit-waits.js'

export interface StoredRequest extends WantedStored {
  /** How long that may take. */
  readonly timeoutMs: number
  /** How much of that is over already; absent: nothing. */
  readonly spentMs?: number
  /** Whether it is waited until that is so; else until it is captured and asked for. */
  readonly waits: boolean
}

export interface SnapshotRequest extends Pick<WantedStored, 'replicas'> {
  /** How long that may take. */
  readonly timeoutMs: number
  /** How much of that is over already; absent: nothing. */
  readonly spentMs?: number
}

/** A database of which somebody waits for his commits, as it is now. */
export interface AwaitedDatabase {
  readonly path: string
  /** Undefined: it does not run now. */
  readonly waits: CommitWaits | undefined
  /** Resolves when it may run; undefined: nothing tells. */
  readonly changed: Promise<unknown> | undefined
  /** Why it does not run. */
  readonly problem: string | undefined
  /** The same, where another process has it: nothing is stored before that ends. */
  readonly inUse?: InUseError | undefined
}

const lookMs = 100

interface AwaitParts {
  readonly clock: Clock
  readonly signal: AbortSignal
}

/**
 * Resolves once everything that was committed to a database before the call is stored. Rejects with `NotStoredError`
 * after the timeout, or before, when it will not be; with the signal's reason at an abort.
 */
export async function awaitStored(
  find: () => AwaitedDatabase,
  { timeoutMs, spentMs, waits, ...wanted }: StoredRequest,
  parts: AwaitParts,
): Promise<Stored> {
  const ask: Asked<Stored>['ask'] = (of, captured, signal) =>
    waits ? of.wait(wanted, captured, signal) : of.request(wanted, signal)
  return inTime(find, { wanted, timeoutMs, spentMs, ask }, parts)
}

/** As {@link awaitStored}, with a snapshot from which a restore needs nothing of earlier WALs. */
export async function awaitSnapshot(
  find: () => AwaitedDatabase,
  { timeoutMs, spentMs, replicas }: SnapshotRequest,
  parts: AwaitParts,
): Promise<StoredWithSnapshot> {
  const wanted = { replicas, urgency: 'now', withSnapshot: true } as const
  const ask: Asked<StoredWithSnapshot>['ask'] = (of, captured, signal) =>
    of.waitForSnapshot(wanted, captured, signal)
  return inTime(find, { wanted, timeoutMs, spentMs, ask }, parts)
}

interface Asked<T> {
  readonly wanted: Wanted
  readonly timeoutMs: number
  readonly spentMs: number | undefined
  readonly ask: (of: CommitWaits, captured: Captured, signal: AbortSignal) => Promise<T>
}

/** Asks once the database is open. */
async function inTime<T>(
  find: () => AwaitedDatabase,
  { wanted, timeoutMs, spentMs = 0, ask }: Asked<T>,
  { clock, signal }: AwaitParts,
): Promise<T> {
  const captured: Captured = { barrier: undefined }
  const late = new AbortController()
  const done = new AbortController()
  const any = AbortSignal.any([signal, late.signal])
  const leftMs = Math.max(1, timeoutMs - spentMs)
  const timer = clock.sleep(leftMs, AbortSignal.any([signal, done.signal])).then(
    () => late.abort(),
    () => undefined,
  )
  try {
    for (;;) {
      const database = find()
      if (database.waits !== undefined) return await ask(database.waits, captured, any)
      const { inUse: cause } = database
      if (cause !== undefined) {
        throw notStored(database.path, { cause, missing: missingOf(database, wanted, captured) })
      }
      // Whether another process has it shows while it is tried to open it.
      await Promise.race([
        ...(database.changed === undefined ? [] : [database.changed]),
        clock.sleep(lookMs, any),
      ])
    }
  } catch (error) {
    if (signal.aborted || !late.signal.aborted) throw error
    throw notStored(`${find().path}: not within ${formatDuration(timeoutMs)}`, {
      missing: missingOf(find(), wanted, captured),
    })
  } finally {
    done.abort()
    await timer
  }
}

function missingOf(
  { path, waits, problem }: AwaitedDatabase,
  wanted: Wanted,
  captured: Captured,
): readonly NotStored[] {
  if (waits !== undefined) return waits.missing(wanted, captured)
  const names = typeof wanted.replicas === 'string' ? ['all'] : wanted.replicas
  const detail = problem === undefined ? 'it is not open yet' : `it cannot be opened: ${problem}`
  return names.map((replica) => ({ database: path, replica, detail }))
}
