/** Encrypted replicas, both ways with the original. */
import { readFileSync, writeFileSync } from 'node:fs'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { generateX25519Identity, identityToRecipient } from 'age-encryption'
import { afterEach, describe, expect, test } from 'vitest'
import {
  cleanUp,
  listGenerations,
  listObjects,
  run,
  Running,
  litestream,
  runLitestream,
  start,
  temporaryFolder,
} from '../support/cli.ts'
import { lastAcknowledged, verifyLedger, write } from '../support/ledger.ts'

afterEach(cleanUp)

const identity = await generateX25519Identity()
const recipient = await identityToRecipient(identity)
const other = await generateX25519Identity()

function scene() {
  const folder = temporaryFolder()
  const db = join(folder, 'app.db')
  const replica = join(folder, 'replica')
  /** A configuration with these keys. */
  const configure = (name: string, age?: Readonly<Record<string, readonly string[]>>): string => {
    const path = join(folder, `${name}.yml`)
    const replicas = [{ type: 'file', path: replica, age, 'sync-interval': '100ms' }]
    writeFileSync(path, JSON.stringify({ dbs: [{ path: db, replicas }] }))
    return path
  }
  const full = configure('full', { recipients: [recipient], identities: [identity] })
  return { folder, db, oracle: join(folder, 'oracle'), replica, configure, full }
}

describe('an encrypted replica', () => {
  test('of ours is restored by us and by the original, and shows nothing without a key', async () => {
    const { folder, db, oracle, replica, configure, full } = scene()
    await write({ db, oracle, count: 50, rows: 10, compressible: true })
    const daemon = start('replicate', '-config', full)
    await daemon.waitFor(/snapshot written/)
    await write({ db, oracle, count: 100, rows: 3, rate: 50 })
    expect(await daemon.stop(), daemon.output).toBe(0)

    const objects = listObjects(replica)
    expect(objects.length).toBeGreaterThan(2)
    for (const object of objects) {
      const bytes = readFileSync(join(replica, object))
      expect(bytes.subarray(0, 21).toString()).toBe('age-encryption.org/v1')
    }
    const [mine, its] = [join(folder, 'ours.db'), join(folder, 'theirs.db')]
    expect(await run('restore', '-config', full, '-o', mine, db)).toMatchObject({ code: 0 })
    expect(verifyLedger(mine, oracle)).toEqual({ n: lastAcknowledged(oracle) })
    const theirs = await runLitestream('restore', '-config', full, '-o', its, db)
    expect(theirs, theirs.stderr).toMatchObject({ code: 0 })
    expect(readFileSync(its).equals(readFileSync(mine))).toBe(true)

    for (const [config, said] of [
      [configure('wrong', { identities: [other] }), 'no identity matched'],
      [configure('none', {}), 'age'],
    ] as const) {
      const output = join(folder, 'never.db')
      const { code, stderr } = await run('restore', '-config', config, '-o', output, db)
      expect(code).not.toBe(0)
      expect(stderr).toContain(said)
      expect(stderr).not.toContain('AGE-SECRET-KEY')
      expect(readdirSync(folder).filter((name) => name.startsWith('never'))).toEqual([])
    }
  })

  test('without an identity is not called damaged or restorable, and says what is missing', async () => {
    const { folder, db, oracle, replica, configure, full } = scene()
    await write({ db, oracle, count: 20 })
    const daemon = start('replicate', '-config', full)
    await daemon.waitFor(/snapshot written/)
    await write({ db, oracle, count: 20, rate: 50 })
    expect(await daemon.stop(), daemon.output).toBe(0)
    const ways = [
      [`file://${replica}`],
      ['-config', configure('blind', { recipients: [recipient] }), db],
      ['-config', configure('none'), db],
    ]
    const why = 'it is encrypted with age and no identity was given'
    for (const way of ways) {
      for (const level of ['structure', 'full', 'restore']) {
        const { code, stdout, stderr } = await run('verify', '-level', level, ...way)
        expect(code, `${level} ${way.join(' ')}`).toBe(1)
        expect(stdout.trim().split('\n')).toHaveLength(1)
        expect(stdout).toMatch(new RegExp(`not verified: cannot read .*${why} .hint: use -config`))
        expect(stdout + stderr).not.toContain('damage')
      }
      const output = join(folder, 'never.db')
      for (const dryRun of [[], ['-dry-run']]) {
        const { code, stderr } = await run('restore', '-o', output, ...dryRun, ...way)
        expect(code).toBe(1)
        expect(stderr).toContain(why)
        expect(stderr).toMatch(/^hint: use -config .*age\.identities/m)
      }
    }
    expect(readdirSync(folder).filter((name) => name.startsWith('never'))).toEqual([])
    expect(await run('verify', '-config', full, db)).toMatchObject({ code: 0 })
  })

  test('of the original is restored by us', async () => {
    const { folder, db, oracle, full } = scene()
    await write({ db, oracle, count: 50, rows: 10 })
    const daemon = new Running('litestream', litestream, ['replicate', '-config', full])
    await daemon.waitFor(/snapshot written/)
    await write({ db, oracle, count: 100, rows: 3, rate: 50 })
    await daemon.stop()
    const output = join(folder, 'out.db')
    const { code, stderr } = await run('restore', '-config', full, '-o', output, db)
    expect(code, stderr).toBe(0)
    expect(verifyLedger(output, oracle)).toEqual({ n: lastAcknowledged(oracle) })
  })

  test('goes on after a restart and a kill though the daemon has no identity', async () => {
    const { folder, db, oracle, replica, configure, full } = scene()
    const blind = configure('blind', { recipients: [recipient] })
    await write({ db, oracle, count: 20 })
    let daemon = start('replicate', '-config', blind)
    await daemon.waitFor(/snapshot written/)
    await write({ db, oracle, count: 20, rate: 50 })
    expect(await daemon.stop(), daemon.output).toBe(0)
    daemon = start('replicate', '-config', blind)
    await daemon.waitFor(/generation continues/)
    await write({ db, oracle, count: 20, rate: 50 })
    await daemon.kill()
    daemon = start('replicate', '-config', blind)
    await daemon.waitFor(/generation continues/)
    await write({ db, oracle, count: 20, rate: 50 })
    expect(await daemon.stop(), daemon.output).toBe(0)
    expect(listGenerations(replica)).toHaveLength(1)
    const output = join(folder, 'out.db')
    expect(await run('restore', '-config', full, '-o', output, db)).toMatchObject({ code: 0 })
    expect(verifyLedger(output, oracle)).toEqual({ n: lastAcknowledged(oracle) })
  })
})
