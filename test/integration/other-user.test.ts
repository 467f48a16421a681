/** A daemon of another user than the application's never keeps the application from writing. */
import Database from 'better-sqlite3'
import { spawnSync } from 'node:child_process'
import {
  chmodSync,
  chownSync,
  lchownSync,
  mkdirSync,
  readdirSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import { cleanUp, program, Running, temporaryFolder, writeConfig } from '../support/cli.ts'
import { sayAtTheEnd } from '../support/last-lines.ts'

afterEach(() => cleanUp())

const [application, daemonUser, shared] = [54_321, 54_322, 54_323]
const isRoot = process.getuid?.() === 0
if (!isRoot)
  sayAtTheEnd('daemons of another user than the application were not tested: that takes root')

interface Rights {
  readonly file: number
  readonly folder: number
  readonly group: number
}

function scene({ file, folder: folderMode, group }: Rights) {
  const folder = temporaryFolder()
  chmodSync(folder, 0o755)
  const [data, state, replica] = ['data', 'state', 'replica'].map((name) => join(folder, name))
  const db = join(data!, 'app.db')
  for (const path of [data!, state!, replica!]) mkdirSync(path)
  const database = new Database(db)
  database.pragma('journal_mode = wal')
  database.exec('create table t (x)')
  database.close()
  chownSync(db, application, group)
  chmodSync(db, file)
  chownSync(data!, application, group)
  chmodSync(data!, folderMode)
  for (const path of [state!, replica!]) chownSync(path, daemonUser, daemonUser)
  const config = writeConfig(folder, { path: db, 'meta-path': state!, replicas: [replica!] })
  return { data: data!, db, config }
}

const as = (user: number): string[] => [
  'setpriv',
  `--reuid=${user}`,
  `--regid=${user}`,
  `--groups=${shared}`,
]

function startDaemon(config: string): Running {
  const [command = '', ...args] = as(daemonUser)
  const rest = [process.execPath, program, 'replicate', '-config', config]
  return new Running('daemon', command, [...args, ...rest])
}

/** What the application's own write comes to: empty, or its error. */
function write(db: string): string {
  const [command = '', ...args] = as(application)
  const script = `const Database = require('better-sqlite3')
    const db = new Database(${JSON.stringify(db)}); db.exec('insert into t values (1)'); db.close()`
  const cwd = join(import.meta.dirname, '../..')
  return spawnSync(command, [...args, process.execPath, '-e', script], { cwd, encoding: 'utf8' })
    .stderr
}

describe.skipIf(!isRoot)('a daemon of another user', () => {
  test.each<[string, Rights, RegExp]>([
    [
      'that others may read',
      { file: 0o644, folder: 0o777, group: application },
      /user 54322 \(groups .*\) cannot write .*app\.db, which has mode 0644, owner 54321 and group 54321/,
    ],
    [
      'that its group may read',
      { file: 0o640, folder: 0o770, group: shared },
      /cannot write .*app\.db, which has mode 0640/,
    ],
    [
      'whose folder it may not write',
      { file: 0o660, folder: 0o750, group: shared },
      /cannot write .*data, which has mode 0750/,
    ],
    [
      'that its group may write, but in a folder that does not hand the group on',
      { file: 0o660, folder: 0o770, group: shared },
      /the application could not write .*app\.db-wal if user 54322 .* created it/,
    ],
  ])('refuses a database %s, before anything is created', async (_, rights, message) => {
    const { data, db, config } = scene(rights)
    const daemon = startDaemon(config)
    await daemon.waitFor(/cannot be replicated/)
    expect(daemon.output).toMatch(message)
    expect(daemon.output).toMatch(/hint="run tsreplicate as the owner/)
    expect(readdirSync(data)).toEqual(['app.db'])
    expect(write(db)).toBe('')
    // It heals with the rights.
    chmodSync(data, 0o2770)
    chownSync(data, application, shared)
    chownSync(db, application, shared)
    chmodSync(db, 0o660)
    await daemon.waitFor(/snapshot written/)
    expect(write(db)).toBe('')
    expect(await daemon.stop()).toBe(0)
    expect(write(db)).toBe('')
  })

  test.each<[string, Rights]>([
    ['everybody may write', { file: 0o666, folder: 0o777, group: application }],
    [
      'its group may write, which the folder hands on',
      { file: 0o660, folder: 0o2770, group: shared },
    ],
  ])('replicates a database that %s, and the application writes', async (_, rights) => {
    const { db, config } = scene(rights)
    const daemon = startDaemon(config)
    await daemon.waitFor(/snapshot written/)
    expect(write(db)).toBe('')
    expect(await daemon.stop()).toBe(0)
    expect(write(db)).toBe('')
  })

  test('is not waited for by an application that cannot ask it: it is told who has the database', async () => {
    const { data, db } = scene({ file: 0o660, folder: 0o2770, group: shared })
    const [folder, replica] = [join(data, '..'), join(data, '../replica')]
    const daemon = startDaemon(writeConfig(folder, { path: db, replicas: [replica] }))
    await daemon.waitFor(/snapshot written/)
    const [command = '', ...args] = as(application)
    const script = join(import.meta.dirname, '../support/asks-stored.mjs')
    const rest = [process.execPath, script, db, `file://${replica}`]
    const asking = new Running('application', command, [...args, ...rest])
    expect(await asking.exit(), asking.output).toBe(0)
    const told: unknown = JSON.parse(asking.stdout)
    expect(told).toMatchObject({ code: 'NOT_STORED', cause: 'IN_USE' })
    const { message, elapsedMs } = told as { message: string; elapsedMs: number }
    expect(message).toMatch(
      /app\.db-tsreplicate belongs to user 54322, .* whom user 54321 cannot ask: run both as one user/,
    )
    expect(elapsedMs).toBeLessThan(30_000)
    expect(await daemon.stop()).toBe(0)
  })

  test.each(['the local state', 'its spool'])(
    'follows no link that the application’s user has put in the place of %s',
    async (what) => {
      const { data, db } = scene({ file: 0o660, folder: 0o2770, group: shared })
      const folder = join(data, '..')
      const [state, victim] = [join(data, '.app.db-tsreplicate'), join(folder, 'victim')]
      mkdirSync(victim)
      writeFileSync(join(victim, 'file'), '')
      chownSync(victim, daemonUser, daemonUser)
      if (what === 'its spool') {
        mkdirSync(state)
        chownSync(state, application, shared)
        chmodSync(state, 0o2770)
      }
      const link = what === 'its spool' ? join(state, 'spool') : state
      symlinkSync(victim, link)
      lchownSync(link, application, application)
      const config = writeConfig(folder, { path: db, replicas: [join(folder, 'replica')] })
      const daemon = startDaemon(config)
      await daemon.waitFor(/the local state cannot be in .* is a link of user 54321/)
      expect(await daemon.stop()).toBe(74)
      expect(readdirSync(victim)).toEqual(['file'])
    },
  )
})
