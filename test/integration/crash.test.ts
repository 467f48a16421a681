/** A few cycles of `npm run test:crash`, and what a damaged spool leads to. */
import Database from 'better-sqlite3'
import { readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { afterEach, describe, expect, test } from 'vitest'
import { spooledSegments } from '../support/captured.ts'
import {
  cleanUp,
  listGenerations,
  start,
  temporaryFolder,
  until,
  writeConfig,
} from '../support/cli.ts'
import { basename, dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Arena } from '../support/crash-arena.ts'
import {
  killApplicationAt,
  killAtRandom,
  killDaemonAt,
  killRestoreAt,
} from '../support/crash-cycles.ts'
import { applicationPoints, daemonPoints, restorePoints } from '../support/crash-points.ts'
import { DownTime } from '../support/down-time.ts'
import { hasCompiler, type Moment, Trace, Trap } from '../support/kill-at-call.ts'
import { restoreAndVerify, write } from '../support/ledger.ts'

afterEach(cleanUp)

const find = <P extends { name: string }>(points: readonly P[], name: string): P => {
  const point = points.find((each) => each.name === name)
  if (point === undefined) throw new Error(`there is no point ${name}`)
  return point
}

test.skipIf(!hasCompiler)('killed at named points, daemon, application and restore', async () => {
  const arena = new Arena(temporaryFolder(), 7)
  await arena.startWriter()
  arena.startDaemon()
  await arena.catchUp()
  const cycles: [string, Moment][] = [
    ['spooled segment: written', 'half'],
    ['state file: renamed', 'after'],
    ['merged segment: other parts removed', 'before'],
    ['later snapshot: renamed', 'before'],
  ]
  for (const [name, moment] of cycles) {
    await killDaemonAt(arena, { point: find(daemonPoints, name), moment, nth: 1 })
  }
  const sync = find(applicationPoints, 'application: WAL synced')
  await killApplicationAt(arena, { point: sync, moment: 'before', nth: 1 })
  const restore = find(restorePoints, 'restore: named')
  await killRestoreAt(arena, { point: restore, moment: 'before', nth: 1 })
  await arena.stop()
})

test.skipIf(!hasCompiler)(
  'what is to survive a power cut is synced before it is renamed, and its folder afterwards',
  async () => {
    const arena = new Arena(temporaryFolder(), 3)
    await arena.startWriter()
    const trace = new Trace(arena.folder, join(arena.folder, 'trace'))
    arena.startDaemon(trace.env)
    await arena.catchUp()
    await until(
      () => trace.calls.some(({ call, path }) => call === 'replace' && path.endsWith('.lz4')),
      30_000,
      'merged segments',
    )
    await arena.stop()
    const calls = trace.calls
    // A segment gets its name by a link, which takes no other's place.
    const renames = calls.flatMap(({ call, path }, at) =>
      call === 'rename' || call === 'replace' || (call === 'link' && path.endsWith('.lz4'))
        ? [{ path, at }]
        : [],
    )
    for (const { path, at } of renames) {
      const before = calls.slice(0, at)
      const ofTemporary = (call: string): number =>
        before.findLastIndex(
          (each) => each.call === call && each.path.startsWith(path) && each.path !== path,
        )
      const linkedAt = ofTemporary('link')
      if (linkedAt === -1) {
        expect(ofTemporary('write'), path).toBeGreaterThan(-1)
        expect(ofTemporary('sync'), path).toBeGreaterThan(ofTemporary('write'))
      } else {
        // What is linked was durable before.
        const spooledAt = before.findLastIndex(
          (each) =>
            ['rename', 'replace'].includes(each.call) &&
            each.path.includes('/spool/') &&
            basename(each.path) === basename(path),
        )
        expect(spooledAt, path).toBeGreaterThan(-1)
        const spoolFolder = dirname(before[spooledAt]?.path ?? '')
        expect(
          before
            .slice(spooledAt, linkedAt)
            .some((each) => each.call === 'sync' && each.path === spoolFolder),
          path,
        ).toBe(true)
      }
      const after = calls
        .slice(at)
        .find((each) => each.call === 'sync' && each.path === dirname(path))
      expect(after, path).toBeDefined()
    }
    const kinds = ['state\\.json', 'a/.*snapshot\\.lz4', 'b/.*wal\\.lz4', 'spool/.*wal\\.lz4']
    for (const kind of kinds) {
      expect(
        renames.some(({ path }) => new RegExp(`${kind}$`).test(path)),
        kind,
      ).toBe(true)
    }
  },
)

test.skipIf(!hasCompiler)(
  'an application that is killed while it copies pages back has written its database, and nobody else',
  async () => {
    const arena = new Arena(temporaryFolder(), 5)
    await arena.startWriter()
    arena.startDaemon()
    await arena.catchUp()
    await arena.writer?.stop()
    const point = find(applicationPoints, 'application: pages copied back')
    const trap = new Trap(arena.folder, point, { moment: 'after', nth: 2, armed: false })
    const writer = await arena.startWriter({ autocheckpoint: 20, synchronous: 'FULL' }, trap.env)
    await writer.waitFor(/ready/)
    await arena.catchUp()
    const before = arena.generations
    trap.arm()
    await until(() => writer.ended, 60_000, 'the checkpoint')
    // Longer than a file that changed is waited for.
    await sleep(4000)
    expect(arena.daemon?.output).not.toContain('something other than SQLite')
    await arena.startWriter()
    await arena.catchUp()
    expect(arena.generations).toBe(before)
    await arena.stop()
  },
)

test('killed at random moments, daemon and application', async () => {
  const arena = new Arena(temporaryFolder(), 11)
  await arena.startWriter()
  arena.startDaemon()
  await arena.catchUp()
  await killAtRandom(arena, 'daemon')
  await killAtRandom(arena, 'both')
  await arena.startWriter()
  arena.startDaemon()
  await arena.catchUp()
  await arena.stop()
})

test('writes, checkpoints, vacuums and closes while the daemon is down', async () => {
  let state = 5
  const random = (): number => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return state / 4_294_967_296
  }
  const downTime = await DownTime.begin(temporaryFolder(), { databases: 4, random })
  await downTime.round()
  await downTime.round()
  await downTime.end()
})

