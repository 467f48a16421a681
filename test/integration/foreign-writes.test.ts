/** The database file is changed by something other than SQLite, or under another name. */
import Database from 'better-sqlite3'
import { execFileSync, spawnSync } from 'node:child_process'
import {
  closeSync,
  copyFileSync,
  linkSync,
  mkdirSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, describe, expect, test } from 'vitest'
import {
  cleanUp,
  listGenerations,
  program,
  restore,
  run,
  type Running,
  Running as Process,
  until,
  writeConfig,
} from '../support/cli.ts'
import { sayAtTheEnd } from '../support/last-lines.ts'
import { type Scene, scene, startReplicating } from '../support/scene.ts'

afterEach(cleanUp)

const canMount = spawnSync('unshare', ['-m', 'true']).status === 0
if (!canMount)
  sayAtTheEnd('no mount namespaces (unshare -m): no database was mounted as a single file')

const rows = (path: string): unknown => {
  const database = new Database(path, { readonly: true })
  try {
    return database.prepare('select group_concat(text) from t').pluck().get()
  } finally {
    database.close()
  }
}

/** The application runs, commits these, and stops. Nobody but it checkpoints. */
function commit(db: string, ...texts: string[]): void {
  const database = new Database(db)
  try {
    database.pragma('journal_mode = wal')
    database.exec('create table if not exists t (n integer primary key, text text)')
    for (const text of texts) database.prepare('insert into t (text) values (?)').run(text)
  } finally {
    // Left open, it keeps the index of a log that was removed, and nobody can make another one.
    database.close()
  }
}

function canCommit(db: string, ...texts: string[]): boolean {
  try {
    commit(db, ...texts)
    return true
  } catch (error) {
    if (error instanceof Database.SqliteError) return false
    throw error
  }
}

/** A database and an older copy of it. */
function aged(): Scene & { readonly saved: string } {
  const made = scene()
  const saved = join(made.folder, 'saved.db')
  commit(made.db, 'old')
  copyFileSync(made.db, saved)
  commit(made.db, 'lost', 'lost')
  return { ...made, saved }
}

const checkpointed = (db: string): void => {
  const database = new Database(db)
  database.pragma('wal_checkpoint(PASSIVE)')
  database.close()
}

/** Waits until what was just committed is stored, and the daemon idle. */
async function stored(daemon: Running): Promise<void> {
  await daemon.waitFor(/wal segment written/)
  await daemon.waitFor(/at rest/, { times: daemon.count(/at rest/) + 1 })
}

async function expectNewGeneration(daemon: Running): Promise<void> {
  await daemon.waitFor(/level=ERROR.*changed by something other than SQLite/)
  await daemon.waitFor(/new generation.*reason="database file written past its wal"/)
}

describe('a saved copy written over the database', () => {
  test.each([
    ['all of the WAL was copied back', true],
    ['frames of the WAL were not copied back', false],
  ])(
    'while the application is stopped, and %s, begins a generation of what it then has',
    async (_, isCopied) => {
      const { db, saved, replica, folder, out } = aged()
      const daemon = startReplicating({ folder, db, replica })
      await daemon.waitFor(/snapshot written/)
      commit(db, 'lost too')
      if (isCopied) checkpointed(db)
      await stored(daemon)
      execFileSync('cp', [saved, db])
      await expectNewGeneration(daemon)
      commit(db, 'new')
      expect(await daemon.stop()).toBe(0)
      expect(listGenerations(replica)).toHaveLength(2)
      const wanted = rows(db)
      await restore(replica, out('end'))
      expect(rows(out('end'))).toEqual(wanted)
      expect(daemon.count(/changed by something other than SQLite/)).toBe(1)
    },
  )

  test('while nothing runs is known by what the file was at the end of the run before', async () => {
    const { db, saved, replica, folder, out } = aged()
    let daemon = startReplicating({ folder, db, replica })
    await daemon.waitFor(/snapshot written/)
    commit(db, 'lost too')
    await stored(daemon)
    expect(await daemon.stop()).toBe(0)
    execFileSync('cp', [saved, db])
    daemon = startReplicating({ folder, db, replica })
    await expectNewGeneration(daemon)
    expect(await daemon.stop()).toBe(0)
    const wanted = rows(db)
    await restore(replica, out('end'))
    expect(rows(out('end'))).toEqual(wanted)
  })

  test('a page of which is changed in place begins one, too, and one that is untouched goes on', async () => {
    const { db, replica, folder } = aged()
    let daemon = startReplicating({ folder, db, replica })
    await daemon.waitFor(/snapshot written/)
    commit(db, 'more')
    await stored(daemon)
    expect(await daemon.stop()).toBe(0)
    daemon = startReplicating({ folder, db, replica })
    await daemon.waitFor(/generation continues/)
    await daemon.waitFor(/at rest/)
    expect(daemon.output).not.toContain('new generation')
    const file = openSync(db, 'r+')
    writeSync(file, readFileSync(db).subarray(4096, 4096 + 512), 0, 512, 4096)
    closeSync(file)
    await expectNewGeneration(daemon)
    expect(await daemon.stop()).toBe(0)
  })
})

