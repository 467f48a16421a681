/** Who may write to a store makes what is there do harm to whoever restores it, looks at it, or goes on with it. */
import Database from 'better-sqlite3'
import { spawn } from 'node:child_process'
import { copyFileSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { type Readable } from 'node:stream'
import { afterAll, describe, expect, test } from 'vitest'
import { makeMaliciousReplica, maliciousReplicas } from '../fixtures/malicious-replicas.ts'
import { cleanUp, root, start, temporaryFolder, writeConfig } from '../support/cli.ts'
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

describe.each(Object.entries(maliciousReplicas))(
  'a replica with %s',
  (name, { refusal, isDamaged = false }) => {
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
      // What the database says of its own size, only a restore tells.
      const isSound = (isWhole && !isDamaged) || name.startsWith('a database of 4 GB')
      expect([codes, said]).toEqual([[isSound ? 0 : 65, 0, 0, 0, 0], expect.anything()])
      expect(maxMebibytes).toBeLessThan(200)
    })

    if (!/ordinal|follows|owner/.test(name)) return
    test('is gone on with by a daemon, whose restore is the database', async () => {
      const path = join(folder, 'app.db')
      copyFileSync(database, path)
      const daemon = start(
        'replicate',
        '-config',
        writeConfig(folder, { path, replicas: [replica] }),
      )
      await daemon.waitFor(/snapshot written/)
      expect(await daemon.stop()).toBe(0)
      const output = join(folder, 'after.db')
      const { codes, said } = await measured(['restore', '-o', output, url])
      expect([codes, said]).toEqual([[0], expect.anything()])
      const restored = new Database(output, { readonly: true })
      expect(restored.prepare('select a from t').pluck().all()).toEqual(['stored'])
      restored.close()
    })
  },
)
