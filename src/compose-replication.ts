/** Puts a daemon together: validated configuration in, running databases out. Loaded only by `replicate`. */
import { randomFillSync } from 'node:crypto'
import { type Config, type DatabaseConfig, type ReplicaConfig } from './domain/config.js'
import { openDaemonReplica, ownerOf } from './compose-replica-client.js'
import { systemClock } from './infrastructure/clock/system-clock.js'
import { decodeFrame } from './infrastructure/lz4/frame-decoder.js'
import { createLz4Compressor } from './infrastructure/lz4/frame-encoder.js'
import { openSystemProcesses } from './infrastructure/processes/system-processes.js'
import { FolderRetentionRecord } from './infrastructure/spool/folder-retention-record.js'
import { FolderSpool } from './infrastructure/spool/folder-spool.js'
import { SqliteDatabase } from './infrastructure/sqlite/sqlite-database.js'
import { SqliteThreads } from './infrastructure/sqlite/sqlite-threads.js'
import { ChokidarWatcher } from './infrastructure/watch/chokidar-watcher.js'
import { EnforceRetention } from './usecase/enforce-retention.js'
import { GenerationFeed } from './usecase/generation-feed.js'
import { type Compressor } from './usecase/ports/compressor.js'
import { type Logger } from './usecase/ports/logger.js'
import { type Processes } from './usecase/ports/processes.js'
import { type ReplicaClient } from './usecase/ports/replica-client.js'
import { type ReplicaMetrics } from './usecase/ports/replica-metrics.js'
import { type RetentionRecord } from './usecase/ports/retention-record.js'
import {
  ReplicateDatabases,
  type ReplicatedDatabase,
  type Replication,
} from './usecase/replicate.js'
import { Refusal } from './usecase/refusal.js'
import { ScheduleRetention } from './usecase/schedule-retention.js'
import { Permits } from './usecase/permits.js'
import { SyncDatabase } from './usecase/sync-database.js'
import { SyncReplica } from './usecase/sync-replica.js'

const maxSnapshotsAtOnce = 2

/** Who counts what is asked of a replica. */
export type ReplicaMetricsSource = (replica: {
  readonly database: string
  readonly replica: string
  readonly type: string
}) => ReplicaMetrics

/** What replicates the databases of a configuration. */
export async function composeReplication(
  config: Config,
  logger: Logger,
  metricsOf?: ReplicaMetricsSource,
): Promise<Replication> {
  const threads = new SqliteThreads({ databaseCount: config.databases.length })
  const compressor = await createLz4Compressor()
  const snapshotSlots = new Permits(maxSnapshotsAtOnce)
  const processes = await openSystemProcesses()
  const refusal = new Refusal(systemClock)
  const databases: ReplicatedDatabase[] = []
  for (const database of config.databases) {
    const shared = { threads, compressor, snapshotSlots, processes, refusal, logger, metricsOf }
    databases.push(await composeDatabase(database, shared))
  }
  return new ReplicateDatabases(databases, refusal)
}

async function composeDatabase(
  config: DatabaseConfig,
  shared: {
    threads: SqliteThreads
    compressor: Compressor
    snapshotSlots: Permits
    processes: Processes
    refusal: Refusal
    logger: Logger
    metricsOf: ReplicaMetricsSource | undefined
  },
): Promise<ReplicatedDatabase> {
  const { compressor, snapshotSlots } = shared
  const logger = shared.logger.child({ db: config.path })
  const owner = await ownerOf(config.path)
  const database = new SqliteDatabase({
    path: config.path,
    threads: shared.threads,
    allowNetworkFileSystem: config.allowNetworkFileSystem,
  })
  const spool = new FolderSpool({
    path: config.metaPath,
    processes: shared.processes,
    ...owner,
  })
  const feed = new GenerationFeed()
  const capture = new SyncDatabase({
    database,
    spool,
    compressor,
    watcher: new ChokidarWatcher(config.path),
    feed,
    clock: systemClock,
    logger,
    randomBytes: (count) => randomFillSync(new Uint8Array(count)),
    sealIntervalMs: Math.min(...config.replicas.map((replica) => replica.syncIntervalMs), 60_000),
    monitorIntervalMs: config.monitorIntervalMs,
    checkpointIntervalMs: config.checkpointIntervalMs,
    minCheckpointPageCount: config.minCheckpointPageCount,
    maxCheckpointPageCount: config.maxCheckpointPageCount,
    maxSpoolBytes: config.maxSpoolBytes,
    refusal: shared.refusal,
  })
  const replicas = []
  for (const replica of config.replicas) {
    const replicaLogger = logger.child({ replica: replica.name })
    const { client, problems } = await openDaemonReplica(replica, {
      ownerOf: config.path,
      metrics: shared.metricsOf?.({
        database: config.path,
        replica: replica.name,
        type: replica.target.type,
      }),
      logger: replicaLogger,
    })
    const record = new FolderRetentionRecord({
      path: config.metaPath,
      replica: replica.name,
      ...owner,
    })
    const sync = new SyncReplica({
      name: replica.name,
      database,
      client,
      spool,
      compressor,
      decode: decodeFrame,
      feed,
      clock: systemClock,
      logger: replicaLogger,
      syncIntervalMs: replica.syncIntervalMs,
      snapshotIntervalMs: replica.snapshotIntervalMs,
      retentionMs: replica.retention?.retentionMs,
      snapshotSlots,
      maxSpoolBytes: config.maxSpoolBytes,
      problems,
    })
    replicas.push({
      name: replica.name,
      sync,
      retention: composeRetention(replica, { client, record, feed, sync, logger: replicaLogger }),
    })
  }
  return { path: config.path, feed, capture, spool, replicas }
}

/** Undefined where nothing is ever deleted. */
function composeRetention(
  config: ReplicaConfig,
  parts: {
    client: ReplicaClient
    record: RetentionRecord
    feed: GenerationFeed
    sync: SyncReplica
    logger: Logger
  },
): ScheduleRetention | undefined {
  if (config.retention === undefined) return undefined
  const { client, record, feed, sync, logger } = parts
  return new ScheduleRetention({
    retention: new EnforceRetention({
      client,
      record,
      rules: config.retention,
      currentGeneration: () => feed.current?.generation,
      clock: systemClock,
      logger,
    }),
    checkIntervalMs: config.retentionCheckIntervalMs,
    storedState: () => sync.storedState,
    clock: systemClock,
    logger,
    random: Math.random,
  })
}
