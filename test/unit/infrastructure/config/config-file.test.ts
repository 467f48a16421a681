import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'

import { type Config } from '../../../../src/domain/settings/config.ts'
import { databaseAt } from '../../../../src/domain/settings/database-folder.ts'
import { ConfigError } from '../../../../src/domain/errors.ts'
import {
  configFromUrls,
  findConfigFile,
  loadConfig,
  parseConfig,
} from '../../../../src/infrastructure/config/config-file.ts'
import { keys, type Section, type StoreType } from '../../../../src/infrastructure/config/keys.ts'

const context = { home: '/home/me', cwd: '/work', env: {} }
const parse = (text: string): Config => parseConfig(text, 'c.yml', context)

function problemsOf(text: string): string[] {
  try {
    parse(text)
  } catch (error) {
    if (error instanceof ConfigError) return error.message.split('\n')
    throw error
  }
  return []
}

const database = (lines: string): string =>
  `dbs:\n  - path: /a.db\n${lines.replace(/^/gm, '    ')}\n`
const replica = (lines: string): string =>
  database(`replicas:\n  - path: /r\n${lines.replace(/^/gm, '    ')}`)

describe('parseConfig', () => {
  it('fills in every default', () => {
    expect(
      parse('dbs:\n  - path: ~/app.db\n    replicas:\n      - url: file:///backup/app\n'),
    ).toEqual({
      source: 'c.yml',
      folders: [],
      databases: [
        {
          path: '/home/me/app.db',
          metaPath: '/home/me/.app.db-tsreplicate',
          stateBase: '/var/lib/tsreplicate',
          monitorIntervalMs: 1000,
          checkpointIntervalMs: 60_000,
          minCheckpointPageCount: 1000,
          maxCheckpointPageCount: 10_000,
          maxSpoolBytes: 4 * 1024 ** 3,
          keepsPageMap: false,
          scrubIntervalMs: 24 * 3_600_000,
          allowNetworkFileSystem: false,
          validationPath: undefined,
          restoreIfDbNotExists: false,
          replicas: [
            {
              name: 'file',
              target: { type: 'file', path: '/backup/app' },
              syncIntervalMs: 1000,
              urgentSyncIntervalMs: 50,
              snapshotIntervalMs: undefined,
              retention: {
                retentionMs: 86_400_000,
                keep: { hourly: 0, daily: 0, weekly: 0, monthly: 0 },
              },
              retentionCheckIntervalMs: 3_600_000,
              maxLagMs: 300_000,
              validationIntervalMs: undefined,
              leaseMs: undefined,
            },
          ],
        },
      ],
      logging: { level: 'info', type: 'text', stderr: false },
      shutdownTimeoutMs: 30_000,
      exec: undefined,
      firstSyncTimeoutMs: 30_000,
      warnings: [],
    })
  })

  it('takes every value', () => {
    const config = parse(
      `shutdown-timeout: 1m30s\nexec: app 'a b'\nfirst-sync-timeout: 5s\nlogging: {level: WARNING, type: json, stderr: yes}\n${database(
        [
          'meta-path: state',
          'monitor-interval: 250ms',
          'checkpoint-interval: 0s',
          'min-checkpoint-page-count: 5',
          'max-checkpoint-page-count: 0',
          'max-spool-size: 500MB',
          'page-map: true',
          'scrub-interval: 0s',
          'allow-network-file-system: true',
          'validation-path: copies',
          'restore-if-db-not-exists: true',
          'replicas: [{path: r, name: n, sync-interval: 10s, urgent-sync-interval: 200ms, snapshot-interval: 24h, validation-interval: 6h}]',
        ].join('\n'),
      )}`,
    )
    expect(config.shutdownTimeoutMs).toBe(90_000)
    expect(config.exec).toEqual(['app', 'a b'])
    expect(config.firstSyncTimeoutMs).toBe(5000)
    expect(config.logging).toEqual({ level: 'warn', type: 'json', stderr: true })
    expect(config.databases[0]).toEqual({
      path: '/a.db',
      metaPath: '/work/state',
      monitorIntervalMs: 250,
      checkpointIntervalMs: undefined,
      minCheckpointPageCount: 5,
      maxCheckpointPageCount: undefined,
      maxSpoolBytes: 500_000_000,
      keepsPageMap: true,
      scrubIntervalMs: undefined,
      allowNetworkFileSystem: true,
      validationPath: '/work/copies',
      restoreIfDbNotExists: true,
      replicas: [
        {
          name: 'n',
          target: { type: 'file', path: '/work/r' },
          syncIntervalMs: 10_000,
          urgentSyncIntervalMs: 200,
          snapshotIntervalMs: 86_400_000,
          retention: {
            retentionMs: 86_400_000,
            keep: { hourly: 0, daily: 0, weekly: 0, monthly: 0 },
          },
          retentionCheckIntervalMs: 3_600_000,
          maxLagMs: 300_000,
          validationIntervalMs: 21_600_000,
          leaseMs: undefined,
        },
      ],
    })
  })

  it.each([
    ['dbz: []', 'c.yml:1: dbz: unknown key, did you mean dbs?'],
    [database('replica: []'), 'c.yml:3: dbs[0].replica: unknown key, did you mean replicas?'],
    ['dbs:\n  -\n', 'dbs[0]: is empty'],
    ['dbs:', 'dbs: is empty'],
    [database('replicas: [null]'), 'c.yml:3: dbs[0].replicas[0]: is empty'],
    ['dbs:\n  - meta-path: x\n', 'dbs[0].path: database path required'],
    ['dbs: [{path: ""}]', 'dbs[0].path: is empty'],
    [replica('sync-interval: 0s'), 'c.yml:5: dbs[0].replicas[0].sync-interval: must be above 0'],
    [replica('sync-interval: 5'), 'not a duration: 5'],
    [replica('snapshot-interval: -1h'), 'snapshot-interval: must not be negative'],
    [replica('validation-interval: -1s'), 'validation-interval: must not be negative'],
    [database('checkpoint-interval: -1s'), 'checkpoint-interval: must not be negative'],
    [replica('age: {}'), 'replicas[0].age: needs recipients, identities or both'],
    [replica('age: {identities: []}'), 'c.yml:5: dbs[0].replicas[0].age.identities: is empty'],
    [
      replica(`age: {recipients: [], identities: [AGE-SECRET-KEY-1${'Q'.repeat(58)}]}`),
      'age.recipients: is empty',
    ],
    [replica('age: {recipients: [""]}'), 'age.recipients[0]: holds no key'],
    [replica('age: {identities: ["# none"]}'), 'age.identities[0]: holds no key'],
    [replica('age: {recipients: [null]}'), 'age.recipients[0]: must be text with one key per line'],
    [database('replicas: [{path: /a.db}]'), 'replicas: replica "file" would be the database'],
    [
      database('replicas: [{path: /.a.db-tsreplicate/r}]'),
      'replica "file" would be inside meta-path: /.a.db-tsreplicate/r',
    ],
    [
      database('meta-path: /m\nreplicas: [{url: "file:///m"}]'),
      'replica "file" would be inside meta-path: /m',
    ],
    [
      'dbs: [{dir: /d, replicas: [{path: /d}]}]',
      'replica "file" would be in the folder of the databases: /d',
    ],
    ['dbs: [{dir: /d, pattern: "["}]', 'dbs[0].pattern: not a pattern: ['],
    [replica('snapshot-interval: 1d'), 'not a duration: 1d'],
    [replica('retention: never'), 'not a duration: never'],
    [replica('retention-check-interval: 0s'), 'retention-check-interval: must be above 0'],
    [replica('keep-daily: -1'), 'keep-daily: must not be negative'],
    [replica('keep-daily: 1h'), 'keep-daily: not a whole number'],
    [database('min-checkpoint-page-count: 0'), 'must be above 0'],
    [database('max-spool-size: 4 apples'), 'not a size: 4 apples'],
    [database('allow-network-file-system: maybe'), 'neither true nor false: maybe'],
    [database('replicas: [{path: "file:///x"}]'), 'replica path cannot be a url'],
    [database('replicas: [{path: /x, url: "file:///x"}]'), 'cannot specify url & path'],
    [database('replicas: [{name: x}]'), 'file replica path required'],
    [replica('age: {keys: []}'), 'dbs[0].replicas[0].age.keys: unknown key'],
    [replica('age: {recipients: [age1x]}'), 'age.recipients[0]: malformed recipient at line 1'],
    [
      replica('age: {identities: ["#\\nAGE-SECRET-KEY-1X"]}'),
      'age.identities[0]: error at line 2: malformed secret key',
    ],
    [replica('age: {identities: [{}]}'), 'age.identities[0]: must be text with one key per line'],
    [replica('heartbeat-url: ftp://x'), 'heartbeat-url: must be an http:// or https:// URL'],
    [database('heartbeat-interval: 1m'), 'heartbeat-interval: has no effect without heartbeat-url'],
    [replica('heartbeat-url: "http://x"\nheartbeat-interval: 0s'), 'must be above 0'],
    ['addr: foo', 'addr: must specify port for bind address: "foo"'],
    ['addr: 9091', 'addr: must specify port for bind address: "9091"'],
    ['addr: "127.0.0.1:"', 'addr: must specify port for bind address: "127.0.0.1:"'],
    ['addr: "[::1]"', 'addr: must specify port for bind address: "[::1]"'],
    ['addr: "::1:90"', 'addr: too many colons in bind address: "::1:90"'],
    ['addr: "a:http"', 'addr: not a port in bind address: "a:http"'],
    ['addr: "a:65536"', 'addr: not a port in bind address: "a:65536"'],
    [
      replica(`validation-interval: 1h\nage: {recipients: [age1${'q'.repeat(58)}]}`),
      'validation-interval: needs age.identities',
    ],
    ['exec: app "a', 'c.yml:1: exec: cannot parse exec command: invalid command line string'],
    ['exec: ""', 'c.yml:1: exec: is empty'],
    ['exec: " "', 'exec: cannot parse exec command: it is empty'],
    ['exec: a && b', 'exec: cannot parse exec command: unquoted &. There is no shell'],
    ['first-sync-timeout: 0s', 'first-sync-timeout: must be above 0'],
    [replica('bucket: b'), 'bucket: has no effect on a replica of type file'],
    [database('replicas: [{path: /x}, {path: /y}]'), 'duplicate replica name: "file"'],
    [database('replicas: [{path: /x}, {path: /x/, name: b}]'), 'is already used by'],
    ['dbs: [{path: /a}, {path: /b/../a}]', 'duplicate database path: /a'],
    ['logging: {level: loud}', 'logging.level: must be debug, info, warn or error'],
    ['logging: {type: xml}', 'logging.type: must be text or json'],
    ['dbs: [\n', 'c.yml:'],
    ['shutdown-timeout: 0s', 'shutdown-timeout: must be above 0'],
    ['dbs: []\ndbs: []', 'c.yml:2: dbs: is given twice'],
  ])('refuses %j', (text, problem) => {
    expect(problemsOf(text).join('\n')).toContain(problem)
  })

  it('reports all problems at once, in the order of lines', () => {
    const found = problemsOf(
      'foo: 1\ndbs:\n  - path: /a\n    monitor-interval: 0s\n    bar: 2\nexec: x;\n',
    )
    expect(found.map((line) => line.split(':')[1])).toEqual(['1', '4', '5', '6'])
  })

  it.each([
    ['":9090"', { host: '127.0.0.1', port: 9090 }, 1],
    ['127.0.0.1:9090', { host: '127.0.0.1', port: 9090 }, 0],
    ['localhost:1', { host: 'localhost', port: 1 }, 0],
    ['0.0.0.0:9090', { host: '0.0.0.0', port: 9090 }, 0],
    ['"[::1]:9090"', { host: '::1', port: 9090 }, 0],
    ['""', undefined, 0],
  ])('listens for addr %s on %j', (addr, address, warnings) => {
    const config = parse(`addr: ${addr}`)
    expect(config.addr).toEqual(address)
    expect(config.warnings).toHaveLength(warnings)
  })

  it('warns of credentials that nothing uses', () => {
    expect(parse('access-key-id: x').warnings).toEqual([
      'access-key-id has no effect: there is no s3 replica',
    ])
  })

  it('warns of what is stored nowhere', () => {
    expect(parse(database('replicas: []')).warnings).toEqual([
      '/a.db has no replica: it is stored nowhere',
    ])
    expect(parse('dbs: [{dir: /d}]').warnings).toHaveLength(1)
    expect(
      parse('dbs: [{dir: /d, heartbeat-url: "http://h", replicas: [{path: /r}]}]').warnings,
    ).toEqual([expect.stringContaining('heartbeat-url is requested by each database of /d')])
    expect(parse(replica('name: x')).warnings).toEqual([])
  })

  it('takes a replica beside the database and its local state', () => {
    expect(problemsOf(database('meta-path: /m\nreplicas: [{path: /a.db-backup}]'))).toEqual([])
    expect(problemsOf(database('meta-path: /m\nreplicas: [{path: /m2}]'))).toEqual([])
  })

  it('warns of keep rules for which snapshots are taken too rarely', () => {
    const warningsOf = (lines: string): readonly string[] => parse(replica(lines)).warnings
    expect(warningsOf('keep-hourly: 5').join()).toContain(
      'keep-hourly can keep only snapshots that exist',
    )
    expect(warningsOf('keep-hourly: 5\nsnapshot-interval: 1h\nkeep-daily: 3')).toEqual([])
    expect(warningsOf('retention: 72h\nkeep-daily: 5')).toHaveLength(1)
    expect(warningsOf('keep-daily: 5\nkeep-monthly: 5')).toEqual([])
  })

  const keepNothing = { hourly: 0, daily: 0, weekly: 0, monthly: 0 }
  it.each([
    ['name: x', { retentionMs: 86_400_000, keep: keepNothing }, 3_600_000],
    ['retention: none', undefined, 3_600_000],
    ['retention: 0s', undefined, 3_600_000],
    ['retention: -1s', undefined, 3_600_000],
    ['retention: 10m', { retentionMs: 600_000, keep: keepNothing }, 600_000],
    [
      'retention: 72h\nretention-check-interval: 5m\nkeep-hourly: 24\nkeep-daily: 7\nkeep-weekly: 4\nkeep-monthly: 12',
      { retentionMs: 259_200_000, keep: { hourly: 24, daily: 7, weekly: 4, monthly: 12 } },
      300_000,
    ],
  ])('reads %j', (lines, retention, retentionCheckIntervalMs) => {
    expect(parse(replica(lines)).databases[0]?.replicas[0]).toMatchObject({
      retention,
      retentionCheckIntervalMs,
    })
  })

  it('accepts an empty file', () => {
    expect(parse('').databases).toEqual([])
  })
})

