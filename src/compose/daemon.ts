/** Puts a daemon together: validated configuration in, running databases out. Loaded only by `replicate`. */
import { randomFillSync } from 'node:crypto'
import { lstat } from 'node:fs/promises'
import { type Config, type DatabaseConfig, type ReplicaConfig } from '../domain/settings/config.js'
import { type KnownDatabase } from '../domain/settings/known-database.js'
import { type Lifetime } from './lifetime.js'
import { checkReplicas, openDaemonReplica } from './stores.js'
import { machineClock, systemClock } from '../infrastructure/clock/system-clock.js'
import { fetchHeartbeatClient } from '../infrastructure/heartbeat/fetch-heartbeat-client.js'
import { ownershipLike } from '../infrastructure/files/ownership.js'
import { whoCanChange } from '../infrastructure/files/who-can-change.js'
import { clearLeft, markLeft } from '../infrastructure/folder/left-state.js'
import { SqliteFolder } from '../infrastructure/folder/sqlite-folder.js'
import { decodeFrame } from '../infrastructure/lz4/frame-decoder.js'
import { createLz4Compressor } from '../infrastructure/lz4/frame-encoder.js'
import { descriptorLimit } from '../infrastructure/processes/descriptor-limit.js'
import { openSystemProcesses } from '../infrastructure/processes/system-processes.js'
import { FolderFileRecord } from '../infrastructure/spool/folder-file-record.js'
import { FolderRetentionRecord } from '../infrastructure/spool/folder-retention-record.js'
import { FolderUploadRecord } from '../infrastructure/spool/folder-upload-record.js'
import {
  openClaimRecord,
  openStoredRecord,
  openValidationRecord,
} from '../infrastructure/spool/folder-records.js'
import { digestParts, FolderPageMap } from '../infrastructure/spool/folder-page-map.js'
import { type JsonRecordOptions } from '../infrastructure/spool/json-record.js'
import { FolderSpool } from '../infrastructure/spool/folder-spool.js'
import { findState, isInRootFileSystem, settleState } from '../infrastructure/spool/state-place.js'
import { refuseForeignDatabase } from '../infrastructure/sqlite/database-access.js'
import { findOwner } from '../infrastructure/sqlite/database-owner.js'
import { findDatabaseFile } from '../infrastructure/sqlite/database-file.js'
import { SqliteDatabase } from '../infrastructure/sqlite/sqlite-database.js'
import { SqliteCallers } from '../infrastructure/sqlite/sqlite-callers.js'
import { DatabaseWatcher } from '../infrastructure/watch/database-watcher.js'
import { FolderWatches } from '../infrastructure/watch/folder-watches.js'
import { DescriptorRoom } from '../usecase/daemon/descriptor-room.js'
import { EnforceRetention } from '../usecase/retention/enforce-retention.js'
import { GenerationFeed } from '../usecase/backlog/generation-feed.js'
import { OwnReplica } from '../usecase/replica/own-replica.js'
import { type Compressor } from '../usecase/ports/compressor.js'
import { type Logger } from '../usecase/ports/logger.js'
import { type Processes } from '../usecase/ports/processes.js'
import { type ReplicaClient } from '../usecase/ports/replica-client.js'
import { type ReplicaMetrics } from '../usecase/ports/replica-metrics.js'
import { ReplicatedDatabases, type Replication } from '../usecase/daemon/replicated-databases.js'
import {
  captureSettings,
  type DatabaseParts,
  type ReplicaParts,
} from '../usecase/daemon/replicated-database.js'
import { SendHeartbeats } from '../usecase/daemon/send-heartbeats.js'
import { ValidatedRestores } from '../usecase/verify/validated-restores.js'
import { Refusal } from '../usecase/refusal.js'
import { ScheduleRetention } from '../usecase/retention/schedule-retention.js'
import { fairValidationMs, ScheduleValidation } from '../usecase/verify/schedule-validation.js'
import { Permits } from '../kit/permits.js'
import { KeepPageMap } from '../usecase/capture/keep-page-map.js'
import { ScrubDatabase } from '../usecase/capture/scrub-database.js'
import { SyncDatabase } from '../usecase/capture/sync-database.js'
import { SyncReplica } from '../usecase/replica/sync-replica.js'
import { waitUntilStored } from '../usecase/daemon/wait-until-stored.js'

