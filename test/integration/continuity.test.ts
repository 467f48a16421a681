import Database from 'better-sqlite3'
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  closeSync,
  openSync,
  readdirSync,
  readFileSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import { WalCapture } from '../../src/infrastructure/sqlite/wal-capture.js'
import { type CaptureCursor, type CapturedRun } from '../../src/usecase/ports/managed-database.js'
import {
  cleanUp,
  listGenerations,
  restore,
  root,
  start,
  temporaryFolder,
  until,
  writeConfig,
} from '../support/cli.ts'
import { hasCompiler, Trap } from '../support/kill-at-call.ts'

afterEach(cleanUp)

const cursorAfter = (run: CapturedRun): CaptureCursor => ({
  position: run.end,
  pageSizeBytes: run.pageSizeBytes,
  bigEndian: run.bigEndian,
  salts: run.salts,
  checksum: run.checksumAfter,
  source: run.source,
})

/** A database with a WAL, captured to its end by a capture that is gone since: the daemon is down. */
function captured(): { file: string; writer: Database.Database; cursor: CaptureCursor } {
  const file = join(temporaryFolder(), 'app.db')
  const writer = new Database(file)
  writer.pragma('journal_mode = wal')
  writer.pragma('wal_autocheckpoint = 0')
  writer.exec('create table t (n integer primary key, text text)')
  for (let n = 0; n < 20; n += 1) writer.prepare('insert into t (text) values (?)').run('x')
  const capture = new WalCapture(file)
  capture.open()
  capture.begin(undefined)
  const last = capture.capture(1 << 24).runs.at(-1)
  capture.close()
  if (last === undefined) throw new Error('nothing was captured')
  return { file, writer, cursor: cursorAfter(last) }
}

test('a database that cannot be opened costs no descriptor, however often it is tried', () => {
  const file = join(temporaryFolder(), 'app.db')
  writeFileSync(file, 'this is no database, and longer than the header of one: '.repeat(40))
  const descriptors = (): number => readdirSync('/proc/self/fd').length
  const before = descriptors()
  for (let i = 0; i < 20; i += 1) {
    const capture = new WalCapture(file)
    expect(() => capture.open()).toThrow(/not a database/)
    capture.close()
  }
  expect(descriptors()).toBe(before)
})

const insert = (writer: Database.Database): unknown =>
  writer.prepare('insert into t (text) values (?)').run('y'.repeat(500))

describe('the first look after the daemon was down', () => {
  test('goes on where it stopped when the WAL only grew', () => {
    const { file, writer, cursor } = captured()
    insert(writer)
    const capture = new WalCapture(file)
    capture.open()
    expect(capture.begin(cursor)).toEqual({ kind: 'continuous' })
    const [run] = capture.capture(1 << 24).runs
    expect(run?.start).toEqual(cursor.position)
    capture.close()
    writer.close()
  })

  test('ends the generation when the WAL restarts under the first copy, whose tail nobody read', () => {
    const { file, writer, cursor } = captured()
    insert(writer)
    writer.pragma('wal_checkpoint(PASSIVE)')
    const capture = new WalCapture(file)
    capture.open()
    // Its reader is on mark 0, as everything is copied back: the next write restarts the WAL under it.
    expect(capture.begin(cursor)).toEqual({ kind: 'continuous' })
    insert(writer)
    const { continuity, runs } = capture.capture(1 << 24)
    expect(runs).toEqual([])
    expect(continuity).toMatchObject({
      kind: 'broken',
      reason: 'wal restarted during the first look',
    })
    expect(capture.begin(undefined)).toEqual({ kind: 'continuous' })
    expect(capture.capture(1 << 24).runs[0]?.start).toEqual({ index: 0, offset: 0 })
    capture.close()
    writer.close()
  })

  test.each(['RESTART', 'TRUNCATE'])(
    'ends it when the application restarted the WAL (%s)',
    (mode) => {
      const { file, writer, cursor } = captured()
      writer.pragma(`wal_checkpoint(${mode})`)
      insert(writer)
      const capture = new WalCapture(file)
      capture.open()
      expect(capture.begin(cursor)).toMatchObject({
        kind: 'broken',
        reason: 'wal restarted while it was not watched',
      })
      capture.close()
      writer.close()
    },
  )

  test('ends it when the application closed, and so deleted, the WAL', () => {
    const { file, writer, cursor } = captured()
    writer.close()
    const capture = new WalCapture(file)
    capture.open()
    expect(capture.begin(cursor)).toMatchObject({ kind: 'broken', reason: 'no wal' })
    capture.close()
  })

  test.each([
    ['is shorter than what was captured', 'wal truncated by another process'],
    ['has another frame where capturing stood', 'wal overwritten by another process'],
  ])('ends it when the WAL %s under equal salts', (_how, reason) => {
    const { file, writer, cursor } = captured()
    // As after power loss: nobody has the database open, and the wal-index is rebuilt from what is left.
    const wal = readFileSync(`${file}-wal`)
    const database = readFileSync(file)
    writer.close()
    writeFileSync(file, database)
    writeFileSync(`${file}-wal`, wal)
    const frame = cursor.pageSizeBytes + 24
    const changed =
      reason === 'wal truncated by another process'
        ? cursor
        : { ...cursor, checksum: { s0: 1, s1: 2 } }
    if (changed === cursor) truncateSync(`${file}-wal`, statSync(`${file}-wal`).size - 3 * frame)
    const capture = new WalCapture(file)
    capture.open()
    expect(capture.begin(changed)).toMatchObject({ kind: 'broken', reason })
    capture.close()
  })

  test('ends it when the indexes are used up', () => {
    const { file, writer, cursor } = captured()
    const capture = new WalCapture(file)
    capture.open()
    expect(
      capture.begin({ ...cursor, position: { index: 0x7fff_ffff, offset: 32 } }),
    ).toMatchObject({ kind: 'broken', reason: 'max index exceeded' })
    capture.close()
    writer.close()
  })
})

