/** The one place that knows which adapter stands behind which port. Adapters are loaded when they are needed. */
import { homedir, userInfo } from 'node:os'

import {
  type AgeKeys,
  type Config,
  type DatabaseConfig,
  type LoggingConfig,
  type ReplicaConfig,
  type ReplicaTarget,
} from '../domain/settings/config.js'
import { databaseIn, fileOf, folderOf } from '../domain/settings/database-folder.js'
import { DatabaseError } from '../domain/errors.js'
import { type RetentionRules } from '../domain/policy/retention-policy.js'
import { type Lifetime } from './lifetime.js'
import { type MissingDatabases } from './restore.js'
import { never } from '../kit/abort.js'
import { type EnforceRetention } from '../usecase/retention/enforce-retention.js'
import { type Logger } from '../usecase/ports/logger.js'
import { type MetricsFormat } from '../usecase/ports/metrics-format.js'
import { type ReplicaClient } from '../usecase/ports/replica-client.js'
import { type ServiceManager } from '../usecase/ports/service-manager.js'
import { type UnreadableFolder } from '../usecase/ports/watched-folder.js'
import { type NoticeEvents, type NoticeEventsOptions } from '../usecase/daemon/notice-events.js'
import { type Replication } from '../usecase/daemon/replicated-databases.js'
import { type ReportStatus } from '../usecase/daemon/report-status.js'
import { type WatchDisk } from '../usecase/daemon/watch-disk.js'
import {
  type RestoreProgress,
  type RestoreReport,
  type RestoreRequest,
  type RestoreSource,
} from '../usecase/restore/restore-types.js'
import { type ValidationReport } from '../usecase/verify/validate-replica.js'
import { type VerifiedGeneration } from '../usecase/verify/verify-replica.js'

/** A replica for a command to read: what fails for a moment is tried again, a bounded number of times. */
export async function openReplicaClient(
  target: ReplicaTarget,
  age?: AgeKeys,
): Promise<ReplicaClient> {
  const { openReplicaClient: open } = await import('./stores.js')
  return open(target, age)
}

/** Replicas of a database for a command to read. */
export async function openReplicas(replicas: readonly ReplicaConfig[]): Promise<RestoreSource[]> {
  const { openReplicas: open } = await import('./stores.js')
  return open(replicas)
}

/** Which configuration is read. */
export interface LoadOptions {
  /** The file; undefined: LITESTREAM_CONFIG, `/etc/tsreplicate.yml` or `/etc/litestream.yml`. */
  readonly path?: string | undefined
  /** Whether variables of the environment are put in; yes by default. */
  readonly expandEnv?: boolean | undefined
  /** Those variables; by default the environment of the process. */
  readonly env?: Readonly<Record<string, string | undefined>> | undefined
}

/** What of the surroundings a configuration depends on. */
export function configContext(): { home: string | undefined; cwd: string; env: NodeJS.ProcessEnv } {
  return { home: homeDirectory(), cwd: process.cwd(), env: process.env }
}

/**
 * As to the original, `~` is what the system says of the user; only of one that it does not know, what HOME says. Undefined:
 * a user without either, as in a container or under `DynamicUser`.
 */
function homeDirectory(): string | undefined {
  for (const ask of [() => userInfo().homedir, homedir]) {
    try {
      return ask()
    } catch {
      // The next one may know.
    }
  }
  return undefined
}

/** Reads and validates a configuration file. Rejects with a `ConfigError` that names all problems, one a line. */
export async function loadConfig({
  path,
  expandEnv = true,
  env = process.env,
}: LoadOptions = {}): Promise<Config> {
  const { loadConfig: load } = await import('../infrastructure/config/config-file.js')
  return load({ ...configContext(), path, expandEnv, env })
}

/** The configuration file that `loadConfig` would read, which need not be valid. */
export async function findConfigFile(path: string | undefined): Promise<string> {
  const { findConfigFile: find } = await import('../infrastructure/config/config-file.js')
  return find({ ...configContext(), path })
}

/**
 * The configuration of a database and the URLs of its replicas, with defaults. Rejects with `ConfigError` for a path or a URL that
 * is wrong, for two that are one place, and for none.
 */
export async function configFromUrls(
  databasePath: string,
  urls: readonly string[],
): Promise<Config> {
  const { configFromUrls: make } = await import('../infrastructure/config/config-file.js')
  return make(databasePath, urls, configContext())
}

/** The configuration with one more database. Throws {@link ConfigError} for one that cannot be beside the others. */
export async function withDatabase(config: Config, database: DatabaseConfig): Promise<Config> {
  const { withDatabase: add } = await import('../infrastructure/config/config-file.js')
  return add(config, database)
}

