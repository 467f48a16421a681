/** What went wrong in the field with programs of this kind, and is no other test's subject. */
import Database from 'better-sqlite3'
import {
  mkdirSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { basename, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'
import { afterEach, describe, expect, test } from 'vitest'
import {
  cleanUp,
  listGenerations,
  listObjects,
  program,
  restore,
  root,
  run,
  runLitestream,
  Running,
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
import { onThisMachine } from '../support/patience.ts'

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
  const { folder, db, oracle, replica } = scene()
  await write({ db, oracle, count: 3 })
  // What was stored is confirmed, and let go, every quarter of a second.
  const config = writeConfig(folder, { path: db, replicas: [{ path: replica, 'max-lag': '1s' }] })
  const daemon = start('replicate', '-config', config)
  await daemon.waitFor(/snapshot written/)
  const writer = startWriter({ db, oracle, rate: 100, seconds: 6, autocheckpoint: 20 })
  await summaryOf(writer)
  expect(daemon.count(/wal segment written/)).toBeGreaterThan(10)
  const spool = join(folder, '.app.db-tsreplicate', 'spool')
  const segments = (): string[] =>
    readdirSync(spool, { recursive: true, encoding: 'utf8' }).filter((name) =>
      name.endsWith('.lz4'),
    )
  // Those of the index that is captured stay: with a snapshot, they are what a replica needs that has lost the rest.
  const former = (): string[] => {
    const indexes = segments().map((name) => basename(name).slice(0, 8))
    return indexes.filter((index) => index !== indexes.toSorted().at(-1))
  }
  await until(() => former().length <= 3, 10_000, 'the spool to be let go')
  expect(await daemon.stop()).toBe(0)
  // What was captured last is let go by the next start.
  expect(former().length).toBeLessThanOrEqual(6)
  const sizes = segments().map((name) => statSync(join(spool, name)).size)
  expect(sizes.reduce((sum, size) => sum + size, 0)).toBeLessThan(8 * 1024 * 1024)
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

test('380 MB that were committed while it was down wait for one interval at most, and hold up nothing else (F-16)', async () => {
  const { folder, db, replica, out } = scene()
  const small = { db: join(folder, 'small.db'), oracle: join(folder, 'oracle') }
  const smallReplica = join(folder, 'small-replica')
  const keeper = new Database(db)
  keeper.pragma('journal_mode = WAL')
  keeper.pragma('wal_autocheckpoint = 0')
  keeper.exec('create table t (n integer primary key, a blob)')
  await write({ ...small, count: 10 })
  const config = writeConfig(
    folder,
    { path: db, replicas: [replica], syncInterval: '15s' },
    { path: small.db, replicas: [smallReplica] },
  )
  const first = start('replicate', '-config', config)
  await first.waitFor(/snapshot written/, { times: 2 })
  keeper.exec('insert into t (a) values (randomblob(100))')
  await first.waitFor(/wal segment written/, { timeoutMs: 60_000 })
  await first.kill()
  const insert = keeper.prepare('insert into t (a) values (randomblob(1000000))')
  for (let i = 0; i < 380; i += 1) insert.run()

  const daemon = start('replicate', '-config', config)
  await daemon.waitFor(/generation continues/)
  const startedAt = performance.now()
  const commit = write({ ...small, count: 1 })
  const segmentsOf = (path: string): number =>
    daemon.output
      .split('\n')
      .filter((line) => line.includes('msg="wal segment written"') && line.includes(` db=${path} `))
      .length
  // One in each interval would take a minute, and so would the other database's if it waited for them. What is left at the
  // end is less than one object.
  while (segmentsOf(db) < 5 || segmentsOf(small.db) < 1) {
    const askedAt = performance.now()
    const { stdout, code } = await run('status', '-config', config)
    expect(code, stdout).toBeLessThan(2)
    expect(performance.now() - askedAt).toBeLessThan(onThisMachine(5000))
    expect(performance.now() - startedAt, daemon.output).toBeLessThan(onThisMachine(50_000))
  }
  await commit
  expect(await daemon.stop(), daemon.output).toBe(0)
  expect(listGenerations(replica)).toHaveLength(1)
  await restore(replica, out('end'))
  const restored = new Database(out('end'), { readonly: true })
  expect(restored.prepare('select count(*) from t').pluck().get()).toBe(381)
  restored.close()
  keeper.close()
})

describe('locks of the application (F-19)', () => {
  test.each(['delete', 'wal'])(
    'one of 800 ms is waited for when the database is opened (%s mode)',
    async (mode) => {
      const { db, replica, out } = scene()
      const script = `
        const db = require('better-sqlite3')(process.argv[1])
        db.pragma('journal_mode = ${mode}')
        db.exec('create table t (n)')
        db.exec('begin exclusive')
        db.exec('insert into t values (1)')
        process.stdout.write('held')
        const rest = (ms) => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms)
        while (!require('node:fs').existsSync(process.argv[2])) rest(10)
        rest(800)
        db.exec('commit')
      `
      const begun = out('begun')
      const holder = new Running('holder', process.execPath, ['-e', script, db, begun])
      await holder.waitFor(/held/)
      const daemon = start('replicate', db, `file://${replica}`)
      await daemon.waitFor(/initialized db/)
      writeFileSync(begun, '')
      await daemon.waitFor(/snapshot written/)
      expect(await holder.exit()).toBe(0)
      expect(await daemon.stop()).toBe(0)
      expect(daemon.output).not.toMatch(/level=(ERROR|WARN).*locked/)
      await restore(replica, out('end'))
      const restored = new Database(out('end'), { readonly: true })
      expect(restored.prepare('select count(*) from t').pluck().get()).toBe(1)
      restored.close()
    },
  )

  test('of 900 ms, one after the other, are no problem of a daemon that copies pages back', async () => {
    const { folder, db, replica, out } = scene()
    const writer = new Database(db)
    writer.pragma('journal_mode = WAL')
    writer.exec('create table t (n integer primary key, a blob)')
    const config = writeConfig(folder, {
      path: db,
      replicas: [replica],
      'min-checkpoint-page-count': 1,
    })
    const daemon = start('replicate', '-config', config)
    await daemon.waitFor(/snapshot written/)
    const insert = writer.prepare('insert into t (a) values (randomblob(20000))')
    for (let round = 0; round < 3; round += 1) {
      insert.run()
      writer.exec('begin exclusive')
      insert.run()
      await sleep(900)
      writer.exec('commit')
    }
    writer.close()
    expect(await daemon.stop(), daemon.output).toBe(0)
    expect(daemon.output).not.toMatch(/level=(WARN|ERROR)|checkpoint failed/)
    await restore(replica, out('end'))
    const restored = new Database(out('end'), { readonly: true })
    expect(restored.prepare('select count(*) from t').pluck().get()).toBe(6)
    restored.close()
  })

  test('no connection copies pages back by itself, however long the WAL is', async () => {
    const { folder, db, replica, out } = scene()
    const writer = new Database(db)
    writer.pragma('journal_mode = WAL')
    writer.pragma('wal_autocheckpoint = 0')
    writer.exec('create table t (n integer primary key, a blob)')
    writer.pragma('wal_checkpoint(TRUNCATE)')
    const { size, mtimeMs } = statSync(db)
    const config = writeConfig(folder, {
      path: db,
      replicas: [replica],
      'checkpoint-interval': '0s',
      'min-checkpoint-page-count': 1_000_000,
      'max-checkpoint-page-count': 0,
    })
    const daemon = start('replicate', '-config', config)
    await daemon.waitFor(/snapshot written/)
    const insert = writer.prepare('insert into t (a) values (randomblob(3000))')
    for (let i = 0; i < 3000; i += 1) insert.run()
    await daemon.waitFor(/wal segment written/)
    expect(await daemon.stop(), daemon.output).toBe(0)
    expect(statSync(db)).toMatchObject({ size, mtimeMs })
    expect(statSync(`${db}-wal`).size).toBeGreaterThan(3000 * 4096)
    writer.close()
    await restore(replica, out('end'))
    const restored = new Database(out('end'), { readonly: true })
    expect(restored.prepare('select count(*) from t').pluck().get()).toBe(3000)
    restored.close()
  })
})

test('a restore takes no more memory for 400 MB than for a few pages, and less than 256 MiB (F-69)', async () => {
  const { folder, db, replica, config, out } = scene()
  const preload = pathToFileURL(join(root, 'test/bench/event-loop-delay.mjs')).href
  const peakMib = async (name: string): Promise<number> => {
    const file = join(folder, `${name}.json`)
    const restoring = new Running('restore', process.execPath, [
      ...['--import', `${preload}?file=${encodeURIComponent(file)}`],
      ...[program, 'restore', '-o', out(name), `file://${replica}`],
    ])
    expect(await restoring.exit(120_000), restoring.output).toBe(0)
    return (JSON.parse(readFileSync(file, 'utf8')) as { peakMib: number }).peakMib
  }
  const writer = new Database(db)
  writer.pragma('journal_mode = WAL')
  writer.exec('create table t (n integer primary key, a blob)')
  const insert = writer.prepare('insert into t (a) values (randomblob(1000000))')
  const small = start('replicate', '-config', config)
  await small.waitFor(/snapshot written/)
  insert.run()
  expect(await small.stop(), small.output).toBe(0)
  const fewPages = await peakMib('small')

  rmSync(replica, { recursive: true })
  for (let i = 0; i < 200; i += 1) insert.run()
  writer.pragma('wal_checkpoint(TRUNCATE)')
  const daemon = start('replicate', '-config', config)
  await daemon.waitFor(/snapshot written/, { timeoutMs: 60_000 })
  writer.transaction(() => {
    for (let i = 0; i < 200; i += 1) insert.run()
  })()
  expect(await daemon.stop(), daemon.output).toBe(0)
  writer.close()
  const stored = listObjects(replica).map((name) => statSync(join(replica, name)).size)
  expect(stored.reduce((sum, size) => sum + size, 0)).toBeGreaterThan(400_000_000)
  const manyPages = await peakMib('big')
  expect(manyPages).toBeLessThan(256)
  expect(manyPages - fewPages).toBeLessThan(100)
  expect(statSync(out('big')).size).toBeGreaterThan(400_000_000)
})
