/** What SQLite remarks on what an application has stored is no damage of the backup. */
import Database from 'better-sqlite3'
import { closeSync, openSync, rmSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { cleanUp, run, temporaryFolder, writeConfig } from '../support/cli.ts'

afterEach(() => cleanUp())

const remark = /quick_check finds no damage, but remarks on .*: NULL value in t\.b/

async function scene({ isDamaged = false } = {}) {
  const folder = temporaryFolder()
  const db = join(folder, 'app.db')
  const database = new Database(db)
  database.exec('create table t (a, b)')
  database.exec(
    'insert into t with recursive n (a) as (select 1 union all select a + 1 from n where a < 2000) select a, null from n',
  )
  database.unsafeMode(true).pragma('writable_schema = on')
  database.prepare("update sqlite_schema set sql = replace(sql, 'b)', 'b not null)')").run()
  database.close()
  if (isDamaged) {
    const descriptor = openSync(db, 'r+')
    writeSync(descriptor, Buffer.alloc(100, 0xff), 0, 100, 4096 * 2)
    closeSync(descriptor)
  }
  const url = `file://${join(folder, 'replica')}`
  expect((await run('replicate', '-exec', 'true', db, url)).code).toBe(0)
  return { folder, db, url }
}

test('a restore succeeds with a warning, a replica is sound with it, and an application is brought up', async () => {
  const { folder, db, url } = await scene()
  const restored = await run('restore', '--json', '-o', join(folder, 'out.db'), url)
  expect(restored.code, restored.stderr).toBe(0)
  expect(restored.stderr).toMatch(/level=WARN .*NULL value in t\.b/)
  expect(JSON.parse(restored.stdout)).toMatchObject({ notes: [expect.stringMatching(remark)] })

  const config = writeConfig(folder, { path: db, replicas: [join(folder, 'replica')] })
  const verified = await run('verify', '-level', 'restore', '-config', config, db)
  expect(verified.stdout).toMatch(/note: replica file: integrity_check finds .* NULL value in t\.b/)
  expect(verified.stdout).toMatch(/replica file is sound \(restore\); .* identical to the live/)
  expect(verified.code).toBe(0)

  for (const suffix of ['', '-wal', '-shm']) rmSync(`${db}${suffix}`, { force: true })
  const started = await run('replicate', '-restore-if-db-not-exists', '-exec', 'true', db, url)
  expect(started.code, started.stderr).toBe(0)
  expect(started.stderr).toMatch(/level=WARN .*NULL value in t\.b/)
})

test('damage is refused, also at the start, unless nothing is to be checked', async () => {
  const { folder, db, url } = await scene({ isDamaged: true })
  const restored = await run('restore', '-o', join(folder, 'out.db'), url)
  expect(restored.code).toBe(1)
  expect(restored.stderr).toMatch(/fails quick_check/)
  for (const suffix of ['', '-wal', '-shm']) rmSync(`${db}${suffix}`, { force: true })
  const replicate = (...flags: string[]) =>
    run('replicate', '-restore-if-db-not-exists', ...flags, '-exec', 'true', db, url)
  expect((await replicate()).code).toBe(1)
  expect((await replicate('-integrity-check', 'none')).code).toBe(0)
  expect((await replicate('-integrity-check', 'some')).code).toBe(2)
})
