/**
 * Replication for an application that opens the database itself. The engine runs in a process of its own: two SQLite
 * libraries in one process destroy each other's locks on a file, since the operating system drops all locks of a process
 * with the first descriptor that it closes.
 */
import { type ChildProcess, fork } from 'node:child_process'
import { Socket } from 'node:net'
import { resolve } from 'node:path'
import { configFromUrls, createLogger } from '../../compose/commands.js'
import { packageFile } from '../../compose/package-file.js'
import { type Config } from '../../domain/settings/config.js'
import {
  ConfigError,
  InUseError,
  NotStoredError,
  UsageError,
  type NotStored,
} from '../../domain/errors.js'
import { never } from '../../kit/abort.js'
import { asError } from '../../kit/error-text.js'
import { pauseAfter } from '../../kit/pause.js'
import { type Logger } from '../../usecase/ports/logger.js'
import { type DaemonStatus } from '../../domain/status.js'
import { type Stored, type WantedStored } from '../../usecase/daemon/commit-waits.js'
import { parseSyncRequest } from '../daemon/sync-request.js'
import { type LogLevel, packMessage, type ToEngine, unpackFromEngine } from './messages.js'
import { handlerFor, readStatus } from './engine-status.js'
import { StoredWaits } from './stored-waits.js'

export interface ReplicateOptions {
  /** Takes what the engine logs, from `logging.level` on; by default it goes to stderr as `logging` says. */
  readonly logger?: Logger
}

/** What is waited for, and how long. */
export interface StoredOptions {
  /** The path of the database; by default the only one that is replicated. */
  readonly database?: string | undefined
  /** All of its replicas (by default), whichever has it first, or those of these names. */
  readonly replicas?: WantedStored['replicas'] | undefined
  /**
   * `ride` (by default): it is stored with the next `sync-interval`. `now`: at once; all who wait share one upload, of which
   * there is at most one per `urgent-sync-interval` (50 ms) and replica.
   */
  readonly urgency?: WantedStored['urgency'] | undefined
  /** By default 30,000. */
  readonly timeoutMs?: number | undefined
  /** Ends the wait. What was asked for is stored all the same. */
  readonly signal?: AbortSignal | undefined
}

/** Databases being replicated in a process of their own. It does not keep the application alive. */
export interface RunningReplication extends AsyncDisposable {
  /** The process of the engine; undefined while it is started anew. */
  readonly pid: number | undefined
  /**
   * Stores what is left, for at most the configuration's `shutdownTimeoutMs`, and resolves with what could not be
   * stored: it is kept locally for the next start. Rejects with {@link NotStoredError} when the engine's process ended
   * before it had said. Twice is harmless.
   */
  stop(): Promise<readonly NotStored[]>
  /**
   * Resolves once everything that was committed before the call is acknowledged by the stores, with what is stored then.
   * Rejects with {@link NotStoredError}, which says what is not stored where and why, when that is not so in time, when
   * another writer has taken a replica over, or at the end; the commits are safe in the database all the same. Rejects
   * with `UsageError` for options that are wrong, {@link ConfigError} for a database that is not replicated, and the
   * signal's reason at an abort. While the process of the engine is started anew, it waits.
   */
  stored(options?: StoredOptions): Promise<Stored>
  /**
   * What is captured and stored, and what is not in time, as `tsreplicate status` says it; of the process that replicates, if
   * there are several. Times are milliseconds since 1970. Rejects with `NotRunningError` while the engine is started anew.
   */
  status(): Promise<DaemonStatus>
  /**
   * Answers `/readyz`, `/healthz`, `/api/status` and, where the configuration has `addr`, `/metrics`, whatever it is mounted
   * below. While no engine runs, the answer is 503.
   */
  handler(): (request: Request) => Promise<Response>
  /** Runs `work`, waits until what it has committed is {@link stored}, and resolves with what `work` did. */
  durable<T>(work: () => T | Promise<T>, options?: StoredOptions): Promise<T>
}

