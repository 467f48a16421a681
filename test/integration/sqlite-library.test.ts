import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { cleanUp, program, root, Running, start, temporaryFolder } from '../support/cli.ts'
import { makeNotes } from '../support/notes.ts'

afterEach(() => cleanUp())

const why =
  /cannot load the library of SQLite: Error loading shared library libstdc\+\+.so.6: No such file or directory/

function startWithoutSqlite(...args: string[]): Running {
  const preload = join(root, 'test/support/no-sqlite.mjs')
  const env = { NODE_OPTIONS: `--import=${preload}` }
  return new Running('without SQLite', process.execPath, [program, ...args], env)
}

test('a machine that cannot load SQLite is told so, by the daemon and by a restore', async () => {
  const folder = temporaryFolder()
  const db = join(folder, 'app.db')
  const replica = `file://${join(folder, 'replica')}`
  makeNotes(db, 'kept')

  const blind = startWithoutSqlite('replicate', db, replica)
  expect(await blind.exit(), blind.output).toBe(78)
  expect(blind.output).toMatch(why)

  const daemon = start('replicate', db, replica)
  await daemon.waitFor(/snapshot written/)
  daemon.signal('SIGTERM')
  expect(await daemon.exit(), daemon.output).toBe(0)
  const restored = join(folder, 'restored.db')
  const restore = startWithoutSqlite('restore', '-o', restored, replica)
  expect(await restore.exit(), restore.output).toBe(1)
  expect(restore.output).toMatch(why)
  expect(existsSync(restored)).toBe(false)
})
