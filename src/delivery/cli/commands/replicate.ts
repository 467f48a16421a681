import { isatty } from 'node:tty'
import {
  composeDaemon,
  configFromUrls,
  createLogger,
  expandPath,
  loadConfig,
  openServiceManager,
  restoreMissing,
} from '../../../compose/commands.js'
import { splitCommandLine } from '../../../kit/command-line.js'
import { type Config, type DatabaseConfig } from '../../../domain/settings/config.js'
import { ConfigError, UsageError } from '../../../domain/errors.js'
import { type Logger } from '../../../usecase/ports/logger.js'
import { type DaemonOptions, runDaemon } from '../../daemon/daemon.js'
import { serveDaemon } from '../../daemon/endpoints.js'
import { ExecutedProgram } from '../../daemon/executed-program.js'
import { Service } from '../../daemon/service.js'
import { defineCommand, type FlagValues } from '../command.js'
import { refuseConfigWithUrl } from '../context.js'
import { whyMemoryIsNotFavoured } from '../favour-memory.js'
import { type ConfigFlags, configFlags } from '../flags.js'
import { warnOfMemoryLimit } from '../memory-limit.js'
import { restoreCommandFor } from '../restore-command.js'
import { parseTimeoutFlag } from '../timeout-flag.js'
import { version } from '../version.js'
import { reloadConfig } from '../../daemon/reload-config.js'
import { parseIntegrityCheck } from './restore.js'

const overridingFlags = {
  exec: { value: 'command', description: 'a program to run; tsreplicate exits when it does' },
  restoreIfDbNotExists: {
    description: 'first restore databases that do not exist and have a backup',
  },
  integrityCheck: {
    value: 'kind',
    description: 'what SQLite checks after these restores: none, quick or full',
    default: 'quick',
  },
  firstSyncTimeout: {
    value: 'duration',
    description: 'how long the program and READY=1 wait for the first sync (30s)',
  },
  socket: {
    value: 'path',
    description: 'a socket file for `tsreplicate status -socket` in another container',
  },
  shutdownTimeout: { value: 'duration', description: 'how long the last sync may take (30s)' },
} as const

export const replicate = defineCommand({
  name: 'replicate',
  summary: 'replicates databases until it is stopped',
  about:
    'Without arguments, replicates the databases of the configuration until it is stopped. With a database and URLs, replicates that database to these places, without a configuration: every setting that is not in the URL has its default. With `-once`, it stores what is committed and ends, for cron jobs and hooks (a daemon that runs already is asked by `tsreplicate sync`). On SIGTERM or Ctrl-C it stores the last commits and ends; SIGHUP reads the configuration again.',
  example: "tsreplicate replicate -exec 'sleep 2' /data/app.db file:///backup/app",
  arguments: [
    {
      name: 'database',
      description: 'database file; without it, all databases of the configuration',
    },
    { name: 'urls', description: 'replica URLs of the database', variadic: true },
  ],
  flags: {
    once: {
      description:
        'end when all that is committed is stored, however long that takes unless -first-sync-timeout says how long',
    },
    snapshot: {
      description:
        'with -once, end when there is a snapshot of it, too, as `tsreplicate snapshot` takes it',
    },
    ...configFlags,
    ...overridingFlags,
  },
  exitCodes: {
    notStored:
      'it was stopped, or the time of `-once` was over, and not everything could be stored, or not the snapshot of `-snapshot`. What is missing is kept locally',
    interrupted: 'a second signal came, and it did not wait for the last commits to be stored',
  },
  run: async (positionals, flags, { signal, lifetime }) => {
    const integrityCheck = parseIntegrityCheck(flags.integrityCheck)
    const load = async (): Promise<Config> => {
      const config = await applyFlags(flags, await chooseConfig(positionals, flags))
      if (config.databases.length + config.folders.length > 0) return config
      throw new ConfigError('no databases specified in configuration', {
        hint: `Add them under dbs in ${config.source ?? 'the configuration'}.`,
      })
    }
    const config = await load()
    if (flags.once && config.exec !== undefined) {
      throw new UsageError('-once and -exec cannot be used together', {
        hint: 'With -exec, it ends when the program does.',
      })
    }
    if (flags.snapshot && !flags.once) {
      throw new UsageError('-snapshot goes with -once', {
        hint: 'A daemon that runs is asked by `tsreplicate snapshot`.',
      })
    }
    const isShared = config.exec !== undefined
    const logger = lifetime.add(await createLogger(config.logging, { isShared }))
    const service = new Service(await openServiceManager(logger), logger)
    service.starting('starting')
    logStart(config, logger)
    warnOfMemoryLimit(logger, { databases: config.databases.length })
    const restore = (databases: readonly DatabaseConfig[], stop: AbortSignal): Promise<unknown> =>
      restoreMissing(
        databases,
        { integrityCheck, commandFor: restoreCommandFor(config.source), logger },
        stop,
      )
    await restore(config.databases, signal)
    const daemon = await composeDaemon(config, { logger, version: version(), lifetime })
    // From here on a signal ends the daemon.
    signal.throwIfAborted()
    await serveDaemon(config, daemon, { logger, lifetime, endsOnceStored: flags.once })
    const { shutdownTimeoutMs, firstSyncTimeoutMs } = config
    return runDaemon(daemon.replication, {
      logger,
      shutdownTimeoutMs,
      firstSyncTimeoutMs,
      service,
      reload:
        config.source === undefined
          ? undefined
          : reloadConfig(config, {
              load,
              replication: daemon.replication,
              restoreMissing: restore,
              logger,
            }),
      once: flags.once
        ? {
            timeoutMs: parseTimeoutFlag('firstSyncTimeout', flags.firstSyncTimeout),
            withSnapshot: flags.snapshot,
          }
        : undefined,
      watch: (stop) => daemon.watchDisk.run(stop),
      ...execOption(config, logger),
    })
  },
})