const entry = 'dist/delivery/library/engine.js'
const pauses = { firstMs: 500, mostMs: 30_000 }
/** Whoever has run as long as this does not end for the same reason as before. */
const soundMs = 60_000

/**
 * Replicates the databases of a configuration until it is stopped or the application ends; what was captured by then is
 * stored still. Resolves when the engine runs. Should its process end by itself, it is logged and started anew; so it is,
 * after a while, where another process replicates the same database. A database that does not exist is restored before,
 * where its configuration has `restore-if-db-not-exists` and there is a backup. Throws {@link ConfigError} where the
 * configuration is of no use, and what a restore throws.
 */
export async function replicate(
  config: Config,
  options?: ReplicateOptions,
): Promise<RunningReplication>
/** The same for one database and the URL of its replica, or the URLs of several; every setting has its default. */
export async function replicate(
  path: string,
  urls: string | readonly string[],
  options?: ReplicateOptions,
): Promise<RunningReplication>
export async function replicate(
  first: Config | string,
  second?: ReplicateOptions | string | readonly string[],
  third?: ReplicateOptions,
): Promise<RunningReplication> {
  if (typeof first !== 'string') return start(first, isUrls(second) ? {} : second)
  if (!isUrls(second)) throw new UsageError('replicate: the URL of a replica is missing')
  const urls = typeof second === 'string' ? [second] : second
  return start(await configFromUrls(first, urls), third)
}

function isUrls(
  value: ReplicateOptions | string | readonly string[] | undefined,
): value is string | readonly string[] {
  return typeof value === 'string' || Array.isArray(value)
}

async function start(config: Config, options: ReplicateOptions = {}): Promise<RunningReplication> {
  if (config.databases.length + config.folders.length === 0) {
    throw new ConfigError('no databases specified in configuration')
  }
  if (config.exec !== undefined) {
    throw new ConfigError('exec works only on the command line: the library starts no program')
  }
  const logger = careful(
    options.logger ?? (await createLogger({ ...config.logging, stderr: true })),
  )
  for (const warning of config.warnings) logger.warn({ config: config.source }, warning)
  const engine = new Engine(config, logger)
  await engine.start({ restores: true })
  return engine
}

class Engine implements RunningReplication {
  readonly #config: Config
  readonly #logger: Logger
  readonly #waits: StoredWaits
  #child: ChildProcess | undefined
  #restart: NodeJS.Timeout | undefined
  #failures = 0
  #stopped: Promise<readonly NotStored[]> | undefined
  /** How the latest process ended. */
  #end: Promise<readonly NotStored[]> = Promise.resolve([])

  constructor(config: Config, logger: Logger) {
    this.#config = config
    this.#logger = logger
    this.#waits = new StoredWaits()
  }

  get pid(): number | undefined {
    return this.#child?.pid
  }

  stop(): Promise<readonly NotStored[]> {
    this.#stopped ??= this.#stop()
    return this.#stopped
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
  }

  async stored({ signal = never, database, ...options }: StoredOptions = {}): Promise<Stored> {
    const named = database === undefined ? {} : { database: resolve(database) }
    return this.#waits.wait(parseSyncRequest({ ...options, ...named }), signal)
  }

