import { describe, expect, it } from 'vitest'
import { type DatabaseFolder } from '../../../src/domain/config.ts'
import { isMeant, isPattern } from '../../../src/domain/database-folder.ts'

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

describe('isPattern', () => {
  it.each([
    ['*', true],
    ['[ab]*.db', true],
    ['[!a-c]', true],
    ['[[]x]', true],
    ['a]', true],
    ['[', false],
    ['[ab', false],
    ['[]', false],
    ['[!]', false],
    ['[z-a]', false],
    ['[\\]', false],
  ])('%s: %s', (pattern, known) => {
    expect(isPattern(pattern)).toBe(known)
  })
})
