/** The public interface. */
export {
  type Config,
  type DatabaseConfig,
  type FileReplicaTarget,
  type LoggingConfig,
  type ReplicaConfig,
  type ReplicaTarget,
} from './domain/settings/config.js'
export {
  ConfigError,
  CorruptionError,
  DatabaseError,
  InUseError,
  LocalStateError,
  AmbiguousBackupError,
  NoBackupError,
  NotRunningError,
  type NotStored,
  NotStoredError,
  ObjectNotFoundError,
  OutputError,
  OutputExistsError,
  ReplicaError,
  TsreplicateError,
  UsageError,
} from './domain/errors.js'
export { isAbortError } from './kit/abort.js'
export { type Generation, isGeneration, parseGeneration } from './domain/wal/generation.js'
export {
  comparePositions,
  formatPosition,
  formatWalPosition,
  type Position,
  type WalPosition,
} from './domain/wal/position.js'
export {
  type ObjectRef,
  type SnapshotRef,
  type WalSegmentRef,
} from './domain/stored/replica-layout.js'
export {
  configFromUrls,
  createLogger,
  loadConfig,
  type LoadOptions,
  openReplicaClient,
  parseReplicaUrl,
} from './compose/commands.js'
export {
  replicate,
  type ReplicateOptions,
  type RunningReplication,
  type StoredOptions,
} from './delivery/library/replicate.js'
export { restore, type RestoreOptions, type UrlRestoreOptions } from './delivery/library/restore.js'
export { listGenerations, verify, type VerifyOptions } from './delivery/library/stored.js'
export {
  type GenerationInfo,
  listSnapshots,
  listWalSegments,
} from './usecase/stored/list-backups.js'
export { type VerifiedGeneration } from './usecase/verify/verify-replica.js'
export { type Finding } from './domain/stored/verification.js'
export { type LogFields, type Logger } from './usecase/ports/logger.js'
export {
  type ByteRange,
  type ObjectUpload,
  type ReplicaClient,
  type SnapshotInfo,
  type UploadOptions,
  type WalSegmentInfo,
} from './usecase/ports/replica-client.js'
export { type Stored } from './usecase/daemon/commit-waits.js'
export { type DaemonStatus } from './domain/status.js'
export {
  type RestoreProgress,
  type RestoreReport,
  type RestoreSource,
  type RestoreTarget,
} from './usecase/restore/restore-types.js'
