import { expect, test } from 'vitest'
import { configFromUrls } from '../../../../src/infrastructure/config/config-file.js'
import { type DatabaseParts } from '../../../../src/usecase/daemon/replicated-database.js'
import { ReplicatedDatabases } from '../../../../src/usecase/daemon/replicated-databases.js'
import { NoRoomError } from '../../../../src/usecase/daemon/descriptor-room.js'
import { type Logger } from '../../../../src/usecase/ports/logger.js'
import { Refusal } from '../../../../src/usecase/refusal.js'
import { ManualClock } from '../../../support/manual-clock.ts'
import { silent } from '../../../support/silent-logger.ts'

function replicationOf(
  clock: ManualClock,
  open: () => Promise<DatabaseParts>,
  logger: Logger = silent,
): ReplicatedDatabases {
  const replication = new ReplicatedDatabases({
    open,
    openFolder: () => {
      throw new Error('there is none')
    },
    left: () => Promise.resolve(),
    refusal: new Refusal(clock, { isAlone: true }),
    clock,
    logger,
    lastSyncTimeoutMs: 1000,
  })
  const here = { env: {}, home: undefined, cwd: '/' }
  replication.want(configFromUrls('/data/app.db', ['file:///backup/app'], here))
  return replication
}

test('a database that is not opened yet is not stored', async () => {
  const clock = new ManualClock()
  const opening = Promise.withResolvers<DatabaseParts>()
  const replication = replicationOf(clock, () => opening.promise)
  const stop = new AbortController()
  const run = replication.run(stop.signal, stop.signal)
  const replica = { database: '/data/app.db', replica: 'file' }
  expect(replication.notStored).toEqual([{ ...replica, detail: 'it is not opened yet' }])
  stop.abort()
  opening.reject(new Error('it cannot be read'))
  const detail = 'it cannot be replicated: it cannot be read'
  expect(await run).toEqual([{ ...replica, detail }])
})

test('a database that is removed while it is opened, and cannot be, is said not to be stored, at once', async () => {
  const clock = new ManualClock()
  const opening = Promise.withResolvers<DatabaseParts>()
  const replication = replicationOf(clock, () => opening.promise)
  const stop = new AbortController()
  const run = replication.run(stop.signal, stop.signal)
  await expect(replication.remove('/data/other.db')).rejects.toMatchObject({ code: 'CONFIG' })
  const removed = replication.remove('/data/app.db')
  opening.reject(new Error('it cannot be read'))
  await clock.advance(200)
  const detail = 'it cannot be replicated: it cannot be read'
  expect(await removed).toEqual([{ database: '/data/app.db', replica: 'file', detail }])
  expect(replication.wanted).toEqual([])
  stop.abort()
  expect(await run).toEqual([])
})

test('a database that is opened for minutes gives no sign of life until that ends', async () => {
  const clock = new ManualClock()
  const opening = Promise.withResolvers<DatabaseParts>()
  const replication = replicationOf(clock, () => opening.promise)
  const [stop, kill] = [new AbortController(), new AbortController()]
  const run = replication.run(stop.signal, kill.signal)
  await clock.advance(5 * 60_000)
  expect(replication.neverBegun).toEqual([])
  await clock.advance(2000)
  const reason = 'its loop has not moved for 5m2s'
  expect(replication.neverBegun).toEqual([{ database: '/data/app.db', replica: undefined, reason }])
  opening.reject(new Error('it cannot be read'))
  await clock.advance(100)
  expect(replication.neverBegun).toEqual([])
  stop.abort()
  kill.abort()
  await run
})

test('databases of one owner without room are a line of the log, and another one if their number changes', async () => {
  const clock = new ManualClock()
  const lines: object[] = []
  const logger: Logger = { ...silent, error: (fields) => void lines.push(fields) }
  const open = (): Promise<DatabaseParts> => Promise.reject(new NoRoomError('no room of user 1000'))
  const replication = replicationOf(clock, open, logger)
  const here = { env: {}, home: undefined, cwd: '/' }
  const { databases, folders } = configFromUrls('/data/app.db', ['file:///backup/app'], here)
  const many = Array.from({ length: 300 }, (_, i) => ({ ...databases[0]!, path: `/data/${i}` }))
  replication.want({ databases: many, folders })
  const stop = new AbortController()
  const run = replication.run(stop.signal, stop.signal)
  await clock.advance(100)
  expect(replication.failing).toHaveLength(300)
  expect(lines).toHaveLength(1)
  await clock.advance(70_000)
  expect(lines).toHaveLength(2)
  expect(lines[1]).toMatchObject({ refused: 300 })
  await clock.advance(130_000)
  expect(lines).toHaveLength(2)
  stop.abort()
  await run
})
