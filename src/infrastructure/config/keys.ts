/**
 * Every key of a configuration file, in the order in which the references show them. This table is the only place that
 * knows them: values are read by its types, absent ones take its defaults, `config/tsreplicate.yml` and
 * `docs/configuration.md` are printed from it. In one file because it is one table.
 */
import assert from 'node:assert'

export const objectStoreTypes = ['s3', 'gcs', 'abs'] as const
export type ObjectStoreType = (typeof objectStoreTypes)[number]
export type StoreType = 'file' | ObjectStoreType

/** What a value is. A `duration-or-none` is `none`, or as in Litestream 0 or less, to be without one. */
export type KeyType =
  | 'string'
  | 'duration'
  | 'duration-or-none'
  | 'integer'
  | 'size'
  | 'boolean'
  | 'choice'
  | 'section'
  | 'list'

export interface KeyInfo {
  readonly type: KeyType
  /** As one would write it; undefined: none. */
  readonly default?: string
  /** In words, what holds without it, where that is no value. */
  readonly otherwise?: string
  /** Of a number: the lowest. A duration without it is above 0. */
  readonly least?: string
  /** What 0 means; the value is then undefined. */
  readonly zero?: string
  readonly choices?: readonly string[]
  /** Whether an empty text is a value, or for a choice, the default. */
  readonly mayBeEmpty?: true
  /** For people: one or more sentences, in Markdown. */
  readonly description: string
  /** A value for the references, where the default is none. */
  readonly example?: string
  /** Environment variables that are asked where the key is absent. */
  readonly variables?: readonly string[]
  /** Whether Litestream 0.3 has it, too. */
  readonly litestream?: true
  /** Absent: it works. `unsupported`: a problem. */
  readonly state?: 'unsupported'
  /** The kinds of store that it is for; absent: all. */
  readonly stores?: readonly StoreType[]
  /** Whether it may stand in the query of a URL. */
  readonly inUrl?: true
  /** Whether its value must not be seen. */
  readonly secret?: true
}

export type Section = 'global' | 'socket' | 'logging' | 'database' | 'replica' | 'age'
type Table = Readonly<Record<Section, Readonly<Record<string, KeyInfo>>>>

const heartbeatInterval = {
  type: 'duration',
  default: '5m',
  description: 'How often `heartbeat-url` is requested.',
} as const

