import { expect } from 'vitest'
import { until } from './cli.ts'
import { FaultyDaemon } from './faulty-threads.ts'
import { lastAcknowledged, restoreAndVerify, startWriter, summaryOf, write } from './ledger.ts'
import { scene } from './scene.ts'

/**
 * A daemon beside load whose threads and child processes are killed at random. Each restore meanwhile is a commit, none is
 * older than the one before, and in the end, within 30 s, all is stored.
 */
export async function killAtRandom({
  seconds,
  everyMs,
  seed,
}: {
  readonly seconds: number
  /** On average. */
  readonly everyMs: number
  readonly seed: number
}): Promise<void> {
  const here = scene()
  const { db, oracle, replica, out } = here
  await write({ db, oracle, count: 10 })
  const daemon = new FaultyDaemon(here, {
    'min-checkpoint-page-count': 200,
    replicas: [
      { type: 'file', path: replica, 'sync-interval': '100ms', 'validation-interval': '5s' },
    ],
  })
  await daemon.waitFor(/snapshot written/)
  await daemon.order('random', everyMs)
  const writer = startWriter({ db, oracle, rate: 100, rows: 5, seconds, seed })
  let before = 0
  for (let i = 0; !writer.ended; i++) {
    const { n } = await restoreAndVerify(replica, out(`${i}`), oracle)
    expect(n).toBeGreaterThanOrEqual(before)
    before = n
  }
  await summaryOf(writer)
  await daemon.order('calm', '')
  const last = lastAcknowledged(oracle)
  let attempt = 0
  await until(
    async () => (await restoreAndVerify(replica, out(`last${attempt++}`), oracle)).n === last,
    30_000,
    'the last commit to be stored',
  )
  expect(await daemon.stop()).toBe(0)
  console.log(
    `seed ${seed}: ${daemon.count(/sync error/)} failures, ${daemon.count(/new generation/)} generations`,
  )
}
