import { describe, expect, test } from 'vitest'
import { LevelAlarm } from '../../../../src/kit/level-alarm.js'
import { type DatabaseDetails } from '../../../../src/domain/status.js'
import { type LogFields, type Logger } from '../../../../src/usecase/ports/logger.js'
import { WatchDisk } from '../../../../src/usecase/daemon/watch-disk.js'

const mebibyte = 1024 * 1024
const minuteMs = 60_000

interface World {
  databaseBytes: number
  walBytes: number
  spoolBytes: number
  used: number
}

/** Warnings, with the minute at which they came, while `world` changes from minute to minute. */
async function warnings(
  minutes: number,
  world: (minute: number) => Partial<World>,
  { known = {}, hints = [] }: { known?: Partial<DatabaseDetails>; hints?: string[] } = {},
): Promise<string[]> {
  const log: string[] = []
  let now = 0
  const state = (): World => ({
    databaseBytes: mebibyte,
    walBytes: 0,
    spoolBytes: 0,
    used: 0.1,
    ...world(Math.floor(now / minuteMs)),
  })
  const warn = ({ hint }: LogFields, message: string): void => {
    if (typeof hint === 'string') hints.push(hint)
    log.push(`${Math.floor(now / minuteMs)} ${message}`)
  }
  const logger: Logger = { debug: warn, info: warn, warn, error: warn, child: () => logger }
  const stop = new AbortController()
  const watch = new WatchDisk({
    disk: {
      fileBytes: () => Promise.resolve(state().databaseBytes),
      walBytes: () => Promise.resolve(state().walBytes),
      fileSystem: () =>
        Promise.resolve({
          id: '1',
          usedBytes: state().used * 1000,
          availableBytes: (1 - state().used) * 1000,
        }),
    },
    databases: () => [
      {
        path: '/data/app.db',
        metaPath: '/data/.app.db-tsreplicate',
        spoolBytes: state().spoolBytes,
        maxSpoolBytes: 100,
        ...known,
      } as DatabaseDetails,
    ],
    clock: {
      now: () => now,
      monotonic: () => now,
      sleep: async (ms, signal) => {
        now += ms
        if (now >= minutes * minuteMs) stop.abort()
        await Promise.resolve()
        signal.throwIfAborted()
      },
    },
    logger,
  })
  await watch.run(stop.signal)
  return log
}

describe('warnings', () => {
  test('there are none while nothing is remarkable', async () => {
    expect(await warnings(600, (minute) => ({ databaseBytes: (100 + minute) * mebibyte }))).toEqual(
      [],
    )
  })

  test('a large WAL is said, its doubling too, and else once an hour', async () => {
    const log = await warnings(150, (minute) => ({
      walBytes: (minute < 10 ? 300 : 700) * mebibyte,
    }))
    expect(log).toEqual([
      '0 the wal is large',
      '10 the wal is large',
      '70 the wal is large',
      '130 the wal is large',
    ])
  })

  test('why a WAL is large is said by what is known: a reader, checkpoints that fail, or much that was written', async () => {
    const hintOf = async (known: Partial<DatabaseDetails>): Promise<string> => {
      const hints: string[] = []
      await warnings(1, () => ({ walBytes: 300 * mebibyte }), { known, hints })
      return hints.join('; ')
    }
    expect(await hintOf({ isWalPinned: true })).toContain('a read transaction of the application')
    expect(await hintOf({ isWalPinned: false })).toContain('wrote so much in one transaction')
    expect(await hintOf({ isWalPinned: false, copyingProblem: 'disk I/O error' })).toBe(
      'its pages cannot be copied back: disk I/O error',
    )
  })

  test('a database that grows by half in minutes is said; a new file and slow growth are not', async () => {
    const sizes = (minute: number): number =>
      minute < 5 ? 0 : minute < 60 ? 1000 + minute * 20 : minute < 120 ? 2500 : 4500
    expect(await warnings(200, (minute) => ({ databaseBytes: sizes(minute) * mebibyte }))).toEqual([
      '120 the database is growing fast',
    ])
  })

  test('a spool that fills and a disk past 80 % are said at each level', async () => {
    expect(
      await warnings(30, (minute) => ({ spoolBytes: minute < 10 ? 40 : minute < 20 ? 60 : 85 })),
    ).toEqual(['10 the spool is filling up', '20 the spool is filling up'])
    expect(
      await warnings(30, (minute) => ({ used: minute < 10 ? 0.79 : minute < 20 ? 0.81 : 0.96 })),
    ).toEqual(['10 the disk is filling up', '20 the disk is filling up'])
  })
})

test('each folder is looked at once, and a file system is named by the first', async () => {
  const looked: string[] = []
  const { fileSystems } = await new WatchDisk({
    disk: {
      fileBytes: () => Promise.resolve(1),
      walBytes: () => Promise.resolve(1),
      fileSystem: (folder) => {
        looked.push(folder)
        const id = folder.startsWith('/meta') ? '2' : '1'
        return Promise.resolve({ id, usedBytes: 1, availableBytes: 3 })
      },
    },
    databases: () =>
      [
        ['/data/a.db', '/data/.a.db-tsreplicate'],
        ['/data/b.db', '/data/.b.db-tsreplicate'],
        ['/data/c.db', '/meta/c'],
      ].map(([path, metaPath]) => ({ path, metaPath }) as DatabaseDetails),
    clock: { now: () => 0, monotonic: () => 0, sleep: () => Promise.resolve() },
    logger: {} as Logger,
  }).measure()
  expect(looked).toEqual(['/data', '/meta/c'])
  expect(fileSystems.map(({ folder }) => folder)).toEqual(['/data', '/meta/c'])
})

test('a value that swings around a level is one alarm in its time', () => {
  const alarm = new LevelAlarm([10], 1000)
  const due = [0, 100, 200, 300, 1100, 1200].filter((now, i) =>
    alarm.isDue(i % 2 === 0 ? 11 : 9, now),
  )
  expect(due).toEqual([0, 1100])
  expect(alarm.isDue(11, 2500)).toBe(true)
})
