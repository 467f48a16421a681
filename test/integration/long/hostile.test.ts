import Database from 'better-sqlite3'
import { readFileSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import {
  cleanUp,
  listGenerations,
  listObjects,
  start,
  until,
  writeConfig,
} from '../../support/cli.ts'
import { describeCheckpoints, measureCheckpoints } from '../../support/checkpoints.ts'
import {
  lastAcknowledged,
  restoreAndVerify,
  startWriter,
  summaryOf,
  write,
  type WriterOptions,
} from '../../support/ledger.ts'
import { scene } from '../../support/scene.ts'

afterEach(cleanUp)

const seconds = Number(process.env['TSREPLICATE_HOSTILE_SECONDS'] ?? 120)
const seed = Number(process.env['TSREPLICATE_SEED'] ?? Date.now() % 1_000_000)

type Hostility = Omit<WriterOptions, 'db' | 'oracle' | 'seconds'>

const writers: Record<string, Hostility> = {
  'never checkpoints by itself': { autocheckpoint: 0, rate: 500, rows: 5 },
  'checkpoints after every page': { autocheckpoint: 1, rate: 300, rows: 2 },
  'checkpoints every 10 pages': { autocheckpoint: 10, rate: 300, rows: 5 },
  'runs checkpoints of all kinds': { autocheckpoint: 50, rate: 200, checkpointChance: 0.1 },
  'checkpoints after every commit': {
    autocheckpoint: 0,
    rows: 2,
    checkpointChance: 1,
    checkpointKinds: ['FULL', 'RESTART', 'TRUNCATE'],
  },
  'vacuums, shrinks, changes its schema and reopens': {
    autocheckpoint: 100,
    rate: 50,
    rows: 20,
    vacuumChance: 0.01,
    shrinkChance: 0.1,
    schemaChance: 0.02,
    reopenChance: 0.01,
    keepRows: 2000,
  },
  'writes flat out': { autocheckpoint: 1000, rows: 20, shrinkChance: 0.02, keepRows: 20_000 },
  'does all of it with the usual autocheckpoint': {
    autocheckpoint: 1000,
    rate: 100,
    rows: 10,
    checkpointChance: 0.03,
    vacuumChance: 0.005,
    shrinkChance: 0.05,
    schemaChance: 0.02,
    reopenChance: 0.01,
    keepRows: 3000,
  },
}

/** The longest checkpoint of the same application without us: what this machine's disk and load take by themselves. */
async function checkpointsAlone(folder: string, options: Hostility): Promise<number> {
  if (options.checkpointChance === undefined) return 0
  const db = join(folder, 'alone.db')
  const oracle = join(folder, 'alone.oracle')
  const { maxCheckpointMs } = await write({ db, oracle, seconds: 20, seed, ...options })
  return maxCheckpointMs
}

/** Whether nothing has been added to the replica in the last three seconds. */
function lastSegmentIsStill(replica: string): boolean {
  const newest = Math.max(
    ...listObjects(replica).map((name) => statSync(join(replica, name)).mtimeMs),
  )
  return Date.now() - newest > 3000
}

describe('an application that', () => {
  for (const [name, options] of Object.entries(writers)) {
    test(`${name} for ${seconds} s is restored exactly and never backwards`, async () => {
      const { folder, db, oracle, replica, out } = scene()
      // Many restarts of the WAL, except beside an application that sees to them itself.
      const min = options.checkpointChance === undefined ? 100 : 1000
      const config = writeConfig(folder, {
        path: db,
        replicas: [replica],
        'min-checkpoint-page-count': min,
      })
      const aloneMs = await checkpointsAlone(folder, options)
      const daemon = start('replicate', '-config', config)
      const writer = startWriter({ db, oracle, seconds, seed, ...options })
      await daemon.waitFor(/snapshot written/, { timeoutMs: 60_000 })
      let before = 0
      let restores = 0
      for (; !writer.ended; restores++) {
        const output = out(String(restores))
        const { n } = await restoreAndVerify(replica, output, oracle)
        expect(n).toBeGreaterThanOrEqual(before)
        before = n
        rmSync(output)
      }
      const summary = await summaryOf(writer)
      expect(await daemon.stop(120_000)).toBe(0)
      expect(await restoreAndVerify(replica, out('end'), oracle)).toEqual({
        n: lastAcknowledged(oracle),
      })
      expect(listGenerations(replica)).toHaveLength(1)
      console.log(
        `${name} (seed ${seed}): ${summary.commits} commits, ${restores} restores meanwhile; ${summary.checkpoints} checkpoints, ` +
          `${summary.busyCheckpoints} busy (${summary.busyPassive} PASSIVE); the slowest: ` +
          `${summary.slowest.map(({ kind, ms }) => `${kind} ${ms.toFixed(1)} ms`).join(', ')}; alone ${aloneMs.toFixed(1)} ms`,
      )
      // SQLite lets nobody wait for another's checkpoint: one that meets one of ours is busy at once. We leave the WAL to
      // an application that restarts it, after it has done so for the first time.
      expect(summary.busyCheckpoints, daemon.output.slice(0, 5000)).toBeLessThanOrEqual(1)
      expect(summary.maxCheckpointMs).toBeLessThan(Math.max(150, 3 * aloneMs))
    })
  }

  test('commits 1 GiB at once is restored, in memory that stays flat', async () => {
    const { db, oracle, replica, out } = scene()
    const daemon = start('replicate', db, `file://${replica}`)
    const small = startWriter({ db, oracle, count: 10 })
    await summaryOf(small)
    await daemon.waitFor(/snapshot written/)
    const peak = (): number =>
      Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${daemon.pid}/status`, 'utf8'))![1]) * 1024
    const before = peak()
    const rowBytes = 64 * 1024
    const big = startWriter({
      db,
      oracle,
      payloadBytes: rowBytes,
      bigTransactionRows: (1024 * 1024 * 1024) / rowBytes,
      count: 2,
    })
    let after = before
    while (!big.ended) {
      after = peak()
      await new Promise((resolve) => setTimeout(resolve, 500))
    }
    await summaryOf(big)
    await until(
      () => {
        after = peak()
        return lastSegmentIsStill(replica)
      },
      600_000,
      'the transaction to be stored',
    )
    console.log(`peak memory grew by ${((after - before) / 1024 / 1024).toFixed(0)} MiB`)
    expect(await daemon.stop(600_000)).toBe(0)
    expect(after - before).toBeLessThan(100 * 1024 * 1024)
    expect(listGenerations(replica)).toHaveLength(1)
    expect(await restoreAndVerify(replica, out('end'), oracle)).toEqual({
      n: lastAcknowledged(oracle),
    })
  })

  test('reads for a minute while another writes is restored, and its WAL shrinks afterwards', async () => {
    const { db, oracle, replica, out } = scene()
    const daemon = start('replicate', db, `file://${replica}`)
    const writer = startWriter({ db, oracle, rate: 200, rows: 10, seconds: 90 })
    await daemon.waitFor(/snapshot written/)
    const reader = new Database(db, { readonly: true })
    reader.exec('begin')
    const seen = reader.prepare<[], { n: number }>('select count(*) as n from ledger').get()!.n
    await new Promise((resolve) => setTimeout(resolve, 60_000))
    expect(reader.prepare<[], { n: number }>('select count(*) as n from ledger').get()!.n).toBe(
      seen,
    )
    const middle = await restoreAndVerify(replica, out('middle'), oracle)
    expect(middle.n).toBeGreaterThan(seen)
    reader.exec('commit')
    reader.close()
    const summary = await summaryOf(writer)
    expect(summary.commitMaxMs).toBeLessThan(1000)
    expect(await daemon.stop()).toBe(0)
    expect(listGenerations(replica)).toHaveLength(1)
    expect(await restoreAndVerify(replica, out('end'), oracle)).toEqual({
      n: lastAcknowledged(oracle),
    })
  })

  test('checkpoints after writes and pauses never waits for us, nor is sent away', async () => {
    const { db, oracle, replica, out } = scene()
    await write({ db, oracle, count: 10 })
    const daemon = start('replicate', db, `file://${replica}`)
    await daemon.waitFor(/snapshot written/)
    const measured = await measureCheckpoints(db, 12)
    console.log(describeCheckpoints(measured))
    expect(measured.filter(({ busy }) => busy)).toEqual([])
    expect(Math.max(...measured.map(({ ms }) => ms))).toBeLessThan(150)
    expect(await daemon.stop()).toBe(0)
    expect(listGenerations(replica)).toHaveLength(1)
    expect(await restoreAndVerify(replica, out('end'), oracle)).toEqual({ n: 10 })
  })
})
