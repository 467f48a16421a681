/** Two daemons on one replica, as if on two machines: what must hold on every store. */
import { randomUUID } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { program, Running, temporaryFolder, until } from './cli.ts'
import { startElsewhere, whyNotElsewhere } from './elsewhere.ts'
import { lastAcknowledged, startWriter, verifyLedger, write } from './ledger.ts'
import { hungMs, onThisMachine } from './patience.ts'

/** Where replicas can be put. */
export interface ReplicaPlace {
  readonly env: Readonly<Record<string, string>>
  /** Of a configuration file, for a folder of the store. */
  replica(path: string): Readonly<Record<string, unknown>>
}

interface Machine {
  readonly db: string
  readonly oracle: string
  readonly config: string
  readonly out: (name: string) => string
}

function machine(
  place: ReplicaPlace,
  path: string,
  settings: Readonly<Record<string, unknown>> = {},
): Machine {
  const folder = temporaryFolder()
  const db = join(folder, 'app.db')
  const config = join(folder, 'config.yml')
  const replicas = [{ ...place.replica(path), 'sync-interval': '200ms', ...settings }]
  writeFileSync(
    config,
    JSON.stringify({ dbs: [{ path: db, replicas }], logging: { level: 'debug' } }),
  )
  return { db, oracle: join(folder, 'oracle'), config, out: (name) => join(folder, name) }
}

/** The newest that it has begun: on a busy machine the WAL may restart during the first look, which begins another. */
const generationIn = (daemon: Running): string =>
  [...daemon.output.matchAll(/msg="new generation".* generation=([0-9a-f]{16})/g)].at(-1)?.[1] ??
  'none'

