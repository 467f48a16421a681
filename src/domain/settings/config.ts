/** The configuration after validation: every default filled in, nothing raw left. Durations are milliseconds. */
import { type RetentionRules } from '../policy/retention-policy.js'
import { type Secret } from './secret.js'

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
  /** Whose its files are; absent: of the user that runs tsreplicate. */
  readonly owner?: 'database'
}

interface ObjectStoreTarget {
  /** Bucket, or container. */
  readonly bucket: string
  /** In front of every key, without a slash at either end; empty: none. */
  readonly prefix: string
  /** Another server than the vendor's own, with its scheme. */
  readonly endpoint: string | undefined
  /** Bytes of a part of a large upload; undefined: chosen from the expected size. */
  readonly partSizeBytes: number | undefined
  /** Parts of an object in flight at most; undefined: as the client finds best. */
  readonly concurrency: number | undefined
  /** As the vendor spells it; undefined: the bucket's own. */
  readonly storageClass: string | undefined
  /** PEM file of certificates to trust besides the usual ones. */
  readonly caFile: string | undefined
  /** Whether any TLS certificate is accepted. */
  readonly skipVerify: boolean
}

export interface S3ReplicaTarget extends ObjectStoreTarget {
  readonly type: 's3'
  readonly region: string | undefined
  /** Undefined: as the provider wants it. */
  readonly forcePathStyle: boolean | undefined
  /** Undefined: the SDK's default chain. */
  readonly credentials:
    | {
        readonly accessKeyId: string
        readonly secretAccessKey: Secret
        readonly sessionToken: Secret | undefined
      }
    | undefined
  /** Server-side encryption; undefined: the bucket's own. `customer` holds 32 bytes in base64. */
  readonly encryption:
    | { readonly kind: 'kms'; readonly keyId: string | undefined }
    | { readonly kind: 'customer'; readonly key: Secret }
    | undefined
  /** Whether what is sent as it is may go to another machine without TLS. */
  readonly plainSecrets: boolean
  /** The provider's profile by name; undefined: detected from the endpoint. */
  readonly provider: string | undefined
}

export interface GcsReplicaTarget extends ObjectStoreTarget {
  readonly type: 'gcs'
  /** Whether requests bear no credentials, as an emulator wants it. */
  readonly anonymous: boolean
}

export interface AbsReplicaTarget extends ObjectStoreTarget {
  readonly type: 'abs'
  readonly accountName: string
  /** One of the two, or neither: the SDK's default chain. The token has no leading `?`. */
  readonly accountKey: Secret | undefined
  readonly sasToken: Secret | undefined
  /** Whether what is sent as it is may go to another machine without TLS. */
  readonly plainSecrets: boolean
}

/** Where a replica lies. One member per kind of store. */
export type ReplicaTarget =
  FileReplicaTarget | S3ReplicaTarget | GcsReplicaTarget | AbsReplicaTarget

/** Keys of age, one or more in each text, as in its files: one a line, with comments. */
export interface AgeKeys {
  /** Objects are encrypted for these when they are stored; none: they are stored plain. */
  readonly recipients: readonly string[]
  /** Objects are decrypted by these when they are read; none: they are read as they are. */
  readonly identities: readonly Secret[]
}

/** What is asked for as long as everything is stored. Durations are milliseconds. */
export interface HeartbeatConfig {
  readonly url: Secret
  /** Above 0. */
  readonly intervalMs: number
}