describe('a WAL that is being restarted in the very moment of the first look', () => {
  test.skipIf(!hasCompiler)(
    'ends the generation, as its tail was never read (a writer held up before the header; needs a C compiler)',
    async () => {
      const { file, writer, cursor } = captured()
      insert(writer)
      writer.pragma('wal_checkpoint(PASSIVE)')
      const capture = new WalCapture(file)
      capture.open()
      expect(capture.begin(cursor)).toEqual({ kind: 'continuous' })
      const trap = new Trap(
        dirname(file),
        { calls: 'write', path: 'app\\.db-wal$' },
        { moment: 'hold', armed: true },
      )
      const script = `
        const Database = require('better-sqlite3')
        new Database(process.argv[1]).prepare('insert into t (text) values (?)').run('restarts the WAL')
      `
      const child = spawn(process.execPath, ['-e', script, file], {
        cwd: root,
        stdio: 'inherit',
        env: { ...process.env, ...trap.env },
      })
      const exited = once(child, 'exit')
      await until(() => trap.killed !== undefined, 20_000, 'the writer to be held up')
      // The wal-index is empty, and the header in the file is still that of the WAL whose tail nobody read.
      const held = capture.capture(1 << 24)
      child.kill('SIGCONT')
      await exited
      expect(held).toMatchObject({
        continuity: { kind: 'broken', reason: 'wal restarted during the first look' },
        runs: [],
      })
      expect(capture.begin(undefined)).toEqual({ kind: 'continuous' })
      expect(capture.capture(1 << 24).runs[0]?.start).toEqual({ index: 0, offset: 0 })
      capture.close()
      writer.close()
    },
  )
})

describe('a commit frame that was never published', () => {
  test.skipIf(!hasCompiler)(
    'is in no restore, and the generation goes on (a writer killed in its sync; needs a C compiler)',
    async () => {
      const folder = temporaryFolder()
      const db = join(folder, 'app.db')
      const replica = join(folder, 'replica')
      const trap = new Trap(
        folder,
        { calls: 'sync', path: 'app\\.db-wal$' },
        { moment: 'before', armed: false },
      )
      const script = `
        const Database = require('better-sqlite3')
        const db = new Database(process.argv[1], { timeout: 5000 })
        db.pragma('journal_mode = wal'); db.pragma('synchronous = FULL'); db.pragma('wal_autocheckpoint = 0')
        db.exec('create table if not exists t (n integer primary key, text text)')
        const write = (text) => db.prepare('insert into t (text) values (?)').run(text)
        write('acknowledged before')
        if (process.argv[2] !== 'after') {
          require('fs').writeFileSync(process.env.KILL_WHEN, '')
          write('never acknowledged')
        }
        process.exit(0)
      `
      const write = async (mode: string): Promise<NodeJS.Signals | null> => {
        const child = spawn(process.execPath, ['-e', script, db, mode], {
          cwd: root,
          stdio: 'inherit',
          env: {
            ...process.env,
            ...(mode === 'killed' ? trap.env : {}),
          },
        })
        await once(child, 'exit')
        return child.signalCode
      }
      const keeper = new Database(db)
      keeper.pragma('journal_mode = wal')
      keeper.exec('create table t (n integer primary key, text text)')
      const daemon = start(
        'replicate',
        '-config',
        writeConfig(folder, { path: db, replicas: [replica] }),
      )
      await daemon.waitFor(/snapshot written/)
      expect(await write('killed')).toBe('SIGKILL')
      // The frame is in the file now, valid in the chain, and no reader will ever see it.
      expect(await write('after')).toBe(null)
      daemon.child.kill('SIGTERM')
      expect(await daemon.exit(30_000)).toBe(0)
      const output = join(folder, 'restored.db')
      await restore(replica, output)
      const rows = (path: string): unknown[] => {
        const database = new Database(path, { readonly: true })
        try {
          return database.prepare('select text from t order by n').pluck().all()
        } finally {
          database.close()
        }
      }
      expect(rows(output)).toEqual(['acknowledged before', 'acknowledged before'])
      expect(rows(output)).toEqual(keeper.prepare('select text from t order by n').pluck().all())
      expect(listGenerations(replica)).toHaveLength(1)
      keeper.close()
    },
  )
})

