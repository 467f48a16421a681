/** Within the memory that the documents ask for, as in a small container: nothing is killed; with less, that is said. */
import { execFileSync } from 'node:child_process'
import { realpathSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import { cleanUp, program, Running, temporaryFolder } from '../support/cli.ts'
import { untilSnapshot } from '../bench/measure.ts'
import { verifyLedger, write } from '../support/ledger.ts'
import { MemoryLimit, whyNoMemoryLimit } from '../support/memory-limit.ts'
import { makeNotes } from '../support/notes.ts'

afterEach(cleanUp)

const mebibyte = 1024 * 1024
const warning = /the memory limit is low/

describe.skipIf(whyNoMemoryLimit !== undefined)('in a control group', () => {
  test('of 128 MiB, a database is replicated and restored, and nothing is killed', async () => {
    const folder = temporaryFolder()
    const [db, oracle] = [join(folder, 'app.db'), join(folder, 'oracle')]
    const [replica, output] = [join(folder, 'replica'), join(folder, 'out.db')]
    const rows = { db, oracle, rows: 100, payloadBytes: 4400 }
    await write({ ...rows, count: 60 })
    using limit = new MemoryLimit(128 * mebibyte)
    // Memory of a file counts for who reads it first: as in a container, that is all of Node.js.
    const node = join(folder, 'node')
    execFileSync('sh', limit.within('cp', realpathSync(process.execPath), node))
    const run = (...args: string[]): Running =>
      new Running('tsreplicate', 'sh', limit.within(node, program, ...args))
    const daemon = run('replicate', db, `file://${replica}`)
    await untilSnapshot(replica)
    await write({ ...rows, count: 60, rate: 40 })
    expect(await daemon.stop(), daemon.output).toBe(0)
    const restored = run('restore', '-o', output, `file://${replica}`)
    expect(await restored.exit(120_000), restored.output).toBe(0)
    expect(daemon.output + restored.output).not.toMatch(warning)
    expect(limit.kills).toBe(0)
    verifyLedger(output, oracle)
  })

  test('of less, replicate and restore say so', async () => {
    const folder = temporaryFolder()
    const db = join(folder, 'app.db')
    makeNotes(db, 'kept')
    const replica = `file://${join(folder, 'replica')}`
    using limit = new MemoryLimit(112 * mebibyte)
    const within = async (...args: string[]): Promise<string> => {
      const running = new Running(
        'tsreplicate',
        'sh',
        limit.within(process.execPath, program, ...args),
      )
      expect(await running.exit(), running.output).toBe(0)
      return running.output
    }
    expect(await within('replicate', '-exec', 'true', db, replica)).toMatch(warning)
    expect(await within('restore', '-o', join(folder, 'out.db'), replica)).toMatch(warning)
  })
})
