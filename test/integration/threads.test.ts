import { afterEach, expect, test } from 'vitest'
import { cleanUp } from '../support/cli.ts'
import { FaultyDaemon } from '../support/faulty-threads.ts'
import { lastAcknowledged, restoreAndVerify, startWriter, write } from '../support/ledger.ts'
import { killAtRandom } from '../support/random-kills.ts'
import { scene } from '../support/scene.ts'

afterEach(cleanUp)

test('threads that die, or find no descriptor when they start, are replaced, and nothing is lost', async () => {
  const here = scene()
  const { db, oracle, replica, out } = here
  await write({ db, oracle, count: 10, autocheckpoint: 0 })
  const starve = 'sqlite-worker.js'
  const settings = { 'min-checkpoint-page-count': 100, 'max-checkpoint-page-count': 200 }
  const daemon = new FaultyDaemon(here, settings, { starve })
  await daemon.waitFor(/sync error.* has ended: Worker initialization failure: EMFILE/)
  await daemon.waitFor(/sync recovered/)
  await daemon.waitFor(/snapshot written/)

  // Checkpoints have a thread of their own, which starts with the first of them. Without it this WAL never restarts.
  await daemon.order('starve', starve)
  const writer = startWriter({ db, oracle, rate: 10, rows: 20, autocheckpoint: 0 })
  await daemon.waitFor(/checkpoint failed/)
  const untilRestart = async (): Promise<void> => {
    const index = /.*position=\w+\/(\w+):/s.exec(daemon.output)![1]!
    const next = (Number.parseInt(index, 16) + 1).toString(16).padStart(8, '0')
    await daemon.waitFor(new RegExp(`wal segment written.*${next}:0`))
  }
  await untilRestart()
  for (const [how, which] of [
    ['kill', 0],
    ['break', 0],
    ['kill', -1],
    ['break', -1],
  ] as const) {
    await daemon.order(how, `sqlite-worker.js ${which}`)
    await untilRestart()
  }
  expect(await writer.stop()).toBe(0)

  // Nobody calls the thread of a database at rest, whose reader is lost all the same.
  await daemon.waitFor(/msg="at rest"/)
  const before = daemon.count(/generation continues/)
  for (let thread = 0; thread < 3; thread += 1) await daemon.order('kill', 'sqlite-worker.js 0')
  await daemon.order('kill', 'look-worker.js 0')
  await daemon.waitFor(/generation continues/, { times: before + 1 })
  await write({ db, oracle, count: 1, autocheckpoint: 0 })
  await daemon.waitFor(/msg="at rest"/, { times: 2 })
  expect(await daemon.stop()).toBe(0)
  expect(await restoreAndVerify(replica, out('end'), oracle)).toEqual({
    n: lastAcknowledged(oracle),
  })
})

test('threads and children that are killed at random beside load cost no commit', () =>
  killAtRandom({ seconds: 8, everyMs: 700, seed: 1 }))