/** Where a replica's URL points. */
export async function parseReplicaUrl(url: string): Promise<ReplicaTarget> {
  const { parseReplicaUrl: parse } = await import('../infrastructure/config/replica-url.js')
  return parse(url, process.env)
}

/** A path as the user writes it, made absolute. */
export async function expandPath(path: string): Promise<string> {
  const { expandPath: expand } = await import('../infrastructure/config/paths.js')
  return expand(path, configContext())
}

/** The file that a link leads to; any other path is what it is. */
export async function followLinks(path: string): Promise<string> {
  const { followLinks: follow } = await import('../infrastructure/config/paths.js')
  return follow(path)
}

/**
 * The log. `stderr` decides where it goes; `isShared`: another program writes there, too. Disposed of, it writes what waits
 * to be written, and is of use still.
 */
export async function createLogger(
  config: LoggingConfig,
  { isShared = false }: { readonly isShared?: boolean } = {},
): Promise<Logger & Disposable> {
  const { createPinoLogger } = await import('../infrastructure/logging/pino-logger.js')
  return createPinoLogger({
    level: config.level,
    type: config.type,
    destination: config.stderr ? 2 : 1,
    isShared,
  })
}

/** Restores a database, or plans to. */
export async function restore(
  request: RestoreRequest,
  options: { readonly onProgress?: (progress: RestoreProgress) => void },
  signal: AbortSignal,
): Promise<RestoreReport> {
  const { restore: run } = await import('./restore.js')
  return run(request, options, signal)
}

/** Restores the databases that are to be restored when their file does not exist. Resolves with what was restored, by path. */
export async function restoreMissing(
  databases: readonly DatabaseConfig[],
  options: MissingDatabases,
  signal: AbortSignal,
): Promise<ReadonlyMap<string, RestoreReport>> {
  if (!databases.some(({ restoreIfDbNotExists }) => restoreIfDbNotExists)) return new Map()
  const { restoreMissing: run } = await import('./restore.js')
  return run(databases, options, signal)
}

/** Verifies what a replica holds, by listings and tails of objects (`structure`) or by reading every object (`full`). */
export async function verify(
  options: { readonly client: ReplicaClient; readonly level: 'structure' | 'full' },
  signal: AbortSignal,
): Promise<readonly VerifiedGeneration[]> {
  const { verify: run } = await import('./validation.js')
  return run(options, signal)
}

export interface ValidationOptions {
  readonly source: RestoreSource
  /** The database of the configuration that the replica is of; undefined: only the replica is known. */
  readonly database: DatabaseConfig | undefined
  /** The folder for the restored copy; undefined: that of the configuration, or the system's for temporary files. */
  readonly temporaryPath: string | undefined
}

/** Validates a replica: restores it for a test, which is compared with the live database if that is here. */
export async function validate(
  options: ValidationOptions,
  signal: AbortSignal,
): Promise<ValidationReport> {
  const { scratchFor, validate: run } = await import('./validation.js')
  const { source, database } = options
  const scratch = await scratchFor(options)
  return run({ source, databasePath: database?.path, scratch }, signal)
}

export interface RetentionOptions {
  readonly client: ReplicaClient
  readonly rules: RetentionRules
  readonly logger: Logger
  /** Undefined: there is no local state; the newest generation is then taken for the current one. */
  readonly local?: {
    readonly database: DatabaseConfig
    readonly replica: string
  }
}

/** What deletes from a replica what its rules let go. */
export async function createRetention(options: RetentionOptions): Promise<EnforceRetention> {
  const [
    { EnforceRetention: Enforce },
    { systemClock, machineClock },
    { describeSelf },
    spool,
    records,
    { findState },
  ] = await Promise.all([
    import('../usecase/retention/enforce-retention.js'),
    import('../infrastructure/clock/system-clock.js'),
    import('../infrastructure/processes/system-processes.js'),
    import('../infrastructure/spool/folder-spool.js'),
    import('../infrastructure/spool/folder-retention-record.js'),
    import('../infrastructure/spool/state-place.js'),
  ])
  const { client, rules, logger, local } = options
  const path = local === undefined ? undefined : await findState(local.database)
  const current = path === undefined ? undefined : await spool.readCurrentGeneration(path)
  const record =
    path === undefined || local === undefined
      ? undefined
      : new records.FolderRetentionRecord({ path, replica: local.replica })
  return new Enforce({
    client,
    rules,
    record,
    currentGeneration: () => current,
    clock: systemClock,
    machine: machineClock(await describeSelf()),
    logger,
  })
}

export interface ListedDatabases {
  readonly databases: readonly DatabaseConfig[]
  /** Folders that cannot be read: whether there are databases in them is not known. */
  readonly unreadable: readonly UnreadableFolder[]
}

