import Database from 'better-sqlite3'
import { readdirSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import {
  cleanUp,
  listGenerations,
  listObjects,
  restore,
  run,
  start,
  until,
  writeConfig,
} from '../support/cli.ts'
import {
  lastAcknowledged,
  restoreAndVerify,
  startWriter,
  summaryOf,
  verifyLedger,
  write,
} from '../support/ledger.ts'
import { scene, startReplicating } from '../support/scene.ts'
import { onThisMachine } from '../support/patience.ts'

afterEach(cleanUp)

describe('replicate', () => {
  test('a live database is restored while it is written, and to its last commit after the end', async () => {
    const { folder, db, oracle, replica, out } = scene()
    const writer = startWriter({ db, oracle, rate: 100, rows: 3 })
    await writer.waitFor(/ready/)
    const daemon = startReplicating({ folder, db, replica })
    await daemon.waitFor(/snapshot written/)
    await until(() => lastAcknowledged(oracle) > 300, 20_000, '100 commits')
    const meanwhile = await restoreAndVerify(replica, out('meanwhile'), oracle)
    expect(meanwhile.n).toBeGreaterThan(0)
    await writer.stop()
    expect(await daemon.stop()).toBe(0)
    expect(await restoreAndVerify(replica, out('end'), oracle)).toEqual({
      n: lastAcknowledged(oracle),
    })
  })

  test('a segment is written to the disk once for itself and a folder on the same file system', async () => {
    const { folder, db, oracle, replica, out } = scene()
    await write({ db, oracle, count: 3 })
    const daemon = startReplicating({ folder, db, replica })
    await daemon.waitFor(/snapshot written/)
    await write({ db, oracle, count: 3 })
    expect(await daemon.stop()).toBe(0)
    const inodesIn = (path: string): number[] =>
      readdirSync(path, { recursive: true, encoding: 'utf8' })
        .filter((name) => name.endsWith('.wal.lz4'))
        .map((name) => statSync(join(path, name)).ino)
    const spooled = inodesIn(join(folder, '.app.db-tsreplicate', 'spool'))
    expect(spooled.length).toBeGreaterThan(0)
    expect(inodesIn(replica)).toEqual(expect.arrayContaining(spooled))
    expect(await restoreAndVerify(replica, out('end'), oracle)).toEqual({ n: 6 })
  })

  test('database and replica can be given as arguments', async () => {
    const { db, oracle, replica, out } = scene()
    await write({ db, oracle, count: 5 })
    const daemon = start('replicate', db, `file://${replica}`)
    await daemon.waitFor(/snapshot written/)
    await write({ db, oracle, count: 5 })
    expect(await daemon.stop()).toBe(0)
    expect(await restoreAndVerify(replica, out('end'), oracle)).toEqual({ n: 10 })
  })

  test('a lone commit is stored within the interval and half a second', async () => {
    const { folder, db, oracle, replica } = scene()
    await write({ db, oracle, count: 3 })
    const daemon = startReplicating({ folder, db, replica })
    await daemon.waitFor(/snapshot written/)
    const late: number[] = []
    for (let i = 0; i < 5; i++) {
      // The writer's first commit begins with no other around it.
      await until(
        async () => {
          const count = listObjects(replica).length
          await new Promise((resolve) => setTimeout(resolve, 400 + i * 150))
          return listObjects(replica).length === count
        },
        20_000,
        'silence',
      )
      const connection = new Database(db)
      const before = listObjects(replica).length
      connection.prepare('create table if not exists t(a)').run()
      const committed = Date.now()
      await until(() => listObjects(replica).length > before, 10_000, 'the commit to be stored')
      late.push(Date.now() - committed)
      connection.prepare(`drop table t`).run()
      connection.close()
    }
    // 1 s of slack for a machine that runs other tests beside this one.
    expect(Math.max(...late)).toBeLessThan(onThisMachine(1600))
    expect(await daemon.stop()).toBe(0)
  })

  test('an idle database causes no object', async () => {
    const { folder, db, oracle, replica } = scene()
    await write({ db, oracle, count: 3 })
    const daemon = startReplicating({ folder, db, replica })
    await daemon.waitFor(/snapshot written/)
    const before = listObjects(replica)
    const reader = new Database(db, { readonly: true })
    for (let i = 0; i < 30; i++) {
      reader.prepare('select count(*) from ledger').get()
      await new Promise((resolve) => setTimeout(resolve, 100))
    }
    reader.close()
    expect(listObjects(replica)).toEqual(before)
    expect(await daemon.stop()).toBe(0)
    expect(listObjects(replica)).toEqual(before)
  })

  test('a replica that cannot be written stops no other and catches up once it can', async () => {
    const { folder, db, oracle, replica, out } = scene()
    const blocker = join(folder, 'blocker')
    writeFileSync(blocker, 'a file where a folder should be')
    const blocked = join(blocker, 'replica')
    const db2 = join(folder, 'second.db')
    const oracle2 = join(folder, 'second.oracle')
    const replica2 = join(folder, 'second.replica')
    const config = writeConfig(
      folder,
      {
        path: db,
        replicas: [
          { name: 'good', path: replica },
          { name: 'blocked', path: blocked },
        ],
      },
      { path: db2, replicas: [replica2] },
    )
    const writers = [
      startWriter({ db, oracle, rate: 40 }),
      startWriter({ db: db2, oracle: oracle2, rate: 40, seed: 2 }),
    ]
    await Promise.all(writers.map((writer) => writer.waitFor(/ready/)))
    const daemon = start('replicate', '-config', config)
    await daemon.waitFor(/snapshot written/, { times: 2 })
    await until(() => lastAcknowledged(oracle) > 60, 20_000, '60 commits')
    await restoreAndVerify(replica, out('good'), oracle)
    rmSync(blocker)
    await daemon.waitFor(/snapshot written/, { times: 3, timeoutMs: 60_000 })
    await Promise.all(writers.map((writer) => writer.stop()))
    expect(await daemon.stop()).toBe(0)
    const n = lastAcknowledged(oracle)
    expect(await restoreAndVerify(replica, out('good-end'), oracle)).toEqual({ n })
    expect(await restoreAndVerify(blocked, out('blocked-end'), oracle)).toEqual({ n })
    expect(await restoreAndVerify(replica2, out('second-end'), oracle2)).toEqual({
      n: lastAcknowledged(oracle2),
    })
  })

  test('a replica that stays unwritable makes the end of the daemon fail', async () => {
    const { folder, db, oracle } = scene()
    const blocker = join(folder, 'blocker')
    writeFileSync(blocker, '')
    await write({ db, oracle, count: 3 })
    const daemon = start(
      'replicate',
      '-shutdown-timeout',
      '2s',
      db,
      `file://${join(blocker, 'replica')}`,
    )
    await daemon.waitFor(/new generation/)
    await daemon.waitFor(/ENOTDIR|not a directory/)
    expect(await daemon.stop()).toBe(74)
  })

  test('a file that appears later is picked up', async () => {
    const { folder, db, oracle, replica, out } = scene()
    const daemon = startReplicating({ folder, db, replica })
    await daemon.waitFor(/msg=/)
    await write({ db, oracle, count: 20 })
    await daemon.waitFor(/snapshot written/)
    await write({ db, oracle, count: 20 })
    expect(await daemon.stop()).toBe(0)
    expect(await restoreAndVerify(replica, out('end'), oracle)).toEqual({ n: 40 })
  })

  test('a database in rollback mode is converted', async () => {
    const { db, oracle, replica, out } = scene()
    await write({ db, oracle, count: 4 })
    const connection = new Database(db)
    expect(connection.pragma('journal_mode = DELETE', { simple: true })).toBe('delete')
    connection.close()
    const daemon = start('replicate', db, `file://${replica}`)
    await daemon.waitFor(/snapshot written/)
    await write({ db, oracle, count: 4 })
    expect(await daemon.stop()).toBe(0)
    const again = new Database(db)
    expect(again.pragma('journal_mode', { simple: true })).toBe('wal')
    again.close()
    expect(await restoreAndVerify(replica, out('end'), oracle)).toEqual({ n: 8 })
  })

  test('a file that is no database is reported, and its neighbour goes on', async () => {
    const { folder, db, oracle, replica, out } = scene()
    const garbage = join(folder, 'garbage.db')
    writeFileSync(garbage, 'this is not a database, '.repeat(400))
    await write({ db, oracle, count: 4 })
    const config = writeConfig(
      folder,
      { path: garbage, replicas: [join(folder, 'garbage.replica')] },
      { path: db, replicas: [replica] },
    )
    const daemon = start('replicate', '-config', config)
    await daemon.waitFor(/snapshot written/)
    await daemon.waitFor(/not a database/)
    await write({ db, oracle, count: 4 })
    await daemon.stop()
    expect(await restoreAndVerify(replica, out('end'), oracle)).toEqual({ n: 8 })
    expect(listObjects(join(folder, 'garbage.replica'))).toEqual([])
  })

  test('a daemon that is started again goes on with the generation', async () => {
    const { folder, db, oracle, replica, out } = scene()
    // Nobody copies everything back, so that the WAL does not restart while no daemon runs.
    const never = { 'min-checkpoint-page-count': 1_000_000, 'max-checkpoint-page-count': 0 }
    const config = writeConfig(folder, { path: db, replicas: [replica], ...never })
    const writer = startWriter({ db, oracle, rate: 50, autocheckpoint: 0 })
    await writer.waitFor(/ready/)
    for (let i = 0; i < 3; i++) {
      const daemon = start('replicate', '-config', config)
      await daemon.waitFor(i === 0 ? /snapshot written/ : /wal segment written/)
      const n = lastAcknowledged(oracle)
      await until(() => lastAcknowledged(oracle) > n + 20, 20_000, '20 commits')
      expect(await daemon.stop()).toBe(0)
    }
    const last = start('replicate', '-config', config)
    await last.waitFor(/wal segment written/)
    await writer.stop()
    expect(await last.stop()).toBe(0)
    expect(listGenerations(replica)).toHaveLength(1)
    expect(await restoreAndVerify(replica, out('end'), oracle)).toEqual({
      n: lastAcknowledged(oracle),
    })
  })

  test('a database that was changed and checkpointed offline begins a generation and says why', async () => {
    const { folder, db, oracle, replica, out } = scene()
    const config = writeConfig(folder, { path: db, replicas: [replica] })
    await write({ db, oracle, count: 10 })
    const first = start('replicate', '-config', config)
    await first.waitFor(/snapshot written/)
    expect(await first.stop()).toBe(0)
    // The last connection to close checkpoints, and deletes the WAL.
    await write({ db, oracle, count: 10 })
    const second = start('replicate', '-config', config)
    await second.waitFor(/new generation/)
    await second.waitFor(/reason=/)
    await second.waitFor(/snapshot written/)
    await write({ db, oracle, count: 1 })
    expect(await second.stop()).toBe(0)
    expect(listGenerations(replica)).toHaveLength(2)
    expect(await restoreAndVerify(replica, out('end'), oracle)).toEqual({ n: 21 })
  })

  test('a file put in the place of the database is noticed and begins a generation', async () => {
    const { folder, db, oracle, replica, out } = scene()
    const fresh = join(folder, 'fresh.db')
    const freshOracle = join(folder, 'fresh.oracle')
    await write({ db, oracle, count: 10 })
    await write({ db: fresh, oracle: freshOracle, count: 3, seed: 9 })
    const daemon = startReplicating({ folder, db, replica })
    await daemon.waitFor(/snapshot written/)
    const [first] = listGenerations(replica)
    const objectsBefore = listObjects(replica)
    rmSync(`${db}-wal`, { force: true })
    rmSync(`${db}-shm`, { force: true })
    renameSync(fresh, db)
    await daemon.waitFor(/replaced/, { timeoutMs: 5000 })
    await daemon.waitFor(/snapshot written/, { times: 2 })
    await write({ db, oracle: freshOracle, count: 4, seed: 10 })
    await daemon.stop()
    expect(listObjects(replica).filter((name) => name.includes(first!))).toEqual(objectsBefore)
    expect(listGenerations(replica)).toHaveLength(2)
    expect(await restoreAndVerify(replica, out('new'), freshOracle)).toEqual({ n: 7 })
    const old = await restoreAndVerify(replica, out('old'), oracle, '-generation', first!)
    expect(old).toEqual({ n: 10 })
  })

  test('nothing but the meta folder and the WAL lies beside the database', async () => {
    const { db, oracle, replica } = scene()
    await write({ db, oracle, count: 10 })
    const daemon = start('replicate', db, `file://${replica}`)
    await daemon.waitFor(/snapshot written/)
    const connection = new Database(db)
    const tables = connection.prepare<[], { name: string }>('select name from sqlite_master').all()
    connection.close()
    expect(tables.map(({ name }) => name).sort()).toEqual(['ledger', 'ledger_hash'])
    expect(await daemon.stop()).toBe(0)
  })

  test('killed five times while the application goes on, it loses nothing', async () => {
    const { folder, db, oracle, replica, out } = scene()
    const config = writeConfig(folder, { path: db, replicas: [replica] })
    const writer = startWriter({ db, oracle, rate: 100, rows: 2, autocheckpoint: 50 })
    await writer.waitFor(/ready/)
    let before = 0
    for (let i = 0; i < 5; i++) {
      const daemon = start('replicate', '-config', config)
      await daemon.waitFor(/wal segment written/)
      const n = lastAcknowledged(oracle)
      await until(() => lastAcknowledged(oracle) > n + 60, 20_000, '30 commits')
      await daemon.kill()
      if (listObjects(replica).some((name) => name.includes('/snapshots/'))) {
        const restored = await restoreAndVerify(replica, out(`killed-${i}`), oracle)
        expect(restored.n).toBeGreaterThanOrEqual(before)
        before = restored.n
      }
      const killedAt = lastAcknowledged(oracle)
      await until(() => lastAcknowledged(oracle) > killedAt + 40, 20_000, '20 commits')
    }
    const daemon = start('replicate', '-config', config)
    await daemon.waitFor(/wal segment written|snapshot written/)
    await writer.stop()
    expect(await daemon.stop()).toBe(0)
    expect(await restoreAndVerify(replica, out('end'), oracle)).toEqual({
      n: lastAcknowledged(oracle),
    })
  })

  test('a second daemon on a database is refused at once, and says who has it', async () => {
    const { folder, db, oracle, replica } = scene()
    await write({ db, oracle, count: 3 })
    const config = writeConfig(folder, { path: db, replicas: [replica] })
    const first = start('replicate', '-config', config)
    await first.waitFor(/snapshot written/)
    const second = start('replicate', '-config', config)
    expect(await second.exit(10_000), second.output).toBe(75)
    expect(second.stderr).toMatch(
      new RegExp(`in use by process ${first.pid} on .+, started 20\\d\\d-`),
    )
    await write({ db, oracle, count: 3 })
    expect(await first.stop()).toBe(0)
    expect(listGenerations(replica)).toHaveLength(1)
    await restore(replica, join(folder, 'end.db'))
    expect(verifyLedger(join(folder, 'end.db'), oracle)).toEqual({ n: 6 })
  })

  test('a vacuum, a shrink and a growth are restored', async () => {
    const { folder, db, oracle, replica, out } = scene()
    const daemon = startReplicating({ folder, db, replica })
    await daemon.waitFor(/msg=/)
    const writer = startWriter({
      db,
      oracle,
      count: 150,
      rate: 50,
      rows: 20,
      vacuumChance: 0.05,
      shrinkChance: 0.1,
      schemaChance: 0.1,
      reopenChance: 0.02,
      keepRows: 50,
    })
    await summaryOf(writer)
    await daemon.waitFor(/snapshot written/)
    expect(await daemon.stop()).toBe(0)
    expect(await restoreAndVerify(replica, out('end'), oracle)).toEqual({ n: 3000 })
  })
})

describe('restore refuses', () => {
  test('an output that exists, and leaves it as it is', async () => {
    const { db, oracle, replica, out } = scene()
    await write({ db, oracle, count: 3 })
    const daemon = start('replicate', db, `file://${replica}`)
    await daemon.waitFor(/snapshot written/)
    await daemon.stop()
    writeFileSync(out('taken'), 'mine')
    const outcome = await run('restore', '-o', out('taken'), `file://${replica}`)
    expect(outcome.code).toBe(1)
    for (const suffix of ['-wal', '-shm', '-journal']) {
      writeFileSync(out(`beside${suffix}${suffix}`), 'mine')
      const beside = await run('restore', '-o', out(`beside${suffix}`), `file://${replica}`)
      expect(beside.code).toBe(1)
    }
  })

  test('a replica that is not there', async () => {
    const { folder, out } = scene()
    const outcome = await run('restore', '-o', out('none'), `file://${join(folder, 'nowhere')}`)
    expect(outcome.code).toBe(1)
    expect(outcome.stderr).not.toMatch(/at .*\.js:\d+/)
  })
})
