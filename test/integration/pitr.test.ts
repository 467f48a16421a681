import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import {
  cleanUp,
  listObjects,
  restore,
  run,
  start,
  temporaryFolder,
  writeConfig,
} from '../support/cli.ts'
import { readOracle, startWriter, summaryOf, verifyLedger, write } from '../support/ledger.ts'

afterEach(cleanUp)

describe('restore -timestamp', () => {
  test('hits twenty moments, each between two commits', async () => {
    const folder = temporaryFolder()
    const db = join(folder, 'app.db')
    const oracle = join(folder, 'oracle')
    const replica = join(folder, 'replica')
    mkdirSync(join(folder, 'out'))
    await write({ db, oracle, count: 1 })
    const daemon = start(
      'replicate',
      '-config',
      writeConfig(folder, { path: db, replicas: [replica] }),
    )
    await daemon.waitFor(/snapshot written/)
    const writer = startWriter({ db, oracle, rate: 2, count: 22, autocheckpoint: 4 })
    await summaryOf(writer)
    expect(await daemon.stop()).toBe(0)

    const commits = readOracle(oracle).slice(1)
    for (let i = 0; i < 20; i++) {
      const commit = commits[i]!
      const moment = (commit.timeMs + commits[i + 1]!.timeMs) / 2
      const output = join(folder, 'out', String(i))
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

  test('refuses a moment before the first backup', async () => {
    const folder = temporaryFolder()
    const db = join(folder, 'app.db')
    const oracle = join(folder, 'oracle')
    const replica = join(folder, 'replica')
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
    const folder = temporaryFolder()
    const db = join(folder, 'app.db')
    const oracle = join(folder, 'oracle')
    const replica = join(folder, 'replica')
    mkdirSync(join(folder, 'out'))
    const daemon = start(
      'replicate',
      '-config',
      writeConfig(folder, { path: db, replicas: [replica] }),
    )
    const writer = startWriter({
      db,
      oracle,
      rate: 100,
      seconds: 4,
      autocheckpoint: 0,
      checkpointChance: 0.05,
      checkpointKinds: ['TRUNCATE'],
    })
    await daemon.waitFor(/snapshot written/)
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
      const output = join(folder, 'out', index)
      await restore(replica, output, '-index', index)
      const { n } = verifyLedger(output, oracle)
      expect(n).toBeGreaterThan(before)
      before = n
    }
    expect(before).toBe(readOracle(oracle).at(-1)!.n)
  })
})
