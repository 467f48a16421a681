/** Reads the entries of `dbs`: databases, and folders of databases. */
import { basename, dirname, join, resolve } from 'node:path'
import {
  type Config,
  type DatabaseConfig,
  type DatabaseFolder,
  type ReplicaConfig,
} from '../../domain/settings/config.js'
import { fileOf, patternProblem } from '../../domain/settings/database-folder.js'
import { type KnownDatabase } from '../../domain/settings/known-database.js'
import { attempt } from './attempt.js'
import { parseDatabasePath } from './database-path.js'
import { expandPath, followLinks, type PathContext } from './paths.js'
import { type ReadContext } from './read-context.js'
import { readHeartbeat } from './read-heartbeat.js'
import { readReplica } from './read-replica.js'
import { describePlace } from '../../domain/settings/replica-place.js'
import { type Settings } from './settings.js'
import { type YamlSection } from './yaml-section.js'

type DatabaseSection = YamlSection<'database'>

export function readDatabases(
  sections: readonly DatabaseSection[],
  context: ReadContext,
): Pick<Config, 'databases' | 'folders'> {
  const databases: DatabaseConfig[] = []
  const folders: DatabaseFolder[] = []
  const entries = new Map<string, string>()
  const pathsByFile = new Map<string, string>()
  const databasesByMetaPath = new Map<string, string>()
  for (const section of sections) {
    if (section.has('dir')) {
      const folder = readFolder(section, context)
      if (folder === undefined) continue
      const same = entries.get(folder.path)
      if (same !== undefined)
        section.problem('dir', `given twice: ${folder.path} is also in ${same}`)
      entries.set(folder.path, section.path)
      folders.push(folder)
      continue
    }
    const database = readDatabase(section, context)
    if (database === undefined) continue
    const { path, metaPath } = database
    const file = fileOf(database)
    const other = pathsByFile.get(file)
    const same = entries.get(path)
    const neighbour = databasesByMetaPath.get(metaPath)
    if (same !== undefined) {
      section.problem('path', `duplicate database path: ${path} is also in ${same}`)
    } else if (other !== undefined) {
      section.problem('path', `is the same database as ${other}: both lead to ${file}`)
    } else if (neighbour !== undefined) {
      section.problem('meta-path', `used twice: ${metaPath} is also that of ${neighbour}`)
    }
    entries.set(path, section.path)
    pathsByFile.set(file, path)
    databasesByMetaPath.set(metaPath, path)
    databases.push(database)
  }
  return { databases, folders }
}

function readDatabase(section: DatabaseSection, context: ReadContext): KnownDatabase | undefined {
  for (const key of ['pattern', 'recursive', 'watch'] as const) {
    if (section.has(key)) section.problem(key, 'has no effect without dir')
  }
  const path = readPath(section, context)
  const metaPath = readMetaPath(section, context)
  const settings = readDatabaseSettings(section, context)
  const replicas = readReplicas(section, context)
  if (path === undefined) return undefined
  const database = {
    ...databasePaths(path, { metaPath, stateBase: context.stateBase }),
    ...settings,
    replicas,
  }
  for (const replica of replicas) {
    const problem = placeProblem(replica, database)
    if (problem !== undefined) section.problem('replicas', problem)
  }
  warnOfNoReplica(database, context)
  return database
}

function readFolder(section: DatabaseSection, context: ReadContext): DatabaseFolder | undefined {
  for (const key of ['path', 'restore-if-db-not-exists'] as const) {
    if (section.has(key)) section.problem(key, 'has no effect together with dir')
  }
  const dir = section.value('dir')
  const pattern = section.value('pattern')
  const recursive = section.value('recursive')
  const metaPath = readMetaPath(section, context)
  const settings = readDatabaseSettings(section, context)
  const replicas = readReplicas(section, context)
  const problem = patternProblem({ pattern, recursive })
  if (problem !== undefined) section.problem('pattern', problem)
  if (dir === undefined) return undefined
  const path = attempt(section, 'dir', () => expandPath(dir, context)) ?? dir
  if (dir.includes('*')) {
    section.problem(
      'dir',
      `is one folder, not a pattern: ${dir}. Write the part without * as dir, and the rest as pattern`,
    )
  }
  for (const { name, target } of replicas) {
    if (target.type === 'file' && target.path === path) {
      section.problem(
        'replicas',
        `replica "${name}" would be in the folder of the databases: ${path}`,
      )
    }
  }
  warnOfNoReplica({ path, replicas }, context)
  if (settings.heartbeat !== undefined) {
    context.warnings.add(
      `heartbeat-url is requested by each database of ${path}: one that is late does not stop the requests of the others: watch /readyz instead`,
    )
  }
  const watch = section.value('watch')
  const stateBase = metaPath === undefined ? { stateBase: context.stateBase } : {}
  const database = { ...settings, ...stateBase, replicas }
  return { path, pattern, recursive, watch, metaPath, database }
}