describe('a reader that began while another process copied pages back', () => {
  test.skipIf(!hasCompiler)(
    'is renewed though nothing changes, so that a TRUNCATE need not wait for it (needs a C compiler)',
    async () => {
      const folder = temporaryFolder()
      const locker = join(folder, 'lock-byte')
      execFileSync('cc', ['-o', locker, join(root, 'test/support/lock-byte.c')])
      const file = join(folder, 'app.db')
      const writer = new Database(file, { timeout: 0 })
      writer.pragma('journal_mode = wal')
      writer.pragma('wal_autocheckpoint = 0')
      writer.exec('create table t (n integer primary key, text text)')
      const capture = new WalCapture(file)
      capture.open()
      capture.begin(undefined)
      insert(writer)
      capture.capture(1 << 24)
      writer.pragma('wal_checkpoint(PASSIVE)')
      // The lock of readers that need no WAL, as a checkpoint holds it until it has ended.
      const child = spawn(locker, [`${file}-shm`, '123'], { stdio: ['pipe', 'pipe', 'inherit'] })
      await once(child.stdout, 'data')
      expect(capture.capture(1 << 24)).toMatchObject({ changed: true, runs: [] })
      const exited = once(child, 'exit')
      child.stdin.end()
      await exited
      const truncate = (): unknown => (writer.pragma('wal_checkpoint(TRUNCATE)') as object[])[0]
      expect(truncate()).toMatchObject({ busy: 1 })
      await until(
        () => {
          expect(capture.capture(1 << 24)).toMatchObject({ runs: [] })
          return (truncate() as { busy: number }).busy === 0
        },
        1000,
        'the TRUNCATE to succeed',
      )
      capture.close()
      writer.close()
    },
  )
})

describe('a -wal file that another program damages under a running application', () => {
  test('is said once, copied back, and costs one generation', async () => {
    const folder = temporaryFolder()
    const db = join(folder, 'app.db')
    const replica = join(folder, 'replica')
    const writer = new Database(db)
    writer.pragma('journal_mode = wal')
    writer.exec('create table t (n integer primary key, text text)')
    insert(writer)
    const daemon = start(
      'replicate',
      '-config',
      writeConfig(folder, { path: db, replicas: [replica] }),
    )
    await daemon.waitFor(/snapshot written/)
    insert(writer)
    const wal = openSync(`${db}-wal`, 'r+')
    writeSync(wal, Buffer.alloc(32, 0xff), 0, 32, 0)
    closeSync(wal)
    insert(writer)
    await daemon.waitFor(/level=ERROR.*WAL is unreadable/)
    await daemon.waitFor(/snapshot written/, { times: 2 })
    // The application restarts the WAL.
    insert(writer)
    expect(await daemon.stop()).toBe(0)
    expect(daemon.count(/WAL is unreadable/)).toBe(1)
    expect(daemon.count(/msg="new generation"/)).toBe(2)
    await restore(replica, join(folder, 'out.db'))
    const restored = new Database(join(folder, 'out.db'), { readonly: true })
    const count = (of: Database.Database): unknown =>
      of.prepare('select count(*) from t').pluck().get()
    expect(count(restored)).toBe(4)
    restored.close()
    writer.close()
  })

  test('and of which frames are gone is not copied back, and begins no generation', async () => {
    const folder = temporaryFolder()
    const db = join(folder, 'app.db')
    const writer = new Database(db)
    writer.pragma('journal_mode = wal')
    writer.exec('create table t (n integer primary key, text text)')
    insert(writer)
    const config = writeConfig(folder, { path: db, replicas: [join(folder, 'replica')] })
    const daemon = start('replicate', '-config', config)
    await daemon.waitFor(/snapshot written/)
    const before = readFileSync(db)
    truncateSync(`${db}-wal`, 0)
    await daemon.waitFor(/level=ERROR.*WAL is unreadable/)
    await new Promise((resolve) => setTimeout(resolve, 1500))
    expect(readFileSync(db).equals(before)).toBe(true)
    expect(daemon.count(/msg="new generation"/)).toBe(1)
    expect(daemon.count(/WAL is unreadable/)).toBe(1)
    // What was committed since is not known to be stored.
    expect(await daemon.stop()).toBe(74)
    writer.close()
  })
})
