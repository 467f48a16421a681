import { mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  cleanUp,
  listObjects,
  type Running,
  start,
  temporaryFolder,
  writeConfig,
} from '../../support/cli.ts'
import { lastAcknowledged, restoreAndVerify, startWriter } from '../../support/ledger.ts'

afterEach(cleanUp)

const cycles = Number(process.env['TSREPLICATE_CRASH_CYCLES'] ?? 300)
const seed = Number(process.env['TSREPLICATE_SEED'] ?? Date.now() % 1_000_000)

/** Numbers in [0, 1) that a seed repeats. */
function generator(from: number): () => number {
  let state = from >>> 0
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return state / 4_294_967_296
  }
}

test(`${cycles} times kill -9 of daemon, application or both (seed ${seed})`, async () => {
  const random = generator(seed)
  const folder = temporaryFolder()
  const db = join(folder, 'app.db')
  const oracle = join(folder, 'oracle')
  const replica = join(folder, 'replica')
  mkdirSync(join(folder, 'out'))
  const config = writeConfig(folder, {
    path: db,
    replicas: [replica],
    'min-checkpoint-page-count': 100,
  })
  const newWriter = (cycle: number): Running =>
    startWriter({
      db,
      oracle,
      rate: 200,
      rows: 2,
      seed: seed + cycle,
      autocheckpoint: [0, 10, 100, 1000][Math.floor(random() * 4)]!,
      checkpointChance: 0.02,
      shrinkChance: 0.05,
      keepRows: 300,
      synchronous: random() < 0.5 ? 'FULL' : 'NORMAL',
    })
  let daemon = start('replicate', '-config', config)
  let writer = newWriter(0)
  await daemon.waitFor(/snapshot written/)
  let before = 0
  for (let cycle = 1; cycle <= cycles; cycle++) {
    await sleep(random() * 1200)
    const victim = random()
    const both = victim > 0.8
    if (victim < 0.5 || both) await daemon.kill()
    if (victim >= 0.5 || both) await writer.kill()
    await sleep(random() * 300)
    if (writer.ended) writer = newWriter(cycle)
    if (daemon.ended) daemon = start('replicate', '-config', config)
    if (cycle % 5 === 0) {
      const output = join(folder, 'out', String(cycle))
      const { n } = await restoreAndVerify(replica, output, oracle)
      expect(n, `cycle ${cycle}`).toBeGreaterThanOrEqual(before)
      before = n
      rmSync(output)
    }
  }
  await writer.waitFor(/ready/)
  await writer.stop()
  await daemon.waitFor(/wal segment written|snapshot written/)
  expect(await daemon.stop()).toBe(0)
  console.log(`${listObjects(replica).length} objects`)
  expect(await restoreAndVerify(replica, join(folder, 'end.db'), oracle)).toEqual({
    n: lastAcknowledged(oracle),
  })
})
