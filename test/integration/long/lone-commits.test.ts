import Database from 'better-sqlite3'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, expect, test } from 'vitest'
import { cleanUp, listObjects, start, temporaryFolder, writeConfig } from '../../support/cli.ts'
import { write } from '../../support/ledger.ts'

afterEach(cleanUp)

const syncIntervalMs = 50
const commits = 300

test(`${commits} lone commits at random moments on a loaded machine are stored, each without another one (F-97)`, async () => {
  const folder = temporaryFolder()
  const db = join(folder, 'app.db')
  const replica = join(folder, 'replica')
  await write({ db, oracle: join(folder, 'oracle'), count: 3 })
  const config = writeConfig(folder, {
    path: db,
    replicas: [replica],
    syncInterval: `${syncIntervalMs}ms`,
  })
  const daemon = start('replicate', '-config', config)
  await daemon.waitFor(/snapshot written/)
  const burners = Array.from({ length: availableParallelism() }, () =>
    spawn(process.execPath, ['-e', 'for (;;);'], { stdio: 'ignore' }),
  )
  const connection = new Database(db, { timeout: 10_000 })
  connection.exec('create table lone (n integer primary key, filler text)')
  const insert = connection.prepare("insert into lone (filler) values ('x')")
  const latenciesMs: number[] = []
  try {
    await sleep(2000)
    for (let i = 0; i < commits; i += 1) {
      // Around the second after which the daemon rests, too.
      await sleep(200 + Math.random() * 1400)
      const before = listObjects(replica).length
      insert.run()
      const committed = performance.now()
      while (listObjects(replica).length === before && performance.now() - committed < 20_000)
        await sleep(10)
      latenciesMs.push(performance.now() - committed)
    }
  } finally {
    connection.close()
    for (const burner of burners) {
      const exited = once(burner, 'exit')
      burner.kill('SIGKILL')
      await exited
    }
  }
  latenciesMs.sort((a, b) => a - b)
  const at = (q: number): number => Math.round(latenciesMs[Math.floor(q * (commits - 1))]!)
  console.log(`stored after ${at(0.5)} ms (median), ${at(0.99)} ms (p99), ${at(1)} ms at most`)
  expect(at(0.5)).toBeLessThan(syncIntervalMs + 500)
  // A commit that nothing announced would wait for the next one, here until the end of the wait. The rest is the load.
  expect(at(1)).toBeLessThan(5000)
  expect(await daemon.stop()).toBe(0)
}, 900_000)
