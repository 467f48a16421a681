/** What both programs list and restore of the same replicas, whole and damaged, and with which exit codes. */
import Database from 'better-sqlite3'
import {
  cpSync,
  existsSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { join, relative } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { decodeFrame } from '../../src/infrastructure/lz4/frame-decoder.ts'
import { createLz4Compressor } from '../../src/infrastructure/lz4/frame-encoder.ts'
import { addRows, both, Log, type Program, rowsOf, theirs } from '../support/both-programs.ts'
import {
  cleanUp,
  listGenerations,
  listObjects,
  type Outcome,
  temporaryFolder,
  until,
} from '../support/cli.ts'
import { answerError, type ScriptedS3, startScriptedS3 } from '../support/stores/scripted-s3.ts'

let folder: string
let db: string
let config: string
/** What Litestream has stored: two generations, the newer one with three indexes and more, and two snapshots. */
let replica: string
let old: string
let current: string
/** A WAL that belongs to the database as it was at the end. */
let lastWal: Buffer
let copies = 0

beforeAll(async () => {
  folder = temporaryFolder()
  db = join(folder, 'app.db')
  replica = join(folder, 'replica')
  config = join(folder, 'config.yml')
  const settings = { 'sync-interval': '50ms', 'snapshot-interval': '1s' }
  const replicas = [{ path: replica, ...settings }]
  const database = { path: db, 'monitor-interval': '50ms', 'min-checkpoint-page-count': 10 }
  writeFileSync(config, JSON.stringify({ dbs: [{ ...database, replicas }] }))
  addRows(db, 'old')
  const first = theirs.start(['replicate', '-config', config])
  await until(
    () => segments(replica).length > 0,
    20_000,
    () => first.output,
  )
  await first.stop()
  ;[old] = listGenerations(replica) as [string]
  // Nobody watches: continuity cannot be proven after this.
  addRows(db, 'new')
  using log = new Log(db)
  const second = theirs.start(['replicate', '-config', config])
  const isNew = (name: string): boolean => !name.includes(old)
  const hasEnough = (): boolean => {
    const snapshots = listObjects(replica).filter((name) => name.includes('/snapshots/'))
    const indexes = segments(replica).filter(isNew).map(indexOf)
    return Math.max(...snapshots.filter(isNew).map(indexOf)) > 1 && Math.max(...indexes) > 3
  }
  for (let n = 0; !hasEnough(); n += 1) {
    expect(n, second.output).toBeLessThan(500)
    const before = segments(replica).length
    log.add([`row ${n}`], 5000)
    await until(
      () => segments(replica).length > before,
      20_000,
      () => second.output,
    )
  }
  await second.stop()
  // We know times to the millisecond, and round up: at the end of a second that would be the next one.
  for (const name of listObjects(replica)) {
    const path = join(replica, name)
    const seconds = Math.floor(statSync(path).mtimeMs) / 1000
    utimesSync(path, seconds, seconds)
  }
  const connection = new Database(db)
  connection.exec(`update log set name = 'changed'`)
  connection.close()
  lastWal = readFileSync(`${db}-wal`)
  current = listGenerations(replica).find(isNew)!
})

afterAll(() => cleanUp())

const segments = (path: string): string[] =>
  listObjects(path).filter((name) => name.includes('/wal/'))
const indexOf = (object: string): number => parseInt(object.split('/').at(-1)!.slice(0, 8), 16)

const isCurrentSnapshot = (name: string): boolean =>
  name.includes(current) && name.includes('/snapshots/')

/** Where a program writes what it restores, in a folder that has nothing else. */
function output(program: Program): string {
  copies += 1
  return join(folder, `${program.name}-${copies}`, 'out.db')
}

interface Restored {
  readonly code: number
  /** Undefined: there is none. */
  readonly bytes: Buffer | undefined
  readonly path: string
  readonly stderr: string
  readonly left: readonly string[]
}

async function restoreBy(program: Program, args: readonly string[]): Promise<Restored> {
  const path = output(program)
  const { code, stderr } = await program.run(['restore', '-o', path, ...args])
  const bytes = existsSync(path) ? readFileSync(path) : undefined
  const place = join(path, '..')
  const left = existsSync(place) ? readdirSync(place).filter((name) => name !== 'out.db') : []
  return { code, bytes, path, stderr, left }
}

/** A copy of the replica with object times as they were. */
function copyReplica(change: (path: (object: string) => string) => void = () => undefined): string {
  copies += 1
  const copy = join(folder, `copy-${copies}`)
  cpSync(replica, copy, { recursive: true, preserveTimestamps: true })
  change((object) => join(copy, object))
  return copy
}

async function startRefusingStore(): Promise<ScriptedS3> {
  const store = await startScriptedS3()
  store.answerWith((_, response) => answerError(response, 403, 'AccessDenied'))
  return store
}

/** A configuration of the database with a replica that refuses, and the one that is there. */
function configureBeside({ endpoint }: ScriptedS3): string {
  copies += 1
  const path = join(folder, `${copies}.yml`)
  const keys = { 'access-key-id': 'a', 'secret-access-key': 'b', region: 'us-east-1' }
  const replicas = [
    { name: 'broken', type: 's3', bucket: 'b', endpoint, ...keys },
    { name: 'whole', path: replica },
  ]
  writeFileSync(path, JSON.stringify({ dbs: [{ path: db, replicas }] }))
  return path
}

describe('a listing', () => {
  test.each([['snapshots'], ['wal'], ['wal', '-generation']])(
    '%s is, to the letter, what Litestream prints',
    async (command, ...flags) => {
      for (const subject of [[`file://${replica}`], ['-config', config, db]]) {
        const generation = flags.length > 0 ? ['-generation', old] : []
        const found = await both((each) => each.run([command, ...generation, ...subject]))
        expect(found.ours.stdout).toBe(found.theirs.stdout)
        expect(found.ours.stdout).toContain(old)
        expect([found.ours.code, found.theirs.code]).toEqual([0, 0])
      }
    },
  )

  test('of generations says what Litestream’s says; a lag goes on', async () => {
    for (const subject of [[`file://${replica}`], ['-config', config, db]]) {
      const found = await both((each) => each.run(['generations', ...subject]))
      const facts = ({ stdout }: Outcome): string[] =>
        stdout
          .split('\n')
          .map((line) => line.split(/ +/).toSpliced(2, 1).join(' '))
          .sort()
      expect(facts(found.ours)).toEqual(facts(found.theirs))
    }
  })

  test.each(['generations', 'snapshots', 'wal'])(
    'of %s that fails is a failure; in Litestream it is not, and what it could list is there',
    async (command) => {
      await using store = await startRefusingStore()
      const path = configureBeside(store)
      const found = await both((each) => each.run([command, '-config', path, db]))
      expect([found.theirs.code, found.ours.code]).toEqual([0, 1])
      const rows = (stdout: string): number => stdout.match(/^whole /gm)?.length ?? 0
      expect(rows(found.ours.stdout)).toBeGreaterThan(0)
      expect(rows(found.ours.stdout)).toBe(rows(found.theirs.stdout))
      // A table is for programs, too, which no log should be in.
      expect(found.theirs.stdout).toContain('level=ERROR')
      expect(found.ours.stdout).not.toContain('level=ERROR')
      expect(found.ours.stderr).toContain('level=ERROR')
    },
  )
})

test.each([
  [['generations'], 'database path or replica URL required'],
  [['snapshots'], 'database path required'],
  [['wal'], 'database path required'],
  [['databases', 'x'], 'too many arguments'],
  [['replicate', 'a.db'], 'must specify at least one replica URL for'],
  [['wal', '-config', 'x', 'file:///x'], 'cannot specify a replica URL and the -config flag'],
  [['restore', 'file:///x'], 'output path required'],
  [['restore', '-nope', 'file:///x'], 'flag provided but not defined: -nope'],
  [['nope'], 'nope: unknown command'],
])('the command line %j is refused with the same words', async (args, words) => {
  const found = await both((each) => each.run(args))
  expect([found.theirs.code, found.ours.code]).toEqual([1, 2])
  expect(found.theirs.stderr).toContain(words)
  expect(found.ours.stderr).toContain(words)
  expect(found.ours.stdout).toBe('')
})

describe.concurrent('a restore', () => {
  const url = (): string => `file://${replica}`
  const none = (): string => `file://${folder}/none`
  const now = (): string => new Date().toISOString()

  test.each<[string, number, number, () => string[]]>([
    ['of all', 0, 0, () => [url()]],
    ['by the configuration', 0, 0, () => ['-config', config, db]],
    ['by a path from here', 0, 0, () => ['-config', config, relative(process.cwd(), db)]],
    ['of one replica', 0, 0, () => ['-config', config, '-replica', 'file', db]],
    ['of a generation', 0, 0, () => ['-generation', old, url()]],
    ['to the end of an index', 0, 0, () => ['-index', '2', url()]],
    ['of an index beyond the last', 0, 0, () => ['-index=0000ffff', url()]],
    ['at one segment at a time', 0, 0, () => ['-parallelism', '0', url()]],
    ['if there is a replica, and there is none', 0, 0, () => ['-if-replica-exists', none()]],
    ['of nothing', 1, 1, () => [none()]],
    ['of a generation that is not there', 1, 1, () => ['-generation', '0123456789abcdef', url()]],
    ['before the beginning', 1, 1, () => ['-timestamp', '2001-01-01T00:00:00Z', url()]],
    ['after the end, which is the end', 1, 0, () => ['-timestamp', now(), url()]],
    ['of a generation that can be none', 1, 2, () => ['-generation', 'x', url()]],
    ['to an index that is none', 1, 2, () => ['-index', 'xyz', url()]],
    ['at a time that is none', 1, 2, () => ['-timestamp', '2001-01-01', url()]],
    ['to an index and a time', 1, 2, () => ['-index', '0', '-timestamp', now(), url()]],
    ['by a URL and a configuration', 1, 2, () => ['-config', config, url()]],
    ['of too much', 1, 2, () => [url(), url()]],
    ['with a flag that there is not', 1, 2, () => ['-nope', url()]],
    ['with -v, which the help of Litestream lists', 1, 2, () => ['-v', url()]],
    ['of a database that is not configured', 1, 78, () => ['-config', config, `${db}x`]],
    ['of a replica that is not', 1, 78, () => ['-config', config, '-replica', 'x', db]],
    ['of a place of no kind', 1, 78, () => ['http://host/path']],
  ])('%s ends with %d in Litestream and with %d here, and gives the same', async (_, ...row) => {
    const [theirCode, ourCode, args] = row
    const found = await both((each) => restoreBy(each, args()))
    expect(found.theirs.code, found.theirs.stderr).toBe(theirCode)
    expect(found.ours.code, found.ours.stderr).toBe(ourCode)
    if (theirCode === 0) expect(found.ours.bytes).toEqual(found.theirs.bytes)
    expect(found.ours.left).toEqual([])
  })

  test('never replaces what exists, and passes over it where that is asked for, as in Litestream', async () => {
    for (const [flags, code] of [
      [[], 1],
      [['-if-db-not-exists'], 0],
    ] as const) {
      const found = await both(async (each) => {
        const path = join(temporaryFolder(), 'there.db')
        writeFileSync(path, 'mine')
        const outcome = await each.run(['restore', ...flags, '-o', path, url()])
        return { code: outcome.code, content: readFileSync(path, 'utf8') }
      })
      expect(found.theirs).toEqual({ code, content: 'mine' })
      expect(found.ours).toEqual(found.theirs)
    }
  })

  test('beside a WAL that was left is refused; with Litestream it is another database when it is opened', async () => {
    const clean = await restoreBy(theirs, ['-index', '1', url()])
    const expected = rowsOf(clean.path)
    const found = await both(async (each) => {
      const path = join(temporaryFolder(), 'out.db')
      writeFileSync(`${path}-wal`, lastWal)
      const { code } = await each.run(['restore', '-o', path, '-index', '1', url()])
      return { code, rows: existsSync(path) ? rowsOrDamage(path) : 'none' }
    })
    expect(found.theirs.code).toBe(0)
    expect(found.theirs.rows).not.toEqual(expected)
    expect(found.ours).toEqual({ code: 1, rows: 'none' })
  })

  test('goes to the other replica when one cannot be reached; in Litestream it fails', async () => {
    await using store = await startRefusingStore()
    const path = configureBeside(store)
    const found = await both((each) => restoreBy(each, ['-config', path, db]))
    const whole = await restoreBy(theirs, [url()])
    expect([found.theirs.code, found.ours.code]).toEqual([1, 0])
    expect(found.ours.bytes).toEqual(whole.bytes)
  })

  test('of a snapshot behind which no WAL is left is the snapshot; Litestream crashes', async () => {
    const copy = copyReplica((path) => {
      const snapshot = Math.max(...listObjects(path('.')).filter(isCurrentSnapshot).map(indexOf))
      expect(snapshot).toBeGreaterThan(1)
      for (const name of segments(path('.'))) {
        if (name.includes(old) || indexOf(name) > 0) rmSync(path(name))
      }
    })
    const found = await both((each) => restoreBy(each, ['-generation', current, `file://${copy}`]))
    expect(found.theirs.code, found.theirs.stderr).toBe(2)
    expect(found.theirs.stderr).toContain('panic')
    expect(found.ours.code, found.ours.stderr).toBe(0)
    for (const name of segments(copy)) rmSync(join(copy, name))
    const alone = await restoreBy(theirs, ['-generation', current, `file://${copy}`])
    expect(alone.code, alone.stderr).toBe(0)
    expect(found.ours.bytes).toEqual(alone.bytes)
  })
})

function rowsOrDamage(path: string): string[] | string {
  try {
    return rowsOf(path)
  } catch (error) {
    return String(error)
  }
}

describe('what Litestream restores with exit code 0, and is not what was stored', () => {
  /** A segment in the middle of the newest generation, at an offset above 0, behind which its index goes on. */
  function middle(): string {
    const names = segments(replica).filter((name) => name.includes(current))
    const at = names.findIndex(
      (name, i) =>
        !name.endsWith('_00000000.wal.lz4') &&
        i + 1 < names.length &&
        indexOf(names[i + 1]!) === indexOf(name),
    )
    expect(at).toBeGreaterThan(0)
    return names[at]!
  }

  async function recode(path: string, change: (content: Buffer) => void): Promise<void> {
    const parts = await Array.fromAsync(decodeFrame(source(readFileSync(path))))
    const content = Buffer.concat(parts)
    change(content)
    const encoder = (await createLz4Compressor()).startFrame()
    const body = [encoder.header(), encoder.block(content), encoder.end()]
    writeFileSync(path, Buffer.concat(body))
  }

  async function* source(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
    yield await Promise.resolve(bytes)
  }

  test.each<[string, (path: string) => void | Promise<void>]>([
    ['a missing segment', (path) => rmSync(path)],
    [
      'a page that is not what its checksum says, in a frame that is whole',
      (path) => recode(path, (content) => content.writeUInt8(content.at(1000)! ^ 1, 1000)),
    ],
    [
      'a second frame in an object',
      (path) => writeFileSync(path, Buffer.concat([readFileSync(path), readFileSync(path)])),
    ],
  ])('%s is refused, and nothing is left', async (_, damage) => {
    const name = middle()
    const copy = copyReplica((path) => {
      // The oldest one needs all of the WAL.
      const snapshots = listObjects(replica).filter(isCurrentSnapshot)
      for (const snapshot of snapshots.slice(1)) rmSync(path(snapshot))
    })
    await damage(join(copy, name))
    const args = ['-generation', current, `file://${copy}`]
    const found = await both((each) => restoreBy(each, args))
    expect(found.theirs.code, found.theirs.stderr).toBe(0)
    expect(found.ours.code, found.ours.stderr).toBe(1)
    expect(found.ours.stderr).toContain(`generations/${current}/wal/`)
    expect(found.ours.bytes).toBeUndefined()
    expect(found.ours.left).toEqual([])
  })
})