const maxSnapshotsAtOnce = 2
/** Databases that are opened at once: enough to keep the threads busy. */
const maxOpeningAtOnce = 8
const maxValidationsAtOnce = 1
/** A replica that does not get so far in this time is not validated now: its lag is another alarm. */
const maxStoredWaitMs = 60_000

/** Who counts what is asked of a replica. */
export type ReplicaMetricsSource = (replica: {
  readonly database: string
  readonly replica: string
  readonly type: string
}) => ReplicaMetrics

export interface ReplicationParts {
  readonly logger: Logger
  readonly lifetime: Lifetime
  readonly metricsOf: ReplicaMetricsSource
}

/** What replicates the databases of a configuration, and others when they are wanted. What lasts of it ends with the lifetime. */
export async function composeReplication(
  config: Config,
  { logger, lifetime, metricsOf }: ReplicationParts,
): Promise<Replication> {
  await checkReplicas(config)
  const isAlone = config.databases.length === 1 && config.folders.length === 0
  const refusal = new Refusal(systemClock, { isAlone })
  let isPassingStateSaid = false
  // What others know us by goes last.
  const processes = lifetime.add(await openSystemProcesses())
  // They end after all that makes calls to them.
  const callers = lifetime.add(new SqliteCallers())
  const shared: SharedParts = {
    processes,
    callers,
    watches: lifetime.add(new FolderWatches()),
    compressor: await createLz4Compressor(),
    snapshotSlots: new Permits(maxSnapshotsAtOnce),
    openSlots: new Permits(maxOpeningAtOnce),
    validationSlots: new Permits(maxValidationsAtOnce),
    room: new DescriptorRoom(await descriptorLimit(), logger),
    refusal,
    logger,
    metricsOf,
    warnOfPassingState: (metaPath) => {
      if (isPassingStateSaid) return
      isPassingStateSaid = true
      logger.warn(
        { 'meta-path': metaPath, hint: passingStateHint },
        'local state goes with this container, and the next one has to store the whole database again',
      )
    },
  }
  const replication = new ReplicatedDatabases({
    open: (database) => composeDatabase(database, shared),
    openFolder: (folder) => new SqliteFolder(folder),
    left: async (database) => markLeft(await findState(database)),
    refusal,
    clock: systemClock,
    logger,
    lastSyncTimeoutMs: config.shutdownTimeoutMs,
  })
  for (const { path } of [...config.databases, ...config.folders]) {
    const owner = await findOwner(path)
    if (owner !== undefined) callers.expect(owner)
  }
  replication.want(config)
  return replication
}

const passingStateHint =
  'mount a volume at the state-path (/var/lib/tsreplicate), or run tsreplicate as the owner of the database'

interface SharedParts {
  readonly callers: SqliteCallers
  readonly watches: FolderWatches
  readonly compressor: Compressor
  readonly snapshotSlots: Permits
  readonly openSlots: Permits
  readonly validationSlots: Permits
  readonly processes: Processes
  readonly room: DescriptorRoom
  readonly refusal: Refusal
  readonly logger: Logger
  readonly metricsOf: ReplicaMetricsSource
  /** Says once that local state goes with the container. */
  readonly warnOfPassingState: (metaPath: string) => void
}

/** Without room for it, nothing of it is opened. */
async function composeDatabase(
  configured: KnownDatabase,
  shared: SharedParts,
): Promise<DatabaseParts> {
  const owner = (await lstat(configured.path).catch(() => undefined))?.uid
  const room = shared.room.take({ isFound: configured.comesAndGoes === true, owner })
  try {
    return await openDatabase(configured, { room, shared })
  } catch (error) {
    room[Symbol.dispose]()
    throw error
  }
}

