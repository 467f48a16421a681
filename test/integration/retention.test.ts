import Database from 'better-sqlite3'
import { existsSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import {
  cleanUp,
  listGenerations,
  listObjects,
  litestream,
  restore,
  run,
  Running,
  runLitestream,
  start,
  until,
  writeConfig,
} from '../support/cli.ts'
import { readOracle, startWriter, summaryOf, verifyLedger, write } from '../support/ledger.ts'
import { scene, type Scene, startReplicating } from '../support/scene.ts'

afterEach(cleanUp)

interface Told {
  readonly replica: string
  readonly retention: string
  readonly delete: readonly { generation: string; snapshots: number[]; reason: string }[]
  readonly keep: readonly { generation: string; snapshot: number | null; reason: string }[]
  readonly failures: readonly string[]
}

const snapshotsOf = (replica: string): string[] =>
  listObjects(replica).filter((name) => name.endsWith('.snapshot.lz4'))

/** Restores with both programs and expects the same bytes. */
async function restoreWithBoth(
  { replica, out }: Pick<Scene, 'replica' | 'out'>,
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

test('prunes while it runs, keeps every moment of the window, and Litestream restores what is left', async () => {
  const { folder, db, oracle, replica, out } = scene()
  const retentionMs = 4000
  const daemon = start(
    'replicate',
    '-config',
    writeConfig(folder, {
      path: db,
      'min-checkpoint-page-count': 20,
      replicas: [
        {
          path: replica,
          retention: `${retentionMs}ms`,
          'retention-check-interval': '300ms',
          'snapshot-interval': '1s',
        },
      ],
    }),
  )
  const writer = startWriter({ db, oracle, rate: 40, payloadBytes: 2000 })
  await daemon.waitFor(/snapshot deleted/, { times: 3, timeoutMs: 60_000 })
  await daemon.waitFor(/wal segments deleted/, { times: 3, timeoutMs: 60_000 })
  // Counted from here on, because a restore's own time goes by, too.
  const windowStartMs = Date.now() - retentionMs
  for (const momentMs of [windowStartMs + 1500, windowStartMs + 3000, Date.now() - 200]) {
    const name = out(String(momentMs))
    await restore(replica, name, '-timestamp', new Date(momentMs).toISOString())
    const { n } = verifyLedger(name, oracle)
    // A commit is seen some milliseconds after it was acknowledged.
    const expected = readOracle(oracle).findLast((line) => line.timeMs <= momentMs - 1000)
    expect(n).toBeGreaterThanOrEqual(expected?.n ?? 0)
  }
  // A pass that the end interrupts leaves its plan to the next start.
  const plan = join(folder, '.app.db-tsreplicate', 'retention-file.json')
  await until(() => !existsSync(plan), 20_000, 'a plan to be carried out')
  writer.child.kill('SIGTERM')
  await summaryOf(writer)
  expect(await daemon.stop()).toBe(0)
  const restored = await restoreWithBoth({ replica, out }, 'end')
  expect(verifyLedger(restored, oracle).n).toBe(readOracle(oracle).at(-1)?.n)
  // One a second for a window and a grace period of 4 s each, and the one before; far fewer than were taken.
  const taken = daemon.count(/snapshot written/)
  expect(snapshotsOf(replica).length).toBeLessThan(taken)
  expect(daemon.output).toContain(
    'a newer snapshot is older than the retention window, too, and takes its place',
  )
})

test('without snapshot-interval a snapshot is taken per retention, idle times and restarts included', async () => {
  const { folder, db, oracle, replica } = scene()
  await write({ db, oracle, count: 5 })
  const config = writeConfig(folder, {
    path: db,
    'checkpoint-interval': '200ms',
    replicas: [{ path: replica, retention: '3s', 'retention-check-interval': '300ms' }],
  })
  const writer = startWriter({ db, oracle, rate: 20, payloadBytes: 1000 })
  const startedMs = Date.now()
  const daemons = [start('replicate', '-config', config)]
  await daemons[0]!.waitFor(/snapshot written/)
  for (let restart = 0; restart < 3; restart += 1) {
    await daemons.at(-1)!.stop()
    daemons.push(start('replicate', '-config', config))
    await daemons.at(-1)!.waitFor(/generation continues|new generation/)
  }
  const daemon = daemons.at(-1)!
  await daemon.waitFor(/snapshot written.*reason.*retention|reason.*retention.*snapshot written/, {
    times: 2,
    timeoutMs: 60_000,
  })
  const ranMs = Date.now() - startedMs
  const scheduled = daemons.reduce(
    (sum, each) => sum + each.count(/snapshot written.*retention|retention.*snapshot written/),
    0,
  )
  expect(scheduled).toBeLessThanOrEqual(Math.ceil(ranMs / 3000))
  await daemon.waitFor(/snapshot deleted/, { timeoutMs: 60_000 })
  writer.child.kill('SIGTERM')
  await summaryOf(writer)
  // What was written after the newest snapshot gives one more, and then there is nothing to take one of.
  const settled = async (): Promise<boolean> => {
    const before = listObjects(replica).join()
    await new Promise((resolve) => setTimeout(resolve, 4500))
    return listObjects(replica).join() === before
  }
  await until(settled, 60_000, 'an idle replica')
  expect(await daemon.stop()).toBe(0)
})

test('an application that never pauses holds up no scheduled snapshot', async () => {
  const { folder, db, oracle, replica } = scene()
  const writer = startWriter({ db, oracle, rate: 60, payloadBytes: 3000 })
  const daemon = start(
    'replicate',
    '-config',
    writeConfig(folder, {
      path: db,
      'min-checkpoint-page-count': 20,
      replicas: [{ path: replica, 'snapshot-interval': '200ms' }],
    }),
  )
  await daemon.waitFor(/snapshot written.*interval/, { times: 20, timeoutMs: 60_000 })
  writer.child.kill('SIGTERM')
  await summaryOf(writer)
  expect(await daemon.stop()).toBe(0)
})

test('generations that keep ending wait longer each time before the next one sends the database', async () => {
  const { folder, db, oracle, replica } = scene()
  await write({ db, oracle, count: 3 })
  const daemon = startReplicating({ folder, db, replica })
  await daemon.waitFor(/snapshot written/)
  const waits = /next one is delayed/
  for (let generation = 2; generation <= 5; generation += 1) {
    const fresh = join(folder, `${generation}.db`)
    await write({ db: fresh, oracle: `${fresh}.oracle`, count: 3 })
    for (const suffix of ['-wal', '-shm']) rmSync(`${db}${suffix}`, { force: true })
    renameSync(fresh, db)
    if (generation > 4) break
    await daemon.waitFor(/snapshot written/, { times: generation })
  }
  await daemon.waitFor(
    /next one is delayed.*waitSeconds=[78]|waitSeconds=[78].*next one is delayed/,
  )
  expect(daemon.count(waits)).toBeGreaterThanOrEqual(2)
  expect(daemon.count(/msg="new generation"/)).toBe(4)
  // The end of the daemon does not wait: nothing captured stays behind.
  expect(await daemon.stop()).toBe(0)
  expect(daemon.count(/snapshot written/)).toBe(5)
})

test('the command shows what would go, deletes it once, and never the newest chain', async () => {
  const { folder, db, oracle, replica, out } = scene()
  await write({ db, oracle, count: 20 })
  const configure = (retention: string): string =>
    writeConfig(folder, { path: db, replicas: [{ path: replica, retention }] })
  const config = configure('24h')
  for (let generation = 1; generation <= 2; generation += 1) {
    const daemon = start('replicate', '-config', config)
    await daemon.waitFor(/snapshot written/)
    // Long enough for the window to begin behind the snapshot.
    await write({ db, oracle, rate: 20, seconds: 1.5 })
    expect(await daemon.stop()).toBe(0)
    // Continuity cannot be proven after this: the next start begins a generation.
    await write({ db, oracle, count: 5 })
    const other = new Database(db)
    other.pragma('wal_checkpoint(TRUNCATE)')
    other.close()
  }
  expect(listGenerations(replica)).toHaveLength(2)
  configure('300ms')
  const tell = async (...options: string[]): Promise<Told> => {
    const outcome = await run('retention', '--json', ...options)
    expect(outcome, outcome.stderr).toMatchObject({ code: 0 })
    return (JSON.parse(outcome.stdout) as Told[])[0]!
  }
  const before = listObjects(replica)
  const told = await tell('-dry-run', '-config', config, db)
  expect(told).toMatchObject({ replica: 'file', retention: 'planned', failures: [] })
  expect(told.delete).toHaveLength(1)
  expect(told.keep.map(({ reason }) => reason).join()).toContain('current')
  const table = await run('retention', '-dry-run', '-config', config, db)
  expect(table.stdout).toMatch(/would delete +[0-9a-f]{16} +snapshot 00000000, \d+ WAL segments?/)
  expect(listObjects(replica)).toEqual(before)

  expect(await tell('-retention', '1000h', `file://${replica}`)).toMatchObject({ delete: [] })
  expect(listObjects(replica)).toEqual(before)
  expect(await tell('-config', config, db)).toMatchObject({ retention: 'enforced', failures: [] })
  expect(listGenerations(replica)).toHaveLength(1)
  expect(await tell('-config', config, db)).toMatchObject({ delete: [] })
  await restoreWithBoth({ replica, out }, 'after')
})

test('with retention none nothing is deleted, and the command says so', async () => {
  const { folder, db, oracle, replica } = scene()
  await write({ db, oracle, count: 5 })
  const config = writeConfig(folder, { path: db, replicas: [{ path: replica, retention: 'none' }] })
  const { code, stdout } = await run('retention', '-config', config, db)
  expect(code).toBe(0)
  expect(stdout).toContain('retention is none')
})

test('of a replica of Litestream, deletes what its window does not need and leaves it restorable by it', async () => {
  const { folder, db, oracle, replica, out } = scene()
  await write({ db, oracle, count: 20 })
  const config = join(folder, 'litestream.yml')
  writeFileSync(
    config,
    JSON.stringify({
      dbs: [
        {
          path: db,
          'monitor-interval': '100ms',
          'min-checkpoint-page-count': 5,
          replicas: [
            {
              path: replica,
              'sync-interval': '100ms',
              'snapshot-interval': '700ms',
              retention: '24h',
            },
          ],
        },
      ],
    }),
  )
  const original = new Running('litestream', litestream, ['replicate', '-config', config])
  const writer = startWriter({ db, oracle, rate: 30, payloadBytes: 2000 })
  await until(() => snapshotsOf(replica).length >= 5, 60_000, '5 snapshots of Litestream')
  writer.child.kill('SIGTERM')
  await summaryOf(writer)
  await original.stop()
  const before = snapshotsOf(replica)
  const { code } = await run('retention', '-retention', '500ms', `file://${replica}`)
  expect(code).toBe(0)
  // Half a second and as much of grace before the last commit: one snapshot that is older than that, and what came then.
  expect(before.length - snapshotsOf(replica).length).toBeGreaterThanOrEqual(2)
  expect(before.slice(-1)).toEqual(snapshotsOf(replica).slice(-1))
  const restored = await restoreWithBoth({ replica, out }, 'after')
  expect(verifyLedger(restored, oracle).n).toBeGreaterThan(0)
})

test('a moment at the beginning of the window restores, which Litestream has deleted by then', async () => {
  const retentionMs = 5000
  const settings = {
    retention: `${retentionMs}ms`,
    'retention-check-interval': '300ms',
    'snapshot-interval': '4s',
  }
  const ours = scene()
  const theirs = scene()
  const config = join(theirs.folder, 'litestream.yml')
  writeFileSync(
    config,
    JSON.stringify({
      dbs: [
        {
          path: theirs.db,
          'monitor-interval': '100ms',
          'min-checkpoint-page-count': 5,
          replicas: [{ path: theirs.replica, 'sync-interval': '100ms', ...settings }],
        },
      ],
    }),
  )
  const writers = [ours, theirs].map(({ db, oracle }) =>
    startWriter({ db, oracle, rate: 30, payloadBytes: 2000 }),
  )
  await until(() => existsSync(theirs.db) && existsSync(ours.db), 10_000, 'the databases')
  const original = new Running('litestream', litestream, ['replicate', '-config', config])
  const daemon = start(
    'replicate',
    '-config',
    writeConfig(ours.folder, {
      path: ours.db,
      'min-checkpoint-page-count': 20,
      replicas: [{ path: ours.replica, ...settings }],
    }),
  )
  await Promise.all([
    daemon.waitFor(/snapshot deleted/, { timeoutMs: 60_000 }),
    original.waitFor(/snapshot deleted/, { timeoutMs: 60_000 }),
  ])
  // The window is looked at just after a deletion, when the original's is at its shortest.
  const oldest = async ({ replica, out }: Scene): Promise<number> => {
    const moment = new Date(Date.now() - retentionMs + 700).toISOString()
    const output = out(moment)
    return (await run('restore', '-o', output, '-timestamp', moment, `file://${replica}`)).code
  }
  const ourCodes: number[] = []
  const theirCodes: number[] = []
  for (let i = 0; i < 12; i += 1) {
    ourCodes.push(await oldest(ours))
    theirCodes.push(await oldest(theirs))
  }
  expect(ourCodes).toEqual(ourCodes.map(() => 0))
  expect(theirCodes).toContain(1)
  for (const writer of writers) {
    writer.child.kill('SIGTERM')
    await summaryOf(writer)
  }
  await original.stop()
  expect(await daemon.stop()).toBe(0)
})