/** What the command line says goes before what the configuration says. */
async function applyFlags(
  flags: FlagValues<typeof overridingFlags>,
  config: Config,
): Promise<Config> {
  const shutdownTimeoutMs = parseTimeoutFlag('shutdownTimeout', flags.shutdownTimeout)
  const firstSyncTimeoutMs = parseTimeoutFlag('firstSyncTimeout', flags.firstSyncTimeout)
  const { databases } = config
  const socketPath = flags.socket === undefined ? undefined : await expandPath(flags.socket)
  return {
    ...config,
    shutdownTimeoutMs: shutdownTimeoutMs ?? config.shutdownTimeoutMs,
    firstSyncTimeoutMs: firstSyncTimeoutMs ?? config.firstSyncTimeoutMs,
    exec: parseExec(flags.exec) ?? config.exec,
    socket:
      socketPath === undefined
        ? config.socket
        : { path: socketPath, mode: config.socket?.mode ?? 0o600 },
    databases: flags.restoreIfDbNotExists
      ? databases.map((database) => ({ ...database, restoreIfDbNotExists: true }))
      : databases,
  }
}

function parseExec(text: string | undefined): readonly string[] | undefined {
  if (text === undefined) return undefined
  const line = splitCommandLine(text)
  if (line.kind === 'words') return line.words
  const { problem, hint } = line
  throw new UsageError(`cannot parse exec command: ${problem}`, hint === undefined ? {} : { hint })
}

function execOption(config: Config, logger: Logger): Pick<DaemonOptions, 'exec'> {
  const { exec: words, shutdownTimeoutMs: stopTimeoutMs, databases } = config
  if (words === undefined) return {}
  const [only, ...others] = databases
  const env: Record<string, string> = {}
  if (only !== undefined && others.length === 0) env['TSREPLICATE_DB_PATH'] = only.path
  // Node's stream would make reads of it fail in the program, where there is nothing to read yet.
  const onTerminal = isatty(0)
  return { exec: new ExecutedProgram({ words, env, stopTimeoutMs, logger, onTerminal }) }
}

async function chooseConfig(positionals: readonly string[], flags: ConfigFlags): Promise<Config> {
  const [databasePath, ...urls] = positionals
  if (databasePath === undefined) {
    return loadConfig({ path: flags.config, expandEnv: !flags.noExpandEnv })
  }
  if (urls.length === 0) {
    throw new UsageError(`must specify at least one replica URL for ${databasePath}`)
  }
  refuseConfigWithUrl(flags)
  return configFromUrls(databasePath, urls)
}

function logStart(config: Config, logger: Logger): void {
  logger.info({ version: version() }, 'tsreplicate')
  const detail = whyMemoryIsNotFavoured()
  if (detail !== undefined) logger.debug({ detail }, 'runs without its own flags for memory')
  for (const warning of config.warnings) logger.warn({ config: config.source }, warning)
}