/** The databases of a configuration, and those that lie in its folders now. */
export async function listDatabases(config: Config): Promise<ListedDatabases> {
  const { SqliteFolder } = await import('../infrastructure/folder/sqlite-folder.js')
  const named = new Set(config.databases.map(fileOf))
  const found: DatabaseConfig[] = []
  const unreadable: ListedDatabases['unreadable'][number][] = []
  for (const each of config.folders) {
    await using folder = new SqliteFolder(each)
    try {
      const scan = await folder.scan(nothingReplicated, never)
      unreadable.push(...scan.unreadableFolders)
      const databases = scan.found.map((relativePath) => databaseIn(each, relativePath))
      found.push(...databases.filter(({ path }) => folderOf(config.folders, path)?.folder === each))
    } catch (err) {
      if (!(err instanceof DatabaseError)) throw err
      unreadable.push({ dir: each.path, err })
    }
  }
  const databases = [...config.databases, ...found.filter(({ path }) => !named.has(path))]
  return { databases, unreadable }
}

/** In this process: opening a database that another one replicates does no harm. */
const nothingReplicated = { paths: new Set<string>(), has: () => false }

/** Throws the {@link ConfigError} of a configuration with which replication could not start. */
export async function checkConfig(config: Config): Promise<void> {
  const { checkReplicas } = await import('./stores.js')
  await checkReplicas(config)
}

/** What has started the daemon, if it listens. */
export async function openServiceManager(logger: Logger): Promise<ServiceManager | undefined> {
  if (process.env['NOTIFY_SOCKET'] === undefined) return undefined
  const { SystemdNotifier } = await import('../infrastructure/systemd/systemd-notifier.js')
  return SystemdNotifier.fromEnvironment(process.env, logger)
}

/** Who writes to a replica of a database that is not the daemon here, for people. */
export async function findOtherOwner(
  replica: {
    readonly client: ReplicaClient
    readonly database: DatabaseConfig
    readonly replica: string
  },
  signal: AbortSignal,
): Promise<string | undefined> {
  const [{ findOtherOwner: find }, { openClaimRecord }, { describeSelf }, { findState }] =
    await Promise.all([
      import('../usecase/replica/find-other-owner.js'),
      import('../infrastructure/spool/folder-records.js'),
      import('../infrastructure/processes/system-processes.js'),
      import('../infrastructure/spool/state-place.js'),
    ])
  const record = openClaimRecord({
    path: await findState(replica.database),
    replica: replica.replica,
  })
  return find({ client: replica.client, record, self: await describeSelf() }, signal)
}

/** A replication, and what tells how it is. */
export interface Daemon {
  readonly replication: Replication
  readonly report: ReportStatus
  readonly watchDisk: WatchDisk
  readonly metrics: MetricsFormat
}

export interface DaemonOptions {
  readonly logger: Logger
  readonly version: string
  /** Has to be disposed of when the replication has ended. */
  readonly lifetime: Lifetime
}

/** What a daemon consists of. */
export async function composeDaemon(
  config: Config,
  { logger, version, lifetime }: DaemonOptions,
): Promise<Daemon> {
  const [
    composed,
    { PrometheusMetrics },
    { ReportStatus: Report },
    { WatchDisk: Watch },
    { nodeDisk },
    { systemClock },
  ] = await Promise.all([
    import('./daemon.js'),
    import('../infrastructure/prometheus/prometheus-metrics.js'),
    import('../usecase/daemon/report-status.js'),
    import('../usecase/daemon/watch-disk.js'),
    import('../infrastructure/disk/node-disk.js'),
    import('../infrastructure/clock/system-clock.js'),
  ])
  const metrics = new PrometheusMetrics()
  if (config.addr !== undefined) await metrics.load()
  const replication = await composed.composeReplication(config, {
    logger,
    lifetime,
    metricsOf: ({ type }) => metrics.operationsOf(type),
  })
  const watchDisk = new Watch({
    disk: nodeDisk,
    databases: () => replication.status(),
    clock: systemClock,
    logger,
  })
  const facts = { version, pid: process.pid, source: config.source }
  const report = new Report({ replication, watchDisk, clock: systemClock, facts })
  return { replication, report, watchDisk, metrics }
}

/** What tells of the events of a replication. */
export async function composeEvents(
  options: Omit<NoticeEventsOptions, 'clock'>,
): Promise<NoticeEvents> {
  const [{ NoticeEvents: Notice }, { systemClock }] = await Promise.all([
    import('../usecase/daemon/notice-events.js'),
    import('../infrastructure/clock/system-clock.js'),
  ])
  return new Notice({ ...options, clock: systemClock })
}
