/**
 * Machines that die with their disks: what a service acknowledged, once it was stored, is in every restore. On a folder and on
 * MinIO, as it is and 100 ms away: `npm run test:rpo`.
 */
import { join } from 'node:path'
import { afterEach, expect, inject, test } from 'vitest'
import { cleanUp, temporaryFolder } from '../support/cli.js'
import { LostDisks, type LostDisksOptions } from '../support/lost-disks.js'
import { seeded } from '../support/random.js'
import { startFaultProxy } from '../support/stores/fault-proxy.js'
import { placesOf } from '../support/stores/places.js'

afterEach(() => cleanUp())

const lives = Number(process.env.TSREPLICATE_LIVES ?? 2)
const seed = Number(process.env.TSREPLICATE_SEED ?? Date.now() % 1_000_000)
const timeoutMs = 120_000 + lives * 30_000

/** Lives of machines, each ended at another moment. */
async function live(name: string, options: Omit<LostDisksOptions, 'folder'>): Promise<void> {
  const machines = new LostDisks({ folder: temporaryFolder(), ...options })
  const random = seeded(seed)
  for (let life = 0; life < lives; life += 1) {
    const afterMs = random() ** 2 * 1500
    expect(await machines.oneLife(afterMs), `life ${life} of seed ${seed}`).toEqual([])
  }
  console.log(`${name}, seed ${seed}: ${lives} lives, ${machines.acknowledged.length} payments`)
}

test(
  'no payment that was acknowledged is missing on a folder',
  async () => live('folder', { replica: { path: join(temporaryFolder(), 'replica') } }),
  timeoutMs,
)

const place = placesOf(inject('stores')).MinIO

if (place === undefined || 'unavailable' in place) {
  test.skip(`MinIO is not reached: ${place?.unavailable ?? ''}`, () => undefined)
} else {
  test.each([0, 100])(
    'no payment that was acknowledged is missing on MinIO, %d ms away',
    async (latencyMs) => {
      await using proxy = await startFaultProxy(place.endpoint)
      proxy.follow(() => ({ latencyMs }))
      const { env } = place
      const replica = place.through(proxy.endpoint).replica(`rpo-${latencyMs}-${seed}`)
      await live(`MinIO, ${latencyMs} ms away`, { replica, env })
    },
    timeoutMs,
  )
}