/** One replica of a database: where it lies, with its keys, and its settings. Durations are milliseconds. */
export interface ReplicaConfig {
  /** Unique per database. */
  readonly name: string
  /** Where it lies. */
  readonly target: ReplicaTarget
  /** Undefined: no encryption. */
  readonly age: AgeKeys | undefined
  /** At most one WAL segment is sent per interval. Above 0. */
  readonly syncIntervalMs: number
  /** At most one per interval while somebody waits for his commits. Above 0. */
  readonly urgentSyncIntervalMs: number
  /** A snapshot is due when the newest is this old; undefined: only the first of a generation. */
  readonly snapshotIntervalMs: number | undefined
  /** Undefined: nothing is ever deleted. */
  readonly retention: RetentionRules | undefined
  /** Above 0. */
  readonly retentionCheckIntervalMs: number
  /** Commits that wait longer than this, beyond the sync interval, make the daemon not ready. Above 0. */
  readonly maxLagMs: number
  /** As long as all is stored on this replica; undefined: none. */
  readonly heartbeat: HeartbeatConfig | undefined
  /** How often it is validated; undefined: never. */
  readonly validationIntervalMs: number | undefined
  /** Another process waits for this one as long as it gives a sign of life in each such while; undefined: it does not wait. */
  readonly leaseMs: number | undefined
}

/** One database, its settings and its replicas. Durations are milliseconds. */
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
  /** Whether a map of its pages is kept, by which a generation goes on where the WAL does not prove that it continues. */
  readonly keepsPageMap: boolean
  /** How often the file is compared with the page map; undefined: never. */
  readonly scrubIntervalMs: number | undefined
  /** Whether a database on a network file system is accepted. */
  readonly allowNetworkFileSystem: boolean
  /** Absolute path of the folder for copies restored as a test; undefined: beside the local state. */
  readonly validationPath: string | undefined
  /** Whether the daemon restores it at the start when the file does not exist. */
  readonly restoreIfDbNotExists: boolean
  /** As long as all is stored on all replicas; undefined: none. */
  readonly heartbeat: HeartbeatConfig | undefined
  /** None: it is stored nowhere, which `warnings` says. */
  readonly replicas: readonly ReplicaConfig[]
}

/** Where the daemon listens for who asks for metrics and health. */
export interface ListenAddress {
  readonly host: string
  /** 0: one that is free. */
  readonly port: number
}

/** A socket in the file system, for who asks the daemon from another container. */
export interface SocketConfig {
  /** Absolute path of the file. */
  readonly path: string
  /** Who may ask: the bits of its mode. */
  readonly mode: number
}

/** A folder in which every SQLite database is replicated. */
export interface DatabaseFolder {
  /** Absolute path. */
  readonly path: string
  /** Which names are meant. */
  readonly pattern: string
  /** Whether folders in it are looked through, too. */
  readonly recursive: boolean
  /** Whether databases that come and go later are noticed. */
  readonly watch: boolean
  /** The folder of the local states; undefined: each lies beside its database. */
  readonly metaPath: string | undefined
  /** What holds for each database. The place of a replica is the folder of their places. */
  readonly database: Omit<DatabaseConfig, 'path' | 'metaPath'>
}

/** What is replicated where, and how: `loadConfig` reads it from a file, `configFromUrls` makes it for one database. Durations are milliseconds. */
export interface Config {
  /** The file it came from, or undefined when it came from the command line. */
  readonly source: string | undefined
  /** Those that are named by their paths. */
  readonly databases: readonly DatabaseConfig[]
  /** Folders of databases. */
  readonly folders: readonly DatabaseFolder[]
  /** What is logged, and how. */
  readonly logging: LoggingConfig
  /** Undefined: metrics and health are not served on the network. */
  readonly addr: ListenAddress | undefined
  /** Undefined: the daemon answers `tsreplicate status` of its own user, and of root, only. */
  readonly socket: SocketConfig | undefined
  /** How long the last sync at shutdown may take. */
  readonly shutdownTimeoutMs: number
  /** A program to run meanwhile, and its arguments. */
  readonly exec: readonly string[] | undefined
  /** How long the first sync may hold up that program. Above 0. */
  readonly firstSyncTimeoutMs: number
  /** What the operator should know about this configuration though it is valid: one sentence each. */
  readonly warnings: readonly string[]
}
