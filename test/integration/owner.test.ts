/** One writer: daemons that would do the same work, on one machine and on several. */
import { randomUUID } from 'node:crypto'
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, describe, expect, test } from 'vitest'
import {
  cleanUp,
  listGenerations,
  litestream,
  program,
  restore,
  runLitestream,
  Running,
  start,
  temporaryFolder,
  until,
  writeConfig,
} from '../support/cli.ts'
import { type Elsewhere, startElsewhere, whyNotElsewhere } from '../support/elsewhere.ts'
import { lastAcknowledged, startWriter, verifyLedger, write } from '../support/ledger.ts'
import { testTwoWriters } from '../support/two-writers.ts'

afterEach(cleanUp)

function scene(): {
  folder: string
  db: string
  oracle: string
  replica: string
  config: string
} {
  const folder = temporaryFolder()
  const db = join(folder, 'app.db')
  const replica = join(folder, 'replica')
  const config = writeConfig(folder, { path: db, replicas: [replica] })
  return { folder, db, oracle: join(folder, 'oracle'), replica, config }
}

describe('on a folder', () => {
  const root = mkdtempSync(join(tmpdir(), 'tsreplicate-test-'))
  afterAll(() => rmSync(root, { recursive: true, force: true }))
  testTwoWriters({ env: {}, replica: (path) => ({ path: join(root, path) }) })
})

test('Litestream does not see the owner: it lists, restores and prunes around it', async () => {
  const { folder, db, oracle, replica, config } = scene()
  await write({ db, oracle, count: 10 })
  const daemon = start('replicate', '-config', config)
  await daemon.waitFor(/snapshot written/)
  await write({ db, oracle, count: 10 })
  expect(await daemon.stop(), daemon.output).toBe(0)
  const owners = (): string[] => readdirSync(replica).filter((name) => name.includes('owner'))
  expect(owners()).toHaveLength(1)
  const [generation] = listGenerations(replica)
  for (const command of ['generations', 'snapshots', 'wal']) {
    const listed = await runLitestream(command, `file://${replica}`)
    expect(listed.code, listed.stderr).toBe(0)
    expect(listed.stdout).toContain(generation)
    expect(listed.stdout + listed.stderr).not.toContain('owner')
  }
  const restored = join(folder, 'theirs.db')
  const outcome = await runLitestream('restore', '-o', restored, `file://${replica}`)
  expect(outcome.code, outcome.stderr).toBe(0)
  expect(verifyLedger(restored, oracle)).toEqual({ n: lastAcknowledged(oracle) })

  const theirConfig = join(folder, 'litestream.yml')
  const settings = { 'sync-interval': '100ms', retention: '1s', 'retention-check-interval': '1s' }
  const dbs = [{ path: db, replicas: [{ path: replica, ...settings }] }]
  writeFileSync(theirConfig, JSON.stringify({ dbs }))
  const theirs = new Running('litestream', litestream, ['replicate', '-config', theirConfig])
  await until(
    () => !listGenerations(replica).includes(generation!),
    30_000,
    () => theirs.output,
  )
  await theirs.stop()
  expect(owners()).toHaveLength(1)
  const back = start('replicate', '-config', config)
  await back.waitFor(/replica claimed/)
  await back.waitFor(/snapshot written/)
  expect(await back.stop(), back.output).toBe(0)
  await restore(replica, join(folder, 'end.db'))
  expect(verifyLedger(join(folder, 'end.db'), oracle)).toEqual({ n: lastAcknowledged(oracle) })
})

describe.skipIf(whyNotElsewhere !== undefined)('containers over one folder', () => {
  const container = (host: string, config: string): Elsewhere =>
    startElsewhere({ host }, ['replicate', '-config', config])

  test('exclude each other, though none sees the other’s processes', async () => {
    const { folder, db, oracle, replica, config } = scene()
    await write({ db, oracle, count: 3 })
    const first = container('first', config)
    await first.waitFor(/snapshot written/)
    await write({ db, oracle, count: 3 })
    await first.waitFor(/wal segment written/)
    const second = container('second', config)
    expect(await second.exit(10_000), second.output).toBe(75)
    expect(second.stderr).toMatch(/is in use by process \d+ on first, started /)
    const outside = start('replicate', '-config', config)
    expect(await outside.exit(10_000), outside.output).toBe(75)
    expect(outside.stderr).toMatch(/is in use by process \d+ on first, started /)

    await first.kill()
    const third = container('third', config)
    await third.waitFor(/generation continues/)
    await write({ db, oracle, count: 3 })
    expect(await third.stop(), third.output).toBe(0)
    await restore(replica, join(folder, 'end.db'))
    expect(verifyLedger(join(folder, 'end.db'), oracle)).toEqual({ n: lastAcknowledged(oracle) })
    const after = start('replicate', '-config', config)
    await after.waitFor(/generation continues/)
    expect(await after.stop(), after.output).toBe(0)
  })

  test('a container is refused while a process outside has the folder', async () => {
    const { db, oracle, config } = scene()
    await write({ db, oracle, count: 3 })
    const outside = start('replicate', '-config', config)
    await outside.waitFor(/snapshot written/)
    await write({ db, oracle, count: 3 })
    const inside = container('inside', config)
    expect(await inside.exit(10_000), inside.output).toBe(75)
    expect(inside.stderr).toContain(`is in use by process ${outside.pid} on `)
    expect(await outside.stop(), outside.output).toBe(0)
    const next = container('next', config)
    await next.waitFor(/generation continues/)
    expect(await next.stop(), next.output).toBe(0)
  })
})

