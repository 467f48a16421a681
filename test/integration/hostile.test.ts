import { afterEach, describe, expect, test } from 'vitest'
import { describeCheckpoints, measureCheckpoints } from '../support/checkpoints.ts'
import { cleanUp, listGenerations, type Running } from '../support/cli.ts'
import {
  lastAcknowledged,
  restoreAndVerify,
  startWriter,
  summaryOf,
  write,
  type WriterOptions,
} from '../support/ledger.ts'
import { scene, startReplicating } from '../support/scene.ts'
import { onThisMachine } from '../support/patience.ts'

afterEach(cleanUp)

type Hostility = Omit<WriterOptions, 'db' | 'oracle' | 'seconds'>

const writers: Record<string, Hostility> = {
  'that never checkpoints by itself': { autocheckpoint: 0 },
  'that checkpoints after every page': { autocheckpoint: 1, rows: 2 },
  'that checkpoints every 10 pages': { autocheckpoint: 10, rows: 5 },
  'with the usual settings': { autocheckpoint: 1000, rows: 10 },
  'that runs checkpoints of all kinds': { rate: 200, checkpointChance: 0.1, autocheckpoint: 100 },
}

/** Why generations were begun, but for a restart in the very moment of the start, which no look can rule out. */
function generationsBegun({ output }: Running): (string | undefined)[] {
  return [...output.matchAll(/msg="new generation".* reason="([^"]+)"/g)]
    .map(([, reason]) => reason)
    .filter((reason) => reason !== 'wal restarted during the first look')
}

describe('an application', () => {
  for (const [name, options] of Object.entries(writers)) {
    test(`${name} is restored exactly and never backwards`, async () => {
      const { folder, db, oracle, replica, out } = scene()
      // Many restarts of the WAL, except beside an application that sees to them itself.
      const min = options.checkpointChance === undefined ? 100 : 1000
      const daemon = startReplicating({ folder, db, replica }, { 'min-checkpoint-page-count': min })
      await daemon.waitFor(/msg=/)
      const writer = startWriter({
        db,
        oracle,
        rate: 400,
        seconds: 10,
        seed: 7,
        ...options,
      })
      await daemon.waitFor(/snapshot written/)
      let before = 0
      for (let i = 0; !writer.ended; i++) {
        const { n } = await restoreAndVerify(replica, out(`${i}`), oracle)
        expect(n).toBeGreaterThanOrEqual(before)
        before = n
      }
      const summary = await summaryOf(writer)
      expect(await daemon.stop()).toBe(0)
      expect(await restoreAndVerify(replica, out('end'), oracle)).toEqual({
        n: lastAcknowledged(oracle),
      })
      expect(listGenerations(replica)).toHaveLength(1)
      expect(generationsBegun(daemon)).toEqual(['no generation exists'])
      if (summary.checkpoints > 0) {
        console.log(
          `${summary.checkpoints} checkpoints, ${summary.busyCheckpoints} busy (${summary.busyPassive} PASSIVE), ` +
            `the longest ${summary.maxCheckpointMs.toFixed(1)} ms`,
        )
        // SQLite gives the checkpoint lock to one at a time and lets nobody wait for it: one that begins at the very
        // moment of one of ours is busy.
        expect(summary.busyCheckpoints).toBeLessThanOrEqual(1)
        expect(summary.maxCheckpointMs).toBeLessThan(onThisMachine(1000))
      }
    })
  }

  test('that checkpoints after writes and pauses never waits for us, nor is sent away', async () => {
    const { folder, db, oracle, replica, out } = scene()
    await write({ db, oracle, count: 10 })
    const daemon = startReplicating({ folder, db, replica })
    await daemon.waitFor(/snapshot written/)
    const measured = await measureCheckpoints(db, 1)
    console.log(describeCheckpoints(measured))
    expect(measured.filter(({ busy }) => busy)).toEqual([])
    // It would be the busy timeout, 10 s, behind a reader that is not renewed; a disk that others use takes its time too.
    expect(Math.max(...measured.map(({ ms }) => ms))).toBeLessThan(onThisMachine(1000))
    expect(await daemon.stop()).toBe(0)
    expect(generationsBegun(daemon)).toEqual(['no generation exists'])
    expect(await restoreAndVerify(replica, out('end'), oracle)).toEqual({ n: 10 })
  })
})