describe('a folder', () => {
  const folder = (lines: string): string =>
    `dbs:\n  - dir: ~/data\n${lines.replace(/^/gm, '    ')}\n    replicas:\n      - path: /r\n`

  it('has the settings of its databases', () => {
    const config = parse(folder('recursive: true\nwatch: false\npattern: "*.db"'))
    expect(config.databases).toEqual([])
    expect(config.folders).toMatchObject([
      { path: '/home/me/data', pattern: '*.db', recursive: true, watch: false },
    ])
    const database = databaseAt(config.folders, '/home/me/data/a/b.db')
    expect(database?.metaPath).toBe('/home/me/data/a/.b.db-tsreplicate')
    expect(database?.replicas[0]?.target).toEqual({ type: 'file', path: '/r/a/b.db' })
    expect(databaseAt(config.folders, '/home/me/data/a/b.db-wal')).toBeUndefined()
    expect(databaseAt(config.folders, '/home/me/data/.x.db-tsreplicate/b.db')).toBeUndefined()
  })

  it('is no place for what belongs to one database', () => {
    expect(problemsOf(folder('path: /a.db'))).toEqual([
      'c.yml:3: dbs[0].path: has no effect together with dir',
    ])
    expect(problemsOf('dbs:\n  - path: /a.db\n    watch: true\n')).toEqual([
      'c.yml:3: dbs[0].watch: has no effect without dir',
    ])
  })
})