test.skipIf(whyNotElsewhere !== undefined)(
  'after a restart of the machine the generation goes on, once a clone of the machine would have stopped',
  async () => {
    const { folder, db, oracle, replica, config } = scene()
    const boot = (): Elsewhere =>
      startElsewhere({ host: 'machine', boot: randomUUID() }, ['replicate', '-config', config])
    const writer = startWriter({ db, oracle, rate: 20 })
    const first = boot()
    await first.waitFor(/wal segment written/, { times: 3 })
    await first.kill()
    const second = boot()
    await second.waitFor(/replica claimed/)
    const claimedAt = Date.now()
    await second.waitFor(/wal segment written/)
    expect(Date.now() - claimedAt).toBeGreaterThan(11_000)
    await writer.stop()
    expect(await second.stop(), second.output).toBe(0)
    expect(second.count(/new generation|level=(WARN|ERROR)/), second.output).toBe(0)
    expect(listGenerations(replica)).toHaveLength(1)
    await restore(replica, join(folder, 'end.db'))
    expect(verifyLedger(join(folder, 'end.db'), oracle)).toEqual({ n: lastAcknowledged(oracle) })
  },
)

test.skipIf(whyNotElsewhere !== undefined || process.getuid?.() !== 0)(
  'a daemon from which the processes of others are hidden, as in the unit, knows them by their locks',
  async () => {
    const { db, oracle, config } = scene()
    await write({ db, oracle, count: 3 })
    const outside = start('replicate', '-config', config)
    await outside.waitFor(/snapshot written/)
    const isHidden = `[ ! -e /proc/${outside.pid} ] || exit 99; exec "$@"`
    const rights = 'setpriv --bounding-set=-all,+dac_override,+chown,+fowner'
    const script = `mount -t proc -o hidepid=invisible,gid=65534 proc /proc && exec ${rights} sh -c '${isHidden}' sh "$@"`
    const command = [process.execPath, program, 'replicate', '-config', config]
    const inside = new Running('inside', 'unshare', [
      '--mount',
      'sh',
      '-c',
      script,
      'sh',
      ...command,
    ])
    expect(await inside.exit(), inside.output).toBe(75)
    expect(inside.stderr).toContain(`is in use by process ${outside.pid} on `)
    await outside.kill()
    const next = start('replicate', '-config', config)
    await next.waitFor(/replica claimed/)
    expect(await next.stop(), next.output).toBe(0)
  },
)

test('a replica that a reload adds and another process has is a problem of its own, right after the start, too', async () => {
  const [other, here] = [scene(), scene()]
  await write({ db: other.db, oracle: other.oracle, count: 3 })
  await write({ db: here.db, oracle: here.oracle, count: 3 })
  const first = start('replicate', '-config', other.config)
  await first.waitFor(/snapshot written/)
  const second = start('replicate', '-config', here.config)
  await second.waitFor(/snapshot written/)
  const replicas = [
    { path: here.replica, name: 'own' },
    { path: other.replica, name: 'taken' },
  ]
  writeConfig(here.folder, { path: here.db, replicas })
  second.signal('SIGHUP')
  await second.waitFor(
    new RegExp(`level=ERROR .*replica=taken .*is in use by process ${first.pid} on `),
  )
  await write({ db: here.db, oracle: here.oracle, count: 3 })
  await second.waitFor(/msg="wal segment written" .*replica=own/)
  await first.stop()
  // It is tried again, and stored there once it is free.
  await second.waitFor(/msg="snapshot written" .*replica=taken/, { timeoutMs: 60_000 })
  expect(await second.stop(), second.output).toBe(0)
  await restore(here.replica, join(here.folder, 'end.db'))
  expect(verifyLedger(join(here.folder, 'end.db'), here.oracle)).toEqual({ n: 6 })
})