export function databasePaths(
  path: string,
  { metaPath, stateBase }: { readonly metaPath?: string | undefined; readonly stateBase: string },
): Pick<KnownDatabase, 'path' | 'linkTarget' | 'metaPath' | 'stateBase'> {
  const file = followLinks(path)
  return {
    path,
    ...(file === path ? {} : { linkTarget: file }),
    // Beside the file itself: whatever link leads to it, it has one writer.
    ...(metaPath === undefined
      ? { metaPath: join(dirname(file), `.${basename(file)}-tsreplicate`), stateBase }
      : { metaPath }),
  }
}

/** What one database and the databases of a folder have in common, but for their replicas. */
export function readDatabaseSettings(
  settings: Settings<'database'>,
  context: PathContext,
): Omit<DatabaseConfig, 'path' | 'metaPath' | 'replicas'> {
  const validationPath = settings.value('validation-path')
  return {
    monitorIntervalMs: settings.value('monitor-interval'),
    checkpointIntervalMs: settings.value('checkpoint-interval'),
    minCheckpointPageCount: settings.value('min-checkpoint-page-count'),
    maxCheckpointPageCount: settings.value('max-checkpoint-page-count'),
    maxSpoolBytes: settings.value('max-spool-size'),
    keepsPageMap: settings.value('page-map'),
    scrubIntervalMs: settings.value('scrub-interval'),
    allowNetworkFileSystem: settings.value('allow-network-file-system'),
    validationPath:
      validationPath === undefined
        ? undefined
        : attempt(settings, 'validation-path', () => expandPath(validationPath, context)),
    restoreIfDbNotExists: settings.value('restore-if-db-not-exists'),
    heartbeat: readHeartbeat(
      {
        url: settings.value('heartbeat-url'),
        intervalMs: settings.value('heartbeat-interval'),
      },
      settings,
    ),
  }
}

/** What is wrong with a replica in a place that its own database needs; undefined: nothing. */
export function placeProblem(
  { name, target }: ReplicaConfig,
  { path, metaPath }: Pick<DatabaseConfig, 'path' | 'metaPath'>,
): string | undefined {
  if (target.type !== 'file') return undefined
  const liesIn = (place: string): boolean => `${target.path}/`.startsWith(`${place}/`)
  if (liesIn(path)) return `replica "${name}" would be the database file: ${target.path}`
  if (liesIn(metaPath)) return `replica "${name}" would be inside meta-path: ${target.path}`
  return undefined
}

function readPath(section: DatabaseSection, context: ReadContext): string | undefined {
  const text = section.value('path')
  if (text === undefined) {
    if (!section.has('path'))
      section.problem('path', 'database path required (or dir, for all databases of a folder)')
    return undefined
  }
  const parsed = attempt(section, 'path', () => parseDatabasePath(text, context))
  if (parsed?.kind === 'problem') section.problem('path', parsed.problem)
  return parsed?.kind === 'path' ? parsed.path : undefined
}

/** Used as it is, as the original does: no `~`. */
function readMetaPath(section: DatabaseSection, { cwd }: ReadContext): string | undefined {
  const text = section.value('meta-path')
  return text === undefined ? undefined : resolve(cwd, text)
}

function readReplicas(section: DatabaseSection, context: ReadContext): readonly ReplicaConfig[] {
  const names = new Set<string>()
  return section.sections('replicas', 'replica').flatMap((replicaSection) => {
    const replica = readReplica(replicaSection, context)
    if (replica === undefined) return []
    if (names.has(replica.name)) {
      const problem = `duplicate replica name: "${replica.name}" (give one of them another name)`
      replicaSection.problem('name', problem)
    }
    names.add(replica.name)
    const place = describePlace(replica.target)
    const other = context.places.get(place)
    if (other !== undefined) {
      replicaSection.problem(undefined, `${place} is already used by ${other}`)
    }
    context.places.set(place, replicaSection.path)
    return [replica]
  })
}

function warnOfNoReplica(
  { path, replicas }: Pick<DatabaseConfig, 'path' | 'replicas'>,
  { warnings }: ReadContext,
): void {
  if (replicas.length === 0) warnings.add(`${path} has no replica: it is stored nowhere`)
}
