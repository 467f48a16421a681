import { readdirSync, readFileSync } from 'node:fs'
import { afterEach, expect, test } from 'vitest'
import { cleanUp, program, Running, until, writeConfig } from '../support/cli.ts'
import { FaultyDaemon } from '../support/faulty-threads.ts'
import { lastAcknowledged, restoreAndVerify, startWriter, write } from '../support/ledger.ts'
import { killAtRandom } from '../support/random-kills.ts'
import { scene } from '../support/scene.ts'

afterEach(cleanUp)

/** Threads that run code of ours beside the main thread. */
function threadsOf({ pid }: Running): number {
  return readdirSync(`/proc/${pid}/task`).filter((task) => {
    try {
      return readFileSync(`/proc/${pid}/task/${task}/comm`, 'utf8').trim() === 'WorkerThread'
    } catch {
      // It has ended meanwhile.
      return false
    }
  }).length
}

/** Of the WAL that was last written about. */
function indexOf({ output }: Running): number {
  return Number.parseInt(/.*position=\w+\/(\w+):/s.exec(output)![1]!, 16)
}

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
    const next = (indexOf(daemon) + 1).toString(16).padStart(8, '0')
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

  // Nobody calls the thread of a database at rest, whose reader is lost all the same, and nobody looks at its files. It is
  // the only one: those that had nothing to do for a while have ended, which is no death.
  await daemon.waitFor(/msg="at rest"/)
  await until(() => threadsOf(daemon) === 1, 30_000, 'the threads without work to end')
  const before = daemon.count(/generation continues/)
  await daemon.order('kill', 'sqlite-worker.js 0')
  await daemon.waitFor(/generation continues/, { times: before + 1 })
  await write({ db, oracle, count: 1, autocheckpoint: 0 })
  await daemon.waitFor(/msg="at rest"/, { times: 2 })
  expect(await daemon.stop()).toBe(0)
  expect(await restoreAndVerify(replica, out('end'), oracle)).toEqual({
    n: lastAcknowledged(oracle),
  })
})

test('threads that ended for want of work are started again, and nothing is lost', async () => {
  const here = scene()
  const { db, oracle, replica, out } = here
  await write({ db, oracle, count: 10, autocheckpoint: 0 })
  const settings = { 'min-checkpoint-page-count': 100, 'max-checkpoint-page-count': 200 }
  const config = writeConfig(here.folder, { path: db, replicas: [replica], ...settings })
  const daemon = new Running('tsreplicate', process.execPath, [
    program,
    'replicate',
    '-config',
    config,
  ])
  await daemon.waitFor(/snapshot written/)
  let before = 0
  for (let time = 1; time <= 2; time += 1) {
    const writer = startWriter({ db, oracle, rate: 50, rows: 20, autocheckpoint: 0 })
    // It takes a checkpoint and a writer lock.
    await until(() => indexOf(daemon) > before, 30_000, 'the WAL to begin anew')
    expect(await writer.stop()).toBe(0)
    await daemon.waitFor(/msg="at rest"/, { times: time })
    await until(() => threadsOf(daemon) === 1, 30_000, 'the threads without work to end')
    before = indexOf(daemon)
  }
  expect(daemon.output).not.toMatch(/has ended/)
  expect(await daemon.stop()).toBe(0)
  expect(await restoreAndVerify(replica, out('end'), oracle)).toEqual({
    n: lastAcknowledged(oracle),
  })
})

test('threads and children that are killed at random beside load cost no commit', () =>
  killAtRandom({ seconds: 8, everyMs: 700, seed: 1 }))
