/** How long an application waits until its commit is stored on MinIO, and what that asks of the store. */
import { loadavg } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import Database from 'better-sqlite3'
import type * as Library from '../../src/index.ts'
import { cleanUp, library } from '../support/cli.ts'
import { type FaultProxy, startFaultProxy } from '../support/stores/fault-proxy.ts'
import { startMinio } from '../support/stores/minio.ts'
import { type S3Store } from '../support/stores/server.ts'
import { countObjects, makeScene } from './minio-scene.ts'
import { captureSeconds, type Results, rounds } from './measure.ts'

const { loadConfig, replicate } = (await import(library)) as typeof Library

const rates = [20, 500]
const ignore = (): void => undefined
const silent: Library.Logger = { debug: ignore, info: ignore, warn: ignore, error: ignore }

/** Some have a commit a moment and wait for it, at once; and the same commits where nobody waits. */
export async function benchStored(results: Results): Promise<void> {
  const store = await startMinio()
  if ('unavailable' in store) throw new Error(`the bench needs MinIO: ${store.unavailable}`)
  const proxy = await startFaultProxy(store.endpoint)
  try {
    for (const rate of rates) {
      await benchWaiting(results, store, proxy, { rate, waits: true })
      await benchWaiting(results, store, proxy, { rate, waits: false })
    }
  } finally {
    await cleanUp()
    await proxy[Symbol.asyncDispose]()
    await store.stop()
  }
}

interface Commits {
  /** A second. */
  readonly rate: number
  readonly waits: boolean
}

async function benchWaiting(
  results: Results,
  store: S3Store,
  proxy: FaultProxy,
  commits: Commits,
): Promise<void> {
  const figures: Figures[] = []
  for (let round = 0; round < rounds; round += 1) figures.push(await commit(store, proxy, commits))
  const { rate, waits } = commits
  const what = `MinIO: ${rate} commits a second, ${waits ? 'each waited for' : 'nobody waits'}`
  const note = (name: string, unit: string, values: readonly number[]): void =>
    results.note(`${what}: ${name}`, unit, 'tsreplicate', values)
  const ofPart = (part: number): number[] =>
    figures.map(({ delaysMs }) => delaysMs[Math.floor(delaysMs.length * part)] ?? Number.NaN)
  if (waits) {
    note('commit to stored, p50', 'ms', ofPart(0.5))
    note('commit to stored, p99', 'ms', ofPart(0.99))
    note(
      'waiters for each object',
      '',
      figures.map((each) => each.delaysMs.length / each.asked),
    )
  } else {
    note(
      'requests a second',
      '',
      figures.map(({ asked }) => asked / captureSeconds),
    )
  }
  process.stderr.write(`load of this machine: ${loadavg()[0]?.toFixed(1) ?? ''}\n`)
}

interface Figures {
  /** Of each commit that was waited for, in order. */
  readonly delaysMs: readonly number[]
  /** Objects that were stored for who waited; where nobody did, all requests. */
  readonly asked: number
}

async function commit(store: S3Store, proxy: FaultProxy, commits: Commits): Promise<Figures> {
  const { rate, waits } = commits
  // A proxy takes its time, and only it counts all requests.
  const scene = makeScene(store, waits ? store.endpoint : proxy.endpoint)
  const count = (): Promise<number> =>
    waits ? countObjects(store, `${scene.path}/`) : Promise.resolve(proxy.requests.length)
  const db = new Database(scene.db)
  db.pragma('journal_mode = WAL')
  // A commit is safe when it is stored: this disk is not waited for.
  db.pragma('synchronous = NORMAL')
  db.exec('CREATE TABLE payment (id INTEGER PRIMARY KEY, note BLOB)')
  const insert = db.prepare('INSERT INTO payment (note) VALUES (randomblob(200))')
  const config = await loadConfig({ path: scene.config })
  await using replication = await replicate(config, { logger: silent })
  await replication.stored({ urgency: 'now' })
  const before = await count()
  const delaysMs: number[] = []
  const waiting: Promise<void>[] = []
  const startedMs = performance.now()
  for (let i = 0; i < rate * captureSeconds; i += 1) {
    const earlyMs = startedMs + (i * 1000) / rate - performance.now()
    if (earlyMs > 0) await sleep(earlyMs)
    insert.run()
    if (waits) waiting.push(waitFor(replication, delaysMs))
  }
  await Promise.all(waiting)
  db.close()
  return { delaysMs: delaysMs.sort((a, b) => a - b), asked: (await count()) - before }
}

async function waitFor(replication: Library.RunningReplication, delaysMs: number[]): Promise<void> {
  const committedMs = performance.now()
  await replication.stored({ urgency: 'now' })
  delaysMs.push(performance.now() - committedMs)
}
