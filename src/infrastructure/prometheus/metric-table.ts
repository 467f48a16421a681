/**
 * Every metric of ours: `litestream_…` are the original's, with its names, labels and meanings, so that its dashboards
 * and alerts go on working; `tsreplicate_…` are what it lacks.
 */
import {
  type CheckpointMode,
  type Counts,
  type DaemonStatus,
  type ReplicaStatus,
} from '../../domain/status.js'

export type Labels = Readonly<Record<string, string>>
export type Sample = readonly [labels: Labels, value: number]

export interface MetricInfo {
  readonly name: string
  readonly help: string
  readonly type: 'gauge' | 'counter'
  readonly labels: readonly string[]
  readonly samples: (status: DaemonStatus) => Iterable<Sample>
}

type Database = DaemonStatus['databases'][number]
/** Undefined: it is not known, and there is no sample. */
type Value = number | undefined

const checkpointModes: readonly CheckpointMode[] = ['PASSIVE', 'RESTART']

function ofDatabase(value: (database: Database) => Value) {
  return {
    labels: ['db'],
    *samples({ databases }: DaemonStatus): Iterable<Sample> {
      for (const database of databases) {
        const known = value(database)
        if (known !== undefined) yield [{ db: database.path }, known]
      }
    },
  }
}

function ofReplica(value: (replica: ReplicaStatus, nowMs: number) => Value) {
  return {
    labels: ['db', 'name'],
    *samples({ databases }: DaemonStatus): Iterable<Sample> {
      const nowMs = Date.now()
      for (const { path, replicas } of databases) {
        for (const replica of replicas) {
          const known = value(replica, nowMs)
          if (known !== undefined) yield [{ db: path, name: replica.name }, known]
        }
      }
    },
  }
}

function ofCheckpoints(value: (database: Database, mode: CheckpointMode) => number) {
  return {
    labels: ['db', 'mode'],
    *samples({ databases }: DaemonStatus): Iterable<Sample> {
      for (const database of databases) {
        for (const mode of checkpointModes) {
          if (database.totals.checkpoints[mode].count > 0) {
            yield [{ db: database.path, mode }, value(database, mode)]
          }
        }
      }
    },
  }
}

/** Counts of a replica, one per value of a label. */
function byLabel(label: string, counts: (replica: ReplicaStatus) => Counts) {
  return {
    labels: ['db', 'name', label],
    *samples({ databases }: DaemonStatus): Iterable<Sample> {
      for (const { path, replicas } of databases) {
        for (const replica of replicas) {
          for (const [value, count] of Object.entries(counts(replica))) {
            yield [{ db: path, name: replica.name, [label]: value }, count]
          }
        }
      }
    },
  }
}

const seconds = (durationMs: Value): Value =>
  durationMs === undefined ? undefined : durationMs / 1000