const table = {
  global: {
    dbs: {
      type: 'list',
      litestream: true,
      description: 'The databases to replicate. Each entry has a `path`, or a `dir` for a folder.',
    },
    addr: {
      type: 'string',
      mayBeEmpty: true,
      otherwise: 'nothing listens',
      example: '127.0.0.1:9090',
      litestream: true,
      description:
        'Where to serve `/metrics`, `/healthz`, `/readyz` and `/api/status`, as `host:port`. `:9090` is 127.0.0.1:9090; write 0.0.0.0:9090 to listen on all addresses of this machine. `tsreplicate status` works without it.',
    },
    socket: {
      type: 'section',
      description:
        'A socket file for `tsreplicate status -socket`, where status and daemon are in different containers.',
    },
    exec: {
      type: 'string',
      otherwise: 'no program',
      example: 'myapp --port 8080',
      litestream: true,
      description:
        'A program to run, without a shell. It starts after the first sync. Signals are passed on to it; when it ends, tsreplicate stores the last commits and exits with the same exit code.',
    },
    'first-sync-timeout': {
      type: 'duration',
      default: '30s',
      description:
        'How long the first sync may delay the program of `exec`, and the message to systemd that the service has started.',
    },
    'shutdown-timeout': {
      type: 'duration',
      default: '30s',
      description: 'How long storing the last commits may take at shutdown.',
    },
    'state-path': {
      type: 'string',
      default: '/var/lib/tsreplicate',
      description:
        'As root, the local state of a database in a folder that others can change is below this one, which only root may write. `meta-path` goes before.',
    },
    logging: { type: 'section', litestream: true, description: 'What is logged, and where.' },
    'access-key-id': {
      type: 'string',
      secret: true,
      example: 'AKIA...',
      litestream: true,
      description: 'Credentials for the `s3` replicas that have none of their own.',
    },
    'secret-access-key': {
      type: 'string',
      secret: true,
      example: '...',
      litestream: true,
      description: 'Credentials for the `s3` replicas that have none of their own.',
    },
  },
  socket: {
    path: {
      type: 'string',
      example: '/data/tsreplicate.sock',
      description:
        'The file, in a folder that both containers have. It is created at the start and removed at the end. Required.',
    },
    permissions: {
      type: 'choice',
      choices: ['0600', '0660', '0666'],
      default: '0600',
      description: 'Who may ask: the user of the daemon, its group as well, or everybody.',
    },
  },
  logging: {
    level: {
      type: 'choice',
      choices: ['debug', 'info', 'warn', 'error'],
      default: 'info',
      mayBeEmpty: true,
      litestream: true,
      description: 'Log messages of this importance and above.',
    },
    type: {
      type: 'choice',
      choices: ['text', 'json'],
      default: 'text',
      mayBeEmpty: true,
      litestream: true,
      description: 'Lines for people, or one JSON object a line.',
    },
    stderr: {
      type: 'boolean',
      default: 'false',
      litestream: true,
      description: 'Log to stderr instead of stdout.',
    },
  },
  database: {
    path: {
      type: 'string',
      example: '/var/lib/app/app.db',
      litestream: true,
      description:
        'The database file. Required, unless the entry has `dir`. A link is followed, and a leading `sqlite://` is ignored.',
    },
    dir: {
      type: 'string',
      example: '/var/lib/tenants',
      description:
        'Instead of `path`: a folder. Every SQLite database in it is replicated, with the settings of this entry.',
    },
    pattern: {
      type: 'string',
      default: '*',
      description:
        'With `dir`: which files are databases, by name (`*.db`) or, with a slash, by path within the folder (`eu/**/*.db`).',
    },
    recursive: {
      type: 'boolean',
      default: 'false',
      description: 'With `dir`: include the folders inside it.',
    },
    watch: {
      type: 'boolean',
      default: 'true',
      description:
        'With `dir`: notice databases that are created or deleted later. If false, the folder is read at the start and on reload only.',
    },
    'meta-path': {
      type: 'string',
      otherwise: '`.NAME-tsreplicate` beside the database file',
      example: '/var/lib/app/.app.db-tsreplicate',
      litestream: true,
      description:
        'The folder for local state, which includes what is not stored yet. With `dir`: the folder that holds those of all its databases.',
    },
    'restore-if-db-not-exists': {
      type: 'boolean',
      default: 'false',
      description:
        'Restore the database at the start if the file does not exist and there is a backup of it. Not with `dir`.',
    },
    'monitor-interval': {
      type: 'duration',
      default: '1s',
      litestream: true,
      description: 'How often to look at the files when nothing has announced a change.',
    },
    'checkpoint-interval': {
      type: 'duration',
      default: '1m',
      zero: 'only `min-checkpoint-page-count` decides',
      litestream: true,
      description: 'How often to copy pages from the WAL back into the database.',
    },
    'min-checkpoint-page-count': {
      type: 'integer',
      default: '1000',
      least: '1',
      litestream: true,
      description: 'The size of the WAL, in pages, from which they are copied back.',
    },
    'max-checkpoint-page-count': {
      type: 'integer',
      default: '10000',
      zero: 'never',
      litestream: true,
      description:
        'The size of the WAL, in pages, from which writers may be held off for a moment so that it can start again.',
    },
    'max-spool-size': {
      type: 'size',
      default: '4GiB',
      description:
        'Disk space for commits that a replica has not stored yet. When it is used up, the replica starts over with a new snapshot.',
    },
    'page-map': {
      type: 'boolean',
      default: 'false',
      description:
        'Keep a digest of each page beside the spool, 16 bytes a page. When the WAL does not prove that nothing was missed, as after tsreplicate and the application were restarted together, only the pages that differ are then stored, and no new snapshot. It takes effect once the file was read whole, some minutes after the start.',
    },
    'scrub-interval': {
      type: 'duration',
      default: '24h',
      zero: 'never',
      description:
        'With `page-map`: how often the whole file is compared with what is stored, and once after each start. A page that was written by something other than SQLite, or that the disk has changed, is an error then.',
    },
    'allow-network-file-system': {
      type: 'boolean',
      default: 'false',
      description: 'Accept a database on a network file system, where SQLite’s locks may not work.',
    },
    'validation-path': {
      type: 'string',
      otherwise: 'beside `meta-path`',
      example: '/var/tmp',
      description: 'The folder for the copies that `validation-interval` restores.',
    },
    'heartbeat-url': {
      type: 'string',
      secret: true,
      example: 'https://hc-ping.com/...',
      description:
        'An address to request (GET) regularly while every commit is stored on all replicas. Let a service raise the alarm when the requests stop. With `dir`, every database of the folder makes these requests, so one that is late does not stop them: watch `/readyz` instead.',
    },
    'heartbeat-interval': heartbeatInterval,
    replicas: {
      type: 'list',
      litestream: true,
      description: 'Where the database is replicated to.',
    },
  },
  replica: {
    url: {
      type: 'string',
      example: 's3://my-bucket/app',
      litestream: true,
      description:
        'Where the replica is: `file:///FOLDER`, `s3://BUCKET/PATH`, `gcs://BUCKET/PATH` or `abs://ACCOUNT@CONTAINER/PATH`. It stands for `type`, `bucket` and `path`.',
    },
    type: {
      type: 'string',
      default: 'file',
      litestream: true,
      description:
        '`file`, `s3` (Amazon S3 and compatible stores), `gcs` (Google Cloud Storage) or `abs` (Azure Blob Storage).',
    },
    name: {
      type: 'string',
      otherwise: 'the type',
      example: 'offsite',
      litestream: true,
      description: 'What commands and logs call the replica. Unique within a database.',
    },
    path: {
      type: 'string',
      mayBeEmpty: true,
      example: '/mnt/backup/app',
      litestream: true,
      description: 'The folder; in an object store, the prefix of all names.',
    },
    'sync-interval': {
      type: 'duration',
      default: '1s',
      litestream: true,
      description:
        'The shortest time between two uploads of new commits. Longer means fewer requests, and more to lose with the disk.',
    },
    'urgent-sync-interval': {
      type: 'duration',
      default: '50ms',
      description:
        'How often in the long run new commits are uploaded while somebody waits for one and wants it stored at once (`tsreplicate sync -now`, or `stored` of the library): all who wait share an upload.',
    },
    retention: {
      type: 'duration-or-none',
      default: '24h',
      litestream: true,
      description:
        'How far back every commit can be restored. What only older moments need is deleted; with `none`, nothing ever is, and the credentials need no right to delete.',
    },
    'retention-check-interval': {
      type: 'duration',
      default: '1h',
      litestream: true,
      description: 'How often to delete what `retention` no longer needs.',
    },
    'snapshot-interval': {
      type: 'duration',
      default: '0s',
      zero: 'only when the last one is as old as `retention`',
      litestream: true,
      description:
        'How often to store a snapshot of the whole database. More snapshots make restores faster and take more space.',
    },
    'keep-hourly': {
      type: 'integer',
      default: '0',
      least: '0',
      description: 'Beyond `retention`, keep the newest snapshot of each of this many hours.',
    },
    'keep-daily': {
      type: 'integer',
      default: '0',
      least: '0',
      description: 'The same for days (UTC).',
    },
    'keep-weekly': {
      type: 'integer',
      default: '0',
      least: '0',
      description: 'The same for weeks (from Monday, UTC).',
    },
    'keep-monthly': {
      type: 'integer',
      default: '0',
      least: '0',
      description: 'The same for months (UTC).',
    },
    'validation-interval': {
      type: 'duration',
      default: '0s',
      zero: 'never',
      litestream: true,
      description:
        'How often to validate the replica: the newest commit is restored, checked by SQLite and compared with the database. The replica is read once each time, and there must be room for a copy.',
    },
    'max-lag': {
      type: 'duration',
      default: '5m',
      description:
        '`/readyz` fails when a commit has waited longer than this, beyond `sync-interval`, to be stored.',
    },
    'heartbeat-url': {
      type: 'string',
      secret: true,
      example: 'https://hc-ping.com/...',
      description: 'As for a database, but for this replica alone.',
    },
    'heartbeat-interval': heartbeatInterval,
    lease: {
      type: 'duration',
      default: '0s',
      least: '5s',
      zero: 'it does not wait',
      description:
        'For rolling deployments: a tsreplicate that starts elsewhere waits until this one ends, or has given no sign of life for this long, but never longer than an hour. Each such period costs about three small requests.',
    },
    owner: {
      type: 'choice',
      stores: ['file'],
      choices: ['tsreplicate', 'database'],
      otherwise: '`tsreplicate`',
      example: 'database',
      description:
        'Whose the files are: of the user that runs tsreplicate, so that nobody else can delete them, or, as with Litestream, of the owner of the database, with the mode of the database. Only root can give files away.',
    },
    age: { type: 'section', litestream: true, description: 'Encryption of all objects with age.' },
    bucket: {
      type: 'string',
      stores: ['s3', 'gcs', 'abs'],
      example: 'my-bucket',
      litestream: true,
      description: 'The bucket; for Azure, the container. Required without `url`.',
    },
    endpoint: {
      type: 'string',
      stores: ['s3', 'gcs', 'abs'],
      inUrl: true,
      otherwise: 'the vendor’s',
      example: 'https://s3.example.com',
      litestream: true,
      description: 'The address of another server than the vendor’s.',
    },
    region: {
      type: 'string',
      stores: ['s3'],
      inUrl: true,
      otherwise: 'tsreplicate asks the store',
      example: 'eu-west-1',
      litestream: true,
      description: 'The region of the bucket.',
    },
    'force-path-style': {
      type: 'boolean',
      stores: ['s3'],
      inUrl: true,
      otherwise: 'as the provider expects',
      example: 'true',
      litestream: true,
      description: 'Name the bucket in the path of the address, not in the host name.',
    },
    provider: {
      type: 'string',
      stores: ['s3'],
      inUrl: true,
      otherwise: 'found by `endpoint`',
      example: 'minio',
      description:
        'The provider by name (`minio`, `r2`, `garage`, …), where `endpoint` does not tell. Providers differ in details.',
    },
    'access-key-id': {
      type: 'string',
      stores: ['s3'],
      secret: true,
      example: 'AKIA...',
      variables: ['AWS_ACCESS_KEY_ID', 'LITESTREAM_ACCESS_KEY_ID'],
      litestream: true,
      description:
        'Credentials. Without them, those of the environment, of the AWS files, or of the machine are used.',
    },
    'secret-access-key': {
      type: 'string',
      stores: ['s3'],
      secret: true,
      example: '...',
      variables: ['AWS_SECRET_ACCESS_KEY', 'LITESTREAM_SECRET_ACCESS_KEY'],
      litestream: true,
      description: 'Belongs to `access-key-id`.',
    },
    'session-token': {
      type: 'string',
      stores: ['s3'],
      secret: true,
      example: '...',
      variables: ['AWS_SESSION_TOKEN'],
      description: 'Belongs to temporary credentials.',
    },
    sse: {
      type: 'choice',
      choices: ['kms'],
      stores: ['s3'],
      inUrl: true,
      otherwise: 'the bucket’s setting',
      example: 'kms',
      description: 'Have the store encrypt objects with the default key of KMS.',
    },
    'sse-kms-key-id': {
      type: 'string',
      stores: ['s3'],
      inUrl: true,
      example: '...',
      description: 'Have the store encrypt objects with this key of KMS.',
    },
    'sse-customer-key': {
      type: 'string',
      stores: ['s3'],
      secret: true,
      example: '...',
      description: 'Have the store encrypt objects with this key: 32 bytes in base64.',
    },
    'plain-secrets': {
      type: 'boolean',
      default: 'false',
      stores: ['s3', 'abs'],
      inUrl: true,
      description:
        'Send a session token, `sse-customer-key` or `sas-token` to another machine over http, where whoever listens can read it.',
    },
    'account-name': {
      type: 'string',
      stores: ['abs'],
      example: 'myaccount',
      litestream: true,
      description: 'The storage account. Required, unless `url` names it.',
    },
    'account-key': {
      type: 'string',
      stores: ['abs'],
      secret: true,
      example: '...',
      variables: ['LITESTREAM_AZURE_ACCOUNT_KEY'],
      litestream: true,
      description:
        'Credentials. Without `account-key` and `sas-token`, the identity that Azure’s own programs find is used.',
    },
    'sas-token': {
      type: 'string',
      stores: ['abs'],
      secret: true,
      example: '...',
      description: 'A token with fewer rights, instead of `account-key`.',
    },
    'part-size': {
      type: 'size',
      stores: ['s3', 'gcs', 'abs'],
      inUrl: true,
      otherwise: 'chosen by the size of the database; 8MiB for gcs',
      example: '16MiB',
      description:
        'The size of the parts in which large objects are sent. s3: 5MiB to 5GiB; gcs: a multiple of 256KiB, at most 1GiB; abs: at most 4000MiB.',
    },
    concurrency: {
      type: 'integer',
      least: '1',
      stores: ['s3', 'abs'],
      inUrl: true,
      otherwise: 'chosen for the provider',
      example: '4',
      description: 'How many parts are sent at the same time.',
    },
    'storage-class': {
      type: 'string',
      stores: ['s3', 'gcs', 'abs'],
      inUrl: true,
      otherwise: 'the bucket’s',
      example: 'STANDARD',
      description: 'The storage class (Azure: access tier) of new objects.',
    },
    'ca-file': {
      type: 'string',
      stores: ['s3', 'gcs', 'abs'],
      inUrl: true,
      example: '/etc/ssl/my-ca.pem',
      description: 'A PEM file with certificates to trust besides the usual ones.',
    },
    'skip-verify': {
      type: 'boolean',
      default: 'false',
      stores: ['s3', 'gcs', 'abs'],
      inUrl: true,
      litestream: true,
      description: 'Accept any TLS certificate. For tests only.',
    },
    host: { type: 'string', state: 'unsupported', litestream: true, description: 'For sftp.' },
    user: { type: 'string', state: 'unsupported', litestream: true, description: 'For sftp.' },
    password: {
      type: 'string',
      state: 'unsupported',
      secret: true,
      litestream: true,
      description: 'For sftp.',
    },
    'key-path': {
      type: 'string',
      state: 'unsupported',
      litestream: true,
      description: 'For sftp.',
    },
  },
  age: {
    recipients: {
      type: 'list',
      example: 'age1...',
      litestream: true,
      description:
        'Public keys to encrypt objects for. All objects of a replica are encrypted, or all are plain.',
    },
    identities: {
      type: 'list',
      secret: true,
      example: 'AGE-SECRET-KEY-1...',
      litestream: true,
      description:
        'Secret keys to read objects with. The daemon works without them: those for a restore can be kept elsewhere.',
    },
  },
} as const satisfies Table

export const keys: Table = table

export type KeyOf<S extends Section> = keyof (typeof table)[S] & string

/** What a key is read as; undefined where there is no default, or where 0 or `none` is without. */
export type ValueOf<S extends Section, K extends KeyOf<S>> = (typeof table)[S][K] extends infer Info
  ? Kind<Info> | (Info extends { default: string } ? Without<Info> : undefined)
  : never

type Kind<Info> = Info extends { choices: readonly (infer Choice)[] }
  ? Choice
  : Info extends { type: 'string' }
    ? string
    : Info extends { type: 'boolean' }
      ? boolean
      : Info extends { type: 'section' | 'list' }
        ? never
        : number

type Without<Info> = Info extends { zero: string } | { type: 'duration-or-none' }
  ? undefined
  : never

export function isKeyOf<S extends Section>(section: S, text: string): text is KeyOf<S> {
  return Object.hasOwn(table[section], text)
}

export function infoOf<S extends Section>(section: S, key: KeyOf<S>): KeyInfo {
  const info = keys[section][key]
  assert(info !== undefined)
  return info
}
