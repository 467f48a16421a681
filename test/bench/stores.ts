import { rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import Database from 'better-sqlite3'
import { cleanUp, program, Running, until } from '../support/cli.ts'
import { startWriter, summaryOf, write } from '../support/ledger.ts'
import { type FaultProxy, startFaultProxy } from '../support/stores/fault-proxy.ts'
import { startMinio } from '../support/stores/minio.ts'
import { type S3Store } from '../support/stores/server.ts'
import { configure, countObjects, makeScene } from './minio-scene.ts'
import { measure, peakMemoryMib, type Results } from './measure.ts'

const segmentCount = 5000
const latencyMs = 100
const watchedSeconds = 30

/** A replica on MinIO: how soon commits are there, what it asks for, and restores and snapshots over it. */
export async function benchStores(results: Results): Promise<void> {
  const store = await startMinio()
  if ('unavailable' in store) throw new Error(`the bench needs MinIO: ${store.unavailable}`)
  const proxy = await startFaultProxy(store.endpoint)
  try {
    await benchDelay(results, store, '1ms')
    await benchDelay(results, store, '1s')
    await benchRequests(results, store, proxy)
    await benchManySegments(results, store, proxy)
    await benchLargeSnapshot(results, store)
  } finally {
    await cleanUp()
    await proxy[Symbol.asyncDispose]()
    await store.stop()
  }
}

const start = (...args: string[]): Running =>
  new Running('tsreplicate', process.execPath, [program, ...args])

/** From the return of a commit to the log's word that it is stored, at 20 commits a second. */
async function benchDelay(results: Results, store: S3Store, interval: string): Promise<void> {
  // The WAL never restarts, so that its size tells where a commit ends.
  const { db, oracle, config } = makeScene(store, store.endpoint, {
    replica: { 'sync-interval': interval },
    database: {
      'checkpoint-interval': '0s',
      'min-checkpoint-page-count': 1_000_000,
      'max-checkpoint-page-count': 0,
    },
  })
  await write({ db, oracle, count: 10 })
  const daemon = start('replicate', '-config', config)
  await daemon.waitFor(/"snapshot written"/, { timeoutMs: 60_000 })
  const waiting: { readonly endOffset: number; readonly atMs: number }[] = []
  const delaysMs: number[] = []
  let tail = ''
  daemon.child.stdout?.on('data', (text: string) => {
    const lines = (tail + text).split('\n')
    tail = lines.pop() ?? ''
    const now = performance.now()
    for (const line of lines) {
      if (!line.includes('"wal segment written"')) continue
      const { position, sz } = JSON.parse(line) as { position: string; sz: number }
      const storedTo = Number(position.split(':')[1]) + sz
      while (waiting[0] !== undefined && waiting[0].endOffset <= storedTo) {
        delaysMs.push(now - (waiting.shift()?.atMs ?? now))
      }
    }
  })
  const application = new Database(db)
  application.pragma('wal_autocheckpoint = 0')
  const insert = application.prepare('insert into ledger(prev, hash, payload) values (?, ?, ?)')
  for (let i = 0; i < watchedSeconds * 20; i += 1) {
    insert.run('', String(i), Buffer.alloc(200))
    waiting.push({ endOffset: statSync(`${db}-wal`).size, atMs: performance.now() })
    await sleep(50)
  }
  await until(() => waiting.length === 0, 30_000, 'all commits to be stored')
  application.close()
  if ((await daemon.stop()) !== 0) throw new Error(daemon.output)
  delaysMs.sort((a, b) => a - b)
  const quantile = (part: number): number => delaysMs[Math.floor(delaysMs.length * part)] ?? 0
  const what = `MinIO, sync-interval ${interval}: commit to stored`
  results.note(`${what}, p50`, 'ms', 'tsreplicate', [quantile(0.5)])
  results.note(`${what}, p99`, 'ms', 'tsreplicate', [quantile(0.99)])
}

async function benchRequests(results: Results, store: S3Store, proxy: FaultProxy): Promise<void> {
  const { db, oracle, config } = makeScene(store, proxy.endpoint)
  await write({ db, oracle, count: 10 })
  const daemon = start('replicate', '-config', config)
  await daemon.waitFor(/"snapshot written"/, { timeoutMs: 60_000 })
  await write({ db, oracle, count: 1 })
  await daemon.waitFor(/"wal segment written"/)
  // Until what was stored has been read back.
  await sleep(65_000)
  const count = async (work: Promise<unknown>): Promise<number> => {
    const before = proxy.requests.length
    await work
    return ((proxy.requests.length - before) * 3600) / watchedSeconds
  }
  results.note('MinIO: requests an hour, idle', '', 'tsreplicate', [
    await count(sleep(watchedSeconds * 1000)),
  ])
  const writer = startWriter({ db, oracle, rate: 1, seconds: watchedSeconds })
  results.note('MinIO: requests an hour, a commit a second', '', 'tsreplicate', [
    await count(summaryOf(writer)),
  ])
  await daemon.stop()
}

/** Segments of one commit each, as a second of an application makes them. */
async function benchManySegments(
  results: Results,
  store: S3Store,
  proxy: FaultProxy,
): Promise<void> {
  const settings = { replica: { 'sync-interval': '1ms' } }
  const scene = makeScene(store, store.endpoint, settings)
  const { db, oracle, config, folder } = scene
  await write({ db, oracle, count: 10 })
  const daemon = start('replicate', '-config', config)
  await daemon.waitFor(/"snapshot written"/, { timeoutMs: 60_000 })
  const writer = startWriter({ db, oracle, rate: 50 })
  await until(
    () => daemon.count(/"wal segment written"/) >= segmentCount,
    900_000,
    `${segmentCount} segments`,
  )
  writer.child.kill('SIGTERM')
  await summaryOf(writer)
  if ((await daemon.stop()) !== 0) throw new Error(daemon.output)
  const stored = await countObjects(store, `${scene.path}/`)
  configure(store, proxy.endpoint, scene, settings)
  const output = join(folder, 'out.db')
  const restore = async (): Promise<Awaited<ReturnType<typeof measure>>> => {
    const run = await measure(start('restore', '-config', config, '-o', output, db))
    rmSync(output)
    return run
  }
  const direct = await restore()
  proxy.follow(() => ({ latencyMs }))
  const before = proxy.requests.length
  const slow = await restore()
  proxy.follow(undefined)
  const what = `MinIO: restore of ${stored - 1} segments`
  results.note(what, 's', 'tsreplicate', [direct.seconds])
  results.note(`${what}, ${latencyMs} ms latency`, 's', 'tsreplicate', [slow.seconds])
  results.note(`${what}: requests`, '', 'tsreplicate', [proxy.requests.length - before])
  results.note(`${what}: memory`, 'MiB', 'tsreplicate', [slow.peakMib])
}

/** Memory beyond what the same takes with a small database. */
async function benchLargeSnapshot(results: Results, store: S3Store): Promise<void> {
  const small = await snapshotAndRestore(store, 20)
  const large = await snapshotAndRestore(store, 4096)
  const what = 'MinIO: snapshot of 2 GiB'
  results.note(`${what} up`, 's', 'tsreplicate', [large.upSeconds])
  results.note(`${what} up, memory growth`, 'MiB', 'tsreplicate', [large.upMib - small.upMib])
  results.note(`${what} down`, 's', 'tsreplicate', [large.downSeconds])
  results.note(`${what} down, memory growth`, 'MiB', 'tsreplicate', [large.downMib - small.downMib])
}

async function snapshotAndRestore(
  store: S3Store,
  transactions: number,
): Promise<{ upSeconds: number; upMib: number; downSeconds: number; downMib: number }> {
  const { db, oracle, config, folder } = makeScene(store, store.endpoint)
  await write({ db, oracle, rows: 100, payloadBytes: 4400, count: transactions })
  const started = performance.now()
  const daemon = start('replicate', '-config', config)
  await daemon.waitFor(/"snapshot written"/, { timeoutMs: 900_000 })
  const upSeconds = (performance.now() - started) / 1000
  const upMib = peakMemoryMib(daemon.pid)
  if ((await daemon.stop()) !== 0) throw new Error(daemon.output)
  const output = join(folder, 'out.db')
  const run = await measure(start('restore', '-config', config, '-o', output, db))
  rmSync(folder, { recursive: true })
  return { upSeconds, upMib, downSeconds: run.seconds, downMib: run.peakMib }
}
