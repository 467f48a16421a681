import { describe, expect, it } from 'vitest'
import { type DatabaseFolder } from '../../../../src/domain/settings/config.ts'
import {
  databaseAt,
  databaseOfState,
  folderOf,
  isMeant,
  patternProblem,
} from '../../../../src/domain/settings/database-folder.ts'

const folder = (pattern: string, recursive = true): DatabaseFolder =>
  ({ path: '/data', pattern, recursive }) as DatabaseFolder

describe('isMeant', () => {
  it.each([
    ['*', 'a.db', true],
    ['*', 'deep/er/a.db', true],
    ['*.db', 'deep/a.db', true],
    ['*.db', 'a.sqlite', false],
    ['tenant-?.db', 'tenant-1.db', true],
    ['tenant-?.db', 'tenant-12.db', false],
    ['[ab].db', 'b.db', true],
    ['[!ab].db', 'b.db', false],
    ['a+b(1).db', 'a+b(1).db', true],
    ['live/*.db', 'live/a.db', true],
    ['live/*.db', 'old/a.db', false],
    ['**/main.db', 'a/b/main.db', true],
    ['**/main.db', 'main.db', true],
    ['*', 'a.db-wal', false],
    ['*', 'a.db-shm', false],
    ['*', 'a.db-journal', false],
    ['*', '.a.db.tsreplicate-restore-1.tmp', false],
    ['*', '.a.db-tsreplicate/lock', false],
    ['*', '.a.db-litestream/generation', false],
  ])('%s means %s: %s', (pattern, path, meant) => {
    expect(isMeant(folder(pattern), path)).toBe(meant)
  })

  it('leaves out what lies deeper unless it is recursive', () => {
    expect(isMeant(folder('*', false), 'deep/a.db')).toBe(false)
    expect(isMeant(folder('*', false), 'a.db')).toBe(true)
  })
})

describe('patternProblem', () => {
  it.each([
    '*',
    '[ab]*.db',
    '[!a-c]',
    '[[]x]',
    'a]',
    '[{]x[}].db',
    'eu/**/*.db',
    'a!.db',
    '.hidden.db',
    '...',
  ])('%s may mean something', (pattern) => {
    expect(patternProblem({ pattern, recursive: true })).toBeUndefined()
  })

  it.each([
    ['[', /^not a pattern/],
    ['[ab', /^not a pattern/],
    ['[]', /^not a pattern/],
    ['[!]', /^not a pattern/],
    ['[z-a]', /^not a pattern/],
    ['[\\]', /^not a pattern/],
    ['*.{db,sqlite}', /Write \* for every database/],
    ['!*.tmp', /^! excludes nothing/],
    ['/eu/*', /write eu\/\*$/],
    ['eu/', /write eu\/\*$/],
    ['./a.db', /^is a path within dir/],
    ['../a.db', /^is a path within dir/],
    ['eu//a.db', /^is a path within dir/],
    ['*.db-wal', /^matches files beside databases/],
  ])('%s means nothing', (pattern, problem) => {
    expect(patternProblem({ pattern, recursive: true })).toMatch(problem)
  })

  it('says that folders are looked into only if that is wanted', () => {
    expect(patternProblem({ pattern: 'eu/*.db', recursive: false })).toMatch(/recursive: true/)
  })
})

describe('folderOf', () => {
  it('is the last one that means a path', () => {
    const all = folder('*')
    const some = { ...folder('eu/*.db'), metaPath: '/some' } as DatabaseFolder
    const inner = { ...folder('*.db'), path: '/data/us' } as DatabaseFolder
    const folders = [all, some, inner]
    expect(folderOf(folders, '/data/a.db')?.folder).toBe(all)
    expect(folderOf(folders, '/data/eu/a.db')?.folder).toBe(some)
    expect(folderOf(folders, '/data/us/a.db')).toEqual({ folder: inner, relativePath: 'a.db' })
    expect(folderOf(folders, '/data/us/a.sqlite')?.folder).toBe(all)
    expect(folderOf(folders, '/other/a.db')).toBeUndefined()
    expect(databaseAt([], '/data/a.db')).toBeUndefined()
  })
})

describe('databaseOfState', () => {
  it.each([
    ['.a.db-tsreplicate', 'a.db'],
    ['.a.db-litestream', undefined],
    ['.a.db-tsreplicate-validation-file', undefined],
    ['a.db-tsreplicate', undefined],
  ])('of %s is %s', (name, database) => {
    expect(databaseOfState(name)).toBe(database)
  })
})
