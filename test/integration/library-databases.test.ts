/** Databases that an application adds and removes while it runs. */
import { once } from 'node:events'
import { mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { type AddressInfo } from 'node:net'
import { join } from 'node:path'
import { afterEach, expect, test, vi } from 'vitest'
import type * as Library from '../../src/index.js'
import { cleanUp, library, restore, temporaryFolder, until } from '../support/cli.js'
import { lastAcknowledged, startWriter, summaryOf, verifyLedger, write } from '../support/ledger.ts'
import { addNote, makeNotes, notesIn } from '../support/notes.ts'
import { silent } from '../support/silent-logger.ts'

const { configFromUrls, replicate, UsageError } = (await import(library)) as typeof Library

afterEach(async () => {
  vi.unstubAllEnvs()
  await cleanUp()
})

const tenant = (folder: string, name: string) => ({
  db: join(folder, `${name}.db`),
  oracle: join(folder, `${name}-oracle`),
  replica: join(folder, `${name}-replica`),
  url: `file://${join(folder, `${name}-replica`)}`,
  output: join(folder, `${name}-restored.db`),
})

test('a database is added while others are written, survives the engine, and is removed with its last commit', async () => {
  const folder = temporaryFolder()
  const [first, second] = [tenant(folder, 'first'), tenant(folder, 'second')]
  makeNotes(first.db, 'kept')
  const replication = await replicate(first.db, first.url, { logger: silent })
  const writer = startWriter({ db: second.db, oracle: second.oracle, rate: 200 })
  await replication.addDatabase(second.db, second.url)
  const stored = await replication.stored({ database: second.db, urgency: 'now' })
  expect(stored).toMatchObject({ database: second.db, replicas: [{ name: 'file' }] })
  const unnamed = await replication.stored().catch((error: unknown) => error)
  expect(unnamed).toBeInstanceOf(UsageError)
  expect(unnamed).toMatchObject({
    message: 'there are several databases: which one is meant?',
    hint: `Name one of: ${first.db}, ${second.db}.`,
  })
  await expect(replication.addDatabase(second.db, second.url)).rejects.toMatchObject({
    code: 'CONFIG',
    message: `database is replicated already: ${second.db}`,
  })
  await expect(replication.addDatabase(join(folder, 'x.db'), first.url)).rejects.toMatchObject({
    code: 'CONFIG',
    message: expect.stringContaining('two replicas in one place') as string,
  })

  // The next engine knows it, too, also where that is asked of the one before.
  process.kill(replication.pid ?? 0, 'SIGKILL')
  const third = tenant(folder, 'third')
  makeNotes(third.db, 'third')
  await replication.addDatabase(third.db, [third.url])
  await replication.stored({ database: second.db, urgency: 'now', timeoutMs: 60_000 })
  const { databases } = await replication.status()
  expect(databases.map(({ path }) => path)).toEqual([first.db, second.db, third.db])

  writer.signal('SIGTERM')
  const { n } = await summaryOf(writer)
  expect(n).toBe(lastAcknowledged(second.oracle))
  expect(await replication.removeDatabase(second.db)).toEqual([])
  await restore(second.replica, second.output)
  expect(verifyLedger(second.output, second.oracle)).toEqual({ n })
  await expect(replication.stored({ database: second.db })).rejects.toMatchObject({
    code: 'CONFIG',
  })
  await expect(replication.removeDatabase(second.db)).rejects.toMatchObject({ code: 'CONFIG' })

  // It is no business of the engine any more, and comes back as it was left.
  await write({ db: second.db, oracle: second.oracle, count: 5 })
  await replication.addDatabase(second.db, second.url)
  await replication.stored({ database: second.db, urgency: 'now' })
  // The one that the replication was started with is known by its name still.
  expect(await replication.removeDatabase(first.db)).toEqual([])
  expect((await replication.status()).databases).toHaveLength(2)
  expect(await replication.stop()).toEqual([])
  rmSync(second.output)
  await restore(second.replica, second.output)
  expect(verifyLedger(second.output, second.oracle)).toEqual({ n: n + 5 })
  await expect(replication.addDatabase(first.db, first.url)).rejects.toMatchObject({
    code: 'NOT_RUNNING',
  })
})

test('databases that are added at once are all kept, and of two in one place one is refused', async () => {
  const folder = temporaryFolder()
  const [first, ...others] = ['a', 'b', 'c'].map((name) => tenant(folder, name))
  await using replication = await replicate(first!.db, first!.url, { logger: silent })
  await Promise.all(others.map(({ db, url }) => replication.addDatabase(db, url)))
  const place = tenant(folder, 'place').url
  const twice = ['x.db', 'y.db'].map((name) => replication.addDatabase(join(folder, name), place))
  const settled = await Promise.allSettled(twice)
  expect(settled.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected'])
  expect(settled.find(({ status }) => status === 'rejected')).toMatchObject({
    reason: {
      code: 'CONFIG',
      message: expect.stringContaining('two replicas in one place') as string,
    },
  })
  for (const { db } of others) makeNotes(db, 'kept')
  process.kill(replication.pid ?? 0, 'SIGKILL')
  for (const { db } of others) {
    const stored = await replication.stored({ database: db, urgency: 'now', timeoutMs: 60_000 })
    expect(stored).toMatchObject({ database: db })
  }
})

test('a database that is removed while its store is away is said not to be stored, and is stored the next time', async () => {
  const folder = temporaryFolder()
  const [first, second] = [tenant(folder, 'first'), tenant(folder, 'second')]
  makeNotes(first.db, 'kept')
  const config = await configFromUrls(first.db, [first.url])
  const replication = await replicate({ ...config, shutdownTimeoutMs: 1000 }, { logger: silent })
  await write({ db: second.db, oracle: second.oracle, count: 5 })
  await replication.addDatabase(second.db, second.url)
  await replication.stored({ database: second.db, urgency: 'now' })
  renameSync(second.replica, `${second.replica}-away`)
  writeFileSync(second.replica, '')
  await write({ db: second.db, oracle: second.oracle, count: 5 })
  const twice = [replication.removeDatabase(second.db), replication.removeDatabase(second.db)]
  const [removed, refused] = await Promise.allSettled(twice)
  expect(removed).toMatchObject({ value: [{ database: second.db, replica: 'file' }] })
  expect(refused).toMatchObject({ reason: { code: 'USAGE' } })
  rmSync(second.replica)
  renameSync(`${second.replica}-away`, second.replica)
  await replication.addDatabase(second.db, second.url)
  await replication.stored({ database: second.db, urgency: 'now' })
  expect(await replication.stop()).toEqual([])
  await restore(second.replica, second.output)
  expect(verifyLedger(second.output, second.oracle)).toEqual({ n: 10 })
})

test('a database that is added is restored before, if that is wanted; one that cannot be opened is removed at once', async () => {
  const folder = temporaryFolder()
  const [first, second] = [tenant(folder, 'first'), tenant(folder, 'second')]
  makeNotes(second.db, 'kept')
  expect(await (await replicate(second.db, second.url, { logger: silent })).stop()).toEqual([])
  for (const end of ['', '-wal', '-shm']) rmSync(`${second.db}${end}`, { force: true })

  const config = await configFromUrls(first.db, [first.url])
  await using replication = await replicate(config, { logger: silent })
  const [database] = (await configFromUrls(second.db, [second.url])).databases
  await replication.addDatabase({ ...database!, restoreIfDbNotExists: true })
  expect(notesIn(second.db)).toEqual(['kept'])

  const third = tenant(folder, 'third')
  writeFileSync(third.db, 'no database')
  mkdirSync(third.replica)
  await replication.addDatabase(third.db, third.url)
  expect(await replication.removeDatabase(third.db)).toMatchObject([{ database: third.db }])
  // One that nobody has made yet has nothing to be stored.
  expect(await replication.removeDatabase(first.db)).toEqual([])
})

test('a restore of a database that is added ends at an abort, and with the replication, and nothing of it is left', async () => {
  const folder = temporaryFolder()
  const [first, second] = [tenant(folder, 'first'), tenant(folder, 'second')]
  // A store that takes requests and never answers.
  let requests = 0
  const server = createServer(() => (requests += 1)).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  vi.stubEnv('AWS_ACCESS_KEY_ID', 'key')
  vi.stubEnv('AWS_SECRET_ACCESS_KEY', 'secret')
  const url = `s3://bucket/app?endpoint=http://127.0.0.1:${port}&region=eu-west-1`
  const [silentOne] = (await configFromUrls(second.db, [url])).databases
  const database = { ...silentOne!, restoreIfDbNotExists: true }
  const replication = await replicate(first.db, first.url, { logger: silent })
  const isAsked = async (): Promise<void> => {
    const before = requests
    await until(() => requests > before, 30_000, 'a request of the restore')
  }

  const over = new Error('over')
  const abort = new AbortController()
  const aborted = replication.addDatabase(database, { signal: abort.signal })
  await isAsked()
  abort.abort(over)
  await expect(aborted).rejects.toBe(over)
  await expect(replication.addDatabase(database, { signal: abort.signal })).rejects.toBe(over)
  expect((await replication.status()).databases.map(({ path }) => path)).toEqual([first.db])

  // It can be tried again.
  const ended = replication.addDatabase(database).catch((error: unknown) => error)
  await isAsked()
  expect(await replication.stop()).toEqual([])
  expect(await ended).toMatchObject({ code: 'NOT_RUNNING' })
  expect(readdirSync(folder).filter((name) => name.includes('second'))).toEqual([])
  server.closeAllConnections()
  server.close()
})

test('of two processes the second replicates what the first does not, and leaves it to the first once that does', async () => {
  const folder = temporaryFolder()
  const [one, other] = [tenant(folder, 'one'), tenant(folder, 'other')]
  makeNotes(one.db, 'kept')
  makeNotes(other.db, 'kept')
  await using first = await replicate(one.db, one.url, { logger: silent })
  await using second = await replicate(one.db, one.url, { logger: silent })
  await second.addDatabase(other.db, other.url)
  const storedBySecond = async (database: string) =>
    second.stored({ database, urgency: 'now', timeoutMs: 60_000 })
  expect(await storedBySecond(one.db)).toMatchObject({ database: one.db })
  expect(await storedBySecond(other.db)).toMatchObject({ database: other.db })
  // What goes wrong with it is heard where it is replicated.
  const problems: unknown[] = []
  second.on('problem', ({ database, replica }) => problems.push({ database, replica }))
  renameSync(other.replica, `${other.replica}-away`)
  writeFileSync(other.replica, '')
  addNote(other.db, 'kept')
  await until(() => problems.length > 0, 20_000, 'the problem')
  expect(problems).toEqual([{ database: other.db, replica: 'file' }])
  const whole = { pid: first.pid, databases: [{ path: one.db }, { path: other.db }] }
  expect(await second.status()).toMatchObject(whole)
  const asked = await second.handler()(new Request('http://localhost/api/status'))
  expect(await asked.json()).toMatchObject(whole)
  expect((await first.status()).databases).toHaveLength(1)
  const answer = async (of: Library.RunningReplication, path: string) => {
    const response = await of.handler()(new Request(`http://localhost${path}`))
    return `${response.status} ${await response.text()}`
  }
  const counted = (database: string) => `litestream_db_size{db="${database}"}`
  const [firstMetrics, metrics] = [
    await answer(first, '/metrics'),
    await answer(second, '/metrics'),
  ]
  for (const text of [firstMetrics, metrics]) expect(text).toContain(counted(one.db))
  expect(firstMetrics).not.toContain(counted(other.db))
  expect(metrics).toContain(counted(other.db))
  for (const each of [first, second]) expect(await answer(each, '/healthz')).toBe('200 alive\n')
  rmSync(other.replica)
  renameSync(`${other.replica}-away`, other.replica)

  await first.addDatabase(other.db, other.url)
  for (const each of [first, second]) {
    const stored = await each.stored({ database: other.db, urgency: 'now', timeoutMs: 60_000 })
    expect(stored).toMatchObject({ database: other.db, replicas: [{ name: 'file' }] })
  }
  const unknown = second.stored({ database: join(folder, 'no.db') })
  await expect(unknown).rejects.toMatchObject({ code: 'CONFIG' })
  expect(await first.stop()).toEqual([])
  expect(await storedBySecond(other.db)).toMatchObject({ database: other.db })
  expect(await second.stop()).toEqual([])
  await restore(other.replica, other.output)
  expect(notesIn(other.output)).toEqual(['kept', 'kept'])
})
