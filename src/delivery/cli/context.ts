import {
  type Config,
  type DatabaseConfig,
  type ReplicaConfig,
} from '../../domain/settings/config.js'
import { databaseAt, fileOf } from '../../domain/settings/database-folder.js'
import { ConfigError, UsageError } from '../../domain/errors.js'
import {
  createLogger,
  expandPath,
  findConfigFile,
  followLinks,
  listDatabases,
  loadConfig,
  openReplicaClient,
  openReplicas as openAll,
  parseReplicaUrl,
} from '../../compose/commands.js'
import { type ConfigFlags, type SubjectFlags } from './flags.js'
import { type Logger } from '../../usecase/ports/logger.js'
import { type RestoreSource } from '../../usecase/restore/restore-types.js'

/** What a database path or a replica URL on the command line names. */
export interface Subject {
  /** Undefined: a URL was given. */
  readonly databasePath: string | undefined
  readonly sources: readonly RestoreSource[]
  readonly logger: Logger
}

/** Also one that was meant as a URL, so that it is not refused, and shown whole, as a path. */
export function isUrl(text: string): boolean {
  return /^(?:\w+:\/\/|(?:s3|gcs|gs|abs):)/i.test(text)
}

/** The configuration a command reads, with a log on stderr: stdout is for what the command prints. */
export async function readConfig(flags: ConfigFlags): Promise<{ config: Config; logger: Logger }> {
  const config = await loadConfig({ path: flags.config, expandEnv: !flags.noExpandEnv })
  const logger = await createLogger({ ...config.logging, stderr: true })
  return { config, logger }
}

function commandLogger(): Promise<Logger> {
  return createLogger({ level: 'info', type: 'text', stderr: true })
}

export function refuseConfigWithUrl(flags: ConfigFlags): void {
  if (flags.config !== undefined) {
    throw new UsageError('cannot specify a replica URL and the -config flag')
  }
}

/** What a command is about: the argument, or without one the only database of the configuration. */
export async function nameSubject(
  positional: string | undefined,
  flags: ConfigFlags,
  required = 'database path or replica URL required',
): Promise<string> {
  if (positional !== undefined) return positional
  const refuse = (hint: string): UsageError => new UsageError(required, { hint })
  if (flags.config === undefined) {
    try {
      await findConfigFile(undefined)
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error
      throw refuse(`Without it, the only database of a configuration is meant: ${error.message}.`)
    }
  }
  const { config } = await readConfig(flags)
  const { databases, unreadable } = await listDatabases(config)
  const [unread] = unreadable
  if (unread !== undefined) {
    throw refuse(`The databases in ${unread.dir} are not known: ${unread.err.message}`)
  }
  const [only, ...others] = databases
  if (only === undefined) throw refuse('The configuration has no database.')
  if (others.length === 0) return only.path
  const paths = databases.map(({ path }) => path).join(', ')
  throw refuse(`The configuration has several databases: ${paths}`)
}

/** Opens the replicas that a command is about. */
export async function openSubject(positional: string, flags: SubjectFlags): Promise<Subject> {
  if (isUrl(positional)) {
    refuseConfigWithUrl(flags)
    const target = await parseReplicaUrl(positional)
    const source = { name: target.type, client: await openReplicaClient(target) }
    const logger = await commandLogger()
    // As with the original; but whoever wrote it should know.
    if (flags.replica !== undefined) logger.warn({}, '-replica has no effect on a URL')
    return { databasePath: undefined, sources: [source], logger }
  }
  const { config, logger } = await readConfig(flags)
  const database = await findDatabase(config, positional)
  return { databasePath: database.path, sources: await openReplicas(database, flags), logger }
}

export async function findDatabase(config: Config, path: string): Promise<DatabaseConfig> {
  const absolute = await expandPath(path)
  const file = await followLinks(absolute)
  const database =
    config.databases.find((candidate) => candidate.path === absolute) ??
    config.databases.find((candidate) => fileOf(candidate) === file) ??
    databaseAt(config.folders, absolute)
  if (database !== undefined) return database
  throw new ConfigError(`database not found in config: ${absolute}`, {
    hint: `The configuration has: ${config.databases.map((d) => d.path).join(', ') || 'none'}. A replica can be given as a URL: a folder is written file:///absolute/path.`,
  })
}

export async function openReplicas(
  database: DatabaseConfig,
  flags: Pick<SubjectFlags, 'replica'>,
): Promise<RestoreSource[]> {
  const wanted = (replica: ReplicaConfig): boolean =>
    flags.replica === undefined || replica.name === flags.replica
  const replicas = database.replicas.filter(wanted)
  if (flags.replica !== undefined && replicas.length === 0) {
    throw new ConfigError(`replica "${flags.replica}" not found for database "${database.path}"`)
  }
  return openAll(replicas)
}
