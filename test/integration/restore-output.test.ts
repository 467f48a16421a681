/** A restore that fails leaves nothing under the name of its output, however late it fails. */
import Database from 'better-sqlite3'
import { spawnSync } from 'node:child_process'
import { chmodSync, chownSync, mkdirSync, readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import { cleanUp, program, run, Running, temporaryFolder, until } from '../support/cli.ts'
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

describe.skipIf(!hasCompiler)('when it gets its name', () => {
  /** A restore that is about to give its file the name of the output, or has failed to, or has done so. */
  async function restoring(
    moment: 'hold' | 'fail' | 'after',
    call = { calls: 'link,rename', path: '/out\\.db$' },
  ) {
    const { folder, url, into, output } = await scene()
    const trap = new Trap(folder, call, { moment, armed: true })
    const args = [program, 'restore', '-o', output, url]
    const restore = new Running('restore', process.execPath, args, trap.env)
    await until(() => trap.killed !== undefined, 30_000, 'the call')
    return { url, into, output, restore }
  }

  test('a database that was made meanwhile stays', async () => {
    const { into, output, restore } = await restoring('hold')
    new Database(output).exec('create table t (x); insert into t values (2)').close()
    restore.signal('SIGCONT')
    expect(await restore.exit(), restore.output).toBe(1)
    expect(restore.stderr).toContain(`output path already exists: ${output}`)
    expect(readdirSync(into)).toEqual(['out.db'])
    const made = new Database(output, { readonly: true })
    expect(made.prepare('select x from t').pluck().all()).toEqual([2])
    made.close()
  })

  test('of two restores one is refused', async () => {
    const { url, into, output, restore } = await restoring('hold')
    const other = await run('restore', '-o', output, url)
    expect(other.code, other.stderr).toBe(0)
    const { ino } = statSync(output)
    restore.signal('SIGCONT')
    expect(await restore.exit(), restore.output).toBe(1)
    expect(restore.stderr).toContain(`output path already exists: ${output}`)
    expect(readdirSync(into)).toEqual(['out.db'])
    expect(statSync(output).ino).toBe(ino)
  })

  test('an application that writes to it at once has what it wrote', async () => {
    const named = { calls: 'unlink', path: '/database\\.tmp$' }
    const { into, output, restore } = await restoring('hold', named)
    new Database(output).exec('insert into t values (2)').close()
    restore.signal('SIGCONT')
    expect(await restore.exit(), restore.output).toBe(0)
    expect(readdirSync(into)).toEqual(['out.db'])
    const used = new Database(output, { readonly: true })
    expect(used.prepare('select x from t').pluck().all()).toEqual([1, 2])
    used.close()
  })

  test('a file system without links takes a rename', async () => {
    const { into, output, restore } = await restoring('fail')
    expect(await restore.exit(), restore.output).toBe(0)
    expect(readdirSync(into)).toEqual(['out.db'])
    const restored = new Database(output, { readonly: true })
    expect(restored.prepare('select x from t').pluck().all()).toEqual([1])
    restored.close()
  })

  test('and it is killed before its other name is removed, the next start removes that', async () => {
    const { url, into, output, restore } = await restoring('after')
    await restore.exit()
    expect(statSync(output).nlink).toBe(2)
    const flags = ['-restore-if-db-not-exists', '-once']
    const next = await run('replicate', ...flags, output, `${url}-next`)
    expect(next.code, next.stderr).toBe(0)
    expect(next.stderr).not.toContain('hard links')
    expect(statSync(output).nlink).toBe(1)
    expect(readdirSync(into).filter((name) => name.includes('restore-'))).toEqual([])
  })
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