describe('a spool that is damaged while the daemon is down', () => {
  /** A database whose last commits are in several segments, and whose daemon was killed. */
  async function scene(): Promise<{
    db: string
    oracle: string
    replica: string
    config: string
    output: string
    check: (reason: string) => Promise<void>
  }> {
    const folder = temporaryFolder()
    const db = join(folder, 'app.db')
    const oracle = join(folder, 'oracle')
    const replica = join(folder, 'replica')
    const config = writeConfig(folder, { path: db, replicas: [replica] })
    const daemon = start('replicate', '-config', config)
    await daemon.waitFor(/msg=/)
    // The daemon keeps the WAL when the writer closes.
    await write({ db, oracle, count: 5 })
    await daemon.waitFor(/snapshot written/)
    for (let round = 0; round < 2; round += 1) {
      const times = daemon.count(/wal segment written/) + 1
      await write({ db, oracle, count: 5 })
      await daemon.waitFor(/wal segment written/, { times })
    }
    await until(() => spooledSegments(db).length >= 2, 20_000, 'segments in the spool')
    await daemon.kill()
    const output = join(folder, 'end.db')
    return {
      db,
      oracle,
      replica,
      config,
      output,
      check: async (reason) => {
        const again = start('replicate', '-config', config)
        await again.waitFor(/new generation/)
        expect(again.output).toContain(`reason="${reason}"`)
        await again.waitFor(/snapshot written/)
        expect(await again.stop()).toBe(0)
        expect(listGenerations(replica)).toHaveLength(2)
        expect(await restoreAndVerify(replica, output, oracle)).toEqual({ n: 15 })
      },
    }
  }

  test('captures its last segment once more when it is missing and the WAL has it, or begins a generation', async () => {
    const { db, oracle, replica, config, output } = await scene()
    rmSync(spooledSegments(db).at(-1)!)
    const again = start('replicate', '-config', config)
    await again.waitFor(/replica claimed/)
    await write({ db, oracle, count: 1 })
    // Whichever looks first: the capture at the WAL, or the replica at what is stored, which may end within what is captured
    // once more and more.
    await again.waitFor(/wal segment written|snapshot written/)
    expect(await again.stop()).toBe(0)
    const began = /new generation.*reason="([^"]*)"/.exec(again.output)?.[1]
    expect([
      undefined,
      'replica is ahead of the local state',
      'replica missed segments that the spool no longer has',
    ]).toContain(began)
    expect(listGenerations(replica)).toHaveLength(began === undefined ? 1 : 2)
    expect(await restoreAndVerify(replica, output, oracle)).toEqual({ n: 16 })
  })

  test('begins a generation when what is stored ends within what is captured once more', async () => {
    const { db, oracle, replica, config, output } = await scene()
    rmSync(spooledSegments(db).at(-1)!)
    // Whoever closes a database last copies its WAL back, and removes it.
    const keeper = new Database(db)
    keeper.pragma('schema_version')
    await write({ db, oracle, count: 1 })
    const again = start('replicate', '-config', config)
    await again.waitFor(/snapshot written/)
    keeper.close()
    expect(await again.stop(), again.output).toBe(0)
    expect(again.output).toMatch(
      /new generation.*reason="replica missed segments that the spool no longer has"/,
    )
    expect(listGenerations(replica)).toHaveLength(2)
    expect(await restoreAndVerify(replica, output, oracle)).toEqual({ n: 16 })
  })

  test('begins a generation when all segments are missing', async () => {
    const { db, check } = await scene()
    for (const path of spooledSegments(db)) rmSync(path)
    await check('local state has no segment')
  })

  test('begins a generation when the end of its last segment is torn off', async () => {
    const { db, check } = await scene()
    const last = spooledSegments(db).at(-1)!
    truncateSync(last, readFileSync(last).length - 7)
    await check('local state is unreadable')
  })

  test('begins a generation when its state file is damaged', async () => {
    const { db, check } = await scene()
    const last = spooledSegments(db).at(-1)!
    writeFileSync(join(last, '../../../state.json'), '{"version":1,')
    await check('local state is unreadable')
  })
})
