/** Others may write to the folder that is restored into, and what is stored may be made to do harm. */
import Database from 'better-sqlite3'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  chmodSync,
  chownSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import {
  cleanUp,
  program,
  run,
  Running,
  temporaryFolder,
  until,
  writeConfig,
} from '../support/cli.ts'
import { hasCompiler } from '../support/compiled.ts'
import { onThisMachine } from '../support/patience.ts'
import { sayAtTheEnd } from '../support/last-lines.ts'
import { WrongClock } from '../support/wrong-clock.ts'

afterEach(() => cleanUp())

const isRoot = process.getuid?.() === 0
if (!isRoot) sayAtTheEnd('no other user wrote beside a restore: that takes root')
const tenant = 54_321

function stored(sql: string, computed?: string): { folder: string; url: string; db: string } {
  const folder = temporaryFolder()
  const db = join(folder, 'app.db')
  const database = new Database(db)
  database.exec(`create table t (a, b); insert into t values (1, 1); ${sql}`)
  if (computed !== undefined) {
    database.unsafeMode(true).pragma('writable_schema = on')
    database
      .prepare('update sqlite_schema set sql = replace(sql, ?, ?)')
      .run('b)', `b, c as (${computed}) not null)`)
  }
  database.close()
  return { folder, db, url: `file://${join(folder, 'replica')}` }
}

async function replicated(...made: Parameters<typeof stored>) {
  const scene = stored(...made)
  expect((await run('replicate', '-exec', 'true', scene.db, scene.url)).code).toBe(0)
  const into = join(scene.folder, 'into')
  mkdirSync(into)
  return { ...scene, into, output: join(into, 'out.db') }
}

/** Runs a script of `test/support` as another user, who has a folder and a file to work with. */
async function asTenant(
  name: string,
  { folder, into, file }: { folder: string; into: string; file: string },
): Promise<{ end: () => Promise<void> }> {
  const script = join(folder, name)
  copyFileSync(join(import.meta.dirname, '../support', name), script)
  const other = spawn(process.execPath, [script, into, join(folder, file)], {
    uid: tenant,
    gid: tenant,
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  })
  await once(other, 'message')
  return {
    async end() {
      other.disconnect()
      await once(other, 'exit')
    },
  }
}

