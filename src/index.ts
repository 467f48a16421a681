/** The public interface. A name that is here stays: `test/unit/public-names.test.ts` lists them, and what they have. */
import './delivery/library/runtime-check.js'

export { type Config, type DatabaseConfig, type ReplicaConfig } from './domain/settings/config.js'
export {
  AddressError,
  AmbiguousBackupError,
  ConfigError,
  CorruptionError,
  DatabaseError,
  InUseError,
  LocalStateError,
  NoBackupError,
  NotRunningError,
  type NotStored,
  NotStoredError,
  ObjectNotFoundError,
  OutputError,
  CheckTimeoutError,
  OutputExistsError,
  ReplicaError,
  TsreplicateError,
  UsageError,
} from './domain/errors.js'
export { isAbortError } from './kit/abort.js'
export { type Generation } from './domain/wal/generation.js'
export { formatPosition, type Position, type WalPosition } from './domain/wal/position.js'
export { type LoadOptions } from './compose/commands.js'
export { configFromUrls, loadConfig } from './delivery/library/configuration.js'
export { replicate, type ReplicateOptions } from './delivery/library/replicate.js'
export {
  type AddOptions,
  type RunningReplication,
  type StoredOptions,
} from './delivery/library/running-replication.js'
export { type Listener } from './delivery/library/listeners.js'
export {
  type LagEvent,
  type NewGenerationEvent,
  type ProblemEvent,
  type RecoveredEvent,
  type ReplicationEvents,
  type StoredEvent,
  type TakenOverEvent,
} from './domain/replication-events.js'
export { type Logger } from './delivery/library/application-logger.js'
export { type LogFields } from './usecase/ports/logger.js'
export { type Stored } from './usecase/daemon/commit-waits.js'
export { type DaemonStatus } from './domain/status.js'
export { status, type StatusOptions } from './delivery/library/status.js'
export {
  type MissingOptions,
  restore,
  restoreIfMissing,
  type RestoreOptions,
  type UrlRestoreOptions,
} from './delivery/library/restore.js'
export {
  type RestoreProgress,
  type RestoreReport,
  type RestoreTarget,
} from './usecase/restore/restore-types.js'
export {
  listGenerations,
  type ListOptions,
  verify,
  type VerifiedReplica,
  type VerifyOptions,
} from './delivery/library/stored.js'
export { type GenerationInfo } from './usecase/stored/list-backups.js'
export { type VerifiedGeneration } from './usecase/verify/verify-replica.js'
export { type Finding } from './domain/stored/verification.js'
