import { readFileSync, statSync } from 'node:fs'
import { resolve } from 'node:path'

import {
  type Config,
  type DatabaseConfig,
  type ListenAddress,
  type LoggingConfig,
  type ReplicaConfig,
  type SocketConfig,
} from '../../domain/settings/config.js'
import { fileOf } from '../../domain/settings/database-folder.js'
import { splitCommandLine } from '../../kit/command-line.js'
import { ConfigError } from '../../domain/errors.js'
import { codeOf } from '../../kit/error-text.js'
import { attempt } from './attempt.js'
import { parseDatabasePath } from './database-path.js'
import { expandEnvironment, findEmpty, findUnset } from './environment.js'
import { parseAddress } from './listen-address.js'
import { expandPath } from './paths.js'
import { type ConfigContext, type ReadContext } from './read-context.js'
import {
  databasePaths,
  placeProblem,
  readDatabases,
  readDatabaseSettings,
} from './read-database.js'
import { readReplicaSettings } from './read-replica.js'
import { describePlace } from '../../domain/settings/replica-place.js'
import { parseReplicaUrl } from './replica-url.js'
import { noSettings, type Settings } from './settings.js'
import { parseYaml, type YamlSection } from './yaml-section.js'

export interface LoadConfigOptions extends ConfigContext {
  /** The file; undefined: the default places. */
  readonly path?: string | undefined
  readonly expandEnv: boolean
}

/** Reads and validates a configuration file. All problems are in one {@link ConfigError}, one line each. */
export function loadConfig(options: LoadConfigOptions): Config {
  const path = findConfigFile(options)
  const text = readText(path)
  if (!options.expandEnv) return parseConfig(text, path, options)
  const unset = findUnset(text, options.env)
  const warnings =
    unset.length === 0 ? [] : [`not set in the environment, and so empty here: ${unset.join(', ')}`]
  try {
    const config = parseConfig(expandEnvironment(text, options.env), path, options)
    return { ...config, warnings: [...warnings, ...config.warnings] }
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    const empty = findEmpty(text, options.env)
    const hints =
      empty.length === 0 ? warnings : [...warnings, `set to nothing: ${empty.join(', ')}`]
    if (hints.length === 0) throw error
    throw new ConfigError(error.message, { cause: error, hint: hints.join('; ') })
  }
}

/** The configuration file that a command reads, whether it can or not. Throws {@link ConfigError} if there is none. */
export function findConfigFile(
  options: Pick<LoadConfigOptions, 'path' | 'env' | 'cwd' | 'home'>,
): string {
  const given = options.path ?? options.env['LITESTREAM_CONFIG']
  const isNamed = given !== undefined && given !== ''
  const candidates = isNamed
    ? [expandPath(given, options)]
    : ['/etc/tsreplicate.yml', '/etc/litestream.yml']
  const found = candidates.find(isThere)
  if (found !== undefined) return found
  const message = `config file not found: ${candidates[0] ?? ''}`
  if (!isNamed) throw new ConfigError(message, { hint: noFileHint })
  throw new ConfigError(
    message,
    options.path === undefined ? { hint: 'LITESTREAM_CONFIG names it.' } : {},
  )
}

function isThere(path: string): boolean {
  try {
    statSync(path)
    return true
  } catch (error) {
    return codeOf(error) !== 'ENOENT'
  }
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    const code = codeOf(error)
    const reason = readErrors[code ?? ''] ?? String(code)
    throw new ConfigError(`config file cannot be read: ${path}: ${reason}`, { cause: error })
  }
}

const readErrors: Readonly<Record<string, string>> = {
  EACCES: 'permission denied',
  EISDIR: 'it is a folder',
  ENOTDIR: 'a part of the path is not a folder',
}

const noFileHint =
  'Name it with -config or in LITESTREAM_CONFIG. A replica needs none if it is given as a URL: a folder is written file:///absolute/path.'

/** Validates the text of a configuration file, whose variables are already expanded. */
export function parseConfig(text: string, file: string, context: ConfigContext): Config {
  const { root, problems } = parseYaml(text, file)
  const read: ReadContext = {
    ...context,
    accessKeyId: root.value('access-key-id'),
    secretAccessKey: root.value('secret-access-key'),
    stateBase: readStateBase(root, context),
    places: new Map(),
    warnings: new Set(),
  }
  const config = {
    source: file,
    ...readDatabases(root.sections('dbs', 'database'), read),
    logging: readLogging(root.section('logging', 'logging') ?? noSettings('logging')),
    addr: readAddress(root, read),
    socket: readSocket(root, read),
    exec: readExec(root),
    ...readTimeouts(root),
  }
  problems.throwIfAny()
  warnOfUnusedCredentials(root, config, read)
  return { ...config, warnings: [...read.warnings] }
}

