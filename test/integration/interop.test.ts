import Database from 'better-sqlite3'
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import {
  cleanUp,
  listGenerations,
  listObjects,
  litestream,
  restore,
  Running,
  runLitestream,
  start,
  until,
  writeConfig,
} from '../support/cli.ts'
import { sayAtTheEnd } from '../support/last-lines.ts'
import { findLitestream05 } from '../support/litestream05.ts'
import { lastAcknowledged, startWriter, summaryOf, verifyLedger, write } from '../support/ledger.ts'
import { scene, startReplicating } from '../support/scene.ts'

afterEach(cleanUp)

/** Restores with both programs and expects the same bytes; returns the path of one. */
async function restoreWithBoth(
  replica: string,
  out: (name: string) => string,
  name: string,
  ...options: string[]
): Promise<string> {
  const ours = out(`${name}.ours`)
  const theirs = out(`${name}.theirs`)
  await restore(replica, ours, ...options)
  const outcome = await runLitestream('restore', '-o', theirs, ...options, `file://${replica}`)
  expect(outcome, outcome.stderr).toMatchObject({ code: 0 })
  expect(readFileSync(ours).equals(readFileSync(theirs))).toBe(true)
  return ours
}

function indexesOf(replica: string): string[] {
  const names = listObjects(replica).filter((name) => name.includes('/wal/'))
  return [...new Set(names.map((name) => name.split('/').at(-1)!.slice(0, 8)))]
}

function createIndexed(path: string): Database.Database {
  const db = new Database(path, { timeout: 10_000 })
  db.pragma('auto_vacuum = INCREMENTAL')
  db.pragma('journal_mode = WAL')
  const columns = Array.from({ length: 12 }, (_, i) => `c${i}`)
  db.exec(`create table t (n integer primary key, ${columns.join(', ')}, filler blob)`)
  for (const column of columns) db.exec(`create index t_${column} on t (${column})`)
  return db
}

const phases = ['grow', 'shrink', 'cut', 'grow', 'update', 'vacuum', 'grow', 'empty'] as const

function churn(db: Database.Database, phase: (typeof phases)[number]): void {
  const values = Array.from({ length: 12 }, () => 'abs(random()) % 1000').join(', ')
  switch (phase) {
    case 'grow': {
      const insert = db.prepare(`insert into t select null, ${values}, randomblob(400)`)
      db.transaction(() => {
        for (let i = 0; i < 1500; i += 1) insert.run()
      })()
      return
    }
    case 'shrink':
      db.exec('delete from t where n % 3 > 0')
      return
    case 'cut':
      db.exec('pragma incremental_vacuum(200)')
      return
    case 'update':
      db.exec('update t set c3 = c3 + 1, c7 = n where n % 2 = 0')
      return
    case 'vacuum':
      db.exec('vacuum')
      return
    case 'empty':
      db.exec('delete from t')
      db.exec('pragma incremental_vacuum')
  }
}