async function openDatabase(
  configured: KnownDatabase,
  { room, shared }: { readonly room: Disposable; readonly shared: SharedParts },
): Promise<DatabaseParts> {
  const logger = shared.logger.child({ db: configured.path })
  // Not even the local state is created.
  const isFound = configured.comesAndGoes === true
  const file = await findDatabaseFile(configured.path, { isFound })
  await refuseForeignDatabase(configured.path)
  const { path: metaPath, movedFrom } = await settleState(configured, {
    owner: file?.rights.uid,
    maxBytes: 2 * configured.maxSpoolBytes,
    processes: shared.processes,
  })
  if (movedFrom !== undefined) {
    logger.info({ from: movedFrom, to: metaPath }, 'local state moved to where only root writes')
  }
  const isElsewhere = metaPath !== configured.metaPath
  if (isElsewhere && shared.processes.self.isContained && (await isInRootFileSystem(metaPath))) {
    shared.warnOfPassingState(metaPath)
  }
  const config = { ...configured, metaPath }
  await clearLeft(config.metaPath)
  const callers = shared.callers.assign()
  const database = new SqliteDatabase({
    path: config.path,
    callers,
    allowNetworkFileSystem: config.allowNetworkFileSystem,
    isFound,
  })
  const spool = new FolderSpool({
    path: config.metaPath,
    processes: shared.processes,
  })
  const pages = config.keepsPageMap
    ? new KeepPageMap({
        store: new FolderPageMap({ path: config.metaPath }),
        spool,
        decode: decodeFrame,
        digestPage: digestParts,
        logger,
      })
    : undefined
  const watcher = new DatabaseWatcher(config.path, {
    looks: callers.looks,
    watches: shared.watches,
  })
  const feed = new GenerationFeed()
  const capture = new SyncDatabase({
    database,
    spool,
    record: new FolderFileRecord({ path: config.metaPath }),
    compressor: shared.compressor,
    watcher,
    feed,
    pages,
    clock: systemClock,
    logger,
    randomBytes,
    settings: captureSettings(config),
    openSlots: shared.openSlots.of(() => database.rights?.uid ?? file?.rights.uid),
    refusal: shared.refusal,
  })
  const scrub =
    pages &&
    new ScrubDatabase({
      ...{ database, feed, pages, logger },
      digestPage: digestParts,
      clock: systemClock,
      ended: (outcome) => capture.scrubbed(outcome),
      intervalMs: () => capture.settings.scrubIntervalMs,
      random: Math.random,
    })
  return {
    metaPath,
    clock: systemClock,
    feed,
    capture,
    scrub,
    spool,
    openReplica: (replica) =>
      composeReplica(replica, { config, database, spool, feed, logger, shared }),
    openHeartbeats: ({ url, intervalMs }, { replica, isSafe }) =>
      new SendHeartbeats({
        url,
        intervalMs,
        isSafe,
        client: fetchHeartbeatClient,
        clock: systemClock,
        logger: replica === undefined ? logger : logger.child({ replica }),
      }),
    async [Symbol.asyncDispose]() {
      using _room = room
      await watcher[Symbol.asyncDispose]()
      await database.close()
      await spool[Symbol.asyncDispose]()
    },
  }
}

/** What the parts of a replica are put together from. */
interface OfDatabase {
  readonly config: DatabaseConfig
  readonly database: SqliteDatabase
  readonly spool: FolderSpool
  readonly feed: GenerationFeed
  readonly logger: Logger
  readonly shared: SharedParts
}

