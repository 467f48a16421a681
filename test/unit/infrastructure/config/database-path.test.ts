import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { ConfigError } from '../../../../src/domain/errors.ts'
import { configFromUrls, parseConfig } from '../../../../src/infrastructure/config/config-file.ts'
import { parseDatabasePath } from '../../../../src/infrastructure/config/database-path.ts'

const context = { home: '/home/me', cwd: '/work', env: {} }

describe('the path of a database', () => {
  it.each([
    ['/data/app.db', '/data/app.db'],
    ['~/app.db', '/home/me/app.db'],
    ['what?.db', '/work/what?.db'],
    ['sqlite:///data/app.db', '/data/app.db'],
    ['sqlite3:////data/app.db', '/data/app.db'],
    ['sqlite://app.db', '/work/app.db'],
  ])('%s is %s', (text, path) => {
    expect(parseDatabasePath(text, context)).toEqual({ kind: 'path', path })
  })

  it.each([
    ['file:/data/app.db?_journal_mode=WAL', '/data/app.db'],
    ['file:///data/app.db', '/data/app.db'],
    ['file://localhost/data/app.db', '/data/app.db'],
    ['file:./dev.db', './dev.db'],
    ['sqlite:app.db', 'app.db'],
    ['jdbc:sqlite:/data/app.db', '/data/app.db'],
    ['sqlite:///data/app.db?mode=rwc', '/data/app.db'],
    ['/data/app.db?_pragma=journal_mode(WAL)', '/data/app.db'],
    ['/data/app.db?', '/data/app.db'],
  ])('%s is refused, and %s is what to write', (text, plain) => {
    const problem = `is a connection string: write the plain path of the file, ${plain}`
    expect(parseDatabasePath(text, context)).toEqual({ kind: 'problem', problem })
    expect(() => configFromUrls(text, ['file:///r'], context)).toThrow(ConfigError)
    const config = `dbs:\n  - path: "${text}"\n    replicas:\n      - path: /r\n`
    expect(() => parseConfig(config, 'c.yml', context)).toThrow(`c.yml:2: dbs[0].path: ${problem}`)
  })

  it('that has nothing but a scheme names no file', () => {
    expect(parseDatabasePath('sqlite://', context)).toMatchObject({ kind: 'problem' })
  })
})

describe('a link to a database', () => {
  const folder = realpathSync(mkdtempSync(join(tmpdir(), 'tsreplicate-links-')))
  const [real, link, second] = ['data/app.db', 'current.db', 'old/app.db'].map((name) =>
    join(folder, name),
  ) as [string, string, string]
  mkdirSync(join(folder, 'data'))
  mkdirSync(join(folder, 'old'))
  symlinkSync('../current.db', second)
  symlinkSync('data/app.db', link)
  afterAll(() => rmSync(folder, { recursive: true }))

  it('has its local state where the file has it, also before there is one', () => {
    for (const existing of [false, true]) {
      if (existing) writeFileSync(real, '')
      const [plain, linked] = [real, second].map(
        (path) => configFromUrls(path, ['file:///r'], context).databases[0],
      )
      expect(plain?.metaPath).toBe(join(folder, 'data/.app.db-tsreplicate'))
      expect(plain).not.toHaveProperty('linkTarget')
      expect(linked).toMatchObject({ path: second, linkTarget: real, metaPath: plain?.metaPath })
    }
  })

  it('and the file are one database, which is given twice', () => {
    const entry = (path: string, replica: string): string =>
      `  - path: ${path}\n    replicas:\n      - path: ${replica}\n`
    const config = `dbs:\n${entry(real, '/r')}${entry(link, '/s')}`
    expect(() => parseConfig(config, 'c.yml', context)).toThrow(
      `c.yml:5: dbs[1].path: is the same database as ${real}: both lead to ${real}`,
    )
  })
})