describe('Litestream 0.3.13', () => {
  for (const pageSize of [512, 1024, 4096, 65_536]) {
    test(`restores what we wrote of pages of ${pageSize} bytes`, async () => {
      const { folder, db, oracle, replica, out } = scene()
      await write({ db, oracle, count: 20, rows: 5, pageSize })
      const daemon = startReplicating({ folder, db, replica })
      await daemon.waitFor(/snapshot written/)
      const writer = startWriter({
        db,
        oracle,
        rate: 50,
        seconds: 3,
        rows: 4,
        autocheckpoint: 40,
        shrinkChance: 0.05,
        keepRows: 100,
      })
      await summaryOf(writer)
      expect(await daemon.stop()).toBe(0)
      const restored = await restoreWithBoth(replica, out, 'end')
      expect(statSync(restored).size % pageSize).toBe(0)
      expect(verifyLedger(restored, oracle)).toEqual({ n: lastAcknowledged(oracle) })
    })
  }

  test('restores a database of exactly two blocks of 4 MiB, as we do what it wrote of it', async () => {
    const { db, replica, out } = scene()
    const size = 8 * 1024 * 1024
    const connection = new Database(db)
    connection.pragma('journal_mode = WAL')
    connection.exec('create table filler(a blob)')
    const insert = connection.prepare('insert into filler values (randomblob(3900))')
    const pages = (): number => connection.pragma('page_count', { simple: true }) as number
    while (pages() < size / 4096 - 8) insert.run()
    for (let i = 0; pages() < size / 4096; i++) connection.exec(`create table t${i}(a)`)
    connection.pragma('wal_checkpoint(TRUNCATE)')
    expect(statSync(db).size).toBe(size)
    const daemon = start('replicate', db, `file://${replica}`)
    await daemon.waitFor(/snapshot written/)
    expect(await daemon.stop()).toBe(0)
    const restored = await restoreWithBoth(replica, out, 'ours')
    expect(statSync(restored).size).toBe(size)
    connection.close()
    expect(statSync(db).size).toBe(size)
    const theirs = new Running('litestream', litestream, ['replicate', db, `file://${replica}-2`])
    await theirs.waitFor(/snapshot written/)
    await theirs.stop()
    const restoredOfTheirs = await restoreWithBoth(`${replica}-2`, out, 'theirs')
    expect(statSync(restoredOfTheirs).size).toBeGreaterThanOrEqual(size)
  })

  test('restores each WAL of a database that grows, shrinks, is vacuumed and has many indexes', async () => {
    const { folder, db, replica, out } = scene()
    const connection = createIndexed(db)
    const daemon = startReplicating({ folder, db, replica }, { 'min-checkpoint-page-count': 300 })
    await daemon.waitFor(/snapshot written/)
    for (const phase of phases) {
      const stored = daemon.count(/wal segment written/)
      churn(connection, phase)
      await daemon.waitFor(/wal segment written/, { times: stored + 1 })
      // What is copied back completely is restarted by the next write.
      connection.pragma('wal_checkpoint(TRUNCATE)')
    }
    expect(await daemon.stop()).toBe(0)
    connection.close()
    const indexes = indexesOf(replica)
    expect(indexes.length).toBeGreaterThan(3)
    for (const index of indexes) await restoreWithBoth(replica, out, index, '-index', index)
    expect(statSync(await restoreWithBoth(replica, out, 'end')).size).toBe(statSync(db).size)
  })

  test('wrote the same history, and we restore each WAL of it as it does', async () => {
    const { folder, db, replica, out } = scene()
    const connection = createIndexed(db)
    connection.pragma('wal_autocheckpoint = 0')
    const config = join(folder, 'litestream.yml')
    const replicas = [{ path: replica, 'sync-interval': '100ms' }]
    const settings = { path: db, 'monitor-interval': '50ms', 'min-checkpoint-page-count': 300 }
    writeFileSync(config, JSON.stringify({ dbs: [{ ...settings, replicas }] }))
    const theirs = new Running('litestream', litestream, ['replicate', '-config', config])
    await theirs.waitFor(/snapshot written/)
    for (const phase of phases) {
      const objects = listObjects(replica).length
      churn(connection, phase)
      await until(() => listObjects(replica).length > objects, 20_000, 'the phase to be stored')
    }
    await theirs.stop()
    connection.close()
    const indexes = indexesOf(replica)
    expect(indexes.length).toBeGreaterThan(3)
    for (const index of indexes) await restoreWithBoth(replica, out, index, '-index', index)
    await restoreWithBoth(replica, out, 'end')
  })

  test('restores a snapshot during which the schema was changed', async () => {
    const { db, replica, out } = scene()
    const connection = new Database(db, { timeout: 10_000 })
    connection.pragma('journal_mode = WAL')
    connection.exec('create table filler (n integer primary key, a blob)')
    const insert = connection.prepare('insert into filler (a) values (randomblob(1000000))')
    for (let i = 0; i < 150; i += 1) insert.run()
    const daemon = start('replicate', db, `file://${replica}`)
    await daemon.waitFor(/write snapshot/)
    connection.exec('create table added (a, b); create index added_a on added (a)')
    connection.exec('insert into added select n, hex(n) from filler')
    await daemon.waitFor(/schema changed while the snapshot was read/, { timeoutMs: 60_000 })
    await daemon.waitFor(/snapshot written/, { timeoutMs: 60_000 })
    expect(await daemon.stop()).toBe(0)
    const restored = new Database(await restoreWithBoth(replica, out, 'end'), { readonly: true })
    const count = restored.prepare('select count(*) from added indexed by added_a where a > 0')
    expect(count.pluck().get()).toBe(150)
    restored.close()
    connection.close()
  })

  test('takes over a folder from us, and we from it', async () => {
    const { folder, db, oracle, replica, out } = scene()
    const config = writeConfig(folder, { path: db, replicas: [replica] })
    await write({ db, oracle, count: 10 })

    const ours = start('replicate', '-config', config)
    await ours.waitFor(/snapshot written/)
    await write({ db, oracle, count: 10 })
    expect(await ours.stop()).toBe(0)
    verifyLedger(await restoreWithBoth(replica, out, 'ours'), oracle)
    expect(listGenerations(replica)).toHaveLength(1)

    const theirs = new Running('litestream', litestream, ['replicate', db, `file://${replica}`])
    await theirs.waitFor(/snapshot written/)
    await write({ db, oracle, count: 10 })
    const n = lastAcknowledged(oracle)
    await until(
      async () => {
        const probe = out(`probe-${Date.now()}`)
        const { code } = await runLitestream('restore', '-o', probe, `file://${replica}`)
        return code === 0 && existsSync(probe) && verifyLedger(probe, oracle).n === n
      },
      30_000,
      'Litestream to store the last commit',
    )
    await theirs.stop()
    expect(listGenerations(replica)).toHaveLength(2)
    expect(verifyLedger(await restoreWithBoth(replica, out, 'theirs'), oracle)).toEqual({ n })

    const again = start('replicate', '-config', config)
    await again.waitFor(/snapshot written|wal segment written/)
    await write({ db, oracle, count: 10 })
    expect(await again.stop()).toBe(0)
    expect(verifyLedger(await restoreWithBoth(replica, out, 'again'), oracle)).toEqual({
      n: lastAcknowledged(oracle),
    })
  })
})

const newer = findLitestream05()
if ('missing' in newer)
  sayAtTheEnd(`Litestream 0.5.17 did not restore what we wrote: ${newer.missing}`)

describe('Litestream 0.5.17', () => {
  test.skipIf('missing' in newer)('restores what we wrote', async () => {
    if ('missing' in newer) return
    const { folder, db, oracle, replica, out } = scene()
    await write({ db, oracle, count: 10, rows: 5 })
    const daemon = startReplicating({ folder, db, replica })
    await daemon.waitFor(/snapshot written/)
    await write({
      db,
      oracle,
      count: 150,
      rate: 50,
      rows: 4,
      autocheckpoint: 40,
      vacuumChance: 0.02,
    })
    expect(await daemon.stop()).toBe(0)
    const ours = out('ours')
    const theirs = out('theirs')
    await restore(replica, ours)
    const args = ['restore', '-o', theirs, `file://${replica}`]
    const restoring = new Running('litestream 0.5.17', newer.path, args)
    expect(await restoring.exit(), restoring.output).toBe(0)
    expect(readFileSync(theirs).equals(readFileSync(ours))).toBe(true)
    expect(verifyLedger(theirs, oracle)).toEqual({ n: lastAcknowledged(oracle) })
  })
})
