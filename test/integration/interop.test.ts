import Database from 'better-sqlite3'
import { existsSync, mkdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import {
  cleanUp,
  listGenerations,
  litestream,
  restore,
  Running,
  runLitestream,
  start,
  temporaryFolder,
  until,
  writeConfig,
} from '../support/cli.ts'
import { lastAcknowledged, startWriter, summaryOf, verifyLedger, write } from '../support/ledger.ts'

afterEach(cleanUp)

function scene(): {
  folder: string
  db: string
  oracle: string
  replica: string
  out: (name: string) => string
} {
  const folder = temporaryFolder()
  mkdirSync(join(folder, 'out'))
  return {
    folder,
    db: join(folder, 'app.db'),
    oracle: join(folder, 'oracle'),
    replica: join(folder, 'replica'),
    out: (name) => join(folder, 'out', name),
  }
}

/** Restores with both programs and expects the same bytes; returns the path of one. */
async function restoreWithBoth(
  replica: string,
  out: (name: string) => string,
  name: string,
): Promise<string> {
  const ours = out(`${name}.ours`)
  const theirs = out(`${name}.theirs`)
  await restore(replica, ours)
  const outcome = await runLitestream('restore', '-o', theirs, `file://${replica}`)
  expect(outcome, outcome.stderr).toMatchObject({ code: 0 })
  expect(readFileSync(ours).equals(readFileSync(theirs))).toBe(true)
  return ours
}

describe('Litestream 0.3.13', () => {
  for (const pageSize of [512, 1024, 4096, 65_536]) {
    test(`restores what we wrote of pages of ${pageSize} bytes`, async () => {
      const { folder, db, oracle, replica, out } = scene()
      await write({ db, oracle, count: 20, rows: 5, pageSize })
      const daemon = start(
        'replicate',
        '-config',
        writeConfig(folder, { path: db, replicas: [replica] }),
      )
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

  test('restores a database of exactly two blocks of 4 MiB', async () => {
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
    const restored = await restoreWithBoth(replica, out, 'end')
    expect(statSync(restored).size).toBe(size)
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
