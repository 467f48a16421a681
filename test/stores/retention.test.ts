/** Retention over each real store: what nobody needs goes, what a restore needs stays, and what is refused is known. */
import { afterAll, describe, expect, inject, test } from 'vitest'
import { cleanUp, until } from '../support/cli.js'
import { hasCompiler } from '../support/compiled.js'
import { lastAcknowledged } from '../support/ledger.js'
import { Scene } from '../support/stores/fault-scene.js'
import { type Place, placesOf } from '../support/stores/places.js'
import { WrongClock } from '../support/wrong-clock.js'

const short = { retention: '3s', 'retention-check-interval': '1s' }
/** Many short indexes, so that snapshots and whole indexes become old. */
const restless = { 'min-checkpoint-page-count': 20, 'checkpoint-interval': '1s' }

afterAll(() => cleanUp())

for (const [name, place] of Object.entries(placesOf(inject('stores')))) {
  if ('unavailable' in place) {
    test.skip(`${name} is not reached: ${place.unavailable}`, () => undefined)
    continue
  }
  describe(name, () => {
    test('old snapshots and segments go while more is stored, each pass confirmed, and the rest restores', async () => {
      await using scene = await Scene.open(place, { settings: short })
      scene.configure({}, {}, restless)
      scene.startDaemon()
      scene.startWriter()
      await scene.replicating()
      const first = new Set(await place.keys(scene.path))
      const passes = () =>
        scene.proxy.requests.filter(({ kind }) => kind === 'delete' || kind === 'list')
      const deleted = () => scene.daemon.count(/"wal segments deleted"/)
      await until(
        () => deleted() >= 2,
        90_000,
        () => `deletions:\n${scene.daemon.output.slice(-2000)}`,
      )
      const kinds = passes().map(({ kind }) => kind)
      // Behind the last deletion it was looked whether it has happened.
      expect(kinds.lastIndexOf('list')).toBeGreaterThan(kinds.lastIndexOf('delete'))
      await scene.stopWriter()
      expect(await scene.daemon.stop()).toBe(0)
      expect(scene.problems).toEqual([])
      const left = await place.keys(scene.path)
      expect(left.filter((key) => first.has(key) && key.startsWith('generations/'))).toEqual([])
      expect(left.filter((key) => key.includes('/snapshots/')).length).toBeGreaterThan(0)
      expect(await scene.restore()).toBe(lastAcknowledged(scene.oracle))
    })

    test.skipIf(!hasCompiler)(
      'a clock two hours ahead of the store’s deletes nothing and is an error, until it is put right',
      async () => {
        const clock = new WrongClock()
        const through = (endpoint: string): Place => {
          const other = place.through(endpoint)
          return { ...other, env: { ...other.env, ...clock.env } }
        }
        await using scene = await Scene.open({ ...place, through }, { settings: short })
        scene.configure({}, {}, restless)
        scene.startDaemon()
        scene.startWriter()
        await scene.replicating()
        clock.set(2 * 3_600_000)
        await scene.daemon.waitFor(
          /"level":"ERROR".*the clock of this machine is 1[12]\d min ahead.*NTP/,
          { timeoutMs: 60_000 },
        )
        const deleted = () => scene.daemon.count(/"(?:snapshot|wal segments) deleted"/)
        const before = deleted()
        const written = scene.daemon.count(/"wal segment written"/)
        // Longer than retention and its grace.
        await scene.daemon.waitFor(/"wal segment written"/, {
          times: written + 12,
          timeoutMs: 60_000,
        })
        expect(deleted()).toBe(before)
        clock.set(0)
        await scene.daemon.waitFor(/"retention recovered"/, { timeoutMs: 60_000 })
        await scene.stopWriter()
        expect(await scene.daemon.stop()).toBe(0)
        expect(await scene.restore()).toBe(lastAcknowledged(scene.oracle))
      },
    )

    // The batch of many keys is MinIO's; elsewhere with the other faults.
    if (name !== 'MinIO' && process.env.TSREPLICATE_FAULTS !== 'all') return
    test('a deletion that fails for some is told, tried again, and costs nothing else', async () => {
      await using scene = await Scene.open(place, { settings: short })
      scene.configure({}, {}, restless)
      let refused = 0
      scene.proxy.follow(({ kind }) => {
        if (kind !== 'delete' || refused >= 6) return undefined
        refused += 1
        // The store has done it, or has not; nobody knows.
        return { reset: refused % 2 === 0 ? 'before' : 'after' }
      })
      scene.startDaemon()
      scene.startWriter()
      await scene.replicating()
      const deleted = () => scene.daemon.count(/"wal segments deleted"/)
      await until(
        () => refused >= 6 && deleted() >= 1,
        90_000,
        () => `deletions:\n${scene.daemon.output.slice(-2000)}`,
      )
      await scene.stopWriter()
      expect(await scene.daemon.stop()).toBe(0)
      expect(await scene.restore()).toBe(lastAcknowledged(scene.oracle))
    })
  })
}