/** The configuration of `replicate DB URL…`: defaults everywhere, every URL a replica. */
export function configFromUrls(
  databasePath: string,
  urls: readonly string[],
  context: ConfigContext,
): Config {
  const parsed = parseDatabasePath(databasePath, context)
  if (parsed.kind === 'problem') throw new ConfigError(`the database ${parsed.problem}`)
  const paths = databasePaths(parsed.path, {
    stateBase: readStateBase(noSettings('global'), context),
  })
  if (urls.length === 0) {
    throw new ConfigError(`no replica URL for ${databasePath}: nothing would be stored`, {
      hint: 'Is the variable empty that it comes from? Write for example file:///backup/app.',
    })
  }
  const replicas = urls.map((url, i) => {
    const target = parseReplicaUrl(url, context.env)
    const name = i === 0 ? target.type : `${target.type}-${i + 1}`
    return { name, target, age: undefined, ...readReplicaSettings(noSettings('replica')) }
  })
  refuseSharedPlaces(replicas)
  for (const replica of replicas) {
    const problem = placeProblem(replica, paths)
    if (problem !== undefined) throw new ConfigError(problem)
  }
  const settings = readDatabaseSettings(noSettings('database'), context)
  return {
    source: undefined,
    folders: [],
    databases: [{ ...paths, ...settings, replicas }],
    logging: { ...readLogging(noSettings('logging')), stderr: true },
    addr: undefined,
    socket: undefined,
    exec: undefined,
    ...readTimeouts(noSettings('global')),
    warnings: [],
  }
}

/** The configuration with one more database. Throws {@link ConfigError} for one that cannot be beside the others. */
export function withDatabase(config: Config, database: DatabaseConfig): Config {
  const same = config.databases.find((each) => fileOf(each) === fileOf(database))
  if (same !== undefined) throw new ConfigError(`database is replicated already: ${same.path}`)
  const databases = [...config.databases, database]
  const inFolders = config.folders.map((folder) => folder.database)
  refuseSharedPlaces([...databases, ...inFolders].flatMap(({ replicas }) => replicas))
  return { ...config, databases }
}

function refuseSharedPlaces(replicas: readonly ReplicaConfig[]): void {
  const places = new Set<string>()
  for (const { target } of replicas) {
    const place = describePlace(target)
    if (places.has(place)) throw new ConfigError(`two replicas in one place: ${place}`)
    places.add(place)
  }
}

function readStateBase(settings: Settings<'global'>, { cwd }: ConfigContext): string {
  return resolve(cwd, settings.value('state-path'))
}

function readLogging(settings: Settings<'logging'>): LoggingConfig {
  return {
    level: settings.value('level'),
    type: settings.value('type'),
    stderr: settings.value('stderr'),
  }
}

function readTimeouts(
  settings: Settings<'global'>,
): Pick<Config, 'shutdownTimeoutMs' | 'firstSyncTimeoutMs'> {
  return {
    shutdownTimeoutMs: settings.value('shutdown-timeout'),
    firstSyncTimeoutMs: settings.value('first-sync-timeout'),
  }
}

function readExec(root: YamlSection<'global'>): readonly string[] | undefined {
  const text = root.value('exec')
  if (text === undefined) return undefined
  const line = splitCommandLine(text)
  if (line.kind === 'words') return line.words
  const more = line.hint === undefined ? '' : `. ${line.hint}`
  root.problem('exec', `cannot parse exec command: ${line.problem}${more}`)
  return undefined
}

function readAddress(
  root: YamlSection<'global'>,
  { warnings }: ReadContext,
): ListenAddress | undefined {
  const text = root.value('addr')
  if (text === undefined || text === '') return undefined
  const address = parseAddress(text)
  if (typeof address === 'string') {
    root.problem('addr', address)
    return undefined
  }
  if (address.host !== '') return address
  warnings.add(
    `addr "${text}" listens on this machine only: write 127.0.0.1${text} if that is meant, or 0.0.0.0${text} for all its addresses`,
  )
  return { ...address, host: '127.0.0.1' }
}

function readSocket(root: YamlSection<'global'>, context: ConfigContext): SocketConfig | undefined {
  const settings = root.section('socket', 'socket')
  if (settings === undefined) return undefined
  const path = settings.value('path')
  if (path === undefined) {
    if (!settings.has('path')) settings.problem(undefined, 'path is missing')
    return undefined
  }
  const expanded = attempt(settings, 'path', () => expandPath(path, context))
  if (expanded === undefined) return undefined
  return {
    path: expanded,
    mode: Number.parseInt(settings.value('permissions'), 8),
  }
}

function warnOfUnusedCredentials(
  root: YamlSection<'global'>,
  { databases, folders }: Pick<Config, 'databases' | 'folders'>,
  { warnings }: ReadContext,
): void {
  const all = [...databases, ...folders.map(({ database }) => database)]
  const isUsed = all.some(({ replicas }) => replicas.some(({ target }) => target.type === 's3'))
  for (const key of ['access-key-id', 'secret-access-key'] as const) {
    if (root.has(key) && !isUsed) warnings.add(`${key} has no effect: there is no s3 replica`)
  }
}
