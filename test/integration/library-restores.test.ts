/** What an application does with what is stored before it opens its databases, and where it only looks. */
import { cpSync, existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import type * as Library from '../../src/index.js'
import { type RestoreProgress, type UrlRestoreOptions } from '../../src/index.js'
import { cleanUp, library, listObjects, Running, temporaryFolder } from '../support/cli.js'
import { addNote, makeNotes, notesIn } from '../support/notes.ts'
import { silent } from '../support/silent-logger.ts'

const { configFromUrls, loadConfig, replicate, restore, restoreIfMissing, verify } = (await import(
  library
)) as typeof Library

afterEach(() => cleanUp())

/** A database with a note, which is stored and then lost. */
async function lostDatabase(): Promise<{ folder: string; db: string; url: string }> {
  const folder = temporaryFolder()
  mkdirSync(join(folder, 'data'))
  const [db, url] = [join(folder, 'data/app.db'), `file://${join(folder, 'replica')}`]
  makeNotes(db, 'kept')
  expect(await (await replicate(db, url, { logger: silent })).stop()).toEqual([])
  rmSync(join(folder, 'data'), { recursive: true })
  return { folder, db, url }
}

test('a database that is missing is restored once, one that is there stays, and one of which nothing is stored is to be made', async () => {
  const { folder, db, url } = await lostDatabase()
  // Of two that ask at once, one restores.
  const [first, second] = await Promise.all([
    restoreIfMissing(db, url),
    restoreIfMissing(db, [url]),
  ])
  expect([first, second].filter((report) => report !== undefined)).toMatchObject([
    { replica: 'file', snapshotIndex: 0 },
  ])
  expect(notesIn(db)).toEqual(['kept'])
  addNote(db, 'after it')
  expect(await restoreIfMissing(db, url)).toBeUndefined()
  expect(notesIn(db)).toEqual(['kept', 'after it'])
  expect(readdirSync(join(folder, 'data')).filter((name) => name.startsWith('.'))).toEqual([])

  const other = join(folder, 'other/new.db')
  expect(await restoreIfMissing(other, `file://${join(folder, 'empty')}`)).toBeUndefined()
  expect(existsSync(join(folder, 'other'))).toBe(false)
  const config = await configFromUrls(db, [url])
  const [named] = config.databases
  const both = { ...config, databases: [named!, { ...named!, path: other }] }
  const reports = await restoreIfMissing(both)
  expect([...reports.keys()]).toEqual([other])
  expect(notesIn(other)).toEqual(['kept'])
})

test('a restore tells how far it is, and ends at an abort, which leaves nothing behind', async () => {
  const { folder, db, url } = await lostDatabase()
  const to = join(folder, 'restored.db')
  const told: RestoreProgress[] = []
  const onProgress = (progress: RestoreProgress): void => {
    told.push(progress)
  }
  const isWhole = (): void => {
    expect(told[0]).toMatchObject({ phase: 'plan', doneBytes: 0 })
    expect(told.map(({ phase }) => phase)).toContain('snapshot')
    const last = told.at(-1)
    expect(last?.totalBytes).toBeGreaterThan(0)
    expect(last?.doneBytes).toBe(last?.totalBytes)
    told.length = 0
  }
  await restore(url, { to, onProgress })
  isWhole()
  await restoreIfMissing(db, url, { onProgress })
  isWhole()

  const over = new Error('over')
  for (const output of [`${to}-aborted`, `${db}-aborted`]) {
    const stop = new AbortController()
    const options = { onProgress: () => stop.abort(over), signal: stop.signal }
    const ending = output.startsWith(db)
      ? restoreIfMissing(output, url, options)
      : restore(url, { to: output, ...options })
    await expect(ending).rejects.toBe(over)
    expect(readdirSync(dirname(output)).filter((name) => name.includes('aborted'))).toEqual([])
  }
})

test('what is stored and cannot be restored is an error, and there is no database then', async () => {
  const { folder, db, url } = await lostDatabase()
  const damaged = join(folder, 'damaged')
  cpSync(join(folder, 'replica'), damaged, { recursive: true })
  for (const name of listObjects(damaged).filter((each) => each.includes('snapshot'))) {
    writeFileSync(join(damaged, name), 'x')
  }
  await expect(restoreIfMissing(db, `file://${damaged}`)).rejects.toMatchObject({
    code: 'CORRUPTION',
  })
  const signal = AbortSignal.abort(new Error('over'))
  await expect(restoreIfMissing(db, url, { signal })).rejects.toThrow('over')
  const wrong = { integrityCheck: 'ful' as 'full' }
  await expect(restoreIfMissing(db, url, wrong)).rejects.toMatchObject({ code: 'USAGE' })
  await expect(restoreIfMissing(db, undefined as unknown as string)).rejects.toMatchObject({
    code: 'USAGE',
  })
  expect(existsSync(db)).toBe(false)
  // There is no client that an application could bring.
  const client = { type: 'mine', list: () => [] } as unknown as string
  await expect(restore({ sources: [client], outputPath: db })).rejects.toMatchObject({
    code: 'USAGE',
    message: expect.stringContaining('at least one URL, or replica of a configuration') as string,
  })
  const clients = { to: db, sources: [client] } as UrlRestoreOptions
  await expect(restore(url, clients)).rejects.toMatchObject({ code: 'USAGE' })
})

test('the workers of a cluster start at once on an empty disk: one restores, and what each then writes is stored', async () => {
  const { folder, db, url } = await lostDatabase()
  const script = join(folder, 'cluster.mjs')
  writeFileSync(
    script,
    `import cluster from 'node:cluster'
    import { DatabaseSync } from 'node:sqlite'
    import { replicate, restoreIfMissing } from ${JSON.stringify(library)}
    const [db, url] = process.argv.slice(2)
    const logger = { debug() {}, info() {}, warn() {}, error() {} }
    if (cluster.isPrimary) {
      const workers = Array.from({ length: 4 }, () => cluster.fork())
      const codes = workers.map((each) => new Promise((done) => each.once('exit', done)))
      process.exitCode = Math.max(...(await Promise.all(codes)))
    } else {
      const report = await restoreIfMissing(db, url)
      const replication = await replicate(db, url, { logger })
      const app = new DatabaseSync(db, { timeout: 60_000 })
      const insert = app.prepare('INSERT INTO note VALUES (?)')
      await replication.durable(() => insert.run('of a worker'), { urgency: 'now', timeoutMs: 120_000 })
      console.log(report === undefined ? 'found' : 'restored')
      app.close()
      await replication.stop()
      cluster.worker.disconnect()
    }`,
  )
  const running = new Running('cluster', process.execPath, [script, db, url])
  expect(await running.exit(), running.output).toBe(0)
  expect(running.stdout.trim().split('\n').sort()).toEqual([
    ...['found', 'found', 'found', 'restored'],
  ])
  const all = ['kept', ...Array.from({ length: 4 }, () => 'of a worker')]
  expect(notesIn(db)).toEqual(all)
  await restore(url, { to: join(folder, 'restored.db') })
  expect(notesIn(join(folder, 'restored.db'))).toEqual(all)
})

test('verify of a configuration says what each replica holds, and what it lacks or cannot say', async () => {
  const folder = temporaryFolder()
  const tenants = join(folder, 'tenants')
  mkdirSync(tenants)
  const db = join(folder, 'app.db')
  makeNotes(db, 'kept')
  makeNotes(join(tenants, 'a.db'), 'kept')
  const path = join(folder, 'c.yml')
  const replicas = [
    { name: 'good', path: join(folder, 'good') },
    { name: 'lossy', path: join(folder, 'lossy') },
    { name: 'away', path: join(folder, 'away') },
  ]
  const dbs = [
    { path: db, replicas },
    { dir: tenants, replicas: [{ path: join(folder, 'of-tenants') }] },
  ]
  writeFileSync(path, JSON.stringify({ dbs }))
  const config = await loadConfig({ path })
  const replication = await replicate(config, { logger: silent })
  await replication.stored({ database: db, urgency: 'now' })
  const tenant = join(tenants, 'a.db')
  await replication.stored({ database: tenant, urgency: 'now' })
  await expect(replication.removeDatabase(tenant)).rejects.toMatchObject({
    code: 'CONFIG',
    message: `${tenant} is replicated as a database of ${tenants}`,
    hint: expect.stringContaining('Move its file out of the folder') as string,
  })
  expect(await replication.stop()).toEqual([])
  for (const name of listObjects(join(folder, 'lossy')).filter((each) =>
    each.includes('snapshot'),
  )) {
    writeFileSync(join(folder, 'lossy', name), 'x')
  }
  rmSync(join(folder, 'away'), { recursive: true })
  writeFileSync(join(folder, 'away'), '')

  const verified = await verify(config, { level: 'full' })
  const of = (name: string) => verified.find(({ replica }) => replica === name)
  expect(verified.map(({ database, replica }) => [database, replica])).toEqual([
    ...[
      [db, 'good'],
      [db, 'lossy'],
      [db, 'away'],
      [tenant, 'file'],
    ],
  ])
  for (const name of ['good', 'file']) {
    expect(of(name)).toMatchObject({ generations: [{ findings: [] }], error: undefined })
  }
  expect(of('lossy')?.generations[0]?.findings).not.toEqual([])
  expect(of('away')).toMatchObject({ generations: [], error: { code: 'REPLICA' } })
})