/** Adds the tests for one store. */
export function testTwoWriters(place: ReplicaPlace): void {
  const run = (...args: string[]): Running =>
    new Running('tsreplicate', process.execPath, [program, ...args], place.env)
  const succeed = async (running: Running): Promise<string> => {
    expect(await running.exit(120_000), running.output).toBe(0)
    return running.stdout
  }
  const objectsOf = async ({ config, db }: Machine, generation: string): Promise<string[]> => {
    const rows: string[] = []
    for (const command of ['snapshots', 'wal']) {
      const text = await succeed(run(command, '-config', config, '--json', db))
      for (const row of JSON.parse(text) as { generation: string }[]) {
        if (row.generation === generation) rows.push(`${command} ${JSON.stringify(row)}`)
      }
    }
    return rows
  }
  const restored = async (
    { config, db, oracle, out }: Machine,
    generation: string,
  ): Promise<number> => {
    const path = out(`restored-${randomUUID()}`)
    await succeed(run('restore', '-config', config, '-o', path, '-generation', generation, db))
    return verifyLedger(path, oracle).n
  }

  test.skipIf(whyNotElsewhere !== undefined).each([
    ['that goes on', false],
    ['that is stopped and continued', true],
  ])(
    'a start elsewhere takes the replica from a daemon %s',
    async (_, isStopped) => {
      const path = `two-writers/${randomUUID()}`
      // Its retention is quick, to delete what it should not.
      const here = machine(place, path, { retention: '5s', 'retention-check-interval': '1s' })
      const there = machine(place, path)
      await write({ ...here, count: 10 })
      await write({ ...there, count: 20 })
      const first = run('replicate', '-config', here.config)
      const writer = startWriter({ ...here, rate: 20 })
      await first.waitFor(/snapshot written/, { timeoutMs: 60_000 })
      await first.waitFor(/wal segment written/, { times: 3, timeoutMs: 60_000 })
      if (isStopped) first.signal('SIGSTOP')

      const elsewhere = { host: 'another-machine', boot: randomUUID() }
      const second = startElsewhere(elsewhere, ['replicate', '-config', there.config], place.env)
      await second.waitFor(/replica taken over/, { timeoutMs: 60_000 })
      expect(second.output).toMatch(
        new RegExp(`level=WARN msg="replica taken over.* from="process ${first.pid} on `),
      )
      await second.waitFor(/snapshot written/, { timeoutMs: 60_000 })
      if (isStopped) {
        await sleep(11_000)
        first.signal('SIGCONT')
      }
      await first.waitFor(
        /level=ERROR msg="replica taken over by another.* by="process \d+ on another-machine, started /,
        { timeoutMs: 30_000 },
      )
      const [ours, theirs] = [generationIn(first), generationIn(second)]
      expect(theirs).not.toBe(ours)
      // One request may have been on its way already when it was stopped.
      const left = await objectsOf(here, ours)
      const status = run('status', '-config', here.config)
      expect(await status.exit(), status.output).toBe(1)
      expect(status.stdout).toMatch(/taken over by process \d+ on another-machine, started /)
      const retention = run('retention', '-config', here.config, here.db)
      expect(await retention.exit()).toBe(1)
      expect(retention.stderr).toMatch(/belongs to process \d+ on another-machine, started /)
      const n = lastAcknowledged(here.oracle)
      await write({ ...there, count: 20 })
      await second.waitFor(/wal segment written/, { timeoutMs: 60_000 })
      await until(() => lastAcknowledged(here.oracle) > n + 40, 30_000, 'two seconds of commits')
      expect(await objectsOf(here, ours)).toEqual(left)
      await writer.stop()

      expect(await restored(here, ours)).toBeGreaterThanOrEqual(10)
      expect(await restored(there, theirs)).toBe(lastAcknowledged(there.oracle))
      expect(await first.stop()).toBe(74)
      expect(first.output).toMatch(/msg="not stored".*taken over by process \d+ on another-machine/)
      const kept = await objectsOf(there, theirs)
      expect(await second.stop(), second.output).toBe(0)

      const back = run('replicate', '-config', here.config)
      await back.waitFor(/replica claimed: its former owner has ended/, { timeoutMs: 60_000 })
      await back.waitFor(/snapshot written/, { timeoutMs: 60_000 })
      const again = generationIn(back)
      expect([ours, theirs, 'none']).not.toContain(again)
      expect(await back.stop(), back.output).toBe(0)
      expect(await restored(here, again)).toBe(lastAcknowledged(here.oracle))
      expect(await objectsOf(there, theirs)).toEqual(expect.arrayContaining(kept))
      expect(await restored(there, theirs)).toBe(lastAcknowledged(there.oracle))
    },
    hungMs,
  )

  test(
    'a copy of the database is refused on the same machine, and a killed owner is succeeded',
    async () => {
      const path = `two-writers/${randomUUID()}`
      const [here, copy] = [machine(place, path), machine(place, path)]
      await write({ ...here, count: 10 })
      await write({ ...copy, count: 10 })
      const first = run('replicate', '-config', here.config)
      await first.waitFor(/snapshot written/, { timeoutMs: 60_000 })
      await write({ ...here, count: 10 })
      await first.waitFor(/wal segment written/, { timeoutMs: 60_000 })
      const second = run('replicate', '-config', copy.config)
      expect(await second.exit(30_000), second.output).toBe(75)
      expect(second.stderr).toMatch(
        new RegExp(`is in use by process ${first.pid} on .+, started 20\\d\\d-`),
      )
      await first.kill()
      const generation = generationIn(first)

      const next = run('replicate', '-config', here.config)
      await next.waitFor(/replica claimed/, { timeoutMs: 30_000 })
      await write({ ...here, count: 10 })
      await until(
        async () => (await restored(here, generation)) === lastAcknowledged(here.oracle),
        30_000,
        'the last commit',
      )
      await next.kill()
      const third = run('replicate', '-config', copy.config)
      await third.waitFor(/snapshot written/, { timeoutMs: 30_000 })
      expect(await third.stop(), third.output).toBe(0)
      expect(next.count(/new generation/), next.output).toBe(0)
      expect(await restored(here, generation)).toBe(lastAcknowledged(here.oracle))
      expect(await restored(copy, generationIn(third))).toBe(lastAcknowledged(copy.oracle))
    },
    hungMs,
  )

  test.skipIf(whyNotElsewhere !== undefined)(
    'with a lease a newcomer waits until the owner ends, and no longer than the lease when it is killed',
    async () => {
      const path = `two-writers/${randomUUID()}`
      const lease = { lease: '6s' }
      const [here, there] = [machine(place, path, lease), machine(place, path, lease)]
      await write({ ...here, count: 10 })
      await write({ ...there, count: 10 })
      const startThere = () =>
        startElsewhere(
          { host: 'another-machine', boot: randomUUID() },
          ['replicate', '-config', there.config],
          place.env,
        )
      const first = run('replicate', '-config', here.config)
      await first.waitFor(/snapshot written/, { timeoutMs: 60_000 })
      const second = startThere()
      await second.waitFor(/waiting until the owner of the replica ends/, { timeoutMs: 30_000 })
      await sleep(8000)
      expect(second.count(/replica claimed|taken over/), second.output).toBe(0)
      await write({ ...here, count: 10 })
      expect(await first.stop(), first.output).toBe(0)
      await second.waitFor(/replica claimed: its former owner has ended/, { timeoutMs: 5000 })
      await second.waitFor(/snapshot written/, { timeoutMs: 30_000 })
      await second.kill()

      const third = run('replicate', '-config', here.config)
      await third.waitFor(/waiting until the owner of the replica ends/, { timeoutMs: 30_000 })
      const since = Date.now()
      await third.waitFor(/replica taken over/, { timeoutMs: 30_000 })
      expect(Date.now() - since).toBeGreaterThan(4000)
      expect(Date.now() - since).toBeLessThan(onThisMachine(20_000))
      await third.waitFor(/snapshot written/, { timeoutMs: 30_000 })
      expect(await third.stop(), third.output).toBe(0)
      expect(await restored(here, generationIn(first))).toBe(lastAcknowledged(here.oracle))
      expect(await restored(here, generationIn(third))).toBe(lastAcknowledged(here.oracle))
    },
    hungMs,
  )
}
