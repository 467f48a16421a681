/** A restore that fails leaves nothing under the name of its output, however late it fails. */
import Database from 'better-sqlite3'
import { spawnSync } from 'node:child_process'
import { chmodSync, chownSync, mkdirSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import { cleanUp, program, run, Running, temporaryFolder } from '../support/cli.ts'
import { hasCompiler, Trap } from '../support/kill-at-call.ts'
import { sayAtTheEnd } from '../support/last-lines.ts'

afterEach(() => cleanUp())

async function scene() {
  const folder = temporaryFolder()
  const db = join(folder, 'app.db')
  new Database(db).exec('create table t (x); insert into t values (1)').close()
  const url = `file://${join(folder, 'replica')}`
  expect((await run('replicate', '-exec', 'true', db, url)).code).toBe(0)
  const into = join(folder, 'into')
  mkdirSync(into)
  return { folder, url, into, output: join(into, 'out.db') }
}

test.skipIf(!hasCompiler)('a folder that cannot be synced', async () => {
  const { folder, url, into, output } = await scene()
  const trap = new Trap(folder, { calls: 'sync', path: '/into$' }, { moment: 'fail', armed: true })
  const args = [program, 'restore', '-o', output, url]
  const failing = new Running('restore', process.execPath, args, trap.env)
  expect(await failing.exit()).toBe(1)
  expect(failing.stderr).toMatch(/^tsreplicate: cannot write .*out\.db: EIO/)
  expect(trap.killed).toBe(`sync fail ${into}`)
  expect(readdirSync(into)).toEqual([])
  expect((await run('restore', '-o', output, url)).code).toBe(0)
})

describe.skipIf(process.getuid?.() !== 0)('as another user', () => {
  test('a folder that cannot be opened', async () => {
    const { folder, url, into, output } = await scene()
    chmodSync(folder, 0o755)
    spawnSync('chown', ['-R', '54321:54321', join(folder, 'replica')])
    chownSync(into, 54_321, 54_321)
    chmodSync(into, 0o300)
    const user = ['--reuid=54321', '--regid=54321', '--clear-groups', process.execPath, program]
    const failed = spawnSync('setpriv', [...user, 'restore', '-o', output, url], {
      encoding: 'utf8',
    })
    expect(failed.stderr).toMatch(/^tsreplicate: cannot write .*out\.db: EACCES/)
    expect(failed.status).toBe(1)
    expect(readdirSync(into)).toEqual([])
  })
})

if (process.getuid?.() !== 0) {
  sayAtTheEnd('restores by another user were not tested: that takes root')
}
