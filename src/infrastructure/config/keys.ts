/** Every key of a configuration file. Validation, suggestions and the test of the sample file go by this table. */

export type Section = 'global' | 'logging' | 'database' | 'replica' | 'age'
export type KeyType =
  | 'string'
  | 'duration'
  | 'duration-or-none'
  | 'integer'
  | 'boolean'
  | 'size'
  | 'section'
  | 'list'
  | 'level'
  | 'log-type'

export interface KeyInfo {
  readonly type: KeyType
  /** As one would write it; undefined: none. */
  readonly default?: string
  readonly description: string
  /** Absent: it works. `unsupported`: a problem. */
  readonly state?: 'unsupported'
  /** The kinds of store that it is for; absent: all. */
  readonly stores?: readonly StoreType[]
  /** Whether it may stand in the query of a URL. */
  readonly inUrl?: true
  /** Whether its value must not be seen. */
  readonly secret?: true
}

export const objectStoreTypes = ['s3', 'gcs', 'abs'] as const
export type ObjectStoreType = (typeof objectStoreTypes)[number]
export type StoreType = 'file' | ObjectStoreType

export const keys: Readonly<Record<Section, Readonly<Record<string, KeyInfo>>>> = {
  global: {
    dbs: { type: 'list', description: 'The databases.' },
    logging: { type: 'section', description: 'The log.' },
    'shutdown-timeout': {
      type: 'duration',
      default: '30s',
      description: 'How long the last sync at shutdown may take.',
    },
    'access-key-id': {
      type: 'string',
      secret: true,
      description: 'Of the s3 replicas that have none of their own.',
    },
    'secret-access-key': {
      type: 'string',
      secret: true,
      description: 'Of the s3 replicas that have none of their own.',
    },
    addr: {
      type: 'string',
      description: 'host:port of metrics and health; :port is 127.0.0.1 alone.',
    },
    exec: {
      type: 'string',
      description:
        'A program to run meanwhile: it starts after the first sync, and its end is ours.',
    },
    'first-sync-timeout': {
      type: 'duration',
      default: '30s',
      description:
        'How long the first sync may hold up the program of exec, and that systemd is told of the start.',
    },
  },
  logging: {
    level: { type: 'level', default: 'info', description: 'debug, info, warn or error.' },
    type: { type: 'log-type', default: 'text', description: 'text or json.' },
    stderr: { type: 'boolean', default: 'false', description: 'Log to stderr, not stdout.' },
  },
  age: {
    recipients: { type: 'list', description: 'Public keys that objects are encrypted for.' },
    identities: { type: 'list', secret: true, description: 'Secret keys to read objects with.' },
  },
  database: {
    path: { type: 'string', description: 'The database file. Required, but for dir.' },
    dir: { type: 'string', description: 'A folder whose databases are meant, instead of path.' },
    pattern: { type: 'string', default: '*', description: 'With dir: which names are meant.' },
    recursive: {
      type: 'boolean',
      default: 'false',
      description: 'With dir: whether folders in it are meant, too.',
    },
    watch: {
      type: 'boolean',
      default: 'true',
      description: 'With dir: whether databases that come and go are noticed.',
    },
    'meta-path': {
      type: 'string',
      default: '<dir>/.<file name>-tsreplicate',
      description: 'The folder of the local state.',
    },
    'monitor-interval': {
      type: 'duration',
      default: '1s',
      description: 'How often files are looked at when nothing announces a change.',
    },
    'checkpoint-interval': {
      type: 'duration',
      default: '1m',
      description: 'How often WAL pages are copied back; 0 is off.',
    },
    'min-checkpoint-page-count': {
      type: 'integer',
      default: '1000',
      description: 'WAL pages from which on they are copied back.',
    },
    'max-checkpoint-page-count': {
      type: 'integer',
      default: '10000',
      description: 'WAL pages from which on writers may be held off for a moment; 0 is never.',
    },
    'max-spool-size': {
      type: 'size',
      default: '4GiB',
      description: 'Bytes kept for replicas that are behind.',
    },
    'allow-network-file-system': {
      type: 'boolean',
      default: 'false',
      description: 'Accept a database on a network file system.',
    },
    'validation-path': {
      type: 'string',
      default: '<the folder of meta-path>',
      description: 'The folder for copies that are restored to prove a replica.',
    },
    'restore-if-db-not-exists': {
      type: 'boolean',
      default: 'false',
      description: 'At the start, restore a database that does not exist, if there is a backup.',
    },
    'heartbeat-url': {
      type: 'string',
      secret: true,
      description: 'Asked for (GET) now and then, as long as all is stored on all replicas.',
    },
    'heartbeat-interval': {
      type: 'duration',
      default: '5m',
      description: 'How often that is.',
    },
    replicas: { type: 'list', description: 'Where the database is replicated to.' },
  },
  replica: {
    type: { type: 'string', default: 'file', description: 'file, s3, gcs or abs.' },
    name: { type: 'string', default: '<type>', description: 'Unique per database.' },
    path: {
      type: 'string',
      description: 'The folder, or what goes before every name in the bucket.',
    },
    url: {
      type: 'string',
      description: 'file:///…, s3://…, gcs://… or abs://…, instead of type, bucket and path.',
    },
    'sync-interval': {
      type: 'duration',
      default: '1s',
      description: 'At most one WAL segment is sent per interval.',
    },
    'snapshot-interval': {
      type: 'duration',
      default: '0s',
      description: 'A snapshot is due when the newest is this old; 0 is off.',
    },
    retention: {
      type: 'duration-or-none',
      default: '24h',
      description:
        'Every moment of this last while can be restored; what only older ones need is deleted; none: nothing is.',
    },
    'retention-check-interval': {
      type: 'duration',
      default: '1h',
      description: 'How often it is looked whether something can be deleted.',
    },
    'max-lag': {
      type: 'duration',
      default: '5m',
      description: 'Commits that wait longer than this to be stored make /readyz fail.',
    },
    'heartbeat-url': {
      type: 'string',
      secret: true,
      description: 'Asked for (GET) now and then, as long as all is stored there.',
    },
    'heartbeat-interval': {
      type: 'duration',
      default: '5m',
      description: 'How often that is.',
    },
    'keep-hourly': {
      type: 'integer',
      default: '0',
      description: 'Hours, beyond retention, of which the newest snapshot stays.',
    },
    'keep-daily': {
      type: 'integer',
      default: '0',
      description: 'Days, beyond retention, of which the newest snapshot stays.',
    },
    'keep-weekly': {
      type: 'integer',
      default: '0',
      description: 'Weeks, beyond retention, of which the newest snapshot stays.',
    },
    'keep-monthly': {
      type: 'integer',
      default: '0',
      description: 'Months, beyond retention, of which the newest snapshot stays.',
    },
    lease: {
      type: 'duration',
      default: '0s',
      description:
        'Whoever is started elsewhere waits until this one ends, or gives no sign of life for so long; 0 is off.',
    },
    'validation-interval': {
      type: 'duration',
      default: '0s',
      description:
        'How often it is proven by a restore that is compared with the database; 0 is off.',
    },
    age: { type: 'section', description: 'Encryption of the objects.' },
    bucket: {
      type: 'string',
      stores: ['s3', 'gcs', 'abs'],
      description: 'The bucket, or the container.',
    },
    endpoint: {
      type: 'string',
      stores: ['s3', 'gcs', 'abs'],
      inUrl: true,
      description: 'Another server than the vendor’s own.',
    },
    region: {
      type: 'string',
      stores: ['s3'],
      inUrl: true,
      description: 'Of the bucket; found out if absent.',
    },
    'force-path-style': {
      type: 'boolean',
      default: '<as the provider wants it>',
      stores: ['s3'],
      inUrl: true,
      description: 'The bucket in the path, not in the host.',
    },
    provider: {
      type: 'string',
      default: '<by the endpoint>',
      stores: ['s3'],
      inUrl: true,
      description: 'Whose peculiarities are heeded.',
    },
    'access-key-id': { type: 'string', stores: ['s3'], secret: true, description: 'Credentials.' },
    'secret-access-key': {
      type: 'string',
      stores: ['s3'],
      secret: true,
      description: 'Credentials.',
    },
    'session-token': {
      type: 'string',
      stores: ['s3'],
      secret: true,
      description: 'Of temporary credentials.',
    },
    sse: {
      type: 'string',
      stores: ['s3'],
      inUrl: true,
      description: 'kms: encrypted with the default key of KMS.',
    },
    'sse-kms-key-id': {
      type: 'string',
      stores: ['s3'],
      inUrl: true,
      description: 'Encrypted with this key of KMS.',
    },
    'sse-customer-key': {
      type: 'string',
      stores: ['s3'],
      secret: true,
      description: 'Encrypted by the store with this key, 32 bytes in base64.',
    },
    'account-name': { type: 'string', stores: ['abs'], description: 'The storage account.' },
    'account-key': {
      type: 'string',
      stores: ['abs'],
      secret: true,
      description: 'Credentials.',
    },
    'sas-token': {
      type: 'string',
      stores: ['abs'],
      secret: true,
      description: 'Credentials, instead of account-key.',
    },
    'part-size': {
      type: 'size',
      default: '<by the size of the database>',
      stores: ['s3', 'gcs', 'abs'],
      inUrl: true,
      description: 'Bytes of a part of a large object.',
    },
    concurrency: {
      type: 'integer',
      default: '<as the provider likes it>',
      stores: ['s3', 'abs'],
      inUrl: true,
      description: 'Parts of an object that are sent at once.',
    },
    'storage-class': {
      type: 'string',
      default: '<the bucket’s>',
      stores: ['s3', 'gcs', 'abs'],
      inUrl: true,
      description: 'Storage class, or access tier.',
    },
    'ca-file': {
      type: 'string',
      stores: ['s3', 'gcs', 'abs'],
      inUrl: true,
      description: 'PEM file of certificates to trust besides the usual ones.',
    },
    'skip-verify': {
      type: 'boolean',
      default: 'false',
      stores: ['s3', 'gcs', 'abs'],
      inUrl: true,
      description: 'Accept any TLS certificate.',
    },
    host: { type: 'string', state: 'unsupported', description: 'For sftp.' },
    user: { type: 'string', state: 'unsupported', description: 'For sftp.' },
    password: { type: 'string', state: 'unsupported', secret: true, description: 'For sftp.' },
    'key-path': { type: 'string', state: 'unsupported', description: 'For sftp.' },
  },
}