async function composeReplica(replica: ReplicaConfig, of: OfDatabase): Promise<ReplicaParts> {
  const { config, database, spool, feed, shared } = of
  const { name, target } = replica
  const logger = of.logger.child({ replica: name })
  if (target.type === 'file' && target.owner === undefined && process.geteuid?.() === 0) {
    const who = await whoCanChange(target.path)
    const hint = 'give it to root (chown -R), as all folders above it, or set owner: database'
    if (who !== undefined)
      logger.warn({ path: target.path, who, hint }, 'others can delete the replica')
  }
  const state = { path: config.metaPath, replica: name }
  const { client, problems, owner } = await openDaemonReplica(replica, {
    ownership: () =>
      database.rights === undefined
        ? {}
        : ownershipLike(database.rights, {
            isGiven: target.type === 'file' && target.owner === 'database',
          }),
    uploads: new FolderUploadRecord(state),
    metrics: shared.metricsOf({ database: config.path, replica: name, type: target.type }),
    logger,
    own: (plain) =>
      new OwnReplica({
        client: plain,
        processes: shared.processes,
        record: openClaimRecord(state),
        clock: systemClock,
        logger,
        refusal: shared.refusal,
        randomBytes,
        leaseMs: replica.leaseMs,
      }),
  })
  const sync = new SyncReplica({
    name,
    database,
    client,
    spool,
    compressor: shared.compressor,
    decode: decodeFrame,
    feed,
    clock: systemClock,
    logger,
    syncIntervalMs: replica.syncIntervalMs,
    urgentSyncIntervalMs: replica.urgentSyncIntervalMs,
    snapshotIntervalMs: replica.snapshotIntervalMs,
    retentionMs: replica.retention?.retentionMs,
    snapshotSlots: shared.snapshotSlots.of(() => database.rights?.uid),
    problems,
    readBackIntervalMs: Math.min(replica.maxLagMs / 4, 60_000),
    owner,
    storedRecord: openStoredRecord(state),
  })
  const made = { ...of, logger, state, client, sync, validated: new ValidatedRestores() }
  return {
    sync,
    retention: composeRetention(replica, made, () => owner.isOurs),
    validated: made.validated,
    validation: await composeValidation(replica, made),
  }
}

interface OfReplica extends OfDatabase {
  /** Where its records are. */
  readonly state: JsonRecordOptions
  readonly client: ReplicaClient
  readonly sync: SyncReplica
  readonly validated: ValidatedRestores
}

/** Undefined where nothing is ever validated. */
async function composeValidation(
  { validationIntervalMs: intervalMs, name }: ReplicaConfig,
  { config, database, state, client, feed, sync, validated, logger, shared }: OfReplica,
): Promise<ScheduleValidation | undefined> {
  if (intervalMs === undefined) return undefined
  const { scratchOf, validate } = await import('./validation.js')
  const scratch = scratchOf(config, name)
  const stored = { feed, standing: sync.standing, clock: systemClock, timeoutMs: maxStoredWaitMs }
  const options = {
    source: { name, client },
    databasePath: config.path,
    scratch,
    stored: (signal: AbortSignal) => waitUntilStored(stored, signal),
    maxMs: fairValidationMs,
  }
  return new ScheduleValidation({
    validate: (signal) => validate(options, signal),
    sweep: () => scratch.sweep(),
    record: openValidationRecord(state),
    intervalMs,
    slots: shared.validationSlots.of(() => database.rights?.uid),
    clock: systemClock,
    logger,
    random: Math.random,
    validated,
  })
}

/** Undefined where nothing is ever deleted. */
function composeRetention(
  { retention: rules, retentionCheckIntervalMs, target }: ReplicaConfig,
  { state, client, feed, sync, logger, shared }: OfReplica,
  isOurs: () => boolean,
): ScheduleRetention | undefined {
  if (rules === undefined) return undefined
  return new ScheduleRetention({
    retention: new EnforceRetention({
      client,
      record: new FolderRetentionRecord(state),
      rules,
      currentGeneration: () => feed.current?.generation,
      // The times of a folder's files are ours.
      lastSent: () => (target.type === 'file' ? undefined : sync.standing.lastSent),
      clock: systemClock,
      machine: machineClock(shared.processes.self),
      logger,
    }),
    checkIntervalMs: retentionCheckIntervalMs,
    storedState: () => sync.standing.storedState,
    isOurs,
    clock: systemClock,
    logger,
    random: Math.random,
  })
}

function randomBytes(count: number): Uint8Array {
  return randomFillSync(new Uint8Array(count))
}
