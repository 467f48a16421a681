import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { type DatabaseFolder } from '../../../../src/domain/settings/config.js'
import { SqliteFolder } from '../../../../src/infrastructure/folder/sqlite-folder.js'

const { signal } = new AbortController()

test('a subfolder that vanishes in the midst of a look does not end it, the folder itself does', async () => {
  const path = mkdtempSync(join(tmpdir(), 'tsreplicate-folder-'))
  onTestFinished(() => rmSync(path, { recursive: true, force: true }))
  for (const name of ['one', 'other']) {
    mkdirSync(join(path, name))
    writeFileSync(join(path, name, 'app.db'), Buffer.from('SQLite format 3\0', 'latin1'))
  }
  const config = { path, pattern: '*', recursive: true, watch: false } as unknown as DatabaseFolder
  await using folder = new SqliteFolder(config)
  /** Removes, when the first file is looked at, the subfolder that is still to come. */
  class Paths extends Set<string> {
    override has(file: string): boolean {
      const other = dirname(file).endsWith('one') ? 'other' : 'one'
      rmSync(join(path, other), { recursive: true, force: true })
      return true
    }
  }
  const replicated = { paths: new Paths(), has: () => false }
  const { found } = await folder.scan(replicated, signal)
  expect(found).toHaveLength(1)
  rmSync(path, { recursive: true })
  await expect(folder.scan(replicated, signal)).rejects.toThrow('it does not exist')
})

test('a subfolder whose path is too long to be read is a problem of its own, and keeps what is replicated in it', async () => {
  const path = mkdtempSync(join(tmpdir(), 'tsreplicate-folder-'))
  // Node removes by whole paths.
  onTestFinished(() => void execFileSync('rm', ['-rf', path]))
  for (const name of ['deep', 'other']) mkdirSync(join(path, name))
  writeFileSync(join(path, 'other', 'app.db'), Buffer.from('SQLite format 3\0', 'latin1'))
  const name = 'n'.repeat(250)
  // From within, so that no path is ever too long.
  const nest = `mkdir ${name}; for i in $(seq 19); do mkdir up; mv ${name} up; mv up ${name}; done`
  execFileSync('sh', ['-ec', nest], { cwd: join(path, 'deep') })
  const config = { path, pattern: '*', recursive: true, watch: false } as unknown as DatabaseFolder
  await using folder = new SqliteFolder(config)
  const deep = ['deep', ...Array.from({ length: 20 }, () => name), 'app.db'].join('/')
  const replicated = { paths: new Set([join(path, deep), '/elsewhere/app.db']), has: () => false }
  const { found, unreadableFolders } = await folder.scan(replicated, signal)
  expect(found).toEqual([deep, 'other/app.db'])
  expect(unreadableFolders).toEqual([
    {
      dir: expect.stringMatching(/\/deep\/(n+\/)+n+$/) as unknown,
      err: expect.any(Error) as unknown,
    },
  ])
  expect(unreadableFolders[0]?.err.message).toMatch(/^cannot read folder .*ENAMETOOLONG/)
})

test('a file that is no database is looked into once, and forgotten when it is gone', async () => {
  const path = mkdtempSync(join(tmpdir(), 'tsreplicate-folder-'))
  const away = `${path}-away`
  onTestFinished(() => {
    for (const each of [path, away]) rmSync(each, { recursive: true, force: true })
  })
  const config = { path, pattern: '*', recursive: true, watch: false } as unknown as DatabaseFolder
  await using folder = new SqliteFolder(config)
  const lookedInto = async (): Promise<number> => {
    let count = 0
    const has = (): boolean => {
      count += 1
      return false
    }
    await folder.scan({ paths: new Set(), has }, signal)
    return count
  }
  const [one, other] = [join(path, 'one'), join(path, 'other')]
  for (const file of [one, other]) writeFileSync(file, 'this is not a database')
  expect(await lookedInto()).toBe(2)
  expect(await lookedInto()).toBe(0)
  renameSync(one, away)
  expect(await lookedInto()).toBe(0)
  // The same file, as it was: only what was kept in memory could tell.
  renameSync(away, one)
  expect(await lookedInto()).toBe(1)
  expect(await lookedInto()).toBe(0)
})
