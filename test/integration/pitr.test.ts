import { cpSync, readFileSync, statSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import {
  cleanUp,
  listObjects,
  litestream,
  restore,
  run,
  Running,
  runLitestream,
  start,
  until,
} from '../support/cli.ts'
import { expectMomentsHit, recordHistory } from '../support/point-in-time.ts'
import { readOracle, startWriter, summaryOf, verifyLedger, write } from '../support/ledger.ts'
import { scene, startReplicating } from '../support/scene.ts'

afterEach(cleanUp)

describe('restore -timestamp', () => {
  test('hits twenty moments, each between two commits', async () => {
    const { folder, db, oracle, replica, out } = scene()
    await write({ db, oracle, count: 1 })
    const daemon = startReplicating({ folder, db, replica })
    await daemon.waitFor(/snapshot written/)
    const writer = startWriter({ db, oracle, rate: 2, count: 22, autocheckpoint: 4 })
    await summaryOf(writer)
    expect(await daemon.stop()).toBe(0)

    const commits = readOracle(oracle).slice(1)
    for (let i = 0; i < 20; i++) {
      const commit = commits[i]!
      const moment = (commit.timeMs + commits[i + 1]!.timeMs) / 2
      const output = out(String(i))
      const report = await restore(
        replica,
        output,
        '-timestamp',
        new Date(Math.floor(moment)).toISOString(),
      )
      expect(verifyLedger(output, oracle)).toEqual({ n: commit.n })
      // The oracle's line is written after the commit, and perhaps after it was captured; the one before is not.
      if (i > 0) expect(report.commitTimeMs).toBeGreaterThanOrEqual(commits[i - 1]!.timeMs)
      expect(report.commitTimeMs).toBeLessThanOrEqual(moment)
    }
  })

  test('hits moments at a sync interval of 5 s, and after a copy whose file times mean nothing', async () => {
    const history = await recordHistory({ seconds: 13, rate: 8 })
    await expectMomentsHit(history, history.replica, 8)
    const copy = join(history.folder, 'copy')
    cpSync(history.replica, copy, { recursive: true })
    for (const name of listObjects(copy)) utimesSync(join(copy, name), 1e9, 1e9 - name.length)
    await expectMomentsHit(history, copy, 8)
  })

  test('refuses a moment before the first backup', async () => {
    const { folder, db, oracle, replica } = scene()
    await write({ db, oracle, count: 3 })
    const daemon = start('replicate', db, `file://${replica}`)
    await daemon.waitFor(/snapshot written/)
    await daemon.stop()
    const output = join(folder, 'out.db')
    const outcome = await run(
      'restore',
      '-o',
      output,
      '-timestamp',
      '2001-01-01T00:00:00Z',
      `file://${replica}`,
    )
    expect(outcome.code).toBe(1)
    expect(outcome.stderr).toMatch(/no matching backups found[^]*first moment/)
  })
})

describe('restore -index', () => {
  test('stops at the end of that WAL', async () => {
    const { folder, db, oracle, replica, out } = scene()
    await write({ db, oracle, count: 1 })
    const daemon = startReplicating({ folder, db, replica })
    // A snapshot that is read while the WAL restarts reaches no index before its end.
    await daemon.waitFor(/snapshot written/)
    const writer = startWriter({
      db,
      oracle,
      rate: 100,
      seconds: 4,
      autocheckpoint: 0,
      checkpointChance: 0.05,
      checkpointKinds: ['TRUNCATE'],
    })
    await summaryOf(writer)
    expect(await daemon.stop()).toBe(0)
    const indexes = [
      ...new Set(
        listObjects(replica)
          .filter((name) => name.includes('/wal/'))
          .map((name) => name.split('/').at(-1)!.slice(0, 8)),
      ),
    ]
    expect(indexes.length).toBeGreaterThan(2)
    let before = 0
    for (const index of indexes.slice(1)) {
      const output = out(index)
      await restore(replica, output, '-index', index)
      const { n } = verifyLedger(output, oracle)
      expect(n).toBeGreaterThan(before)
      before = n
    }
    expect(before).toBe(readOracle(oracle).at(-1)!.n)
  })
})

describe('restore -timestamp of a replica of the original', () => {
  test('gives what the original gives, which goes by file times, and says approximately', async () => {
    const { folder, db, oracle, replica } = scene()
    await write({ db, oracle, count: 1 })
    const config = join(folder, 'litestream.yml')
    const replicas = [{ path: replica, 'sync-interval': '200ms' }]
    const settings = { path: db, 'monitor-interval': '100ms', 'min-checkpoint-page-count': 20 }
    writeFileSync(config, JSON.stringify({ dbs: [{ ...settings, replicas }] }))
    const theirs = new Running('litestream', litestream, ['replicate', '-config', config])
    await theirs.waitFor(/snapshot written/)
    const firstMs = Date.now()
    await summaryOf(startWriter({ db, oracle, rate: 8, seconds: 8, autocheckpoint: 0 }))
    await until(() => listObjects(replica).length > 20, 10_000, 'objects of some length of history')
    await theirs.stop()
    // After the newest object the original refuses; we restore the newest and say so.
    const times = listObjects(replica).map((name) => statSync(join(replica, name)).mtimeMs)
    const lastMs = Math.max(...times)
    let past = 0
    for (let i = 0; i <= 12; i++) {
      const momentMs = Math.floor(firstMs + ((lastMs - firstMs) * i) / 12)
      const moment = new Date(momentMs).toISOString()
      const url = `file://${replica}`
      const original = join(folder, `theirs-${i}.db`)
      const outcome = await runLitestream('restore', '-o', original, '-timestamp', moment, url)
      const output = join(folder, `ours-${i}.db`)
      const ours = await run('restore', '-o', output, '-timestamp', moment, url)
      expect([outcome.code, ours.code], `${outcome.stderr}${ours.stderr}`).toEqual([0, 0])
      expect(ours.stdout + ours.stderr).toMatch(/approximately/)
      expect(readFileSync(output).equals(readFileSync(original)), moment).toBe(true)
      if (verifyLedger(output, oracle).n < readOracle(oracle).at(-1)!.n) past += 1
    }
    expect(past).toBeGreaterThan(5)
  })
})
