/** What an application has of its replication. */
import { type EventName } from '../../domain/replication-events.js'
import { type DatabaseConfig } from '../../domain/settings/config.js'
import { type NotStored } from '../../domain/errors.js'
import { type DaemonStatus } from '../../domain/status.js'
import { type Stored } from '../../usecase/daemon/commit-waits.js'
import { type Listener } from './listeners.js'

/** What is waited for, and how long. */
export interface StoredOptions {
  /** The path of the database; by default the only one that is replicated. */
  readonly database?: string | undefined
  /** All of its replicas (by default), whichever has it first, or those of these names. */
  readonly replicas?: 'all' | 'any' | readonly string[] | undefined
  /**
   * `ride` (by default): it is stored with the next `sync-interval`. `now`: at once; all who wait share one upload, of which
   * there is one per `urgent-sync-interval` (50 ms) and replica in the long run, and never three within one.
   */
  readonly urgency?: 'ride' | 'now' | undefined
  /** Milliseconds; by default 30,000. */
  readonly timeoutMs?: number | undefined
  /** Ends the wait. What was asked for is stored all the same. */
  readonly signal?: AbortSignal | undefined
}

/** How a database is added. */
export interface AddOptions {
  /** Ends a restore that comes before, and then the database is not replicated. `stop` does so, too. */
  readonly signal?: AbortSignal | undefined
}

/**
 * Databases being replicated in a process of their own. It does not keep the application alive, and nothing of it is thrown
 * outside of the promises that are returned here.
 */
export interface RunningReplication extends AsyncDisposable {
  /** The process of the engine; undefined while it is started anew. */
  readonly pid: number | undefined
  /**
   * Stores what is left, for at most the configuration's `shutdownTimeoutMs`, and resolves with what could not be
   * stored: it is kept locally for the next start, and is logged and a `problem`, too. Rejects with `NotStoredError` when the
   * engine's process ended before it had said; one that hangs is killed 6 s after the timeout. Twice is harmless.
   */
  stop(): Promise<readonly NotStored[]>
  /**
   * Resolves once everything that was committed before the call is acknowledged by the stores, with what is stored then.
   * Rejects with `NotStoredError`, which says what is not stored where and why, when that is not so in time, when
   * another writer has taken a replica over, or at the end; the commits are safe in the database all the same. Rejects
   * with `UsageError` for options that are wrong, `ConfigError` for a database that is not replicated, and the
   * signal's reason at an abort. While the process of the engine is started anew, it waits.
   */
  stored(options?: StoredOptions): Promise<Stored>
  /**
   * Runs `work`, waits until what it has committed is {@link stored}, and resolves with what `work` did. Rejects as both do: with what
   * `work` throws or rejects with, after which nothing is waited for. Options that are wrong, and a signal that is aborted already,
   * are noticed before `work` is run.
   */
  durable<T>(work: () => T | Promise<T>, options?: StoredOptions): Promise<T>
  /**
   * Replicates one more database, given by its path and the URL of its replica, or the URLs of several. Resolves when the engine has
   * taken it on; `stored` tells when it is stored. In several processes of an application, each has to add it. Rejects with
   * `ConfigError` for one that is replicated already, or that could not be replicated from the start, `NotRunningError` at the end
   * and when the engine does not answer within a minute, and the signal's reason at an abort.
   */
  addDatabase(path: string, urls: string | readonly string[], options?: AddOptions): Promise<void>
  /**
   * The same for one with settings. It is restored before, where they have `restoreIfDbNotExists`, as `replicate` does, however
   * long that takes: an abort, or `stop`, ends that and leaves nothing of it. Rejects with what a restore rejects with, too.
   */
  addDatabase(database: DatabaseConfig, options?: AddOptions): Promise<void>
  /**
   * Stores what is left of a database, for at most `shutdownTimeoutMs`, and replicates it no longer. Resolves with what could not be
   * stored, which is kept locally for the next time. Rejects with `ConfigError` for one that is not replicated, or that is one of a
   * folder (`dir`), and with `NotStoredError` or `NotRunningError` when all ends meanwhile, or the engine does not answer.
   */
  removeDatabase(path: string): Promise<readonly NotStored[]>
  /**
   * Calls the listener at each such event from now on; at the first call of all, it hears soon what has happened since the engine
   * started, too. What it throws is logged. Throws `UsageError` for an event that there is not.
   */
  on<Name extends EventName>(name: Name, listener: Listener<Name>): this
  /** Calls the listener no more. */
  off<Name extends EventName>(name: Name, listener: Listener<Name>): this
  /**
   * What is captured and stored, and what is not in time, as `tsreplicate status` says it; of the process that replicates, if
   * there are several, with what this one replicates beside it. Times are milliseconds since 1970. Rejects with `NotRunningError` while the engine is started anew.
   */
  status(): Promise<DaemonStatus>
  /**
   * Answers `/readyz`, `/healthz`, `/metrics` and `/api/status`, whatever it is mounted below: for the process that replicates, if there
   * are several, with what this one replicates beside it. While no engine runs, the answer is 503.
   */
  handler(): (request: Request) => Promise<Response>
}