describe.skipIf(!isRoot)('into a folder that another user can write', () => {
  async function shared() {
    const scene = await replicated(many)
    chmodSync(scene.folder, 0o755)
    chmodSync(scene.into, 0o1777)
    return scene
  }

  test('a log that is planted beside what is restored is never read', async () => {
    const { folder, db, url, into, output } = await shared()
    const forged = join(folder, 'forged.db')
    copyFileSync(db, forged)
    const forger = new Database(forged)
    forger.pragma('journal_mode = wal')
    forger.exec("insert into t values ('forged', 1)")
    copyFileSync(`${forged}-wal`, join(folder, 'planted'))
    forger.close()
    chmodSync(join(folder, 'planted'), 0o644)
    const other = await asTenant('plant-beside.mjs', { folder, into, file: 'planted' })
    try {
      expect((await run('restore', '-o', output, url)).code).toBe(0)
    } finally {
      await other.end()
    }
    const restored = new Database(output, { readonly: true })
    expect(restored.prepare("select count(*) from t where a = 'forged'").pluck().get()).toBe(0)
    restored.close()
    // It had its chance.
    expect(readdirSync(into).some((name) => name.includes('tsreplicate-restore'))).toBe(true)
  })

  test('what its owner puts in the place of what is restored is never what is returned, nor removed', async () => {
    const { folder, url, into, output } = await shared()
    const forged = join(folder, 'forged.db')
    new Database(forged).exec("create table t (a, b); insert into t values ('forged', 1)").close()
    chmodSync(forged, 0o644)
    chownSync(into, tenant, tenant)
    chmodSync(into, 0o755)
    const other = await asTenant('swap-folder.mjs', { folder, into, file: 'forged.db' })
    let restored: Awaited<ReturnType<typeof run>>
    try {
      restored = await run('restore', '-o', output, url)
    } finally {
      await other.end()
    }
    // His folder is not what was to be checked, nor a half of it.
    const refusal =
      /another file has taken its place|put something else|unable to open database file|not a database/
    expect(restored).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(refusal) as unknown,
    })
    expect(existsSync(output)).toBe(false)
    const moved = readdirSync(into).filter((name) => name.startsWith('moved-'))
    expect(moved).not.toEqual([])
    // Of ours, wherever it is now, nothing is left.
    for (const name of moved) {
      const path = join(into, name)
      if (statSync(path).uid !== tenant) expect(readdirSync(path)).toEqual([])
    }
  })

  test('what others have put under names of ours stays, and is in nobody’s way; what a killed restore left goes', async () => {
    const { url, into, output } = await shared()
    const nobody = 4_194_305
    const [theirs, ours] = ['theirs', 'killed'].map((name) =>
      join(into, `.out.db.tsreplicate-restore-${nobody}-${name}`),
    ) as [string, string]
    for (const folder of [theirs, ours]) {
      mkdirSync(folder)
      writeFileSync(join(folder, 'database.tmp'), 'x')
    }
    chownSync(theirs, tenant, tenant)
    writeFileSync(join(into, `.out.db.tsreplicate-restore-${nobody}-a-file`), 'x')
    expect((await run('restore', '-o', output, url)).code).toBe(0)
    expect(existsSync(join(theirs, 'database.tmp'))).toBe(true)
    expect(existsSync(ours)).toBe(false)
  })

  describe('the copy of verify', () => {
    const verify = (into: string, url: string) =>
      run('verify', '-level', 'restore', '-temp-path', into, url)

    test('is in a new folder: what others have put under such names stays, and leads nowhere', async () => {
      const { folder, db, url, into } = await shared()
      const victim = join(folder, 'victim')
      mkdirSync(victim)
      writeFileSync(join(victim, 'file'), 'of root')
      const nobody = 4_194_305
      const at = (name: string): string => join(into, `tsreplicate-verify-${nobody}${name}`)
      for (const name of ['', '-theirs', '-killed']) {
        mkdirSync(at(name))
        writeFileSync(join(at(name), 'file'), 'x')
        if (name !== '-killed') chownSync(at(name), tenant, tenant)
      }
      symlinkSync(victim, at('-link'))
      writeFileSync(join(folder, 'planted'), readFileSync(db))
      chmodSync(join(folder, 'planted'), 0o644)
      const other = await asTenant('plant-beside.mjs', { folder, into, file: 'planted' })
      const { code, stdout } = await verify(into, url).finally(() => other.end())
      expect(code, stdout).toBe(0)
      expect(readFileSync(join(victim, 'file'), 'utf8')).toBe('of root')
      for (const name of ['', '-theirs']) expect(existsSync(join(at(name), 'file'))).toBe(true)
      expect(readdirSync(victim)).toEqual(['file'])
      expect(existsSync(at('-killed'))).toBe(false)
    })

    test('that somebody swaps for his own is never judged by it, and nothing of ours is left', async () => {
      const { folder, db, url } = stored(many)
      const content = readFileSync(db)
      content.fill(0xff, 20 * 4096 + 100, 20 * 4096 + 200)
      writeFileSync(db, content)
      expect((await run('replicate', '-exec', 'true', db, url)).code).toBe(0)
      const [into, forged] = [join(folder, 'into'), join(folder, 'forged.db')]
      new Database(forged).exec("create table t (a, b); insert into t values ('forged', 1)").close()
      chmodSync(forged, 0o644)
      chmodSync(folder, 0o755)
      mkdirSync(into)
      chownSync(into, tenant, tenant)
      const other = await asTenant('swap-folder.mjs', { folder, into, file: 'forged.db' })
      const { code, stdout, stderr } = await verify(into, url).finally(() => other.end())
      expect([1, 65], stdout + stderr).toContain(code)
      expect(stdout).toMatch(/is damaged|is not verified/)
      expect(stderr).not.toMatch(/ at .*\.js/)
      const moved = readdirSync(into).filter((name) => name.startsWith('moved-'))
      expect(moved).not.toEqual([])
      for (const name of readdirSync(into)) {
        const path = join(into, name)
        if (statSync(path).uid !== tenant) expect(readdirSync(path)).toEqual([])
      }
    })
  })
})

const many =
  'insert into t with recursive n (a) as (select 1 union all select a + 1 from n where a < 50000) select a, hex(randomblob(50)) from n'

test('a file that whoever may do so puts in the place of what is restored is not given its name', async () => {
  const { folder, db, url, into, output } = await replicated(many)
  const forged = join(folder, 'forged.db')
  copyFileSync(db, forged)
  new Database(forged).exec("insert into t values ('forged', 1)").close()
  const script = join(import.meta.dirname, '../support/swap-restored.mjs')
  const other = spawn(process.execPath, [script, into, forged], {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  })
  await once(other, 'message')
  const done = once(other, 'message')
  const { code, stderr } = await run('restore', '-o', output, url)
  expect(await done).toEqual(['done', undefined])
  other.disconnect()
  await once(other, 'exit')
  expect(code).toBe(1)
  expect(stderr).toMatch(/another file has taken its place|not the file any more that was verified/)
  expect(readdirSync(into)).toEqual([])
})

