/** The configuration after validation: every default filled in, nothing raw left. Durations are milliseconds. */

export interface LoggingConfig {
  readonly level: 'debug' | 'info' | 'warn' | 'error'
  readonly type: 'text' | 'json'
  /** Whether the daemon's log goes to stderr; commands always log to stderr. */
  readonly stderr: boolean
}

export interface FileReplicaTarget {
  readonly type: 'file'
  /** Absolute path of the folder. */
  readonly path: string
}

/** Where a replica lies. One member per kind of store. */
export type ReplicaTarget = FileReplicaTarget

export interface ReplicaConfig {
  /** Unique per database. */
  readonly name: string
  readonly target: ReplicaTarget
  /** At most one WAL segment is sent per interval. Above 0. */
  readonly syncIntervalMs: number
  /** A snapshot is due when the newest is this old; undefined: only the first of a generation. */
  readonly snapshotIntervalMs: number | undefined
}

export interface DatabaseConfig {
  /** Absolute path of the database file. */
  readonly path: string
  /** Absolute path of the folder that holds the local state. */
  readonly metaPath: string
  /** How often files are looked at when nothing announces a change. Above 0. */
  readonly monitorIntervalMs: number
  /** Pages of a WAL are copied back at least this often; undefined: only by size. */
  readonly checkpointIntervalMs: number | undefined
  /** WAL pages from which on we let SQLite copy them back. */
  readonly minCheckpointPageCount: number
  /** WAL pages from which on the writer lock may be taken to make the WAL restart; undefined: never. */
  readonly maxCheckpointPageCount: number | undefined
  /** Bytes that the spool may hold before replicas that are behind are given up. */
  readonly maxSpoolBytes: number
  /** Whether a database on a network file system is accepted. */
  readonly allowNetworkFileSystem: boolean
  readonly replicas: readonly ReplicaConfig[]
}

export interface Config {
  /** The file it came from, or undefined when it came from the command line. */
  readonly source: string | undefined
  readonly databases: readonly DatabaseConfig[]
  readonly logging: LoggingConfig
  /** How long the last sync at shutdown may take. */
  readonly shutdownTimeoutMs: number
  /** What the operator should know about this configuration though it is valid: one sentence each. */
  readonly warnings: readonly string[]
}
