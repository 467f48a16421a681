/** A user whom no list of users knows, without a home and any variable: as units and containers start programs. */
import { chmodSync, chownSync, mkdirSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { cleanUp, program, Running, temporaryFolder, writeConfig } from '../support/cli.ts'
import { makeNotes, notesIn } from '../support/notes.ts'
import { isRoot, writesNote } from '../support/tenants.ts'

afterEach(() => cleanUp())

const user = 62_345

function startAsNobody(...args: readonly string[]): Running {
  const ids = [`--reuid=${user}`, `--regid=${user}`, '--clear-groups']
  const command = [process.execPath, program, ...args]
  return new Running('tsreplicate', 'setpriv', [...ids, 'env', '-i', ...command])
}

test.skipIf(!isRoot)('is served as anybody else', async () => {
  const folder = temporaryFolder()
  chmodSync(folder, 0o755)
  const home = join(folder, 'data')
  mkdirSync(home)
  const [db, replica] = [join(home, 'app.db'), join(home, 'replica')]
  makeNotes(db, 'first')
  const url = `file://${replica}`
  const config = writeConfig(folder, { path: db, replicas: [replica] })
  for (const path of [home, ...readdirSync(home).map((name) => join(home, name))])
    chownSync(path, user, user)

  const daemon = startAsNobody('replicate', '-config', config)
  await daemon.waitFor(/snapshot written/)
  expect(writesNote({ name: 'nobody', user, home, db }, 'second')).toBe('')
  await daemon.waitFor(/wal segment written/)
  expect(await ends('status', '-config', config)).toEqual([0, ''])
  expect(await daemon.stop(), daemon.output).toBe(0)

  const output = join(home, 'restored.db')
  for (const command of [
    ['restore', '-o', output, url],
    ['verify', '-level', 'restore', url],
    ['verify', '-config', config, db],
    ['generations', url],
    ['replicate', '-exec', 'true', db, url],
  ])
    expect((await ends(...command))[0], command.join(' ')).toBe(0)
  expect(notesIn(output)).toEqual(['first', 'second'])

  // Where a home is asked for, there is none.
  for (const command of [
    ['restore', '-o', '~/restored.db', url],
    ['status', '~/app.db'],
    ['replicate', '~/app.db', url],
  ]) {
    const [code, said] = await ends(...command)
    expect([2, 78], said).toContain(code)
    expect(said).toMatch(/home/)
  }
  expect(await ends('status')).toEqual([78, expect.stringContaining('config file not found')])
})

/** Exit code and errors. */
async function ends(...command: readonly string[]): Promise<[number, string]> {
  const running = startAsNobody(...command)
  return [await running.exit(), running.stderr]
}
