/** Who may write to a store makes what is there do harm to whoever restores it, looks at it, or goes on with it. */
import Database from 'better-sqlite3'
import { spawn } from 'node:child_process'
import { copyFileSync, cpSync, readdirSync, readFileSync, readlinkSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { type Readable } from 'node:stream'
import { afterAll, describe, expect, test } from 'vitest'
import { makeMaliciousReplica, maliciousReplicas } from '../fixtures/malicious-replicas.ts'
import {
  cleanUp,
  listGenerations,
  root,
  run,
  start,
  temporaryFolder,
  until,
  writeConfig,
} from '../support/cli.ts'
import { onThisMachine } from '../support/patience.ts'

afterAll(() => cleanUp())

const made = temporaryFolder()
const database = join(made, 'app.db')
const application = new Database(database)
application.exec("create table t (a); insert into t values ('stored')")
application.close()

interface Measured {
  readonly codes: readonly number[]
  readonly maxMebibytes: number
  readonly said: string
}

async function measured(...commands: readonly (readonly string[])[]): Promise<Measured> {
  const args = commands.map((command) => JSON.stringify(command))
  const child = spawn(process.execPath, [join(root, 'test/support/measured.mjs'), ...args], {
    stdio: ['ignore', 'pipe', 'pipe', 'pipe'],
    signal: AbortSignal.timeout(Math.round(onThisMachine(20_000))),
    killSignal: 'SIGKILL',
  })
  const [out, err, answer] = await Promise.all(
    [child.stdout, child.stderr, child.stdio[3] as Readable].map((stream) => text(stream!)),
  )
  return { ...(JSON.parse(answer!) as Omit<Measured, 'said'>), said: `${out}${err}` }
}

/** Whether the process has one of the files below the folder open. */
function reads(pid: number, folder: string): boolean {
  try {
    const open = readdirSync(`/proc/${pid}/fd`).map((fd) => readlinkSync(`/proc/${pid}/fd/${fd}`))
    return open.some((path) => path.startsWith(folder))
  } catch {
    // One of them was closed meanwhile.
    return false
  }
}

describe('a signal while it is read', () => {
  const long = Object.keys(maliciousReplicas).filter((name) => /128 MB|million/.test(name))
  const [folder, output] = [temporaryFolder(), temporaryFolder()]

  test.each(long)('ends restore and verify at once: %s', async (name) => {
    const replica = join(folder, name.replaceAll(/\W/g, '-'))
    makeMaliciousReplica(name, replica, database)
    for (const command of [['restore', '-o', join(output, 'out.db')], ['verify']]) {
      const reading = start(...command, `file://${replica}`)
      await until(
        () => reading.ended || reads(reading.pid, replica),
        20_000,
        () => `${command[0]} to read:\n${reading.output}`,
      )
      const atMs = performance.now()
      reading.signal('SIGINT')
      expect([130, 1, 65, 0], reading.output).toContain(await reading.exit())
      expect(performance.now() - atMs).toBeLessThan(onThisMachine(1000))
      rmSync(join(output, 'out.db'), { force: true })
      expect(readdirSync(output)).toEqual([])
    }
  })
})

test('the damage of a generation is its own: a sound one beside it is judged sound, and kept', async () => {
  const folder = temporaryFolder()
  const [path, sound] = [join(folder, 'app.db'), join(folder, 'sound')]
  copyFileSync(database, path)
  const daemon = await run('replicate', '-exec', 'true', path, `file://${sound}`)
  expect(daemon.code, daemon.stderr).toBe(0)
  const [generation] = listGenerations(sound)
  const names = Object.keys(maliciousReplicas).filter((name) => !name.startsWith('an owner'))
  const replicas = names.map((name, n) => {
    const replica = join(folder, `replica-${n}`)
    cpSync(sound, replica, { recursive: true })
    makeMaliciousReplica(name, replica, database)
    return { name, url: `file://${replica}`, output: join(folder, `out-${n}`) }
  })
  for (const { name, url, output } of replicas) {
    const { codes, said } = await measured(
      ['verify', url],
      ['retention', url],
      ['restore', '-generation', generation!, '-o', output, url],
    )
    const verdicts = [...said.matchAll(/^file +([0-9a-f]{16}) .* (sound|damaged|see below)$/gm)]
    const isDamaged = verdicts.some(([, , verdict]) => verdict === 'damaged')
    expect(codes, `${name}:\n${said}`).toEqual([isDamaged ? 65 : 0, 0, 0])
    expect(
      verdicts.map(([, which, verdict]) => [which === generation, verdict]),
      `${name}:\n${said}`,
    ).toEqual(
      expect.arrayContaining([
        [true, 'sound'],
        [false, isSoundToVerify(name) ? expect.any(String) : 'damaged'],
      ]),
    )
    const restored = new Database(output, { readonly: true })
    expect(restored.prepare('select a from t').pluck().all()).toEqual(['stored'])
    restored.close()
  }
})

/** What the database says of its own size, only a restore tells. */
function isSoundToVerify(name: string): boolean {
  const { refusal, isDamaged = false } = maliciousReplicas[name]!
  return (refusal === undefined && !isDamaged) || name.startsWith('a database of 4 GB')
}

describe.each(Object.entries(maliciousReplicas))('a replica with %s', (name, { refusal }) => {
  const folder = temporaryFolder()
  const replica = join(folder, 'replica')
  makeMaliciousReplica(name, replica, database)
  const url = `file://${replica}`
  const isWhole = refusal === undefined

  test('is restored, or refused, in little memory, and leaves nothing', async () => {
    const output = join(folder, 'restored.db')
    const { codes, said, maxMebibytes } = await measured(['restore', '-o', output, url])
    expect([codes, said]).toEqual([[isWhole ? 0 : 1], expect.stringMatching(refusal ?? '')])
    if (isWhole) expect(readFileSync(output).equals(readFileSync(database))).toBe(true)
    expect(readdirSync(folder)).toEqual(isWhole ? ['replica', 'restored.db'] : ['replica'])
    expect(maxMebibytes).toBeLessThan(300)
  })

  test('is judged by verify, listed, and kept by retention, in little memory', async () => {
    const { codes, said, maxMebibytes } = await measured(
      ['verify', url],
      ['snapshots', url],
      ['wal', url],
      ['generations', url],
      ['retention', '-dry-run', url],
    )
    expect([codes, said]).toEqual([[isSoundToVerify(name) ? 0 : 65, 0, 0, 0, 0], expect.anything()])
    expect(maxMebibytes).toBeLessThan(200)
  })

  if (!/ordinal|follows|owner/.test(name)) return
  test('is gone on with by a daemon, whose restore is the database', async () => {
    const path = join(folder, 'app.db')
    copyFileSync(database, path)
    const daemon = start('replicate', '-config', writeConfig(folder, { path, replicas: [replica] }))
    await daemon.waitFor(/snapshot written/)
    expect(await daemon.stop()).toBe(0)
    const output = join(folder, 'after.db')
    const { codes, said } = await measured(['restore', '-o', output, url])
    expect([codes, said]).toEqual([[0], expect.anything()])
    const restored = new Database(output, { readonly: true })
    expect(restored.prepare('select a from t').pluck().all()).toEqual(['stored'])
    restored.close()
  })
})
