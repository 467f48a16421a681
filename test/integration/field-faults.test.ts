/** What went wrong in the field with programs of this kind, and is no other test's subject. */
import Database from 'better-sqlite3'
import { mkdirSync, readdirSync, renameSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import {
  cleanUp,
  listGenerations,
  listObjects,
  restore,
  runLitestream,
  start,
  temporaryFolder,
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

afterEach(cleanUp)

function scene(): {
  folder: string
  db: string
  oracle: string
  replica: string
  config: string
  out: (name: string) => string
} {
  const folder = temporaryFolder()
  mkdirSync(join(folder, 'out'))
  const db = join(folder, 'app.db')
  const replica = join(folder, 'replica')
  const config = writeConfig(folder, { path: db, replicas: [replica] })
  return {
    folder,
    db,
    oracle: join(folder, 'oracle'),
    replica,
    config,
    out: (name) => join(folder, 'out', name),
  }
}

test('a WAL that is written anew to the same size is noticed (F-03)', async () => {
  const { db, replica, config, out } = scene()
  const connection = new Database(db)
  connection.pragma('journal_mode = WAL')
  connection.pragma('wal_autocheckpoint = 0')
  connection.exec('create table t (n integer primary key, a text)')
  const daemon = start('replicate', '-config', config)
  await daemon.waitFor(/snapshot written/)
  const insert = connection.prepare('insert into t (a) values (?)')
  for (let round = 0; round < 6; round += 1) {
    connection.pragma('wal_checkpoint(RESTART)')
    const objects = listObjects(replica).length
    insert.run('x'.repeat(100))
    const size = statSync(`${db}-wal`).size
    await until(() => listObjects(replica).length > objects, 5000, `round ${round} to be stored`)
    expect(statSync(`${db}-wal`).size).toBe(size)
  }
  expect(await daemon.stop()).toBe(0)
  expect(listGenerations(replica)).toHaveLength(1)
  await restore(replica, out('end'))
  const restored = new Database(out('end'), { readonly: true })
  expect(restored.prepare('select count(*) from t').pluck().get()).toBe(6)
  restored.close()
  connection.close()
})

test('an idle database whose application reads and copies pages back causes no object and no snapshot (F-04)', async () => {
  const { db, oracle, replica, config } = scene()
  await write({ db, oracle, count: 3 })
  const daemon = start('replicate', '-config', config)
  await daemon.waitFor(/snapshot written/)
  const connection = new Database(db)
  await write({ db, oracle, count: 3 })
  connection.pragma('wal_checkpoint(PASSIVE)')
  await until(() => daemon.count(/wal segment written/) > 0, 10_000, 'the commits to be stored')
  const before = listObjects(replica)
  const state = (): number => statSync(`${db}-wal`).mtimeMs
  const written = state()
  for (let i = 0; i < 25; i += 1) {
    connection.prepare('select count(*) from ledger').get()
    connection.pragma('wal_checkpoint(PASSIVE)')
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
  expect(listObjects(replica)).toEqual(before)
  expect(state()).toBe(written)
  connection.close()
  expect(await daemon.stop()).toBe(0)
})

test('a daemon that starts beside an emptied WAL goes on with what is written next (F-06)', async () => {
  const { db, oracle, replica, config, out } = scene()
  await write({ db, oracle, count: 5 })
  const first = start('replicate', '-config', config)
  await first.waitFor(/snapshot written/)
  const keeper = new Database(db)
  keeper.prepare('select count(*) from ledger').get()
  await write({ db, oracle, count: 5 })
  expect(await first.stop()).toBe(0)
  keeper.pragma('wal_checkpoint(TRUNCATE)')
  expect(statSync(`${db}-wal`).size).toBe(0)
  const second = start('replicate', '-config', config)
  await second.waitFor(/reason=/)
  await second.waitFor(/snapshot written/)
  await write({ db, oracle, count: 5 })
  expect(await second.stop()).toBe(0)
  keeper.close()
  expect(await restoreAndVerify(replica, out('end'), oracle)).toEqual({ n: 15 })
})

test('the local state stays small however much is written (F-32)', async () => {
  const { folder, db, oracle, config } = scene()
  await write({ db, oracle, count: 3 })
  const daemon = start('replicate', '-config', config)
  await daemon.waitFor(/snapshot written/)
  const writer = startWriter({ db, oracle, rate: 100, seconds: 6, autocheckpoint: 20 })
  await summaryOf(writer)
  expect(daemon.count(/wal segment written/)).toBeGreaterThan(10)
  expect(await daemon.stop()).toBe(0)
  const spool = join(folder, '.app.db-tsreplicate', 'spool')
  const names = readdirSync(spool, { recursive: true, encoding: 'utf8' })
  expect(names.filter((name) => name.endsWith('.lz4')).length).toBeLessThanOrEqual(3)
})

test('a restored database that is put in place is replicated and restored again (F-60)', async () => {
  const { db, oracle, replica, config, out } = scene()
  await write({ db, oracle, count: 10 })
  const first = start('replicate', '-config', config)
  await first.waitFor(/snapshot written/)
  await write({ db, oracle, count: 10, autocheckpoint: 4 })
  expect(await first.stop()).toBe(0)
  await restore(replica, out('restored'))
  for (const suffix of ['', '-wal', '-shm']) rmSync(db + suffix, { force: true })
  renameSync(out('restored'), db)
  const second = start('replicate', '-config', config)
  await second.waitFor(/snapshot written/)
  await write({ db, oracle, count: 10 })
  expect(await second.stop()).toBe(0)
  expect(await restoreAndVerify(replica, out('end'), oracle)).toEqual({ n: 30 })
})

test('a snapshot that is read while the WAL restarts again and again is a commit, to both programs (F-02, F-96)', async () => {
  const { folder, db, oracle, replica, out } = scene()
  await write({ db, oracle, count: 60, rows: 20, payloadBytes: 50_000 })
  const config = writeConfig(folder, {
    path: db,
    replicas: [replica],
    'min-checkpoint-page-count': 20,
  })
  const writer = startWriter({
    db,
    oracle,
    rate: 150,
    seconds: 8,
    rows: 2,
    autocheckpoint: 10,
    checkpointChance: 0.05,
    vacuumChance: 0.002,
    shrinkChance: 0.1,
    keepRows: 800,
  })
  await writer.waitFor(/ready/)
  const daemon = start('replicate', '-config', config)
  await daemon.waitFor(/snapshot written/, { timeoutMs: 60_000 })
  await summaryOf(writer)
  expect(await daemon.stop()).toBe(0)
  const indexes = listObjects(replica)
    .filter((name) => name.includes('/wal/'))
    .map((name) => name.split('/').at(-1)!.slice(0, 8))
  const consistent = /snapshot written"? .*position=\S+\/([0-9a-f]{8}):/.exec(daemon.output)![1]!
  const chosen = [...new Set([consistent, indexes[indexes.length >> 1]!, indexes.at(-1)!])]
  let before = 0
  for (const index of chosen.filter((each) => each >= consistent).sort()) {
    const ours = out(`${index}.ours`)
    const theirs = out(`${index}.theirs`)
    await restore(replica, ours, '-index', index)
    const outcome = await runLitestream(
      'restore',
      '-o',
      theirs,
      '-index',
      index,
      `file://${replica}`,
    )
    expect(outcome, outcome.stderr).toMatchObject({ code: 0 })
    const { n } = verifyLedger(ours, oracle)
    expect(verifyLedger(theirs, oracle)).toEqual({ n })
    expect(n).toBeGreaterThanOrEqual(before)
    before = n
  }
  expect(before).toBe(lastAcknowledged(oracle))
})

test('a daemon that is told to stop while it takes the first snapshot finishes it (F-12)', async () => {
  const { db, oracle, replica, config, out } = scene()
  await write({ db, oracle, count: 40, rows: 20, payloadBytes: 50_000 })
  const daemon = start('replicate', '-config', config)
  await daemon.waitFor(/write snapshot/)
  expect(await daemon.stop()).toBe(0)
  expect(await restoreAndVerify(replica, out('end'), oracle)).toEqual({ n: 800 })
})
