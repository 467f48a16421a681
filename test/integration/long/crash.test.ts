import { afterAll, afterEach, beforeEach, describe, expect, test } from 'vitest'
import { join } from 'node:path'
import { cleanUp, program, Running, temporaryFolder, until } from '../../support/cli.ts'
import { Arena, generator, isApart } from '../../support/crash-arena.ts'
import {
  killApplicationAt,
  killAtRandom,
  killDaemonAt,
  killReaderAt,
  killReaderAtRandom,
  killRestoreAt,
  Tally,
} from '../../support/crash-cycles.ts'
import {
  applicationPoints,
  type CrashPoint,
  daemonPoints,
  momentsOf,
  restorePoints,
  unnamedPaths,
} from '../../support/crash-points.ts'
import { hasCompiler, Trace } from '../../support/kill-at-call.ts'
import { DownTime } from '../../support/down-time.ts'
import { lastAcknowledged } from '../../support/ledger.ts'

const seed = Number(process.env['TSREPLICATE_SEED'] ?? Date.now() % 1_000_000)
/** A part of everything, for a run that is to be short. */
const share = Number(process.env['TSREPLICATE_CRASH_SHARE'] ?? 1)
const only = new RegExp(process.env['TSREPLICATE_CRASH_POINTS'] ?? '')
const random = generator(seed)
const tally = new Tally()

let arena: Arena
beforeEach(async () => {
  arena = new Arena(temporaryFolder(), Math.floor(random() * 1e9))
  await arena.startWriter()
  arena.startDaemon()
  await arena.catchUp()
})
afterEach(cleanUp)
afterAll(() => {
  console.log(`seed ${seed}\n${tally.toString()}`)
})

const some = (points: readonly CrashPoint[]): CrashPoint[] =>
  points.filter(({ name }) => only.test(name) && random() < share)
const times = (count: number): number => Math.ceil(count * share)

/** Of the calls of the daemon, SQLite's. */
const isOfReader = ({ name }: CrashPoint): boolean => name.startsWith('checkpoint: ')

async function counted(name: string, cycle: () => Promise<void>): Promise<void> {
  try {
    await cycle()
    tally.count(name, true)
  } catch (error) {
    tally.count(name, false)
    throw error
  }
}

describe.skipIf(!hasCompiler)('killed at a named point', () => {
  test.each(some(daemonPoints).map((point) => [point.name, point] as const))(
    'the daemon: %s',
    async (name, point) => {
      for (const moment of momentsOf(point)) {
        for (const nth of point.nth) {
          const kill = isApart && isOfReader(point) ? killReaderAt : killDaemonAt
          await counted(name, () => kill(arena, { point, moment, nth }))
        }
      }
      if (arena.writer?.ended !== false) await arena.startWriter()
      if (arena.daemon?.ended !== false) arena.startDaemon()
      await arena.catchUp()
      await arena.stop()
    },
  )

  test.each(some(applicationPoints).map((point) => [point.name, point] as const))(
    '%s',
    async (name, point) => {
      for (let round = 0; round < times(name.includes('WAL synced') ? 12 : 2); round += 1) {
        for (const moment of momentsOf(point)) {
          for (const nth of point.nth) {
            await counted(name, () => killApplicationAt(arena, { point, moment, nth }))
          }
        }
      }
      await arena.stop()
    },
  )

  test.each(some(restorePoints).map((point) => [point.name, point] as const))(
    '%s',
    async (name, point) => {
      for (const moment of momentsOf(point)) {
        for (const nth of point.nth) {
          await counted(name, () => killRestoreAt(arena, { point, moment, nth }))
        }
      }
    },
  )

  test('every call of the daemon on its files has a name here', async () => {
    await arena.daemon?.kill()
    arena.truncateWal()
    arena.plantLeftovers(arena.daemon!.pid)
    const trace = new Trace(arena.folder, join(arena.folder, 'trace'))
    const daemon = arena.startDaemon(trace.env)
    await arena.catchUp()
    await daemon.waitFor(/retention enforced/, { times: 4, timeoutMs: 60_000 })
    await arena.stop()
    const restore = new Running(
      'restore',
      process.execPath,
      [program, 'restore', '-o', join(arena.folder, 'out/out.db'), `file://${arena.replica('a')}`],
      trace.env,
    )
    expect(await restore.exit()).toBe(0)
    const points = [...daemonPoints, ...restorePoints]
    const unnamed = trace.calls.filter(
      ({ call, path }) =>
        !unnamedPaths.test(path) &&
        !points.some(
          (point) => point.calls.split(',').includes(call) && new RegExp(point.path).test(path),
        ),
    )
    expect(unnamed).toEqual([])
  })
})

test('killed at random moments', async () => {
  for (let cycle = 0; cycle < times(60); cycle += 1) {
    const victims = (['daemon', 'application', 'both'] as const)[Math.floor(random() * 3)]!
    await counted(`random: ${victims}`, () => killAtRandom(arena, victims))
    if (isApart) await counted('random: reader', () => killReaderAtRandom(arena))
  }
  if (arena.writer?.ended !== false) await arena.startWriter()
  if (arena.daemon?.ended !== false) arena.startDaemon()
  await arena.catchUp()
  await until(() => lastAcknowledged(arena.oracle) > 0, 1000, 'commits')
  await arena.stop()
})

test('writes, checkpoints, vacuums and closes while the daemon is down', async () => {
  await arena.stop()
  const downTime = await DownTime.begin(temporaryFolder(), { databases: 4, random })
  for (let round = 0; round < times(50); round += 1) {
    await downTime.round()
    for (let each = 0; each < downTime.databases; each += 1) tally.count('down time', true)
  }
  await downTime.end()
  console.log(downTime.summary)
})
