/** The daemon and the commands, end to end on each real store, beside the original. */
import { randomUUID } from 'node:crypto'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { generateX25519Identity, identityToRecipient } from 'age-encryption'
import { afterEach, describe, expect, inject, test } from 'vitest'
import { cleanUp, litestream, program, Running, temporaryFolder, until } from '../support/cli.js'
import {
  lastAcknowledged,
  readOracle,
  startWriter,
  verifyLedger,
  write,
} from '../support/ledger.js'
import { placesOf } from '../support/stores/places.js'

const places = placesOf(inject('stores'))

afterEach(cleanUp)

for (const [name, place] of Object.entries(places)) {
  if ('unavailable' in place) {
    test.skip(`${name} is not reached: ${place.unavailable}`, () => undefined)
    continue
  }
  const ours = (...args: string[]) =>
    new Running('tsreplicate', process.execPath, [program, ...args], place.env)
  const theirs = (...args: string[]) => new Running('litestream', litestream, args, place.env)
  const succeed = async (running: Running) => {
    expect(await running.exit(120_000), running.output).toBe(0)
  }

  const scene = () => {
    const folder = temporaryFolder()
    const path = `end-to-end/${randomUUID()}`
    const config = join(folder, 'config.yml')
    const db = join(folder, 'app.db')
    const configure = (replicaPath: string, settings: Readonly<Record<string, unknown>> = {}) => {
      const replicas = [{ ...place.replica(replicaPath), 'sync-interval': '200ms', ...settings }]
      writeFileSync(config, JSON.stringify({ dbs: [{ path: db, replicas }] }))
    }
    configure(path)
    return { folder, path, config, configure, db, oracle: join(folder, 'oracle') }
  }

  describe(name, () => {
    test('what we replicate is restored by us and by the original, at its end and in between', async () => {
      const { folder, path, config, configure, db, oracle } = scene()
      const out = (file: string) => join(folder, file)
      // Beyond 20 MB of noise: a snapshot of several parts.
      await write({ db, oracle, count: 60, rows: 100, payloadBytes: 4400 })
      const daemon = ours('replicate', '-config', config)
      const writer = startWriter({ db, oracle, rate: 100, rows: 5 })
      await daemon.waitFor(/snapshot written/, { timeoutMs: 60_000 })
      const between = lastAcknowledged(oracle)
      // Some seconds, and as many commits on a machine on which that takes longer.
      await until(() => lastAcknowledged(oracle) > between + 2000, 60_000, 'commits')
      expect(await writer.stop(), writer.output).toBe(0)
      expect(await daemon.stop(), daemon.output).toBe(0)
      expect(daemon.count(/level=ERROR/i), daemon.output).toBe(0)

      await succeed(ours('restore', '-config', config, '-o', out('config.db'), db))
      expect(verifyLedger(out('config.db'), oracle)).toEqual({ n: lastAcknowledged(oracle) })
      await succeed(ours('restore', '-o', out('url.db'), place.url(path)))
      await succeed(theirs('restore', '-config', config, '-o', out('theirs.db'), db))
      const bytes = readFileSync(out('config.db'))
      expect(readFileSync(out('url.db')).equals(bytes)).toBe(true)
      expect(readFileSync(out('theirs.db')).equals(bytes)).toBe(true)
      if (place.urlWorksForOriginal) {
        await succeed(theirs('restore', '-o', out('theirs-url.db'), place.url(path)))
        expect(readFileSync(out('theirs-url.db')).equals(bytes)).toBe(true)
      }

      // A moment with a pause of the writer's on both sides, found by the times that are in the objects.
      const lines = readOracle(oracle)
      const later = lines.findIndex(({ n }) => n > between + 20)
      const moment = new Date(lines[later]?.timeMs ?? 0).toISOString()
      const at = async (file: string, replicaPath: string) => {
        await succeed(
          ours('restore', '-o', out(file), '-timestamp', moment, place.url(replicaPath)),
        )
        return verifyLedger(out(file), oracle).n
      }
      const n = await at('moment.db', path)
      const nearby = lines.filter(({ timeMs }) => Math.abs(timeMs - Date.parse(moment)) <= 150)
      expect(nearby.map((line) => line.n)).toContain(n)
      await place.copy(path, `${path}-copy`)
      expect(await at('copy.db', `${path}-copy`)).toBe(n)
      configure(`${path}-copy`)
      await succeed(ours('restore', '-config', config, '-o', out('copied.db'), db))
      expect(readFileSync(out('copied.db')).equals(bytes)).toBe(true)
    })

    test('an encrypted replica goes both ways, and nothing of it is plain', async () => {
      const { folder, path, config, configure, db, oracle } = scene()
      const identity = await generateX25519Identity()
      const recipient = await identityToRecipient(identity)
      configure(path, { age: { recipients: [recipient], identities: [identity] } })
      // Beyond one part, whose cuts lie elsewhere than those of what is encrypted.
      await write({ db, oracle, count: 60, rows: 100, payloadBytes: 4400 })
      const out = (file: string) => join(folder, file)
      for (const [round, replicate] of [
        ['ours', ours],
        ['theirs', theirs],
      ] as const) {
        configure(`${path}-${round}`, { age: { recipients: [recipient], identities: [identity] } })
        const daemon = replicate('replicate', '-config', config)
        await daemon.waitFor(/snapshot written/, { timeoutMs: 60_000 })
        await write({ db, oracle, count: 50, rows: 5, rate: 50 })
        await daemon.stop()
        const [mine, its] = [out(`${round}-ours.db`), out(`${round}-theirs.db`)]
        await succeed(ours('restore', '-config', config, '-o', mine, db))
        await succeed(theirs('restore', '-config', config, '-o', its, db))
        expect(verifyLedger(mine, oracle)).toEqual({ n: lastAcknowledged(oracle) })
        expect(readFileSync(its).equals(readFileSync(mine))).toBe(true)
      }
      const heads = await place.heads(`${path}-ours`)
      expect(heads.length).toBeGreaterThan(1)
      expect(new Set(heads)).toEqual(new Set(['age-encryption.org/v1']))
      const blind = ours('restore', '-o', out('blind.db'), place.url(`${path}-ours`))
      expect(await blind.exit()).not.toBe(0)
      expect(existsSync(out('blind.db'))).toBe(false)
    })

    test('what the original replicates is restored by us as by itself', async () => {
      const { folder, config, db, oracle } = scene()
      await write({ db, oracle, count: 60, rows: 100, payloadBytes: 4400 })
      const daemon = theirs('replicate', '-config', config)
      await daemon.waitFor(/snapshot written/, { timeoutMs: 60_000 })
      await write({ db, oracle, count: 100, rows: 5, rate: 50 })
      await daemon.waitFor(/replica sync|wal segment written|write wal segment/, {
        timeoutMs: 30_000,
      })
      await daemon.stop()
      const [mine, its] = [join(folder, 'ours.db'), join(folder, 'theirs.db')]
      await succeed(ours('restore', '-config', config, '-o', mine, db))
      await succeed(theirs('restore', '-config', config, '-o', its, db))
      expect(readFileSync(mine).equals(readFileSync(its))).toBe(true)
    })
  })
}