const originals: readonly MetricInfo[] = [
  {
    name: 'litestream_db_size',
    help: 'Bytes of the database file.',
    type: 'gauge',
    ...ofDatabase(({ databaseBytes }) => databaseBytes),
  },
  {
    name: 'litestream_wal_size',
    help: "Bytes of SQLite's -wal file.",
    type: 'gauge',
    ...ofDatabase(({ walBytes }) => walBytes),
  },
  {
    name: 'litestream_total_wal_bytes',
    help: 'Bytes of WAL frames captured.',
    type: 'counter',
    ...ofDatabase(({ totals }) => totals.frameBytes),
  },
  {
    name: 'litestream_shadow_wal_index',
    help: 'WAL index being captured.',
    type: 'gauge',
    ...ofDatabase(({ position }) => position?.index),
  },
  {
    name: 'litestream_shadow_wal_size',
    help: 'Bytes in the spool, which takes the place of the shadow WAL; compressed.',
    type: 'gauge',
    ...ofDatabase(({ spoolBytes }) => spoolBytes),
  },
  {
    name: 'litestream_sync_count',
    help: 'Looks at the WAL for new commits.',
    type: 'counter',
    ...ofDatabase(({ totals }) => totals.syncs),
  },
  {
    name: 'litestream_sync_error_count',
    help: 'Failures to capture, of any kind.',
    type: 'counter',
    ...ofDatabase(({ totals }) => sum(totals.errors)),
  },
  {
    name: 'litestream_sync_seconds',
    help: 'Time spent looking for new commits and capturing them.',
    type: 'counter',
    ...ofDatabase(({ totals }) => seconds(totals.syncMs)),
  },
  {
    name: 'litestream_checkpoint_count',
    help: 'Checkpoints by tsreplicate. RESTART: a passive one while the writer lock was held, so that the WAL could restart.',
    type: 'counter',
    ...ofCheckpoints(({ totals }, mode) => totals.checkpoints[mode].count),
  },
  {
    name: 'litestream_checkpoint_error_count',
    help: 'Checkpoints by tsreplicate that failed.',
    type: 'counter',
    ...ofCheckpoints(({ totals }, mode) => totals.checkpoints[mode].errors),
  },
  {
    name: 'litestream_checkpoint_seconds',
    help: 'Time spent in checkpoints by tsreplicate.',
    type: 'counter',
    ...ofCheckpoints(({ totals }, mode) => totals.checkpoints[mode].durationMs / 1000),
  },
  {
    name: 'litestream_replica_wal_bytes',
    help: 'Bytes of WAL stored, uncompressed, headers included.',
    type: 'counter',
    ...ofReplica(({ totals }) => totals.walBytes),
  },
  {
    name: 'litestream_replica_wal_index',
    help: 'WAL index up to which everything is stored.',
    type: 'gauge',
    ...ofReplica(({ position }) => position?.index),
  },
  {
    name: 'litestream_replica_wal_offset',
    help: 'Offset in that index up to which everything is stored.',
    type: 'gauge',
    ...ofReplica(({ position }) => position?.offset),
  },
  {
    name: 'litestream_replica_validation_total',
    help: 'Restores that were made to validate the replica.',
    type: 'counter',
    ...byLabel('status', ({ totals }) => ({
      ok: totals.provenRestores,
      error: totals.failedRestores,
    })),
  },
]