  status(): Promise<DaemonStatus> {
    return readStatus(this.#config)
  }

  handler(): (request: Request) => Promise<Response> {
    return handlerFor(this.#config)
  }

  async durable<T>(work: () => T | Promise<T>, options?: StoredOptions): Promise<T> {
    const result = await work()
    await this.stored(options)
    return result
  }

  /** Starts the process; resolves when it runs, rejects when it does not come to that. */
  async start({ restores }: { readonly restores: boolean }): Promise<void> {
    const child = fork(packageFile(entry), {
      execArgv: [],
      // Those of the application are not for the engine.
      env: { ...process.env, NODE_OPTIONS: undefined },
      serialization: 'advanced',
      // Whoever reads the application's own must not wait for the last sync.
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    })
    this.#child = child
    const lastWords = hear(child)
    const running = Promise.withResolvers<undefined>()
    const ended = Promise.withResolvers<readonly NotStored[]>()
    this.#end = ended.promise
    let runningSinceMs: number | undefined
    let notStored: readonly NotStored[] | undefined
    let failure: Error | undefined
    child.on('message', (packed) => {
      const message = unpackFromEngine(packed)
      if (message.kind === 'log') this.#logger[message.level](message.fields, message.message)
      if (message.kind === 'failed') failure = message.error
      if (message.kind === 'ended') notStored = message.notStored
      if (message.kind === 'stored' || message.kind === 'refused') this.#waits.answered(message)
      if (message.kind !== 'running') return
      this.#waits.engineRuns((toEngine) => send(child, toEngine))
      runningSinceMs = performance.now()
      running.resolve(undefined)
      if (this.#stopped === undefined) release(child)
    })
    const over = (how: string): void => {
      const error =
        failure ?? new NotStoredError(`the process of the engine ended by ${how}${lastWords()}`)
      this.#child = undefined
      this.#waits.engineEnded(how, { isLast: this.#stopped !== undefined })
      running.reject(error)
      if (notStored === undefined) ended.reject(error)
      else ended.resolve(notStored)
      if (runningSinceMs === undefined || this.#stopped !== undefined) return
      if (performance.now() - runningSinceMs > soundMs) this.#failures = 0
      this.#startAnew(error)
    }
    child.on('error', (error) => {
      failure ??= error
      // Where there is no room for another process, nothing else is heard of it.
      if (child.pid === undefined) over(error.message)
    })
    child.once('close', (code, signal) => {
      if (child.pid !== undefined) over(signal ?? `exit code ${String(code)}`)
    })
    // Whoever wants to know asks when it stops.
    ended.promise.catch(() => undefined)
    send(child, { kind: 'start', config: this.#config, restores })
    await running.promise
  }

  #startAnew(error: Error): void {
    this.#failures += 1
    const pauseMs = pauseAfter(this.#failures, pauses)
    this.#logger.error({ err: error, 'pause-ms': pauseMs }, 'engine ended, restarting it')
    this.#restart = setTimeout(() => {
      // The application may be making the database by now.
      this.start({ restores: false }).catch((reason: unknown) => {
        if (this.#stopped === undefined) this.#startAnew(asError(reason))
      })
    }, pauseMs).unref()
  }

  async #stop(): Promise<readonly NotStored[]> {
    clearTimeout(this.#restart)
    const child = this.#child
    if (child === undefined) this.#waits.engineEnded('stop()', { isLast: true })
    if (child !== undefined) {
      child.ref()
      child.channel?.ref()
      send(child, { kind: 'stop' })
    }
    try {
      return await this.#end
    } catch (error) {
      // What another process replicates is not ours to store.
      if (error instanceof InUseError) return []
      throw error
    }
  }
}

/** Lets the application end while the process runs. */
function release(child: ChildProcess): void {
  child.unref()
  child.channel?.unref()
  if (child.stderr instanceof Socket) child.stderr.unref()
}

const maxLastWords = 4000

/** What a process says on stderr is what it could not log: the reason of a crash. */
function hear(child: ChildProcess): () => string {
  let said = ''
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    said = `${said}${text}`.slice(-maxLastWords)
  })
  return () => (said === '' ? '' : `: ${said.trim()}`)
}

/** As the logger, but what it throws is no matter of whoever logs. */
function careful(logger: Logger): Logger {
  const write =
    (level: LogLevel): Logger[LogLevel] =>
    (fields, message) => {
      try {
        logger[level](fields, message)
      } catch {
        // There is nobody left to tell.
      }
    }
  return {
    debug: write('debug'),
    info: write('info'),
    warn: write('warn'),
    error: write('error'),
    child: (fields) => careful(logger.child(fields)),
  }
}

function send(child: ChildProcess, message: ToEngine): void {
  // A process that is gone says so by its end, and one that never was has nothing to be told by.
  if (child.pid !== undefined) child.send(packMessage(message), () => undefined)
}