describe('a schema that is made to do harm', () => {
  // Half of so much is compared at each of so many places.
  const endless = 'instr(zeroblob(40000000), zeroblob(20000000) || b)'
  const huge = 'instr(zeroblob(400000000), zeroblob(200000000) || b)'

  const checkers = (folder: string): readonly string[] =>
    readdirSync('/proc').filter((pid) => {
      try {
        const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8')
        const environment = readFileSync(`/proc/${pid}/environ`, 'utf8')
        return command.includes('check-process') && environment.includes(folder)
      } catch {
        return false
      }
    })

  test.skipIf(!hasCompiler)(
    'and never ends is not checked in time, which restore, verify and the daemon say (needs a C compiler)',
    async () => {
      const { folder, db, url, into, output } = await replicated('', endless)
      const clock = new WrongClock()
      const env = { SCENE: folder, ...clock.env }
      const begin = (name: string, ...args: string[]): Running =>
        new Running(name, process.execPath, [program, ...args], env)
      const verify = ['verify', '-level', 'restore', '-temp-path', into]
      const replicas = [{ path: url.slice('file://'.length), 'validation-interval': '100ms' }]
      const config = writeConfig(folder, { path: db, replicas })
      const restoring = begin('restore', 'restore', '--json', '-o', output, url)
      const verifying = begin('verify', ...verify, '--json', url)
      const daemon = begin('replicate', 'replicate', '-config', config)
      await until(() => checkers(folder).length === 3, 60_000, 'three checks')
      // It opens no debugger, in none of them.
      for (const { child } of [restoring, verifying]) child.kill('SIGUSR1')
      for (const pid of checkers(folder)) process.kill(Number(pid), 'SIGUSR1')
      // Not once: to hear of a signal is to read, too.
      const passing = setInterval(() => clock.pass(121_000), 1000)
      const codes = await Promise.all([restoring.exit(), verifying.exit()])
      clearInterval(passing)
      expect(codes, restoring.output + verifying.output).toEqual([69, 69])
      expect(JSON.parse(restoring.stdout)).toEqual({
        error: {
          code: 'CHECK_TIMEOUT',
          message: `${output} could not be checked in time: quick_check was stopped, it read nothing for 2m0s`,
          hint: expect.stringContaining('`restore -integrity-check none`') as unknown,
        },
      })
      expect(JSON.parse(verifying.stdout)).toMatchObject([
        {
          verdict: 'timeout',
          problem: expect.stringContaining('not be checked in time') as unknown,
        },
      ])
      await daemon.waitFor(
        /level=ERROR msg="not validated in time" .*status=timeout err=".*integrity_check was stopped, it read nothing for 2m0s/,
      )
      expect(await daemon.stop(), daemon.output).toBe(0)
      for (const { output: said } of [restoring, verifying, daemon]) {
        expect(said).not.toMatch(/debugger/i)
      }
      await until(() => checkers(folder).length === 0, 20_000, 'the end of the checks')
      expect(readdirSync(into)).toEqual([])
    },
  )

  test.each([
    ['restore', 'SIGINT', 130],
    ['restore', 'SIGKILL', -1],
    ['verify', 'SIGINT', 130],
  ] as const)('and never ends: %s is ended by %s, with its process', async (what, signal, code) => {
    const { folder, url, into, output } = await replicated('', endless)
    const flags = what === 'restore' ? ['-o', output] : ['-level', 'restore', '-temp-path', into]
    const args = [program, what, ...flags, url]
    const restoring = new Running(what, process.execPath, args, { SCENE: folder })
    await until(() => checkers(folder).length === 1, 20_000, 'the check')
    restoring.child.kill(signal)
    const atMs = performance.now()
    expect(await restoring.exit()).toBe(code)
    expect(performance.now() - atMs).toBeLessThan(onThisMachine(1000))
    await until(() => checkers(folder).length === 0, 20_000, 'the end of the check')
    if (signal === 'SIGINT') expect(readdirSync(into)).toEqual([])
    expect(existsSync(output)).toBe(false)
  })

  test('and never ends does not keep the daemon that validates it from ending, nor its other work', async () => {
    const { folder, db, into, url } = await replicated('', endless)
    const replica = url.slice('file://'.length)
    const hostile = { path: db, replicas: [{ path: replica, 'validation-interval': '100ms' }] }
    const other = join(folder, 'other.db')
    new Database(other).exec('create table t (a)').close()
    const config = writeConfig(folder, hostile, { path: other, replicas: [join(into, 'other')] })
    const args = [program, 'replicate', '-config', config]
    const daemon = new Running('replicate', process.execPath, args, { SCENE: folder })
    await until(() => checkers(folder).length === 1, 30_000, 'the check of the daemon')
    const application = new Database(other)
    application.exec('insert into t values (1)')
    const stored = daemon.count(/wal segment written/)
    application.exec('insert into t values (2)')
    await daemon.waitFor(/wal segment written/, { times: stored + 1 })
    application.close()
    daemon.child.kill('SIGTERM')
    const patience = onThisMachine(30_000)
    const atMs = performance.now()
    expect(await daemon.exit()).toBe(0)
    expect(performance.now() - atMs).toBeLessThan(patience)
    await until(() => checkers(folder).length === 0, 20_000, 'the end of the check')
    expect(readdirSync(folder).filter((name) => name.includes('-validation-'))).toEqual([])
  })

  test('and takes all memory is stopped, said, and can be restored without the check', async () => {
    const { url, into, output } = await replicated('', huge)
    const stopped = await run('restore', '-o', output, url)
    expect(stopped.stderr).toMatch(
      /out\.db could not be checked: quick_check was stopped, it took more than 256 MiB of memory/,
    )
    expect(stopped.stderr).toContain('-integrity-check none')
    expect(stopped.code).toBe(1)
    expect(readdirSync(into)).toEqual([])
    expect((await run('restore', '-integrity-check', 'none', '-o', output, url)).code).toBe(0)
  })
})
