/** The migrations of `examples`: none begins before what it changes is stored, and there is a way back. */
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { afterEach, describe, expect, test } from 'vitest'
import { cleanUp } from '../support/cli.ts'
import { InstalledProject } from '../support/installed-project.ts'

afterEach(() => cleanUp())

const addNote = "INSERT INTO note (text) VALUES ('kept')"
const notes = 'SELECT * FROM note'
const before = [{ id: 1, text: 'kept' }]
const after = [{ id: 1, text: 'kept', author: 'nobody' }]

/** Nothing can be stored meanwhile. */
async function withoutReplica(app: InstalledProject, work: () => Promise<void>): Promise<void> {
  renameSync(app.replica, `${app.replica}-away`)
  writeFileSync(app.replica, '')
  await work()
  rmSync(app.replica)
  renameSync(`${app.replica}-away`, app.replica)
}

describe('drizzle', () => {
  interface Journal {
    readonly entries: readonly object[]
  }

  /** Where only the first migration was there, and a note was written. */
  async function notMigrated(): Promise<{
    readonly app: InstalledProject
    readonly update: () => void
  }> {
    const app = await InstalledProject.ofExample('drizzle')
    const path = app.path('migrations/meta/_journal.json')
    const all = readFileSync(path, 'utf8')
    const { entries, ...rest } = JSON.parse(all) as Journal
    writeFileSync(path, JSON.stringify({ ...rest, entries: entries.slice(0, 1) }))
    await app.run('node', 'migrate.ts')
    await app.query('data/app.db', addNote)
    return { app, update: () => writeFileSync(path, all) }
  }

  test('what was before can be restored by the command that the migration prints', async () => {
    const { app, update } = await notMigrated()
    update()
    const printed = await app.run('node', 'migrate.ts')
    expect(await app.query('data/app.db', notes)).toEqual(after)
    const back = /^to go back: (.*)$/m.exec(printed)?.[1] ?? ''
    await app.run('sh', '-c', back.replace('restore', 'restore -config tsreplicate.yml'))
    expect(await app.query('before.db', notes)).toEqual(before)
    await app.restore('after.db')
    expect(await app.query('after.db', notes)).toEqual(after)
  })

  test('beside a daemon that replicates, that one is asked', async () => {
    const { app, update } = await notMigrated()
    const daemon = app.start('tsreplicate', ['replicate', '-config', 'tsreplicate.yml'])
    await daemon.waitFor(/replicating to/)
    update()
    await app.run('node', 'migrate.ts')
    await app.restore('after.db')
    expect(await app.query('after.db', notes)).toEqual(after)
    expect(await daemon.stop(), daemon.output).toBe(0)
  })

  test('nothing is migrated where that is not stored', async () => {
    const { app, update } = await notMigrated()
    update()
    await withoutReplica(app, async () => {
      const refused = app.start('node', ['migrate.ts'])
      expect(await refused.exit(120_000), refused.output).toBe(1)
      expect(refused.stderr).toContain('not stored')
      expect(await app.query('data/app.db', notes)).toEqual(before)
    })
  })
})

test('prisma: nothing is migrated beside a daemon, or where that is not stored, and what is migrated is stored', async () => {
  const app = await InstalledProject.ofExample('prisma')
  const migrate = async (): Promise<{ code: number; output: string }> => {
    const running = app.start('npm', ['run', 'migrate'])
    return { code: await running.exit(120_000), output: running.output }
  }
  const later = 'prisma/migrations/20260103000000_authors'
  renameSync(app.path(later), app.path('later'))
  mkdirSync(app.path('data'))
  const first = await migrate()
  expect(first.code, first.output).toBe(0)
  await app.query('data/app.db', addNote)
  renameSync(app.path('later'), app.path(later))

  await withoutReplica(app, async () => {
    const refused = await migrate()
    expect(refused.code, refused.output).toBe(74)
    expect(await app.query('data/app.db', notes)).toEqual(before)
  })
  // Prisma takes the whole database for itself, and would say that it is locked.
  const daemon = app.start('tsreplicate', ['replicate', '-config', 'tsreplicate.yml'])
  await daemon.waitFor(/replica claimed/)
  const beside = await migrate()
  expect(beside.code, beside.output).toBe(75)
  expect(await daemon.stop(), daemon.output).toBe(0)

  const moment = new Date().toISOString()
  const done = await migrate()
  expect(done.code, done.output).toBe(0)
  expect(await app.query('data/app.db', notes)).toEqual(after)
  await app.restore('after.db')
  expect(await app.query('after.db', notes)).toEqual(after)
  const back = ['restore', '-config', 'tsreplicate.yml', '-timestamp', moment, '-o', 'before.db']
  await app.run('tsreplicate', ...back, 'data/app.db')
  expect(await app.query('before.db', notes)).toEqual(before)
  // Where the disk is lost, what is stored is restored first.
  app.loseDisk()
  const again = await migrate()
  expect(again.code, again.output).toBe(0)
  expect(await app.query('data/app.db', notes)).toEqual(after)
})
