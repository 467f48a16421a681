import { composeReplication, configFromUrls, createLogger, loadConfig } from '../../../compose.js'
import { type Config, type ReplicaTarget } from '../../../domain/config.js'
import { formatDuration, parseDuration } from '../../../domain/duration.js'
import { ConfigError, UsageError } from '../../../domain/errors.js'
import { type LogFields, type Logger } from '../../../usecase/ports/logger.js'
import { runDaemon } from '../../daemon.js'
import { type CommonFlags, refuseConfigWithUrl } from '../context.js'
import { version } from '../version.js'

export interface ReplicateFlags extends CommonFlags {
  readonly shutdownTimeout?: string
}

export async function replicate(
  positionals: readonly string[],
  flags: ReplicateFlags,
): Promise<number> {
  const timeoutMs = parseTimeout(flags.shutdownTimeout)
  const config = await chooseConfig(positionals, flags)
  if (config.databases.length === 0) {
    throw new ConfigError('no databases specified in configuration', {
      hint: `Add them under dbs in ${config.source ?? 'the configuration'}.`,
    })
  }
  const logger = await createLogger(config.logging)
  logStart(config, logger)
  const replication = await composeReplication(config, logger)
  const exitCode = await runDaemon(replication, {
    logger,
    shutdownTimeoutMs: timeoutMs ?? config.shutdownTimeoutMs,
  })
  // Threads of the engine would keep the process alive.
  process.exit(exitCode)
}

function parseTimeout(text: string | undefined): number | undefined {
  if (text === undefined) return undefined
  const timeoutMs = parseDuration(text)
  if (timeoutMs !== undefined && timeoutMs > 0) return timeoutMs
  throw new UsageError(`invalid -shutdown-timeout: ${text}`, { hint: 'Write for example 30s.' })
}

async function chooseConfig(positionals: readonly string[], flags: CommonFlags): Promise<Config> {
  const [databasePath, ...urls] = positionals
  if (databasePath === undefined) {
    return loadConfig({ path: flags.config, expandEnv: flags.expandEnv })
  }
  if (urls.length === 0) {
    throw new UsageError(`must specify at least one replica URL for ${databasePath}`)
  }
  refuseConfigWithUrl(flags)
  return configFromUrls(databasePath, urls)
}

function logStart(config: Config, logger: Logger): void {
  logger.info({ version: version() }, 'tsreplicate')
  for (const warning of config.warnings) logger.warn({ config: config.source }, warning)
  for (const { path, replicas } of config.databases) {
    logger.info({ path }, 'initialized db')
    for (const { name, target, syncIntervalMs } of replicas) {
      const fields = { name, type: target.type, 'sync-interval': formatDuration(syncIntervalMs) }
      logger.info({ ...fields, ...placeFields(target) }, 'replicating to')
    }
  }
}

function placeFields(target: ReplicaTarget): LogFields {
  if (target.type === 'file') return { path: target.path }
  const { bucket, prefix, endpoint } = target
  return { bucket, path: prefix, ...(endpoint === undefined ? {} : { endpoint }) }
}