describe('the table of keys', () => {
  const places: Readonly<Record<StoreType, string>> = {
    file: 'file:///r',
    s3: 's3://b/r',
    gcs: 'gcs://b/r',
    abs: 'abs://a@b/r',
  }
  /** A configuration with one key set, and what that key cannot do without. */
  const having = (section: Section, key: string, value: string): string => {
    const line = `${key}: ${value}`
    switch (section) {
      case 'global':
        return line
      case 'socket':
        return `socket: { ${key === 'path' ? '' : 'path: /s, '}${line} }`
      case 'logging':
        return `logging: { ${line} }`
      case 'database': {
        const isOfFolder = ['dir', 'pattern', 'recursive', 'watch'].includes(key)
        const place = isOfFolder ? 'dir: /d' : 'path: /a.db'
        return `dbs: [{ ${place.startsWith(`${key}:`) ? '' : `${place}, `}${line} }]`
      }
      case 'replica': {
        const store = keys.replica[key]?.stores?.[0] ?? 'file'
        const place = key === 'bucket' ? 'type: s3' : `url: '${places[store]}'`
        const isPlace = ['type', 'url', 'path'].includes(key)
        return `dbs: [{ path: /a.db, replicas: [{ ${isPlace ? '' : `${place}, `}${line} }] }]`
      }
      case 'age':
        return `dbs: [{ path: /a.db, replicas: [{ path: /r, age: { ${line} } }] }]`
    }
  }
  const sections = [
    'global',
    'socket',
    'logging',
    'database',
    'replica',
    'age',
  ] as const satisfies Section[]
  const all = sections.flatMap((section) =>
    Object.entries(keys[section])
      .filter(([, { state }]) => state === undefined)
      .map(([key, { type }]) => ({ section, key, type })),
  )

  it.each(all)('$section $key is read: a wrong value is noticed', ({ section, key, type }) => {
    const isSingle = type !== 'list' && type !== 'section'
    const problems = problemsOf(having(section, key, isSingle ? '[1, 2]' : '1'))
    const wanted = isSingle ? 'must be a single value' : 'must be'
    expect(problems.join('\n')).toMatch(new RegExp(`[ .]${key}: ${wanted}`))
  })
})

