/**
 * Every metric of ours: `litestream_…` are the original's, with its names, labels and meanings, so that its dashboards
 * and alerts go on working; `tsreplicate_…` are what it lacks.
 */
import {
  type CheckpointMode,
  type Counts,
  type DaemonDetails,
  type ReplicaDetails,
} from '../../domain/status.js'

export type Labels = Readonly<Record<string, string>>
export type Sample = readonly [labels: Labels, value: number]

export interface MetricInfo {
  readonly name: string
  readonly help: string
  readonly type: 'gauge' | 'counter'
  readonly labels: readonly string[]
  readonly samples: (status: DaemonDetails) => Iterable<Sample>
}

type Source = Pick<MetricInfo, 'labels' | 'samples'>
type Database = DaemonDetails['databases'][number]
/** Undefined: it is not known, and there is no sample. */
type Value = number | undefined

const checkpointModes: readonly CheckpointMode[] = ['PASSIVE', 'RESTART']

function ofDatabase(value: (database: Database) => Value): Source {
  return {
    labels: ['db'],
    *samples({ databases }) {
      for (const database of databases) {
        const known = value(database)
        if (known !== undefined) yield [{ db: database.path }, known]
      }
    },
  }
}

function ofReplica(value: (replica: ReplicaDetails, nowMs: number) => Value): Source {
  return {
    labels: ['db', 'name'],
    *samples({ databases }) {
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

function ofCheckpoints(value: (database: Database, mode: CheckpointMode) => number): Source {
  return {
    labels: ['db', 'mode'],
    *samples({ databases }) {
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

/** Counts of a database, one per value of a label. */
function countsOfDatabase(label: string, counts: (database: Database) => Counts): Source {
  return {
    labels: ['db', label],
    *samples({ databases }) {
      for (const database of databases) {
        for (const [value, count] of Object.entries(counts(database))) {
          yield [{ db: database.path, [label]: value }, count]
        }
      }
    },
  }
}

/** Counts of a replica, one per value of a label. */
function countsOfReplica(label: string, counts: (replica: ReplicaDetails) => Counts): Source {
  return {
    labels: ['db', 'name', label],
    *samples({ databases }) {
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

function gauge(help: string, source: Source): Omit<MetricInfo, 'name'> {
  return { help, type: 'gauge', ...source }
}

function counter(help: string, source: Source): Omit<MetricInfo, 'name'> {
  return { help, type: 'counter', ...source }
}

const metrics: Readonly<Record<string, Omit<MetricInfo, 'name'>>> = {
  litestream_db_size: gauge(
    'Bytes of the database file.',
    ofDatabase(({ databaseBytes }) => databaseBytes),
  ),
  litestream_wal_size: gauge(
    "Bytes of SQLite's -wal file.",
    ofDatabase(({ walBytes }) => walBytes),
  ),
  litestream_total_wal_bytes: counter(
    'Bytes of WAL frames captured.',
    ofDatabase(({ totals }) => totals.frameBytes),
  ),
  litestream_shadow_wal_index: gauge(
    'WAL index being captured.',
    ofDatabase(({ position }) => position?.index),
  ),
  litestream_shadow_wal_size: gauge(
    'Bytes in the spool, which takes the place of the shadow WAL; compressed.',
    ofDatabase(({ spoolBytes }) => spoolBytes),
  ),
  litestream_sync_count: counter(
    'Looks at the WAL for new commits.',
    ofDatabase(({ totals }) => totals.syncs),
  ),
  litestream_sync_error_count: counter(
    'Failures to capture, of any kind.',
    ofDatabase(({ totals }) => sum(totals.errors)),
  ),
  litestream_sync_seconds: counter(
    'Time spent looking for new commits and capturing them.',
    ofDatabase(({ totals }) => seconds(totals.syncMs)),
  ),
  litestream_checkpoint_count: counter(
    'Checkpoints by tsreplicate. RESTART: a passive one while the writer lock was held, so that the WAL could restart.',
    ofCheckpoints(({ totals }, mode) => totals.checkpoints[mode].count),
  ),
  litestream_checkpoint_error_count: counter(
    'Checkpoints by tsreplicate that failed.',
    ofCheckpoints(({ totals }, mode) => totals.checkpoints[mode].errors),
  ),
  litestream_checkpoint_seconds: counter(
    'Time spent in checkpoints by tsreplicate.',
    ofCheckpoints(({ totals }, mode) => totals.checkpoints[mode].durationMs / 1000),
  ),
  litestream_replica_wal_bytes: counter(
    'Bytes of WAL stored, uncompressed, headers included.',
    ofReplica(({ totals }) => totals.walBytes),
  ),
  litestream_replica_wal_index: gauge(
    'WAL index up to which everything is stored.',
    ofReplica(({ position }) => position?.index),
  ),
  litestream_replica_wal_offset: gauge(
    'Offset in that index up to which everything is stored.',
    ofReplica(({ position }) => position?.offset),
  ),
  litestream_replica_validation_total: counter(
    'Restores that were made to validate the replica.',
    countsOfReplica('status', ({ totals }) => ({
      ok: totals.passedValidations,
      error: totals.failedValidations,
    })),
  ),

  tsreplicate_build_info: gauge('Always 1.', {
    labels: ['version', 'node'],
    samples: ({ version }) => [[{ version, node: process.version }, 1]],
  }),
  tsreplicate_ready: gauge('1: every commit is safe within the limit, as /readyz says.', {
    labels: [],
    samples: ({ notReady }) => [[{}, notReady.length === 0 ? 1 : 0]],
  }),
  tsreplicate_database_up: gauge(
    '1: commits are captured. 0: there is no file, or it cannot be read.',
    ofDatabase(({ state }) => (state === 'replicating' ? 1 : 0)),
  ),
  tsreplicate_database_page_bytes: gauge(
    'Page size.',
    ofDatabase(({ pageSizeBytes }) => pageSizeBytes),
  ),
  tsreplicate_database_wal_offset: gauge(
    'Offset up to which the WAL index is captured.',
    ofDatabase(({ position }) => position?.offset),
  ),
  tsreplicate_database_errors_total: counter(
    'Failures to capture, by kind: the error codes of docs/errors.md, or OTHER.',
    countsOfDatabase('kind', ({ totals }) => totals.errors),
  ),
  tsreplicate_generations_total: counter(
    'Generations that began, by reason.',
    countsOfDatabase('reason', ({ totals }) => totals.generations),
  ),
  tsreplicate_generation_continues_total: counter(
    'Times a generation went on, by how: `proven` by the WAL; by the page map, `scanned` without a difference or with what differed `appended`.',
    countsOfDatabase('how', ({ totals }) => totals.continued),
  ),
  tsreplicate_scrubs_total: counter(
    'Comparisons of the whole database file with what is stored, by outcome: `equal`, `different`, `unsettled`, or `made whole` of a page map.',
    countsOfDatabase('outcome', ({ totals }) => totals.scrubs),
  ),
  tsreplicate_foreign_pages_total: counter(
    'Pages of the database file that were found to be written by something other than SQLite.',
    ofDatabase(({ totals }) => totals.foreignPages),
  ),
  tsreplicate_spool_limit_bytes: gauge(
    'max-spool-size.',
    ofDatabase(({ maxSpoolBytes }) => maxSpoolBytes),
  ),
  tsreplicate_writer_locks_total: counter(
    'How often the writer lock was held so that the WAL could restart.',
    ofDatabase(({ totals }) => totals.writerLocks),
  ),
  tsreplicate_writer_lock_seconds_total: counter(
    'How long writers had to wait for this lock.',
    ofDatabase(({ totals }) => seconds(totals.writerLockMs)),
  ),
  tsreplicate_writer_lock_max_seconds: gauge(
    'The longest of these waits since the start.',
    ofDatabase(({ totals }) => seconds(totals.maxWriterLockMs)),
  ),
  tsreplicate_replica_lag_seconds: gauge(
    'Age of the oldest commit that the store has not acknowledged; 0: it has acknowledged all.',
    ofReplica(({ lagMs }) => seconds(lagMs)),
  ),
  tsreplicate_replica_confirmed_lag_seconds: gauge(
    'Age of the oldest commit that has not been seen in the store; 0: all have been seen.',
    ofReplica(({ confirmedLagMs }) => seconds(confirmedLagMs)),
  ),
  tsreplicate_replica_lag_limit_seconds: gauge(
    'The confirmed lag above which /readyz fails: max-lag plus sync-interval.',
    ofReplica(({ maxLagMs }) => seconds(maxLagMs)),
  ),
  tsreplicate_replica_pending_bytes: gauge(
    'Bytes of WAL captured and not stored, uncompressed.',
    ofReplica(({ pendingBytes }) => pendingBytes),
  ),
  tsreplicate_replica_restorable: gauge(
    '1: the current generation has a snapshot there.',
    ofReplica(({ hasSnapshot }) => (hasSnapshot ? 1 : 0)),
  ),
  tsreplicate_replica_refused: gauge(
    '1: another process owns the replica, and this one may not write to it.',
    ofReplica(({ refusal }) => (refusal === undefined ? 0 : 1)),
  ),
  tsreplicate_replica_last_stored_timestamp_seconds: gauge(
    'When something was last stored; absent: not since the start.',
    ofReplica(({ lastStoredAtMs }) => seconds(lastStoredAtMs)),
  ),
  tsreplicate_replica_last_snapshot_timestamp_seconds: gauge(
    'When the newest snapshot of the generation was finished.',
    ofReplica(({ lastSnapshotAtMs }) => seconds(lastSnapshotAtMs)),
  ),
  tsreplicate_replica_last_retention_timestamp_seconds: gauge(
    'When retention last ran without a failure; absent: not since the start.',
    ofReplica(({ lastRetentionAtMs }) => seconds(lastRetentionAtMs)),
  ),
  tsreplicate_replica_validation_age_seconds: gauge(
    'How long ago the replica was last validated by a restore; absent: not known.',
    ofReplica(({ lastValidatedAtMs }, nowMs) =>
      lastValidatedAtMs === undefined ? undefined : Math.max(0, nowMs - lastValidatedAtMs) / 1000,
    ),
  ),
  tsreplicate_replica_errors_total: counter(
    'Failures at the replica, by kind: the error codes of docs/errors.md, or OTHER.',
    countsOfReplica('kind', ({ totals }) => totals.errors),
  ),
  tsreplicate_snapshots_total: counter(
    'Snapshots finished, by what asked for them.',
    countsOfReplica('reason', ({ totals }) => totals.snapshots),
  ),
  tsreplicate_replica_deleted_total: counter(
    'Objects that retention deleted, by kind.',
    countsOfReplica('kind', ({ totals }) => ({
      snapshot: totals.deletedSnapshots,
      'wal-segment': totals.deletedSegments,
    })),
  ),
  tsreplicate_file_system_used_ratio: gauge(
    'How full the file systems of databases and local state are.',
    {
      labels: ['folder'],
      *samples({ fileSystems }) {
        for (const { folder, usedBytes, availableBytes } of fileSystems) {
          yield [{ folder }, usedBytes / Math.max(1, usedBytes + availableBytes)]
        }
      },
    },
  ),
}

export const metricTable: readonly MetricInfo[] = Object.entries(metrics).map(([name, info]) => ({
  name,
  ...info,
}))

function sum(counts: Counts): number {
  return Object.values(counts).reduce((total, count) => total + count, 0)
}