const ours: readonly MetricInfo[] = [
  {
    name: 'tsreplicate_build_info',
    help: 'Always 1.',
    type: 'gauge',
    labels: ['version', 'node'],
    samples: ({ version }) => [[{ version, node: process.version }, 1]],
  },
  {
    name: 'tsreplicate_ready',
    help: '1: every commit is safe within the limit, as /readyz says.',
    type: 'gauge',
    labels: [],
    samples: ({ notReady }) => [[{}, notReady.length === 0 ? 1 : 0]],
  },
  {
    name: 'tsreplicate_database_up',
    help: '1: commits are captured. 0: there is no file, or it cannot be read.',
    type: 'gauge',
    ...ofDatabase(({ state }) => (state === 'replicating' ? 1 : 0)),
  },
  {
    name: 'tsreplicate_database_page_bytes',
    help: 'Page size.',
    type: 'gauge',
    ...ofDatabase(({ pageSizeBytes }) => pageSizeBytes),
  },
  {
    name: 'tsreplicate_database_wal_offset',
    help: 'Offset up to which the WAL index is captured.',
    type: 'gauge',
    ...ofDatabase(({ position }) => position?.offset),
  },
  {
    name: 'tsreplicate_database_errors_total',
    help: 'Failures to capture, by kind: the error codes of docs/errors.md, or OTHER.',
    type: 'counter',
    labels: ['db', 'kind'],
    *samples({ databases }) {
      for (const { path, totals } of databases) {
        for (const [kind, count] of Object.entries(totals.errors)) yield [{ db: path, kind }, count]
      }
    },
  },
  {
    name: 'tsreplicate_generations_total',
    help: 'Generations that began, by reason.',
    type: 'counter',
    labels: ['db', 'reason'],
    *samples({ databases }) {
      for (const { path, totals } of databases) {
        for (const [reason, count] of Object.entries(totals.generations)) {
          yield [{ db: path, reason }, count]
        }
      }
    },
  },
  {
    name: 'tsreplicate_spool_limit_bytes',
    help: 'max-spool-size.',
    type: 'gauge',
    ...ofDatabase(({ maxSpoolBytes }) => maxSpoolBytes),
  },
  {
    name: 'tsreplicate_writer_locks_total',
    help: 'How often the writer lock was held so that the WAL could restart.',
    type: 'counter',
    ...ofDatabase(({ totals }) => totals.writerLocks),
  },
  {
    name: 'tsreplicate_writer_lock_seconds_total',
    help: 'How long writers had to wait for this lock.',
    type: 'counter',
    ...ofDatabase(({ totals }) => seconds(totals.writerLockMs)),
  },
  {
    name: 'tsreplicate_writer_lock_max_seconds',
    help: 'The longest of these waits since the start.',
    type: 'gauge',
    ...ofDatabase(({ totals }) => seconds(totals.maxWriterLockMs)),
  },
  {
    name: 'tsreplicate_replica_lag_seconds',
    help: 'Age of the oldest commit that the store has not acknowledged; 0: it has acknowledged all.',
    type: 'gauge',
    ...ofReplica(({ lagMs }) => seconds(lagMs)),
  },
  {
    name: 'tsreplicate_replica_confirmed_lag_seconds',
    help: 'Age of the oldest commit that has not been seen in the store; 0: all have been seen.',
    type: 'gauge',
    ...ofReplica(({ confirmedLagMs }) => seconds(confirmedLagMs)),
  },
  {
    name: 'tsreplicate_replica_lag_limit_seconds',
    help: 'The confirmed lag above which /readyz fails: max-lag plus sync-interval.',
    type: 'gauge',
    ...ofReplica(({ maxLagMs }) => seconds(maxLagMs)),
  },
  {
    name: 'tsreplicate_replica_pending_bytes',
    help: 'Bytes of WAL captured and not stored, uncompressed.',
    type: 'gauge',
    ...ofReplica(({ pendingBytes }) => pendingBytes),
  },
  {
    name: 'tsreplicate_replica_restorable',
    help: '1: the current generation has a snapshot there.',
    type: 'gauge',
    ...ofReplica(({ hasSnapshot }) => (hasSnapshot ? 1 : 0)),
  },
  {
    name: 'tsreplicate_replica_refused',
    help: '1: another process owns the replica, and this one may not write to it.',
    type: 'gauge',
    ...ofReplica(({ refusal }) => (refusal === undefined ? 0 : 1)),
  },
  {
    name: 'tsreplicate_replica_last_stored_timestamp_seconds',
    help: 'When something was last stored; absent: not since the start.',
    type: 'gauge',
    ...ofReplica(({ lastStoredAtMs }) => seconds(lastStoredAtMs)),
  },
  {
    name: 'tsreplicate_replica_last_snapshot_timestamp_seconds',
    help: 'When the newest snapshot of the generation was finished.',
    type: 'gauge',
    ...ofReplica(({ lastSnapshotAtMs }) => seconds(lastSnapshotAtMs)),
  },
  {
    name: 'tsreplicate_replica_last_retention_timestamp_seconds',
    help: 'When retention last ran without a failure; absent: not since the start.',
    type: 'gauge',
    ...ofReplica(({ lastRetentionAtMs }) => seconds(lastRetentionAtMs)),
  },
  {
    name: 'tsreplicate_replica_proven_restore_age_seconds',
    help: 'How long ago the replica was last validated by a restore; absent: not known.',
    type: 'gauge',
    ...ofReplica(({ lastProvenAtMs }, nowMs) =>
      lastProvenAtMs === undefined ? undefined : Math.max(0, nowMs - lastProvenAtMs) / 1000,
    ),
  },
  {
    name: 'tsreplicate_replica_errors_total',
    help: 'Failures at the replica, by kind: the error codes of docs/errors.md, or OTHER.',
    type: 'counter',
    ...byLabel('kind', ({ totals }) => totals.errors),
  },
  {
    name: 'tsreplicate_snapshots_total',
    help: 'Snapshots finished, by what asked for them.',
    type: 'counter',
    ...byLabel('reason', ({ totals }) => totals.snapshots),
  },
  {
    name: 'tsreplicate_replica_deleted_total',
    help: 'Objects that retention deleted, by kind.',
    type: 'counter',
    ...byLabel('kind', ({ totals }) => ({
      snapshot: totals.deletedSnapshots,
      'wal-segment': totals.deletedSegments,
    })),
  },
  {
    name: 'tsreplicate_file_system_used_ratio',
    help: 'How full the file systems of databases and local state are.',
    type: 'gauge',
    labels: ['folder'],
    *samples({ fileSystems }) {
      for (const { folder, usedBytes, availableBytes } of fileSystems) {
        yield [{ folder }, usedBytes / Math.max(1, usedBytes + availableBytes)]
      }
    },
  },
]

export const metricTable: readonly MetricInfo[] = [...originals, ...ours]

function sum(counts: Counts): number {
  let total = 0
  for (const count of Object.values(counts)) total += count
  return total
}
