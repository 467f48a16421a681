/** The unit as it is shipped, run by a real systemd; only paths are its own, because nothing is installed. */
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { basename, join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { cleanUp, until, writeConfig } from '../support/cli.ts'
import { sayAtTheEnd } from '../support/last-lines.ts'
import { lastAcknowledged, restoreAndVerify, startWriter, write } from '../support/ledger.ts'
import { lackOfSystemd, ShippedUnit, Systemd } from '../support/systemd.ts'
import { rightsOf } from '../support/tenants.ts'

const { unit } = ShippedUnit

if (lackOfSystemd !== undefined) {
  sayAtTheEnd(`the unit was not run by a real systemd: ${lackOfSystemd}`)
}

describe.skipIf(lackOfSystemd !== undefined)('under systemd', () => {
  let systemd: Systemd
  /** Not in a folder for temporary files: the unit has one of its own. */
  let folder: string
  let homes: string
  const at = (name: string): string => join(folder, name)
  let shipped: ShippedUnit
  const log = (): string => shipped.output
  const property = (name: string): string | undefined => shipped.property(name)
  const configure = (...names: string[]): void => {
    const dbs = names.map((name) => ({ path: at(name), replicas: [at(`replica-${name}`)] }))
    writeConfig(folder, ...dbs)
  }

  beforeAll(async () => {
    folder = mkdtempSync('/var/lib/.tsreplicate-test-')
    homes = mkdtempSync('/home/.tsreplicate-test-')
    systemd = await Systemd.start()
    shipped = new ShippedUnit(systemd, { folder, settings: ['WatchdogSec=4s'] })
  })

  afterAll(async () => {
    await systemd[Symbol.asyncDispose]()
    for (const each of [folder, homes]) rmSync(each, { recursive: true, force: true })
    await cleanUp()
  })

  test('it is active once it replicates, and says what it does', async () => {
    await write({ db: at('a.db'), oracle: at('oracle-a'), count: 5 })
    chmodSync(at('a.db'), 0o600)
    configure('a.db')
    systemd.control('start', unit)
    expect(property('ActiveState')).toBe('active')
    expect(property('StatusText')).toMatch(/^replicating 1 database/)
  })

  test('what it makes is its own user’s alone, and no dump of its memory is written', () => {
    const daemon = `/proc/${property('MainPID')}`
    expect(systemd.run('cat', `${daemon}/limits`).stdout).toMatch(/^Max core file size +0 +0 /m)
    expect(systemd.run('cat', `${daemon}/status`).stdout).toMatch(/^Umask:\s+0077$/m)
    const state = at('.a.db-tsreplicate')
    for (const path of [at('replica-a.db'), state])
      for (const name of ['', ...readdirSync(path, { recursive: true, encoding: 'utf8' })])
        expect(rightsOf(join(path, name)), name).toMatch(/^0 [67]00$/)
    // Of its processes, too.
    const children = systemd.run('sh', '-c', `cat ${daemon}/task/*/children`).stdout
    for (const child of children.split(' ').filter(Boolean))
      expect(systemd.run('cat', `/proc/${child}/limits`).stdout).toMatch(
        /^Max core file size +0 +0 /m,
      )
  })

  test('a reload takes the new configuration, in the same process', async () => {
    const pid = property('MainPID')
    await write({ db: at('b.db'), oracle: at('oracle-b'), count: 5 })
    configure('a.db', 'b.db')
    systemd.control('reload', unit)
    const isReloaded = (): boolean =>
      property('ActiveState') === 'active' && (property('StatusText') ?? '').includes('2 databases')
    await until(isReloaded, 20_000, 'its status')
    expect(property('MainPID')).toBe(pid)
  })

  test('one that hangs is ended by the watchdog and started again', async () => {
    const writer = startWriter({ db: at('a.db'), oracle: at('oracle-a'), rate: 50, seconds: 60 })
    const restarts = Number(property('NRestarts'))
    const pid = Number(property('MainPID'))
    systemd.control('kill', '--signal=STOP', unit)
    await until(() => Number(property('NRestarts')) > restarts, 60_000, 'a restart')
    await until(() => property('ActiveState') === 'active', 60_000, 'it to be active again')
    expect(Number(property('MainPID'))).not.toBe(pid)
    expect(property('StatusText')).toMatch(/^replicating/)
    await writer.stop()
  })

  test('one that is killed is started again', async () => {
    const restarts = Number(property('NRestarts'))
    systemd.control('kill', '--signal=KILL', '--kill-who=main', unit)
    await until(() => Number(property('NRestarts')) > restarts, 60_000, 'a restart')
    await until(() => property('ActiveState') === 'active', 60_000, 'it to be active again')
  })

  test('a stop stores what was written last', async () => {
    await write({ db: at('a.db'), oracle: at('oracle-a'), rate: 100, seconds: 1 })
    systemd.control('stop', unit)
    expect(property('ActiveState')).toBe('inactive')
    expect(property('ExecMainStatus')).toBe('0')
    const restored = await restoreAndVerify(at('replica-a.db'), at('restored.db'), at('oracle-a'))
    expect(restored.n).toBe(lastAcknowledged(at('oracle-a')))
  })

  test('of all homes it can be given but the folder of a database', async () => {
    const [given, hidden] = ['given', 'hidden'].map((name) => join(homes, name)) as [string, string]
    for (const home of [given, hidden]) {
      mkdirSync(home)
      await write({ db: join(home, 'app.db'), oracle: join(home, 'oracle'), count: 5 })
    }
    const dbs = [given, hidden].map((home) => ({
      path: join(home, 'app.db'),
      replicas: [at(`replica-${basename(home)}`)],
    }))
    writeConfig(folder, ...dbs)
    systemd.addUnit(`${unit}.d/homes.conf`, `[Service]\nProtectHome=tmpfs\nBindPaths=${given}\n`)
    systemd.control('start', unit)
    await write({ db: join(given, 'app.db'), oracle: join(given, 'oracle'), count: 5 })
    systemd.control('stop', unit)
    const oracle = join(given, 'oracle')
    const restored = await restoreAndVerify(at('replica-given'), at('from-home.db'), oracle)
    expect(restored.n).toBe(lastAcknowledged(oracle))
    expect(existsSync(at('replica-hidden/generations'))).toBe(false)
  })

  test('a wrong configuration is said and not tried again', () => {
    writeFileSync(at('tsreplicate.yml'), 'unknown-key: 1\n')
    const before = log().length
    expect(() => systemd.control('start', unit)).toThrow()
    expect(property('ActiveState')).toBe('failed')
    expect(property('ExecMainStatus')).toBe('78')
    expect(property('SubState')).toBe('failed')
    expect(log().slice(before)).toMatch(/unknown-key/)
  })
})
