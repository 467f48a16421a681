/** Those who wait for their commits while the store is busy with something large. */
import Database from 'better-sqlite3'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, expect, inject, test } from 'vitest'
import type * as Library from '../../src/index.js'
import { cleanUp, library, program, Running, temporaryFolder, until } from '../support/cli.js'
import { onThisMachine } from '../support/patience.js'
import { silent } from '../support/silent-logger.js'
import { startFaultProxy } from '../support/stores/fault-proxy.js'
import { placesOf } from '../support/stores/places.js'

const { loadConfig, replicate } = (await import(library)) as typeof Library

afterEach(() => cleanUp())

const place = placesOf(inject('stores')).MinIO
const megabyte = 1_000_000

if (place === undefined || 'unavailable' in place) {
  test.skip(`MinIO is not reached: ${place?.unavailable ?? ''}`, () => undefined)
} else {
  test('nobody waits for the upload of a large snapshot over a slow line', async () => {
    const folder = temporaryFolder()
    const [path, configPath] = [join(folder, 'app.db'), join(folder, 'tsreplicate.yml')]
    const db = new Database(path)
    db.exec('PRAGMA journal_mode = wal; CREATE TABLE note (id INTEGER PRIMARY KEY, content)')
    const insert = db.prepare('INSERT INTO note (content) VALUES (randomblob(?))')
    for (let i = 0; i < 200; i += 1) insert.run(megabyte)
    await using proxy = await startFaultProxy(place.endpoint)
    const replica = place.through(proxy.endpoint).replica(`await-${process.pid}-${Date.now()}`)
    writeFileSync(
      configPath,
      JSON.stringify({ dbs: [{ path, 'min-checkpoint-page-count': 1, replicas: [replica] }] }),
    )
    Object.assign(process.env, place.env)
    const config = await loadConfig({ path: configPath })
    await using replication = await replicate(config, { logger: silent })
    await replication.stored({ urgency: 'now', timeoutMs: 120_000 })

    // A WAL that begins anew is one of which a snapshot can be taken.
    const beginsAnew = async (): Promise<boolean> => {
      insert.run(1)
      return (await replication.stored({ urgency: 'now' })).position.index > 0
    }
    await until(beginsAnew, 20_000, 'the next WAL')
    proxy.follow(({ kind }) => (kind === 'part' ? { bytesPerSecond: 12 * megabyte } : undefined))
    const before = proxy.requests.length
    const args = [program, 'snapshot', '-config', configPath, '-timeout', '5m']
    const snapshot = new Running('snapshot', process.execPath, args, place.env)
    const delaysMs: number[] = []
    const parts = (): number =>
      proxy.requests.slice(before).filter(({ kind }) => kind === 'part').length
    await until(
      () => parts() > 0,
      10_000,
      () => `the upload: ${snapshot.output}`,
    )
    const startedMs = performance.now()
    while (!snapshot.ended) {
      const committedMs = performance.now()
      await replication.durable(() => insert.run(1), { urgency: 'now' })
      delaysMs.push(performance.now() - committedMs)
      await sleep(20)
    }
    const tookMs = performance.now() - startedMs
    expect(await snapshot.exit(), snapshot.output).toBe(0)
    delaysMs.sort((a, b) => a - b)
    const [median = NaN, longest = NaN] = [delaysMs[delaysMs.length >> 1], delaysMs.at(-1)]
    console.log(
      `${delaysMs.length} waited beside ${parts()} parts in ${Math.round(tookMs)} ms: half of them up to ${Math.round(median)} ms, all up to ${Math.round(longest)} ms`,
    )
    expect(parts()).toBeGreaterThan(8)
    expect(delaysMs.length).toBeGreaterThan(20)
    expect(median).toBeLessThan(onThisMachine(200))
    expect(longest).toBeLessThan(onThisMachine(1000))
    db.close()
  })

  test('hundreds who wait in a second share a request for each 50 ms', async () => {
    const folder = temporaryFolder()
    const [path, configPath] = [join(folder, 'app.db'), join(folder, 'tsreplicate.yml')]
    const db = new Database(path)
    db.exec('PRAGMA journal_mode = wal; CREATE TABLE note (id INTEGER PRIMARY KEY, content)')
    const insert = db.prepare('INSERT INTO note (content) VALUES (randomblob(200))')
    await using proxy = await startFaultProxy(place.endpoint)
    const replica = place.through(proxy.endpoint).replica(`shared-${process.pid}-${Date.now()}`)
    writeFileSync(configPath, JSON.stringify({ dbs: [{ path, replicas: [replica] }] }))
    Object.assign(process.env, place.env)
    const config = await loadConfig({ path: configPath })
    await using replication = await replicate(config, { logger: silent })
    await replication.stored({ urgency: 'now', timeoutMs: 120_000 })

    const [before, startedMs] = [proxy.requests.length, performance.now()]
    const waiting: Promise<unknown>[] = []
    for (let i = 0; i < 2000; i += 1) {
      const earlyMs = startedMs + i * 2 - performance.now()
      if (earlyMs > 0) await sleep(earlyMs)
      insert.run()
      waiting.push(replication.stored({ urgency: 'now', timeoutMs: 120_000 }))
    }
    await Promise.all(waiting)
    const tookMs = performance.now() - startedMs
    const asked = proxy.requests.slice(before)
    const writes = asked.filter(({ kind }) => kind === 'write').length
    console.log(
      `${waiting.length} waited in ${Math.round(tookMs)} ms: ${writes} writes, ${asked.length - writes} other requests`,
    )
    // One at once, one that may be early, and one each 50 ms.
    expect(writes).toBeLessThanOrEqual(tookMs / 50 + 2)
    expect(waiting.length / writes).toBeGreaterThan(10)
    // Who owns the replica is looked for every ten seconds, and what was stored once a minute.
    expect(asked.length - writes).toBeLessThanOrEqual(3 + tookMs / 2000)
    db.close()
  })
}
