/** `replicate` executes itself anew with flags for V8, which nobody notices: what it starts, and where that is forbidden. */
import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { cleanUp, program, restore, root, Running, temporaryFolder } from '../support/cli.ts'
import { hasCompiler } from '../support/compiled.ts'
import { sayAtTheEnd } from '../support/last-lines.ts'
import { makeNotes, notesIn } from '../support/notes.ts'

afterEach(cleanUp)

function scene() {
  const folder = temporaryFolder()
  const db = join(folder, 'app.db')
  makeNotes(db, 'kept')
  const replica = join(folder, 'replica')
  const config = join(folder, 'c.yml')
  const dbs = [{ path: db, replicas: [{ path: replica }] }]
  writeFileSync(config, JSON.stringify({ logging: { level: 'debug' }, dbs }))
  return { folder, replica, args: [program, 'replicate', '-config', config] }
}

test('the program that it runs gets the environment that it got itself', async () => {
  const { args } = scene()
  const usual = new Running('tsreplicate', process.execPath, [...args, '-exec', 'env'])
  expect(await usual.exit(), usual.output).toBe(0)
  expect(usual.stdout).toMatch(/^PATH=/m)
  expect(usual.output).not.toMatch(/MALLOC_ARENA_MAX|TSREPLICATE_EXECUTED_ANEW|own flags/)
  const given = { MALLOC_ARENA_MAX: '3' }
  const set = new Running('tsreplicate', process.execPath, [...args, '-exec', 'env'], given)
  expect(await set.exit(), set.output).toBe(0)
  expect(set.stdout).toMatch(/^MALLOC_ARENA_MAX=3$/m)
})

if (!hasCompiler) {
  sayAtTheEnd('no C compiler (cc): it was not tried where no program may be executed')
}
test.skipIf(!hasCompiler)(
  'replicates where no program may be executed, and says so (needs a C compiler)',
  async () => {
    const { folder, replica, args } = scene()
    const forbidding = join(folder, 'without-execve')
    execFileSync('cc', ['-o', forbidding, join(root, 'test/support/without-execve.c')])
    const daemon = new Running('tsreplicate', forbidding, [process.execPath, ...args])
    await daemon.waitFor(/msg="at rest"/)
    expect(daemon.output).toMatch(/level=DEBUG msg="runs without its own flags for memory".* EPERM/)
    expect(await daemon.stop(), daemon.output).toBe(0)
    const output = join(folder, 'restored.db')
    await restore(replica, output)
    expect(notesIn(output)).toEqual(['kept'])
  },
)
