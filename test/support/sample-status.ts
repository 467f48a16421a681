/** A database that is well, and its replica, as a daemon says it: tests change what they are about. */
import { formatGeneration } from '../../src/domain/wal/generation.ts'
import { type DatabaseStatus, type ReplicaStatus } from '../../src/domain/status.ts'

export const generation = formatGeneration(new Uint8Array(8))
export const replicaStatus: ReplicaStatus = {
  name: 'file',
  type: 'file',
  location: '/r',
  position: { generation, index: 0, offset: 32 },
  hasSnapshot: true,
  isKnownRestorable: true,
  lagMs: 0,
  confirmedLagMs: 0,
  maxLagMs: 300_000,
  pendingBytes: 0,
  lastFailure: undefined,
  refusal: undefined,
  lastStoredAtMs: undefined,
  lastSnapshotAtMs: undefined,
  lastRetentionAtMs: undefined,
  lastValidatedAtMs: undefined,
  totals: {
    walBytes: 0,
    snapshots: { generation: 1, interval: 0, retention: 0, request: 0 },
    errors: {},
    deletedSnapshots: 0,
    deletedSegments: 0,
    passedValidations: 0,
    failedValidations: 0,
  },
}

export const databaseStatus: DatabaseStatus = {
  path: '/app.db',
  metaPath: '/.app.db-tsreplicate',
  state: 'replicating',
  lastFailure: undefined,
  copyingProblem: undefined,
  isWalPinned: false,
  fileProblem: undefined,
  generationsLately: undefined,
  silentMs: 10,
  blindForMs: undefined,
  pageSizeBytes: 4096,
  resumed: undefined,
  position: { generation, index: 0, offset: 32 },
  generationForMs: 0,
  unsealedBytes: 0,
  unsealedForMs: undefined,
  spoolBytes: 0,
  maxSpoolBytes: 1,
  totals: {
    syncs: 0,
    syncMs: 0,
    errors: {},
    frameBytes: 0,
    checkpoints: {
      PASSIVE: { count: 0, errors: 0, durationMs: 0 },
      RESTART: { count: 0, errors: 0, durationMs: 0 },
    },
    writerLocks: 0,
    writerLockMs: 0,
    maxWriterLockMs: 0,
    generations: {},
    continued: {},
  },
  replicas: [replicaStatus],
}
