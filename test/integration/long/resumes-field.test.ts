/**
 * What people do to database files, with a page map: found, stored as what differs, and said. Whatever is restored is what the
 * application's SQLite reads, or it is refused.
 */
import Database from 'better-sqlite3'
import { execFileSync } from 'node:child_process'
import {
  closeSync,
  copyFileSync,
  cpSync,
  existsSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import {
  cleanUp,
  listGenerations,
  listObjects,
  run,
  type Running,
  until,
} from '../../support/cli.ts'
import { type Scene, scene, startReplicating } from '../../support/scene.ts'

afterEach(cleanUp)

const withMap = { 'page-map': true }
/** The file is compared every second, once the WAL was copied back. */
const scrubbed = { 'page-map': true, 'scrub-interval': '1s', 'checkpoint-interval': '2s' }

/** Rows as text, or why they cannot be read. */
function rowsOf(path: string): string {
  const database = new Database(path)
  try {
    database.pragma('schema_version')
    const problem = String(database.pragma('integrity_check', { simple: true }))
    if (problem !== 'ok') return `damaged`
    return String(
      database.prepare("select count(*) || ':' || group_concat(text) from t").pluck().get(),
    )
  } catch (error) {
    if (error instanceof Database.SqliteError) return 'damaged'
    throw error
  } finally {
    database.close()
  }
}

interface Content {
  /** Tells its rows from those of another. */
  readonly mark?: string
  readonly pageSize?: number
  readonly rows?: number
  readonly hasIndex?: boolean
}

/** A database that was checkpointed and closed. */
function make(
  path: string,
  { mark = 'row', pageSize = 4096, rows = 200, hasIndex = false }: Content,
): void {
  const database = new Database(path)
  database.pragma(`page_size = ${pageSize}`)
  database.pragma('journal_mode = wal')
  database.exec('create table t (n integer primary key, text text)')
  if (hasIndex) database.exec('create index by_text on t (text)')
  const insert = database.prepare('insert into t (text) values (?)')
  database.transaction(() => {
    for (let i = 0; i < rows; i += 1) insert.run(`${mark} ${i} ${'x'.repeat(200)}`)
  })()
  database.pragma('wal_checkpoint(TRUNCATE)')
  database.close()
}

function commit(path: string, ...texts: string[]): boolean {
  const database = new Database(path)
  try {
    for (const text of texts) database.prepare('insert into t (text) values (?)').run(text)
    return true
  } catch (error) {
    if (error instanceof Database.SqliteError) return false
    throw error
  } finally {
    database.close()
  }
}

const storedBytes = (replica: string): number =>
  listObjects(replica).reduce((sum, name) => sum + statSync(join(replica, name)).size, 0)
const snapshotCount = (replica: string): number =>
  listObjects(replica).filter((name) => name.includes('/snapshots/')).length

async function begun(made: Scene, settings: Record<string, unknown> = withMap): Promise<Running> {
  const daemon = startReplicating(made, settings)
  await daemon.waitFor(/snapshot written/)
  expect(commit(made.db, 'captured')).toBe(true)
  await daemon.waitFor(/wal segment written/)
  if (settings === withMap) await daemon.waitFor(/at rest/, { times: daemon.count(/at rest/) + 1 })
  return daemon
}

/** The newest commit, restored, is what SQLite reads of the live database; what is damaged there may be refused. */
async function expectSame(made: Scene, name = 'end'): Promise<void> {
  const wanted = rowsOf(made.db)
  const output = made.out(name)
  const outcome = await run('restore', '-o', output, `file://${made.replica}`)
  if (outcome.code !== 0 && wanted === 'damaged') return
  expect(outcome.code, outcome.stderr).toBe(0)
  expect(rowsOf(output)).toBe(wanted)
}

/** Over the file, as `cp` does: the same inode. */
function copyOver(from: string, to: string): void {
  execFileSync('cp', [from, to])
}

const contents: Record<string, Content> = {
  'of the same size': {},
  'that is smaller': { rows: 50 },
  'that is larger': { rows: 500 },
  'with an index in the schema': { hasIndex: true },
}

describe('a file copied over the database', () => {
  for (const [what, content] of Object.entries(contents)) {
    for (const isRunning of [false, true]) {
      for (const removesLog of [false, true]) {
        const how = `${isRunning ? 'while the application runs' : 'while it is stopped'}${removesLog ? ', -wal and -shm removed' : ''}`
        test(`${what}, ${how}`, async () => {
          const made = scene()
          const saved = join(made.folder, 'saved.db')
          make(saved, { mark: 'saved', ...content })
          make(made.db, {})
          const daemon = await begun(made)
          const application = isRunning ? new Database(made.db) : undefined
          application?.prepare('select count(*) from t').get()
          const before = daemon.count(/msg=resumed/)
          copyOver(saved, made.db)
          if (removesLog) for (const suffix of ['-wal', '-shm']) rmSync(`${made.db}${suffix}`)
          await daemon.waitFor(/msg=resumed/, { times: before + 1 })
          application?.close()
          await until(
            () => commit(made.db, 'new') || rowsOf(made.db) === 'damaged',
            20_000,
            'the application to go on',
          )
          expect(await daemon.stop()).toBe(0)
          expect(daemon.output).toMatch(
            removesLog
              ? /level=ERROR.*-wal or -shm of the database was replaced/
              : /level=ERROR.*changed by something other than SQLite.*changedPages=\d+.*hint=/,
          )
          expect(daemon.output).toMatch(/msg=resumed.*how=appended/)
          expect(listGenerations(made.replica)).toHaveLength(1)
          expect(snapshotCount(made.replica)).toBe(1)
          await expectSame(made)
        })
      }
    }
  }

  test('of another page size begins a generation', async () => {
    const made = scene()
    const saved = join(made.folder, 'saved.db')
    make(saved, { mark: 'saved', pageSize: 1024 })
    make(made.db, {})
    let daemon = await begun(made)
    expect(await daemon.stop()).toBe(0)
    copyOver(saved, made.db)
    for (const suffix of ['-wal', '-shm']) rmSync(`${made.db}${suffix}`, { force: true })
    daemon = startReplicating(made, withMap)
    await daemon.waitFor(/new generation/)
    await daemon.waitFor(/snapshot written/)
    expect(await daemon.stop()).toBe(0)
    expect(listGenerations(made.replica)).toHaveLength(2)
    await expectSame(made)
  })

  test.each(['kept', 'removed'])(
    'while nothing runs, its log %s, is appended at the next start',
    async (log) => {
      const made = scene()
      const saved = join(made.folder, 'saved.db')
      make(saved, { mark: 'saved', rows: 100 })
      make(made.db, {})
      let daemon = await begun(made)
      expect(await daemon.stop()).toBe(0)
      copyOver(saved, made.db)
      if (log === 'removed')
        for (const suffix of ['-wal', '-shm']) rmSync(`${made.db}${suffix}`, { force: true })
      daemon = startReplicating(made, withMap)
      await daemon.waitFor(/msg=resumed.*how=appended/)
      commit(made.db, 'new')
      expect(await daemon.stop()).toBe(0)
      expect(listGenerations(made.replica)).toHaveLength(1)
      await expectSame(made)
    },
  )
})

describe('a file put in the place of the database by mv', () => {
  test.each([false, true])('is appended (under the daemon: %s)', async (isRunning) => {
    const made = scene()
    const saved = join(made.folder, 'saved.db')
    make(saved, { mark: 'saved', rows: 150 })
    make(made.db, {})
    let daemon = await begun(made)
    if (!isRunning) expect(await daemon.stop()).toBe(0)
    for (const suffix of ['-wal', '-shm']) rmSync(`${made.db}${suffix}`, { force: true })
    renameSync(saved, made.db)
    if (!isRunning) daemon = startReplicating(made, withMap)
    await daemon.waitFor(/msg=resumed.*how=appended/)
    await until(() => commit(made.db, 'new'), 20_000, 'the application to go on')
    expect(await daemon.stop()).toBe(0)
    expect(listGenerations(made.replica)).toHaveLength(1)
    await expectSame(made)
    // The next start knows the file.
    daemon = startReplicating(made, withMap)
    await daemon.waitFor(/msg=resumed.*how=(proven|scanned)/)
    expect(await daemon.stop()).toBe(0)
    expect(listGenerations(made.replica)).toHaveLength(1)
  })
})

test('a volume that is rolled back with its local state is never appended to', async () => {
  const made = scene()
  make(made.db, {})
  const volume = (): string[] => readdirSync(made.folder).filter((name) => /^\.?app\.db/.test(name))
  let daemon = await begun(made)
  expect(await daemon.stop()).toBe(0)
  const image = join(made.folder, 'image')
  for (const name of volume())
    cpSync(join(made.folder, name), join(image, name), { recursive: true })
  daemon = startReplicating(made, withMap)
  await daemon.waitFor(/generation continues/)
  commit(made.db, 'lost with the rollback')
  expect(await daemon.stop()).toBe(0)
  for (const name of volume()) rmSync(join(made.folder, name), { recursive: true })
  for (const name of readdirSync(image))
    cpSync(join(image, name), join(made.folder, name), { recursive: true })
  // Committed unseen, so that the WAL proves nothing.
  commit(made.db, 'after the rollback')
  daemon = startReplicating(made, withMap)
  await daemon.waitFor(
    /new generation.*reason="replica (is ahead of|differs from) the local state"/,
  )
  await daemon.waitFor(/snapshot written/)
  expect(await daemon.stop()).toBe(0)
  expect(listGenerations(made.replica)).toHaveLength(2)
  await expectSame(made)
})

/** Writes into the file, past SQLite. */
function poke(path: string, page: number, at = 100): void {
  const file = openSync(path, 'r+')
  const before = readFileSync(path).subarray((page - 1) * 4096, page * 4096)
  const after = Buffer.from(before)
  after[at] = after[at]! ^ 0xff
  writeSync(file, after, 0, 4096, (page - 1) * 4096)
  closeSync(file)
}

describe('pages written past SQLite', () => {
  test.each([
    [
      'dd',
      ({ db }: Scene, saved: string) =>
        execFileSync('dd', [`if=${saved}`, `of=${db}`, 'bs=4096', 'conv=notrunc', 'status=none']),
    ],
    [
      'rsync --inplace',
      ({ db }: Scene, saved: string) => execFileSync('rsync', ['--inplace', '-a', saved, db]),
    ],
  ])('by %s are found, appended and said', async (tool, write) => {
    if (tool.startsWith('rsync') && !existsSync('/usr/bin/rsync')) return
    const made = scene()
    const saved = join(made.folder, 'saved.db')
    make(saved, { mark: 'saved', rows: 220 })
    make(made.db, {})
    const daemon = await begun(made)
    write(made, saved)
    await daemon.waitFor(/level=ERROR.*changed by something other than SQLite.*changedPages=\d+/)
    await daemon.waitFor(/msg=resumed.*how=appended/)
    expect(await daemon.stop()).toBe(0)
    expect(listGenerations(made.replica)).toHaveLength(1)
    await expectSame(made)
  })

  test('a file that is only touched costs nothing, and is no error', async () => {
    const made = scene()
    make(made.db, {})
    const daemon = await begun(made)
    const before = storedBytes(made.replica)
    utimesSync(made.db, new Date(), new Date())
    await daemon.waitFor(/msg=resumed.*how=scanned.*changedPages=0/)
    expect(await daemon.stop()).toBe(0)
    expect(storedBytes(made.replica)).toBe(before)
    expect(daemon.output).not.toMatch(/level=ERROR/)
    await expectSame(made)
  })

  test('a page that is flipped by hand, its times as before, is found by the scrub, which names it and says what to do', async () => {
    const made = scene()
    make(made.db, {})
    const daemon = await begun(made, scrubbed)
    const times = join(made.folder, 'times')
    execFileSync('touch', ['-r', made.db, times])
    poke(made.db, 7)
    // To the nanosecond: else it is known by its times.
    execFileSync('touch', ['-r', times, made.db])
    await daemon.waitFor(
      /level=ERROR.*database file differs from what is stored.*page 7\b.*hint=/,
      {
        timeoutMs: 90_000,
      },
    )
    await daemon.waitFor(/msg=resumed.*how=appended.*changedPages=1/)
    expect(await daemon.stop()).toBe(0)
    expect(listGenerations(made.replica)).toHaveLength(1)
    await expectSame(made)
  })

  test('that are still being written are waited for, and the daemon is not ready', async () => {
    const made = scene()
    make(made.db, { rows: 2000 })
    const daemon = await begun(made)
    let page = 2
    const writing = setInterval(() => poke(made.db, (page += 1)), 20)
    await daemon.waitFor(/level=ERROR.*is being written by something other than SQLite/)
    const before = storedBytes(made.replica)
    clearInterval(writing)
    expect(before).toBeGreaterThan(0)
    await daemon.waitFor(/msg=resumed.*how=appended/)
    expect(await daemon.stop()).toBe(0)
    expect(listGenerations(made.replica)).toHaveLength(1)
  })
})

test('SQLite’s backup API into the live database passes the WAL, and is captured as any commit', async () => {
  const made = scene()
  const saved = join(made.folder, 'saved.db')
  make(saved, { mark: 'saved', rows: 300, hasIndex: true })
  make(made.db, {})
  const daemon = await begun(made)
  const script = `import sqlite3,sys
a=sqlite3.connect(sys.argv[1]); b=sqlite3.connect(sys.argv[2]); a.backup(b); b.close(); a.close()`
  execFileSync('python3', ['-c', script, saved, made.db])
  commit(made.db, 'new')
  expect(await daemon.stop()).toBe(0)
  expect(listGenerations(made.replica)).toHaveLength(1)
  await expectSame(made)
})

test('a copy of the file itself over it, unchanged, stores nothing', async () => {
  const made = scene()
  make(made.db, {})
  let daemon = await begun(made)
  expect(await daemon.stop()).toBe(0)
  const database = new Database(made.db)
  database.pragma('wal_checkpoint(TRUNCATE)')
  database.close()
  const copy = join(made.folder, 'copy.db')
  copyFileSync(made.db, copy)
  copyOver(copy, made.db)
  const before = storedBytes(made.replica)
  daemon = startReplicating(made, withMap)
  await daemon.waitFor(/msg=resumed.*how=scanned/)
  expect(await daemon.stop()).toBe(0)
  expect(storedBytes(made.replica)).toBe(before)
})
