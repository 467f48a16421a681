import { expect, test } from 'vitest'
import {
  isSafeSqliteVersion,
  requireSafeSqlite,
} from '../../../../src/infrastructure/sqlite/sqlite-version.js'

test('the SQLite that is linked has no WAL-reset bug (F-20)', () => {
  expect(() => requireSafeSqlite()).not.toThrow()
})

test.each([
  ['3.51.3', true],
  ['3.51.10', true],
  ['3.54.1', true],
  ['4.0.0', true],
  ['3.51.2', false],
  ['3.50.9', false],
  ['3.9.4', false],
])('version %s is safe: %s', (version, isSafe) => {
  expect(isSafeSqliteVersion(version)).toBe(isSafe)
})