describe('a log that is removed under the daemon', () => {
  test.each([
    ['its -wal', ['-wal']],
    ['its -shm', ['-shm']],
    ['both, and a saved copy written over the database,', ['-wal', '-shm']],
  ])(
    '(%s) ends the generation, and the next one has what is committed then',
    async (_, suffixes) => {
      const { db, saved, replica, folder, out } = aged()
      const daemon = startReplicating({ folder, db, replica })
      await daemon.waitFor(/snapshot written/)
      commit(db, 'more')
      checkpointed(db)
      await stored(daemon)
      if (suffixes.length > 1) execFileSync('cp', [saved, db])
      execFileSync(
        'rm',
        suffixes.map((suffix) => `${db}${suffix}`),
      )
      await daemon.waitFor(/level=ERROR.*-wal or -shm of the database was replaced.*hint=/)
      // As long as the daemon has the removed log open, SQLite finds what it says missing in the other one.
      await until(
        () => canCommit(db, 'new', 'new too'),
        20_000,
        () => `the daemon to let the log go: ${daemon.output}`,
      )
      await daemon.waitFor(/new generation.*reason="wal replaced"/)
      commit(db, 'and more')
      expect(await daemon.stop()).toBe(0)
      const wanted = rows(db)
      await restore(replica, out('end'))
      expect(rows(out('end'))).toEqual(wanted)
    },
  )

  test('is let go when frames are lost with it, so that the application can make it anew', async () => {
    const { db, replica, folder, out } = aged()
    const daemon = startReplicating({ folder, db, replica })
    await daemon.waitFor(/snapshot written/)
    // As long as one connection is there, whoever comes is told of frames that are not in the other -wal.
    const application = new Database(db)
    application.exec("insert into t (text) values ('more')")
    await stored(daemon)
    rmSync(`${db}-wal`)
    await daemon.waitFor(/level=ERROR.*WAL is unreadable/)
    expect(canCommit(db, 'new')).toBe(false)
    application.close()
    await until(() => canCommit(db, 'new'), 20_000, 'the application to make its log anew')
    await daemon.waitFor(/new generation.*reason="wal/)
    expect(await daemon.stop()).toBe(0)
    expect(daemon.count(/WAL is unreadable/)).toBe(1)
    const wanted = rows(db)
    await restore(replica, out('end'))
    expect(rows(out('end'))).toEqual(wanted)
  })

  test('to which the application goes on writing is never silent, and over when that is started again', async () => {
    const { db, replica, folder, out } = aged()
    const config = writeConfig(folder, { path: db, replicas: [replica] })
    const daemon = new Process('tsreplicate', process.execPath, [
      program,
      'replicate',
      '-config',
      config,
    ])
    await daemon.waitFor(/snapshot written/)
    const application = new Database(db)
    const insert = application.prepare('insert into t (text) values (?)')
    insert.run('more')
    await stored(daemon)
    rmSync(`${db}-wal`)
    await daemon.waitFor(/level=ERROR.*-wal or -shm of the database was replaced/)
    insert.run('into the removed file')
    await daemon.waitFor(/level=ERROR.*WAL is unreadable/)
    expect((await run('status', '-config', config)).code).not.toBe(0)
    application.pragma('wal_checkpoint(PASSIVE)')
    application.close()
    commit(db, 'and more')
    await daemon.waitFor(/new generation.*reason="wal replaced"|new generation.*reason="wal trunc/)
    await daemon.waitFor(/snapshot written/, { times: 2 })
    expect(await daemon.stop()).toBe(0)
    const wanted = rows(db)
    await restore(replica, out('end'))
    expect(rows(out('end'))).toEqual(wanted)
  })
})

test('what is written past the WAL while the application works is told from its checkpoints', async () => {
  const { db, saved, replica, folder } = aged()
  const daemon = startReplicating({ folder, db, replica })
  await daemon.waitFor(/snapshot written/)
  const application = new Database(db)
  // Never at rest, and a look a second has a checkpoint on both sides, which copies all back once we have followed.
  const isCopiedBack = (): boolean => {
    const [{ log, checkpointed }] = application.pragma('wal_checkpoint(PASSIVE)') as [
      { log: number; checkpointed: number },
    ]
    return checkpointed === log
  }
  const work = async (): Promise<void> => {
    application.prepare('insert into t (text) values (?)').run('more')
    await until(isCopiedBack, 20_000, 'the daemon to follow')
    await sleep(400)
  }
  for (let i = 0; i < 3; i += 1) await work()
  execFileSync('dd', [`if=${saved}`, `of=${db}`, 'bs=4096', 'count=1', 'conv=notrunc'])
  await sleep(400)
  await until(
    async () => {
      await work()
      return daemon.count(/new generation.*written past/) > 0
    },
    20_000,
    'a new generation',
  )
  await expectNewGeneration(daemon)
  application.close()
  expect(await daemon.stop()).toBe(0)
})

test('what changes no content of the file changes nothing', async () => {
  const { db, replica, folder } = aged()
  const daemon = startReplicating({ folder, db, replica })
  await daemon.waitFor(/snapshot written/)
  commit(db, 'more')
  await daemon.waitFor(/at rest/)
  const { mtimeMs } = statSync(db)
  execFileSync('chmod', ['0640', db])
  readFileSync(db)
  // As programs do that read a file and give it its times back.
  utimesSync(db, new Date(), mtimeMs / 1000)
  checkpointed(db)
  commit(db, 'and more')
  await daemon.waitFor(/at rest/, { times: 2 })
  expect(await daemon.stop()).toBe(0)
  expect(listGenerations(replica)).toHaveLength(1)
})

describe('a database with another name', () => {
  test('is refused at the start, with the cure', async () => {
    const { db, replica, folder } = aged()
    linkSync(db, join(folder, 'other.db'))
    const daemon = startReplicating({ folder, db, replica })
    await daemon.waitFor(/level=ERROR.*2 names \(hard links\).*hint=/)
    rmSync(join(folder, 'other.db'))
    await daemon.waitFor(/snapshot written/)
    expect(await daemon.stop()).toBe(0)
  })

  test('that it gets while it runs is an error until it is removed', async () => {
    const { db, replica, folder } = aged()
    const daemon = startReplicating({ folder, db, replica })
    await daemon.waitFor(/snapshot written/)
    linkSync(db, join(folder, 'other.db'))
    await daemon.waitFor(/level=ERROR.*2 names \(hard links\)/)
    rmSync(join(folder, 'other.db'))
    await daemon.waitFor(/one name again/)
    expect(await daemon.stop()).toBe(0)
    expect(listGenerations(replica)).toHaveLength(1)
  })

  test('in a folder of databases is refused under both', async () => {
    const { db, folder } = aged()
    const dir = join(folder, 'dir')
    mkdirSync(dir)
    for (const name of ['a.db', 'b.db']) linkSync(db, join(dir, name))
    rmSync(db)
    const config = join(folder, 'c.yml')
    writeFileSync(
      config,
      JSON.stringify({ dbs: [{ dir, replicas: [{ path: join(folder, 'r') }] }] }),
    )
    const daemon = new Process('tsreplicate', process.execPath, [
      program,
      'replicate',
      '-config',
      config,
    ])
    await daemon.waitFor(/level=ERROR.*2 names \(hard links\)/, { times: 2 })
    expect(await daemon.stop()).toBe(74)
  })
})

test.skipIf(!canMount)(
  'a database that is mounted as a single file is refused, with the cure',
  async () => {
    const { db, replica, folder } = aged()
    const inside = join(folder, 'with blank \\ in')
    mkdirSync(inside)
    const mounted = join(inside, 'app.db')
    writeFileSync(mounted, '')
    const script = 'mount --bind "$1" "$2" && exec "$3" "$4" replicate "$2" "file://$5"'
    const args = ['-m', 'sh', '-c', script, 'sh', db, mounted, process.execPath, program, replica]
    const daemon = new Process('tsreplicate in a mount namespace', 'unshare', args)
    await daemon.waitFor(/mounted here as a single file.*hint=.*mount the folder/)
    expect(await daemon.stop()).toBe(74)
    await until(() => listGenerations(replica).length === 0, 1000, 'nothing to be stored')
  },
)
