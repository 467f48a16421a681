/** Whoever waits for his commits: what he is told is true, however the machine ends. */
import Database from 'better-sqlite3'
import { existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { request } from 'node:http'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { afterEach, expect, test } from 'vitest'
import type * as Library from '../../src/index.js'
import {
  cleanUp,
  library,
  listObjects,
  restore,
  run,
  start,
  temporaryFolder,
  until,
} from '../support/cli.js'
import { LostDisks } from '../support/lost-disks.ts'
import { makeNotes } from '../support/notes.ts'
import { onThisMachine } from '../support/patience.ts'
import { silent } from '../support/silent-logger.ts'

const { configFromUrls, isAbortError, loadConfig, NotStoredError, replicate, UsageError } =
  (await import(library)) as typeof Library

afterEach(() => cleanUp())

interface Service {
  readonly folder: string
  readonly path: string
  readonly replica: string
  readonly db: Database.Database
  commit(): number
}

/** An application with its database. */
function openService(): Service {
  const folder = temporaryFolder()
  const path = join(folder, 'app.db')
  const db = new Database(path)
  db.pragma('journal_mode = WAL')
  db.exec('CREATE TABLE note (id INTEGER PRIMARY KEY)')
  const insert = db.prepare('INSERT INTO note DEFAULT VALUES')
  const commit = (): number => Number(insert.run().lastInsertRowid)
  return { folder, path, replica: join(folder, 'replica'), db, commit }
}

async function newestRestored({ folder, replica }: Service): Promise<number> {
  const output = join(folder, 'restored.db')
  await restore(replica, output)
  const db = new Database(output, { readonly: true })
  const newest = db.prepare<[], number>('SELECT max(id) FROM note').pluck().get() ?? 0
  db.close()
  for (const end of ['', '-wal', '-shm']) rmSync(`${output}${end}`, { force: true })
  return newest
}

function writeConfig(
  { folder, path, replica }: Service,
  settings: Readonly<Record<string, unknown>> = {},
  top: object = {},
): string {
  const config = join(folder, 'tsreplicate.yml')
  const dbs = [{ path, 'monitor-interval': '100ms', replicas: [{ path: replica, ...settings }] }]
  writeFileSync(config, JSON.stringify({ dbs, ...top }))
  return config
}

test('payments that were acknowledged are restored, whenever the machine dies with its disk', async () => {
  const folder = temporaryFolder()
  const replica = { path: join(folder, 'replica') }
  const machines = new LostDisks({ folder, replica })
  for (const afterMs of [0, 40, 90, 400]) expect(await machines.oneLife(afterMs)).toEqual([])
  expect(machines.acknowledged.length).toBeGreaterThan(4)
})

test('whoever waits is told at once or with the next interval, and what he is told is restored', async () => {
  const service = openService()
  const { path, replica } = service
  const config = writeConfig(service, { 'sync-interval': '2s' })
  await using replication = await replicate(await loadConfig({ path: config }), { logger: silent })
  await replication.stored()
  const segments = (): number => listObjects(replica).filter((name) => /wal/.test(name)).length

  for (let i = 0; i < 3; i += 1) {
    const id = await replication.durable(() => service.commit(), { urgency: 'now' })
    expect(await newestRestored(service)).toBeGreaterThanOrEqual(id)
  }
  const late = async () => {
    service.commit()
    await setImmediate()
    return { newest: service.commit() }
  }
  const { newest } = await replication.durable(late, { urgency: 'now' })
  expect(await newestRestored(service)).toBe(newest)
  const before = segments()
  const many = Array.from({ length: 200 }, async () => {
    service.commit()
    return replication.stored({ database: path, replicas: ['file'], urgency: 'now' })
  })
  const stored = await Promise.all(many)
  expect(stored.at(-1)).toMatchObject({ database: path, replicas: [{ name: 'file' }] })
  expect(segments() - before).toBeLessThanOrEqual(3)
  const rides = [service.commit(), service.commit()]
  await Promise.all(rides.map(() => replication.stored()))
  expect(await newestRestored(service)).toBe(rides[1])
  expect(segments() - before).toBeLessThanOrEqual(5)
  // Nothing is written where nothing was committed.
  const idle = segments()
  await replication.stored({ urgency: 'now' })
  expect(segments()).toBe(idle)
  service.db.close()
})

test('whoever waits is refused in time, for wrong options and after the end, and waits for an engine that was killed', async () => {
  const service = openService()
  const config = await configFromUrls(service.path, [`file://${service.replica}`])
  const replication = await replicate(config, { logger: silent })
  await replication.stored({ urgency: 'now' })
  await expect(replication.stored({ replicas: ['offsite'] })).rejects.toBeInstanceOf(UsageError)
  for (const wrong of [{ urgency: 'soon' }, { timeoutMs: 0 }, { replica: 'file' }]) {
    const waiting = replication.stored(wrong as object)
    await expect(waiting).rejects.toBeInstanceOf(UsageError)
  }
  await expect(replication.stored({ database: '/other.db' })).rejects.toMatchObject({
    code: 'CONFIG',
  })
  const over = replication.stored({ signal: AbortSignal.abort() })
  await expect(over).rejects.toSatisfy(isAbortError)

  // Somewhere else by now: the folder of the replica is a file.
  renameSync(service.replica, `${service.replica}-away`)
  writeFileSync(service.replica, '')
  service.commit()
  const isFailing = async (): Promise<boolean> => {
    const { databases } = await replication.status()
    return databases[0]?.replicas[0]?.lastFailure?.isOver === false
  }
  await until(isFailing, 20_000, 'the failure that is to be told')
  const refused = await replication
    .stored({ urgency: 'now', timeoutMs: 2000 })
    .catch((error: unknown) => error)
  expect(refused).toBeInstanceOf(NotStoredError)
  expect(refused).toMatchObject({
    message: expect.stringMatching(/not within 2s; on file: .*replica/) as string,
    hint: expect.stringContaining('safe in the database') as string,
    missing: [{ database: service.path, replica: 'file' }],
  })
  rmSync(service.replica)
  renameSync(`${service.replica}-away`, service.replica)

  const id = service.commit()
  process.kill(replication.pid ?? 0, 'SIGKILL')
  await replication.stored({ urgency: 'now', timeoutMs: 60_000 })
  expect(await newestRestored(service)).toBe(id)
  await replication.stop()
  const late = replication.stored()
  await expect(late).rejects.toBeInstanceOf(NotStoredError)
  service.db.close()
})

test('of two replicas of which one is down, the other one alone is waited for where that is wanted, and only the one is named', async () => {
  const service = openService()
  const down = join(service.folder, 'down')
  writeFileSync(down, '')
  const replicas = [
    { name: 'a', path: service.replica },
    { name: 'b', path: join(down, 'replica') },
  ]
  const config = join(service.folder, 'tsreplicate.yml')
  const dbs = [{ path: service.path, replicas }]
  writeFileSync(config, JSON.stringify({ dbs, 'shutdown-timeout': '300ms' }))
  await using replication = await replicate(await loadConfig({ path: config }), { logger: silent })
  for (const wanted of ['any', ['a']] as const) {
    const id = service.commit()
    const stored = await replication.stored({ urgency: 'now', replicas: wanted })
    expect(stored.replicas).toMatchObject([{ name: 'a' }])
    expect(await newestRestored(service)).toBe(id)
  }
  for (const wanted of ['all', ['a', 'b'], ['b']] as const) {
    service.commit()
    // By then only the one that is down lacks it, however busy the machine is.
    await replication.stored({ urgency: 'now', replicas: ['a'] })
    const timeoutMs = onThisMachine(1000)
    const waiting = replication.stored({ urgency: 'now', replicas: wanted, timeoutMs })
    await expect(waiting).rejects.toMatchObject({
      message: expect.stringMatching(/not within [0-9.]+m?s; on b: [^;]*$/) as string,
      missing: [{ database: service.path, replica: 'b' }],
    })
  }
  service.db.close()
})

test('of two replicas with intervals of their own, whichever has it first is told, and all are waited for', async () => {
  const service = openService()
  const slowMs = 2000
  const replicas = {
    quick: { path: service.replica, 'urgent-sync-interval': '50ms' },
    slow: { path: join(service.folder, 'slow'), 'urgent-sync-interval': `${slowMs}ms` },
  }
  const named = Object.entries(replicas).map(([name, each]) => ({
    ...{ name, 'sync-interval': '1h' },
    ...each,
  }))
  const config = join(service.folder, 'tsreplicate.yml')
  writeFileSync(config, JSON.stringify({ dbs: [{ path: service.path, replicas: named }] }))
  await using replication = await replicate(await loadConfig({ path: config }), { logger: silent })
  const wait = async (wanted: 'all' | 'any') =>
    replication.stored({ urgency: 'now', replicas: wanted, timeoutMs: 60_000 })
  const pathOf = (name: string): string =>
    name === 'slow' ? replicas.slow.path : replicas.quick.path
  const segmentsOf = (name: string): number =>
    listObjects(pathOf(name)).filter((path) => path.endsWith('.wal.lz4')).length
  await wait('all')

  const rounds = 10
  const [quickBefore, slowBefore] = [segmentsOf('quick'), segmentsOf('slow')]
  const startedMs = performance.now()
  for (let round = 0; round < rounds; round += 1) {
    service.commit()
    await wait('any')
  }
  const intervals = (performance.now() - startedMs) / slowMs
  const [quick, slow] = [segmentsOf('quick') - quickBefore, segmentsOf('slow') - slowBefore]
  // Two may be closer than the interval, and never three.
  expect(slow).toBeLessThanOrEqual(intervals + 2)
  expect(quick).toBeGreaterThan(slow)

  const id = service.commit()
  const [first] = (await wait('any')).replicas
  expect(await newestRestored({ ...service, replica: pathOf(first?.name ?? '') })).toBe(id)
  const last = service.commit()
  const stored = await wait('all')
  expect(stored.replicas.map(({ name }) => name).sort()).toEqual(['quick', 'slow'])
  for (const name of ['quick', 'slow']) {
    expect(await newestRestored({ ...service, replica: pathOf(name) })).toBe(last)
  }
  service.db.close()
})

test('of a new generation nothing is said to be stored before its snapshot is', async () => {
  const service = openService()
  service.db.exec('CREATE TABLE large (content)')
  const insert = service.db.prepare('INSERT INTO large VALUES (randomblob(1000000))')
  for (let i = 0; i < 20; i += 1) insert.run()
  const config = await configFromUrls(service.path, [`file://${service.replica}`])
  for (let round = 0; round < 2; round += 1) {
    const replication = await replicate(config, { logger: silent })
    const id = service.commit()
    await replication.stored({ urgency: 'now', timeoutMs: 120_000 })
    expect(await newestRestored(service)).toBe(id)
    await replication.stop()
    // What nobody watches ends the generation.
    service.commit()
    service.db.pragma('wal_checkpoint(TRUNCATE)')
  }
  service.db.close()
})

async function post(socketPath: string, path: string, body: object): Promise<number> {
  return new Promise((resolve, reject) => {
    const asked = request({ socketPath, method: 'POST', path }, (response) => {
      response.resume()
      resolve(response.statusCode ?? 0)
    })
    asked.on('error', reject)
    asked.end(JSON.stringify(body))
  })
}

test('the command and the socket do the same, which the network does not offer', async () => {
  const service = openService()
  const socket = join(service.folder, 'socket')
  const top = { socket: { path: socket }, addr: '127.0.0.1:0', logging: { level: 'info' } }
  const config = writeConfig(service, { 'sync-interval': '1h' }, top)
  const sync = (...args: string[]) => run('sync', '-config', config, ...args)
  expect(await sync()).toMatchObject({ code: 3 })

  const daemon = start('replicate', '-config', config)
  await daemon.waitFor(/snapshot written/)
  const id = service.commit()
  const done = await sync('-wait', '-now', '--json', service.path)
  expect(done.code, done.stderr).toBe(0)
  expect(JSON.parse(done.stdout)).toMatchObject({
    isStored: true,
    databases: [{ database: service.path, replicas: [{ name: 'file' }] }],
  })
  expect(await newestRestored(service)).toBe(id)

  const next = service.commit()
  const late = await sync('-wait', '-timeout', '500ms')
  expect(late).toMatchObject({ code: 74, stdout: '' })
  expect(late.stderr).toMatch(
    /not within 500ms; on file: the newest commits, after .*\nhint: .*safe in the database/,
  )
  const asked = await sync('-replica', 'file')
  expect(asked).toMatchObject({ code: 0, stdout: expect.stringContaining(service.path) as string })
  await until(async () => (await newestRestored(service)) === next, 20_000, 'the commit')
  expect(await sync('-wait', '/other.db')).toMatchObject({ code: 78 })
  expect(await sync('-wait', '-replica', 'offsite')).toMatchObject({ code: 2 })

  // One that hangs may be storing it: it is not as if none ran.
  daemon.signal('SIGSTOP')
  const hung = await sync('-wait', '-timeout', '100ms', service.path)
  daemon.signal('SIGCONT')
  expect(hung, hung.stderr).toMatchObject({ code: 74, stdout: '' })
  expect(hung.stderr).toMatch(
    /not known to be stored: .*app\.db: the daemon at .* does not answer within 5\.1 s\nhint: it may hang/,
  )

  expect(await post(socket, '/api/sync', { urgency: 'now' })).toBe(200)
  expect(await post(socket, '/api/sync', { urgency: 'soon' })).toBe(400)
  const url = /url=(\S+)\/metrics/.exec(daemon.output)?.[1] ?? ''
  expect((await fetch(`${url}/api/sync`, { method: 'POST' })).status).toBe(405)
  expect(await daemon.stop()).toBe(0)
  expect(existsSync(socket)).toBe(false)
  service.db.close()
})

test('all databases are those that lie in the folder by now, and none at all is no success', async () => {
  const folder = temporaryFolder()
  const dir = join(folder, 'dbs')
  const config = join(folder, 'tsreplicate.yml')
  const replicas = [{ path: join(folder, 'replicas') }]
  writeFileSync(config, JSON.stringify({ dbs: [{ dir, pattern: '*.db', watch: true, replicas }] }))
  const daemon = start('replicate', '-config', config)
  const flags = { sync: ['-wait', '-now', '--json'], snapshot: [] }
  const ask = (of: keyof typeof flags) => run(of, '-config', config, ...flags[of])
  const first = { answer: await ask('sync') }
  while (first.answer.code === 3) first.answer = await ask('sync')
  for (const { code, stderr } of [first.answer, await ask('snapshot')]) {
    expect(code, stderr).toBe(74)
    expect(stderr).toContain(`what is committed in ${dir}; on all: its databases are not known`)
  }

  mkdirSync(dir)
  for (const { code, stderr } of [await ask('sync'), await ask('snapshot')]) {
    expect(code, stderr).toBe(78)
    expect(stderr).toContain('nothing is stored: no database is replicated')
  }
  const paths = ['one.db', 'two.db', 'three.db'].map((name) => join(dir, name))
  for (const [i, path] of paths.entries()) {
    makeNotes(path, 'kept')
    const { code, stdout, stderr } = await ask('sync')
    expect(code, stderr).toBe(0)
    const { databases } = JSON.parse(stdout) as { databases: { database: string }[] }
    expect(databases.map(({ database }) => database).sort()).toEqual(paths.slice(0, i + 1).sort())
  }
  expect(await daemon.stop()).toBe(0)
})

test('the daemon takes a snapshot when it is asked to, of every WAL one', async () => {
  const service = openService()
  const socket = join(service.folder, 'socket')
  const config = writeConfig(
    service,
    { 'sync-interval': '1h' },
    { socket: { path: socket }, addr: '127.0.0.1:0', logging: { level: 'info' } },
  )
  const snapshot = (...args: string[]) => run('snapshot', '-config', config, ...args)
  expect(await snapshot()).toMatchObject({ code: 3 })

  const daemon = start('replicate', '-config', config)
  await daemon.waitFor(/snapshot written/)
  const taken = async (...args: string[]): Promise<number> => {
    const done = await snapshot('--json', ...args)
    expect(done.code, done.stderr).toBe(0)
    const { databases } = JSON.parse(done.stdout) as {
      databases: readonly { replicas: readonly { snapshot: { index: number } }[] }[]
    }
    return databases[0]?.replicas[0]?.snapshot.index ?? -1
  }
  // That of the generation is of the WAL that goes on.
  expect(await taken()).toBe(0)
  expect(daemon.count(/snapshot written/)).toBe(1)
  let index = 0
  const restartWal = async (): Promise<number> => {
    await until(
      () => {
        service.commit()
        return service.db.pragma('wal_checkpoint(RESTART)', { simple: true }) === 0
      },
      60_000,
      'a checkpoint',
    )
    return service.commit()
  }
  for (let round = 0; round < 2; round += 1) {
    const id = await restartWal()
    const next = await taken(service.path)
    expect(next).toBeGreaterThan(index)
    expect(daemon.count(/snapshot written/)).toBe(round + 2)
    index = next
    const name = `${next.toString(16).padStart(8, '0')}.snapshot.lz4`
    expect(listObjects(service.replica).some((path) => path.endsWith(name))).toBe(true)
    expect(await newestRestored(service)).toBe(id)
  }
  const { stdout } = await snapshot('-replica', 'file')
  expect(stdout).toMatch(/^database +replica +generation +index +taken\n\S+ +file +[0-9a-f]{16} +/)
  expect(await snapshot('-replica', 'offsite')).toMatchObject({ code: 2 })
  expect(await snapshot('-timeout', '0s')).toMatchObject({ code: 2 })

  await restartWal()
  renameSync(service.replica, `${service.replica}-away`)
  writeFileSync(service.replica, '')
  const late = await snapshot('-timeout', '500ms')
  expect(late).toMatchObject({ code: 74, stdout: '' })
  expect(late.stderr).toMatch(/not within 500ms; on file: a snapshot/)
  rmSync(service.replica)
  renameSync(`${service.replica}-away`, service.replica)
  expect(await taken()).toBeGreaterThan(index)

  // One that hangs may be taking it: it is not as if none ran.
  daemon.signal('SIGSTOP')
  const hung = await snapshot('-timeout', '100ms', service.path)
  daemon.signal('SIGCONT')
  expect(hung, hung.stderr).toMatchObject({ code: 74, stdout: '' })
  expect(hung.stderr).toMatch(
    /not known to be stored: .*app\.db: the daemon at .* does not answer within 5\.1 s\nhint: it may hang/,
  )

  expect(await post(socket, '/api/snapshot', {})).toBe(200)
  expect(await post(socket, '/api/snapshot', { urgency: 'now' })).toBe(400)
  const url = /url=(\S+)\/metrics/.exec(daemon.output)?.[1] ?? ''
  expect((await fetch(`${url}/api/snapshot`, { method: 'POST' })).status).toBe(405)
  expect(await daemon.stop()).toBe(0)
  service.db.close()
})

test('with -once what is committed is stored, and the command ends; where it cannot be, it says so', async () => {
  const service = openService()
  const config = writeConfig(service, { 'sync-interval': '1h' })
  const once = (...args: string[]) => run('replicate', '-once', '-config', config, ...args)
  for (let round = 0; round < 2; round += 1) {
    const id = service.commit()
    const { code, stdout, stderr } = await once()
    expect(code, stdout + stderr).toBe(0)
    expect(await newestRestored(service)).toBe(id)
  }
  const snapshots = (): number =>
    listObjects(service.replica).filter((name) => /snapshot/.test(name)).length
  expect(snapshots()).toBe(1)
  service.db.pragma('wal_checkpoint(RESTART)')
  service.commit()
  expect(await once('-snapshot')).toMatchObject({ code: 0 })
  expect(snapshots()).toBe(2)
  service.db.pragma('wal_checkpoint(RESTART)')
  service.commit()
  renameSync(service.replica, `${service.replica}-away`)
  writeFileSync(service.replica, '')
  const limits = ['-first-sync-timeout', '500ms', '-shutdown-timeout', '500ms']
  expect(await once(...limits)).toMatchObject({ code: 74 })
  expect(await once('-snapshot', ...limits)).toMatchObject({ code: 74 })
  expect(await once('-exec', 'true')).toMatchObject({ code: 2 })
  expect(await run('replicate', '-snapshot', '-config', config)).toMatchObject({ code: 2 })
  rmSync(service.replica)
  renameSync(`${service.replica}-away`, service.replica)

  // It would wait for the end of a daemon, also where that has several databases.
  const other = join(service.folder, 'other.db')
  makeNotes(other, 'kept')
  const dbs = [service.path, other].map((path) => ({
    path,
    replicas: [{ path: path === other ? join(service.folder, 'other') : service.replica }],
  }))
  writeConfig(service, {}, { dbs })
  const daemon = start('replicate', '-config', config)
  await until(async () => (await run('sync', '-config', config)).code === 0, 20_000, 'the daemon')
  const beside = await once()
  expect(beside).toMatchObject({ code: 75 })
  expect(beside.stderr).toMatch(/a daemon that runs .*\nhint: .* `tsreplicate sync -wait -now`/)
  expect(await daemon.stop()).toBe(0)
  service.db.close()
})
