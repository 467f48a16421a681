/** What a replica asks of its store, counted by a proxy in front of MinIO: stores bill requests. */
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, expect, inject, test } from 'vitest'
import { cleanUp } from '../support/cli.js'
import { Scene } from '../support/stores/fault-scene.js'
import { placesOf } from '../support/stores/places.js'

const place = placesOf(inject('stores')).MinIO

afterAll(() => cleanUp())

if (place === undefined || 'unavailable' in place) {
  test.skip(`MinIO is not reached: ${place?.unavailable ?? ''}`, () => undefined)
} else {
  test('each commit is one request, idle time none, and nothing is listed after the start', async () => {
    await using scene = await Scene.open(place, { settings: { 'sync-interval': '1s' } })
    const { requests } = scene.proxy
    scene.startDaemon()
    scene.startWriter({ rate: 1 })
    await scene.replicating()
    expect(await scene.daemon.stop()).toBe(0)
    // Another process has to find out what is there.
    const before = requests.length
    scene.startDaemon()
    await scene.stores('after the restart')
    const starting = requests.slice(before)
    // Its snapshots, its segments, and whether another program has written a generation since; then, by two, that what was
    // captured before the start is there: until that is seen, the daemon is not ready.
    expect(starting.filter(({ kind }) => kind === 'list').length).toBeLessThanOrEqual(5)
    expect(starting.filter(({ kind }) => kind === 'list-uploads').length).toBeLessThanOrEqual(1)

    await sleep(2000)
    const [written, sent] = [scene.daemon.count(/wal segment written/), requests.length]
    await sleep(15_000)
    const writing = requests.slice(sent)
    const writes = writing.filter(({ kind }) => kind === 'write')
    // Once a minute what was stored is looked for by two listings, and every ten seconds who owns the replica.
    expect(writing.length - writes.length).toBeLessThanOrEqual(4)
    expect(writing.filter(({ kind }) => !['write', 'read', 'list'].includes(kind))).toEqual([])
    expect(writing.filter(({ kind }) => kind === 'list').length).toBeLessThanOrEqual(2)
    // One commit, one segment, one request; what runs at either end of the time is one off.
    const segments = scene.daemon.count(/wal segment written/) - written
    expect(Math.abs(writes.length - segments)).toBeLessThanOrEqual(1)
    expect(writes.length).toBeLessThanOrEqual(17)
    process.stdout.write(`a commit a second: ${writing.length * 240} requests an hour\n`)

    await scene.stopWriter()
    await sleep(3000)
    const idle = requests.length
    await sleep(20_000)
    // What was stored last is looked for once, within a minute or at the end; else there is nothing to ask.
    const asked = () => requests.slice(idle).map(({ kind }) => kind)
    expect(['', 'list,list']).toContain(asked().join())
    expect(await scene.daemon.stop()).toBe(0)
    // The replica is let go, and what was confirmed since it was last told may be told before.
    expect(asked().join()).toMatch(/^(list,list,)?(write,)?write$/)
  })
}
