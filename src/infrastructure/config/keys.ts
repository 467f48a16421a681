/** Every key of a configuration file. Validation, suggestions and the test of the sample file go by this table. */

export type Section = 'global' | 'logging' | 'database' | 'replica'
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
  /** Absent: it works. `ignored`: accepted with a warning. `unsupported`: a problem. `foreign`: of stores that are not supported. */
  readonly state?: 'ignored' | 'unsupported' | 'foreign'
}

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
      state: 'ignored',
      description: 'No effect on file replicas.',
    },
    'secret-access-key': {
      type: 'string',
      state: 'ignored',
      description: 'No effect on file replicas.',
    },
    addr: { type: 'string', state: 'unsupported', description: 'Address of the metrics.' },
    exec: { type: 'string', state: 'unsupported', description: 'A program to run meanwhile.' },
  },
  logging: {
    level: { type: 'level', default: 'info', description: 'debug, info, warn or error.' },
    type: { type: 'log-type', default: 'text', description: 'text or json.' },
    stderr: { type: 'boolean', default: 'false', description: 'Log to stderr, not stdout.' },
  },
  database: {
    path: { type: 'string', description: 'The database file. Required.' },
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
    replicas: { type: 'list', description: 'Where the database is replicated to.' },
  },
  replica: {
    type: { type: 'string', default: 'file', description: 'The kind of store: file.' },
    name: { type: 'string', default: '<type>', description: 'Unique per database.' },
    path: { type: 'string', description: 'The folder. Either this or url.' },
    url: { type: 'string', description: 'file:///… instead of type and path.' },
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
    'validation-interval': {
      type: 'duration',
      state: 'unsupported',
      description: 'Restore and compare now and then.',
    },
    age: { type: 'section', state: 'unsupported', description: 'Encryption.' },
    'access-key-id': { type: 'string', state: 'foreign', description: 'For s3.' },
    'secret-access-key': { type: 'string', state: 'foreign', description: 'For s3.' },
    region: { type: 'string', state: 'foreign', description: 'For s3.' },
    bucket: { type: 'string', state: 'foreign', description: 'For s3, gcs and abs.' },
    endpoint: { type: 'string', state: 'foreign', description: 'For s3 and abs.' },
    'force-path-style': { type: 'boolean', state: 'foreign', description: 'For s3.' },
    'skip-verify': { type: 'boolean', state: 'foreign', description: 'For s3.' },
    'account-name': { type: 'string', state: 'foreign', description: 'For abs.' },
    'account-key': { type: 'string', state: 'foreign', description: 'For abs.' },
    host: { type: 'string', state: 'foreign', description: 'For sftp.' },
    user: { type: 'string', state: 'foreign', description: 'For sftp.' },
    password: { type: 'string', state: 'foreign', description: 'For sftp.' },
    'key-path': { type: 'string', state: 'foreign', description: 'For sftp.' },
  },
}

/** The known name nearest to `name`, if it is near enough to be meant. */
export function nearestName(name: string, names: readonly string[]): string | undefined {
  let best: string | undefined
  let bestDistance = Math.max(2, Math.floor(name.length / 3)) + 1
  for (const candidate of names) {
    const distance = editDistance(name.toLowerCase().replaceAll('_', '-'), candidate)
    if (distance < bestDistance) {
      best = candidate
      bestDistance = distance
    }
  }
  return best
}

function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i)
  for (let i = 1; i <= a.length; i += 1) {
    const next = [i]
    for (let j = 1; j <= b.length; j += 1) {
      const replace = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1)
      next.push(Math.min(replace, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1))
    }
    row = next
  }
  return row[b.length] ?? 0
}
