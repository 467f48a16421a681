import Database from 'better-sqlite3'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { isCheckpointWaiting } from '../../../../src/infrastructure/sqlite/checkpoint-lock.ts'

let folder: string
let path: string
let reader: Database.Database
let application: ChildProcess | undefined

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'tsreplicate-'))
  path = join(folder, 'app.db')
  reader = new Database(path)
  reader.exec('PRAGMA journal_mode = wal; CREATE TABLE t (n); BEGIN; SELECT * FROM t')
})

afterEach(() => {
  application?.kill('SIGKILL')
  reader.close()
  rmSync(folder, { recursive: true })
})

/** Another process that runs a statement. */
function run(statement: string): ChildProcess {
  const script = `
    const [library, path, statement] = process.argv.slice(1)
    new (require(library))(path, { timeout: 60_000 }).exec(statement)
    console.log('done')`
  const library = createRequire(import.meta.url).resolve('better-sqlite3')
  application = spawn(process.execPath, ['-e', script, library, path, statement])
  return application
}

test.each(['FULL', 'RESTART', 'TRUNCATE'])(
  'a %s checkpoint that waits for a reader is seen',
  async (kind) => {
    expect(isCheckpointWaiting(path)).toBe(false)
    const waiting = run(`INSERT INTO t VALUES (1); PRAGMA wal_checkpoint(${kind})`)
    await vi.waitFor(() => expect(isCheckpointWaiting(path)).toBe(true), 30_000)
    const ended = once(waiting, 'exit')
    reader.exec('COMMIT')
    await ended
    expect(isCheckpointWaiting(path)).toBe(false)
  },
)

test('a writer is none, and neither is a database without a WAL', async () => {
  const writer = run('BEGIN IMMEDIATE; INSERT INTO t VALUES (1); SELECT 1')
  await once(writer, 'exit')
  reader.exec('COMMIT; BEGIN IMMEDIATE')
  expect(isCheckpointWaiting(path)).toBe(false)
  expect(isCheckpointWaiting(join(folder, 'none.db'))).toBe(false)
})
