/**
 * Replication for an application that opens the database itself. The engine runs in a process of its own: two SQLite
 * libraries in one process destroy each other's locks on a file, since the operating system drops all locks of a process
 * with the first descriptor that it closes.
 */
import { createLogger } from '../../compose/commands.js'
import { type Config } from '../../domain/settings/config.js'
import { ConfigError, TsreplicateError } from '../../domain/errors.js'
import { never, onAbort } from '../../kit/abort.js'
import { careful, isLogger, type Logger } from './application-logger.js'
import { takeConfig } from './configuration.js'
import { EngineProcess, notStarted } from './engine-process.js'
import { checkOptions, type RulesOf, signal } from './options.js'
import { type RunningReplication } from './running-replication.js'

/** What an application can decide of its replication besides its configuration. */
export interface ReplicateOptions {
  /** Takes what the engine logs, from `logging.level` on; by default it goes to stderr as `logging` says. */
  readonly logger?: Logger | undefined
  /** Ends the start, for as long as that lasts: a restore may take hours. `stop` ends what runs. */
  readonly signal?: AbortSignal | undefined
}

/**
 * Replicates the databases of a configuration until it is stopped or the application ends; what was captured by then is
 * stored still. Resolves when the engine runs. Should its process end by itself, it is logged and started anew; so it is,
 * after a while, where another process replicates the same database. A database that does not exist is restored before,
 * where its configuration has `restore-if-db-not-exists` and there is a backup. Rejects with {@link ConfigError} where the
 * configuration is of no use, `UsageError` for options that are wrong, `NotRunningError` where the engine cannot be
 * started, with what a restore rejects with, and with the signal's reason at an abort, which leaves nothing behind that runs.
 */
export async function replicate(
  config: Config,
  options?: ReplicateOptions,
): Promise<RunningReplication>
/**
 * The same for one database and the URL of its replica, or the URLs of several; every setting has its default. Rejects with what it
 * does for a configuration.
 */
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
  try {
    const { config, options = {} } = await takeConfig('replicate', [first, second, third])
    return await start(config, checkOptions(options, { of: 'replicate', rules }))
  } catch (error) {
    throw isOutOfFiles(error) ? notStarted(error) : error
  }
}

/** Without descriptors not even our own files can be read, and Node's loader says so in words alone. */
function isOutOfFiles(error: unknown): error is Error {
  if (!(error instanceof Error) || error instanceof TsreplicateError) return false
  return /\b(EMFILE|ENFILE)\b|too many open files/.test(error.message)
}

const killedWithContainer =
  'this application is process 1 of a container: when it is killed, what is not stored by then is lost with the container'
const initHint =
  'call stop() at SIGTERM, or run the container with an init process (docker run --init)'

const rules: RulesOf<ReplicateOptions> = {
  logger: {
    allows: isLogger,
    wants: 'an object with the functions debug, info, warn and error',
  },
  signal,
}

async function start(config: Config, options: ReplicateOptions): Promise<RunningReplication> {
  if (config.databases.length + config.folders.length === 0) {
    throw new ConfigError('no databases specified in configuration')
  }
  if (config.exec !== undefined) {
    throw new ConfigError('exec works only on the command line: the library starts no program')
  }
  const logger = careful(
    options.logger ?? (await createLogger({ ...config.logging, stderr: true })),
  )
  if (process.pid === 1) logger.warn({ hint: initHint }, killedWithContainer)
  for (const warning of config.warnings) logger.warn({ config: config.source }, warning)
  return startEngine(new EngineProcess(config, logger), options.signal ?? never)
}

async function startEngine(engine: EngineProcess, signal: AbortSignal): Promise<EngineProcess> {
  signal.throwIfAborted()
  const starting = engine.start({ restores: true })
  using _listening = onAbort(signal, () => void engine.stop().catch(() => undefined))
  try {
    await starting
  } catch (error) {
    throw signal.aborted ? signal.reason : error
  }
  if (!signal.aborted) return engine
  await engine.stop()
  throw signal.reason
}
