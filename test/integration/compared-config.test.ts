/** One configuration file, given to both programs: what each accepts, and what it takes it to mean. */
import { readdirSync, writeFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { type Config, type ReplicaTarget } from '../../src/domain/settings/config.ts'
import { ConfigError } from '../../src/domain/errors.ts'
import { loadConfig } from '../../src/infrastructure/config/config-file.ts'
import {
  addRows,
  both,
  onBothStages,
  ours,
  type Program,
  theirs,
} from '../support/both-programs.ts'
import { cleanUp, Running, temporaryFolder } from '../support/cli.ts'
import { createKeepingS3 } from '../support/stores/keeping-s3.ts'
import { startScriptedS3 } from '../support/stores/scripted-s3.ts'

afterAll(() => cleanUp())

let files = 0
function configFile(text: string): string {
  files += 1
  const path = join(temporaryFolder(), `${files}.yml`)
  writeFileSync(path, text)
  return path
}

function load(path: string): Config {
  return loadConfig({ path, env: {}, expandEnv: true, home: homedir(), cwd: process.cwd() })
}

/** What is wrong with a file, in the words of each program; undefined: nothing. */
function refusalOfOurs(path: string): string | undefined {
  try {
    load(path)
    return undefined
  } catch (error) {
    if (error instanceof ConfigError) return error.message
    throw error
  }
}

const errorIn = (output: string): string => /failed to run"? .*error=(.*)/.exec(output)?.[1] ?? ''

async function refusalOfTheirs(...args: string[]): Promise<string | undefined> {
  const { code, stdout, stderr } = await theirs.run(args)
  if (code === 0) return undefined
  const quoted = errorIn(stdout + stderr).replace(/^"|"$/g, '')
  return JSON.parse(`"${quoted}"`) as string
}

const database = (lines: string): string =>
  `dbs:\n  - path: /data/a.db\n${lines.replace(/^/gm, '    ')}\n`
const replica = (lines: string): string =>
  database(`replicas:\n  - name: r\n${lines.replace(/^/gm, '    ')}`)

describe('paths', () => {
  const env = { NAME: 'app', VALUE: 'x$NAME ${NAME}', 'NAME:-none': 'found' }
  const text = `# $NAME and \${UNDEFINED} in a comment
dbs:
  - path: /data/$NAME.db
  - path: /data/\${NAME}-x.db
  - path: /data/$NAMEx.db
  - path: /data/\${NAME:-none}/a.db
  - path: /data/\${NAME:-other}/b.db
  - path: /data/$$NAME/c.db
  - path: /data/$1x/d.db
  - path: /data/$*$#$@$!$?$-/e.db
  - path: /data/cost$ /$.f$
  - path: /data/\${}/g.db
  - path: /data/$NAME$NAME/$ünï.db
  - path: /data/$VALUE.db
  - path: /data/\${NAME }/h.db
  - path: /data/\${OPEN
    # all of this is the name of a variable }i.db
  - path: "~"
  - path: ~/j.db
  - path: ~bob/k.db
  - path: a/./b/..//l.db
  - path: /data//m/../n.db/
  - path: '/data/a b%20c.db'
  - path: 12
  - path: yes
  - path: /data/o.db\${
`

  test('and variables in them are what Litestream takes them for', async () => {
    const path = configFile(text)
    const { ours, theirs } = await both((each) => each.run(['databases', '-config', path], env))
    expect(ours, ours.stderr).toMatchObject({ code: 0 })
    expect(ours.stdout).toBe(theirs.stdout)
    const paths = ours.stdout.split('\n').map((line) => line.trimEnd())
    for (const expected of ['/data/app.db', '/data/NAME/c.db', join(homedir(), 'j.db')])
      expect(paths).toContain(expected)
  })

  test('are literal with -no-expand-env, as in Litestream', async () => {
    const path = configFile(text)
    const args = ['databases', '-no-expand-env', '-config', path]
    const { ours, theirs } = await both((each) => each.run(args, env))
    expect(ours, ours.stderr).toMatchObject({ code: 0 })
    expect(ours.stdout).toBe(theirs.stdout)
    expect(ours.stdout).toContain('/data/${NAME:-none}/a.db')
  })

  test('begin at the home directory that Litestream takes, whatever HOME says', async () => {
    const path = configFile('dbs:\n  - path: ~/a.db\n')
    const { ours, theirs } = await both((each) =>
      each.run(['databases', '-config', path], { HOME: '/elsewhere' }),
    )
    expect(ours.stdout).toBe(theirs.stdout)
  })

  test('of the configuration come from -config, else from LITESTREAM_CONFIG', async () => {
    const [one, other] = ['one', 'other'].map((name) =>
      configFile(`dbs: [{path: /data/${name}.db}]`),
    )
    for (const args of [[], ['-config', one!], ['-config', './test/none.yml']]) {
      const { ours, theirs } = await both((each) =>
        each.run(['databases', ...args], { LITESTREAM_CONFIG: other! }),
      )
      expect(ours.stdout).toBe(theirs.code === 0 ? theirs.stdout : '')
      expect(ours.code === 0).toBe(theirs.code === 0)
      const missing = `config file not found: ${join(process.cwd(), 'test/none.yml')}`
      expect(ours.stderr.includes(missing)).toBe(theirs.stderr.includes(missing))
    }
  })
})

describe('the form of the file', () => {
  test('may be that of YAML with anchors, aliases and merged mappings, as in Litestream', async () => {
    const path = configFile(`---
dbs:
  - &first
    path: &path /data/a.db
    monitor-interval: &long 2s
    replicas: &both
      - &one {name: one, path: /backup/one, sync-interval: *long}
      - {<<: *one, name: two, path: /backup/two}
  - path: /data/b.db
    replicas:
      - <<: [{name: three, path: /backup/three}, *one]
      - {path: /backup/four, <<: *one, name: four}
  - {<<: *first, path: "/data/c.db", replicas: []}
  - path: !!str /data/d.db
    meta-path: |
      /data/state of d
    replicas:
    - {name: 5, path: "/backup/\\u0066ive"}
`)
    const { ours, theirs } = await both((each) => each.run(['databases', '-config', path]))
    expect(ours, ours.stderr).toMatchObject({ code: 0 })
    expect(ours.stdout).toBe(theirs.stdout)
    expect(ours.stdout).toMatch(/b\.db +three,four\n/)
    const { databases } = load(path)
    expect(databases[1]?.replicas).toMatchObject([
      { target: { path: '/backup/three' }, syncIntervalMs: 2000 },
      { target: { path: '/backup/four' }, syncIntervalMs: 2000 },
    ])
    expect(databases[2]?.monitorIntervalMs).toBe(2000)
  })

  test.each([
    ['dbs: [*none]', 'there is no anchor of this name'],
    ['dbs:\n  - &a {<<: *a, path: /a}', 'dbs[0].<<: must be a mapping or a list of mappings'],
    ['dbs:\n  - {<<: 5, path: /a}', 'dbs[0].<<: must be a mapping or a list of mappings'],
  ])('%j is refused by both', async (text, problem) => {
    const path = configFile(text)
    expect(await refusalOfTheirs('databases', '-config', path)).toBeDefined()
    expect(refusalOfOurs(path)).toContain(problem)
  })
})

describe('values', () => {
  const s3 = 'type: s3\nbucket: b\n'
  test.each([
    ...['1.5h', '.5s', '1m30s', '1µs', '1μs', '"2s"', '+1s', '0', '"0"', '1e3s', '1_0s'],
    ...['1d', '1H', '1m30', '"5"', '""', 'abc', '1 s', '1,5s', '[1s]', '{}', 'true'],
  ])('a duration %s is one to both, or to none', async (value) => {
    const path = configFile(replica(`path: /backup\nsnapshot-interval: ${value}`))
    const refused = await refusalOfTheirs('databases', '-config', path)
    expect(refusalOfOurs(path) === undefined).toBe(refused === undefined)
  })

  test.each(['yes', 'No', 'on', 'OFF', 'true', 'False', 'y', 'n', '"true"', '1', 'maybe', '[]'])(
    'a truth value %s is one to both, or to none',
    async (value) => {
      const path = configFile(replica(`${s3}skip-verify: ${value}`))
      const refused = await refusalOfTheirs('databases', '-config', path)
      expect(refusalOfOurs(path) === undefined).toBe(refused === undefined)
    },
  )

  test.each(['5', '0x10', '010', '"5"', '1_000', '5.0', 'five'])(
    'a number %s is one to both, or to none',
    async (value) => {
      const path = configFile(database(`min-checkpoint-page-count: ${value}`))
      const refused = await refusalOfTheirs('databases', '-config', path)
      expect(refusalOfOurs(path) === undefined).toBe(refused === undefined)
    },
  )

  test.each([
    ['a bare number is nanoseconds', replica('path: /x\nsync-interval: 5'), 'not a duration: 5'],
    ['a part of a page is none', database('min-checkpoint-page-count: 5.5'), 'not a whole number'],
    ['an unknown key is passed over', 'databases: []', 'unknown key'],
    ['of a key given twice the last counts', 'dbs: []\ndbs: []', 'is given twice'],
    ['no path is the working directory', 'dbs: [{meta-path: x}]', 'database path required'],
    ['an empty path is, too', 'dbs: [{path: ""}]', 'dbs[0].path: is empty'],
    ['what is empty is absent', replica(`${s3}region: $NOWHERE`), 'region: is empty'],
    ['keys of one type stand at another', replica('path: /x\nbucket: b'), 'has no effect on'],
    ['a database is there twice', 'dbs: [{path: /a}, {path: /a}]', 'duplicate database path'],
    ['an unknown level is info', 'logging: {level: loud}', 'must be debug, info, warn or error'],
  ])('to Litestream %s: here it is a mistake, and said', async (_, text, problem) => {
    const path = configFile(text)
    expect(await refusalOfTheirs('databases', '-config', path)).toBeUndefined()
    expect(refusalOfOurs(path)).toContain(problem)
  })

  test.each([
    ['dbs: [null]', 'dbs[0]: is empty'],
    [database('replicas: [null]'), 'dbs[0].replicas[0]: is empty'],
    ['logging: {type: xml}', 'logging.type: must be text or json'],
  ])('%j makes Litestream crash, and is refused', async (text, problem) => {
    const path = configFile(text)
    const crash = await theirs.run(['databases', '-config', path])
    expect(crash.code, crash.stderr).toBe(2)
    expect(crash.stderr).toContain('panic')
    expect(refusalOfOurs(path)).toContain(problem)
  })
})

test.each(['sync-interval', 'retention-check-interval'])(
  'a daemon with a %s of 0 crashes as Litestream, and does not start here',
  async (key) => {
    const folder = temporaryFolder()
    addRows(join(folder, 'a.db'), 'row')
    const replicas = [{ path: join(folder, 'replica'), [key]: '0s' }]
    const dbs = [{ path: join(folder, 'a.db'), 'monitor-interval': '50ms', replicas }]
    const path = configFile(JSON.stringify({ dbs }))
    const crash = await theirs.run(['replicate', '-config', path])
    expect(crash.code).toBe(2)
    expect(crash.stderr).toContain('panic: non-positive interval')
    const { code, stderr } = await ours.run(['replicate', '-config', path])
    expect(code).toBe(78)
    expect(stderr).toContain(`${key}: must be above 0`)
  },
)

test('meta-path is taken as it is, from the working directory, as in Litestream', async () => {
  const settings = { database: { 'meta-path': '~/state' } }
  const found = await onBothStages(settings, async ({ program, folder, config, db }) => {
    addRows(db, 'row')
    const args = [...program.command, 'replicate', '-config', config]
    const script = 'cd "$STAGE" && exec "$@"'
    const daemon = new Running(program.name, 'sh', ['-c', script, 'sh', ...args], { STAGE: folder })
    await daemon.waitFor(/snapshot written/)
    await daemon.stop()
    return readdirSync(join(folder, '~/state')).length > 0
  })
  expect(found).toEqual({ theirs: true, ours: true })
})

describe('what both refuse, with the same words', () => {
  test.each([
    [
      replica('path: file:///x'),
      "replica path cannot be a url, please use the 'url' field instead",
    ],
    [replica('path: /x\nurl: file:///x'), 'cannot specify url & path for file replica'],
    [replica('url: s3://b\npath: x'), 'cannot specify url & path for s3 replica'],
    [replica('url: s3://b\nbucket: x'), 'cannot specify url & bucket for s3 replica'],
    [replica('url: gcs://b\nbucket: x'), 'cannot specify url & bucket for gcs replica'],
    [replica('url: abs://a@b\nbucket: x'), 'cannot specify url & bucket for abs replica'],
    [replica('type: file'), 'file replica path required'],
    [replica('type: s3'), 'bucket required for s3 replica'],
    [replica('type: gcs'), 'bucket required for gcs replica'],
    [replica('type: abs\naccount-name: a'), 'bucket required for abs replica'],
    [replica('type: azure\npath: x'), 'unknown replica type in config: "azure"'],
    [replica('url: /x'), 'replica url scheme required: /x'],
    [replica('url: s3://localhost:9000/b'), 'bucket required for s3 replica'],
    [replica('path: /x\nage: {recipients: [age1x]}'), 'malformed recipient at line 1'],
    [replica('path: /x\nage: {identities: [AGE-SECRET-KEY-1X]}'), 'malformed secret key'],
  ])('%j', async (text, words) => {
    const path = configFile(text)
    expect(await refusalOfTheirs('databases', '-config', path)).toContain(words)
    expect(refusalOfOurs(path)).toContain(words)
  })

  test.each([
    [database('replicas: [{path: /x}, {path: /y}]'), 'duplicate replica name: "file"'],
    ['addr: foo', 'must specify port for bind address: "foo"'],
    ['addr: "9091"', 'must specify port for bind address: "9091"'],
  ])('when the daemon starts: %j', async (text, words) => {
    const path = configFile(text)
    expect(await refusalOfTheirs('replicate', '-config', path)).toContain(words)
    expect(refusalOfOurs(path)).toContain(words)
  })

  test('min-checkpoint-page-count of 0', async () => {
    const path = configFile(database('min-checkpoint-page-count: 0\nreplicas: []'))
    const refusal = await refusalOfTheirs('replicate', '-config', path)
    expect(refusal).toContain('minimum checkpoint page count required')
    expect(refusalOfOurs(path)).toContain('min-checkpoint-page-count: must be above 0')
  })
})

type PlaceFields = Readonly<Record<'type' | 'path' | 'bucket' | 'region' | 'endpoint', string>>

/** Where a replica is, without what is the default. */
function placeOf(
  fields: Partial<Record<keyof PlaceFields, string | undefined>>,
): Partial<PlaceFields> {
  const { type, path, bucket, region, endpoint } = fields
  return {
    ...(type === undefined ? {} : { type }),
    // An empty prefix is a dot to Litestream.
    ...(path === undefined || path === '' || path === '.' ? {} : { path }),
    ...(bucket === undefined ? {} : { bucket }),
    // Of a server on this machine Litestream says so; we find it out.
    ...(region === undefined || region === '' || region === 'us-east-1' ? {} : { region }),
    ...(endpoint === undefined || endpoint === '' ? {} : { endpoint }),
  }
}

/** What a log line of Litestream says of a place. */
function placeInLine(line: string): Partial<PlaceFields> {
  const fields = [...line.matchAll(/ ([\w-]+)=("(?:[^"\\]|\\.)*"|\S*)/g)].map(
    ([, name, value = '']) => [name, value.startsWith('"') ? (JSON.parse(value) as string) : value],
  )
  return placeOf(Object.fromEntries(fields) as PlaceFields)
}

function placeOfTarget(target: ReplicaTarget): Partial<PlaceFields> {
  if (target.type === 'file') return placeOf(target)
  return placeOf({ region: undefined, ...target, path: target.prefix })
}

test('places and URLs of replicas are where Litestream looks for them', async () => {
  const urls = [
    'file:///a/b',
    'FILE:///a/c',
    'file://host/d',
    'file://~/e',
    'file:///x/../y//z/',
    'file:///a b/c%20d',
    'file:///a?q=1#f',
    'file:/single/slash',
    's3://bkt',
    'S3://bkt2//a//b/../c/',
    's3://my.dotted.bucket/a%20b',
    's3://bkt.localhost/a',
    's3://bkt.localhost:9000/a',
    's3://b.c.s3.us-west-000.backblazeb2.com/a',
    's3://bkt.s3.filebase.com/a',
    's3://bkt.nyc3.digitaloceanspaces.com/x',
    's3://bkt.s3.fr-par.scw.cloud/y',
    's3://bkt.eu-central-1.linodeobjects.com/z',
    'gcs://bkt/a//b/',
    'abs://acc@container/a/',
    'abs://acc@container/b%20c',
  ].map((url) => ({ url }))
  const server = { endpoint: 'http://127.0.0.1:9' }
  const replicas = [
    ...urls,
    { path: '~/backup' },
    { path: 'relative/./x/..//backup/' },
    { path: '/with space/100%' },
    { type: 's3', bucket: 'b', path: 'a/b', region: 'one', ...server },
    { type: 's3', bucket: 'b', path: 'a%20b' },
    { type: 'file', url: 's3://conflict/a' },
    { url: 's3://bkt5.s3.one.backblazeb2.com/a', region: 'two', ...server },
    { type: 'gcs', bucket: 'g', path: 'a/b' },
    { type: 'abs', bucket: 'c', path: 'a', 'account-name': 'acc', ...server },
  ]
  const dbs = replicas.map((each, i) => ({ path: `/nowhere/${i}.db`, replicas: [each] }))
  const path = configFile(JSON.stringify({ dbs }))
  const { code, stdout } = await theirs.run(['replicate', '-config', path, '-exec', 'true'])
  expect(code, stdout).toBe(0)
  const lines = stdout.split('\n').filter((line) => line.includes('msg="replicating to"'))
  expect(lines).toHaveLength(replicas.length)
  const actual = load(path).databases.map(({ replicas: [each] }) => placeOfTarget(each!.target))
  expect(actual).toEqual(lines.map(placeInLine))
})

describe('a store', () => {
  /** What an S3 store is asked for by each program that lists snapshots of a database: key id, bucket and folder. */
  async function askedBy(
    config: string,
    env: Readonly<Record<string, string>> = {},
  ): Promise<{ ours: string[]; theirs: string[] }> {
    await using server = await startScriptedS3()
    server.answerWith(createKeepingS3().answer)
    const path = configFile(config.replaceAll('SERVER', server.endpoint))
    const asked = async (program: Program): Promise<string[]> => {
      const before = server.requests.length
      const outcome = await program.run(['snapshots', '-config', path, '/data/a.db'], env)
      expect(outcome, outcome.stderr).toMatchObject({ code: 0 })
      const what = server.requests.slice(before).map(({ url, headers }) => {
        const { pathname, searchParams } = new URL(url, 'http://x')
        const keyId = /Credential=([^/]*)\//.exec(headers.authorization ?? '')?.[1] ?? 'none'
        return `${keyId} ${pathname.replace(/\/$/, '')} ${searchParams.get('prefix') ?? ''}`
      })
      return [...new Set(what)]
    }
    return { ours: await asked(ours), theirs: await asked(theirs) }
  }

  const keys = 'region: us-east-1\nendpoint: SERVER\ntype: s3\nbucket: b'

  test.each<[string, string, Readonly<Record<string, string>>, string]>([
    [
      'its own keys',
      `access-key-id: GLOBAL\nsecret-access-key: g\n${replica(`${keys}\npath: a/b\naccess-key-id: OWN\nsecret-access-key: o`)}`,
      { LITESTREAM_ACCESS_KEY_ID: 'L', LITESTREAM_SECRET_ACCESS_KEY: 'l' },
      'OWN /b a/b/generations/',
    ],
    [
      'those of the file',
      `access-key-id: GLOBAL\nsecret-access-key: g\n${replica(`${keys}\npath: a/b/`)}`,
      { AWS_ACCESS_KEY_ID: 'A', AWS_SECRET_ACCESS_KEY: 'a' },
      'GLOBAL /b a/b/generations/',
    ],
    [
      'those of Litestream’s variables',
      replica(keys),
      { LITESTREAM_ACCESS_KEY_ID: 'L', LITESTREAM_SECRET_ACCESS_KEY: 'l' },
      'L /b generations/',
    ],
    [
      'those of Amazon’s variables, rather',
      replica(keys),
      {
        LITESTREAM_ACCESS_KEY_ID: 'L',
        LITESTREAM_SECRET_ACCESS_KEY: 'l',
        AWS_ACCESS_KEY_ID: 'A',
        AWS_SECRET_ACCESS_KEY: 'a',
      },
      'A /b generations/',
    ],
    [
      'keys that variables bear',
      replica(`${keys}\naccess-key-id: $KEY\nsecret-access-key: "\${SECRET}"`),
      { KEY: 'FROMENV', SECRET: 's' },
      'FROMENV /b generations/',
    ],
  ])('is asked with %s, for the same folder, by both', async (_, config, env, expected) => {
    const asked = await askedBy(config, env)
    expect(asked.theirs).toEqual([expected])
    expect(asked.ours).toEqual([expected])
  })

  test('is asked for the folder without the slash that Litestream finds nothing behind', async () => {
    const config = replica(`${keys}\npath: /a/b\naccess-key-id: K\nsecret-access-key: s`)
    const asked = await askedBy(config)
    expect(asked.theirs).toEqual(['K /b /a/b/generations/'])
    expect(asked.ours).toEqual(['K /b a/b/generations/'])
  })
})
