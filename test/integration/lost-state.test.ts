import { existsSync, readdirSync, renameSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { cleanUp, type Running, until } from '../support/cli.ts'
import { lastAcknowledged, restoreAndVerify, write } from '../support/ledger.ts'
import { scene, startReplicating } from '../support/scene.ts'

afterEach(cleanUp)

const stored = (daemon: Running, times: number): Promise<void> =>
  daemon.waitFor(/snapshot written/, { times })

test.each([
  ['all of it', '.', 'at rest'],
  ['the spool', 'spool', 'under load'],
])(
  'local state that is removed under the daemon (%s) is made anew, with a new generation',
  async (_what, part, when) => {
    const here = scene()
    const { db, oracle, replica, folder, out } = here
    await write({ db, oracle, count: 10 })
    const state = join(folder, '.app.db-tsreplicate')
    const daemon = startReplicating(here)
    await stored(daemon, 1)
    if (when === 'at rest') await daemon.waitFor(/msg="at rest"/, { times: 3 })
    else await write({ db, oracle, count: 5 })
    rmSync(join(state, part), { recursive: true })
    await write({ db, oracle, count: 10 })
    await daemon.waitFor(/local state was removed: it is created again/)
    await daemon.waitFor(/new generation.*reason="local state was removed"/)
    await stored(daemon, 2)
    expect(readdirSync(state)).toContain('lock')
    await write({ db, oracle, count: 10 })
    expect(await daemon.stop()).toBe(0)
    expect(await restoreAndVerify(replica, out('end'), oracle)).toEqual({
      n: lastAcknowledged(oracle),
    })
    // What was made anew is as good as what was there.
    const next = startReplicating(here)
    await next.waitFor(/generation continues/)
    expect(await next.stop()).toBe(0)
  },
)

test.each([
  ['gone', rmSync],
  ['short', (path: string): void => truncateSync(path, 10)],
])(
  'a spooled segment that is %s costs a new generation, not a loop for ever',
  async (_how, damage) => {
    const here = scene()
    const { db, oracle, replica, folder, out } = here
    await write({ db, oracle, count: 10 })
    const daemon = startReplicating(here)
    await stored(daemon, 1)
    // The replica cannot be reached: a file is in its place.
    renameSync(replica, `${replica}.away`)
    writeFileSync(replica, '')
    const spool = join(folder, '.app.db-tsreplicate/spool')
    const segments = (): string[] =>
      existsSync(spool)
        ? readdirSync(spool, { recursive: true, encoding: 'utf8' }).filter((name) =>
            name.endsWith('.lz4'),
          )
        : []
    for (let count = 1; count <= 3; count += 1) {
      await write({ db, oracle, count: 5 })
      await until(() => segments().length >= count, 10_000, 'a spooled segment')
    }
    damage(join(spool, segments().sort()[1]!))
    rmSync(replica)
    renameSync(`${replica}.away`, replica)
    await daemon.waitFor(/new generation.*reason="local state has lost a segment"/, {
      timeoutMs: 60_000,
    })
    await stored(daemon, 2)
    expect(await daemon.stop()).toBe(0)
    expect(await restoreAndVerify(replica, out('end'), oracle)).toEqual({
      n: lastAcknowledged(oracle),
    })
  },
)