describe('config/tsreplicate.yml', () => {
  const sample = readFileSync(
    new URL('../../../../config/tsreplicate.yml', import.meta.url),
    'utf8',
  )

  it('is valid', () => {
    expect(parse(sample).warnings).toEqual([])
  })

  it.each(Object.values(keys).flatMap((section) => Object.keys(section)))('documents %s', (key) => {
    expect(sample).toMatch(new RegExp(`(^|[\\s#,-])${key}(?![\\w-])`, 'm'))
  })
})

describe('loadConfig', () => {
  const folder = mkdtempSync(join(tmpdir(), 'tsreplicate-config-'))
  afterAll(() => rmSync(folder, { recursive: true }))

  it('expands variables unless told not to', () => {
    const path = join(folder, 'c.yml')
    writeFileSync(path, 'dbs:\n  - path: /data/$NAME.db\n')
    const options = { ...context, path, env: { NAME: 'app' } }
    const load = (expandEnv: boolean): unknown =>
      loadConfig({ ...options, expandEnv }).databases[0]?.path
    expect(load(true)).toBe('/data/app.db')
    expect(load(false)).toBe('/data/$NAME.db')
    const env = { LITESTREAM_CONFIG: path }
    expect(loadConfig({ ...context, env, expandEnv: true }).source).toBe(path)
  })

  it('says which file is missing', () => {
    const load = (): unknown =>
      loadConfig({ ...context, path: '/none.yml', env: {}, expandEnv: true })
    expect(load).toThrow('config file not found: /none.yml')
  })

  it('says which variables are not set, of a configuration that is valid and of one that is not', () => {
    const path = join(folder, 'unset.yml')
    const load = (text: string): Config => {
      writeFileSync(path, text)
      return loadConfig({ ...context, path, env: {}, expandEnv: true })
    }
    const text = 'dbs:\n  - path: /${NAME}.db # $HOME\n    replicas: [{path: /r}]\n'
    const said = 'not set in the environment, and so empty here: $NAME (line 2)'
    expect(load(text).warnings).toEqual([said])
    expect(() => load('dbs:\n  - path: $NAME\n')).toThrow(
      expect.objectContaining({
        message: `${path}:2: dbs[0].path: is empty: give it a value, or remove it`,
        hint: said,
      }),
    )
  })

  it('says which variables are set to nothing, if the configuration is wrong', () => {
    const path = join(folder, 'empty.yml')
    writeFileSync(path, 'dbs:\n  - path: $NAME\n    replicas: [{path: "/r$OTHER"}] # $HOME\n')
    const env = { NAME: '', OTHER: 'x' }
    expect(() => loadConfig({ ...context, path, env, expandEnv: true })).toThrow(
      expect.objectContaining({ hint: 'set to nothing: $NAME (line 2)' }),
    )
  })

  it('is found where it is, also by who may not read it', () => {
    const find = (path: string): string => findConfigFile({ ...context, path, env: {} })
    expect(find(folder)).toBe(folder)
    expect(() => find(join(folder, 'none.yml'))).toThrow('config file not found')
  })

  it('says in words why a file cannot be read', () => {
    const load = (): unknown => loadConfig({ ...context, path: folder, env: {}, expandEnv: true })
    expect(load).toThrow(`config file cannot be read: ${folder}: it is a folder`)
  })

  it('says once what is wrong with a key', () => {
    const text = 'dbs:\n  - path: /a.db\n    replicas: [{path: /r, retention: }]\n'
    expect(problemsOf(text)).toEqual([
      'c.yml:3: dbs[0].replicas[0].retention: is empty: give it a value, or remove it',
    ])
  })

  it('says how to name a file only to those who named none', () => {
    const hintOf = (options: { path?: string; env: Record<string, string> }): unknown => {
      try {
        return loadConfig({ ...context, ...options, expandEnv: true })
      } catch (error) {
        return error instanceof ConfigError ? error.hint : error
      }
    }
    expect(hintOf({ path: '/none.yml', env: {} })).toBeUndefined()
    expect(hintOf({ env: { LITESTREAM_CONFIG: '/none.yml' } })).toBe('LITESTREAM_CONFIG names it.')
  })
})

describe('configFromUrls', () => {
  it('makes a replica of every URL', () => {
    const config = configFromUrls('a.db', ['file:///x', 'file:///y'], context)
    expect(config.databases[0]?.path).toBe('/work/a.db')
    expect(config.databases[0]?.replicas.map(({ name }) => name)).toEqual(['file', 'file-2'])
  })

  it.each([
    ['file:///x', 'file:///x/'],
    ['s3://b/x?region=eu-west-1', 's3://b//x/'],
  ])('refuses one place twice: %s and %s', (one, other) => {
    expect(() => configFromUrls('a.db', [one, other], context)).toThrow('two replicas in one place')
  })
})

describe('configFromUrls of a replica', () => {
  it.each(['file:///a.db', 'file:///.a.db-tsreplicate/r'])('refuses %s for /a.db', (url) => {
    expect(() => configFromUrls('/a.db', [url], context)).toThrow(ConfigError)
  })
})
