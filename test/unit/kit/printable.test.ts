import { expect, test } from 'vitest'
import { printable } from '../../../src/kit/printable.js'

test.each([
  ['/data/app.db', '/data/app.db'],
  ['Straße – 数据库 🗄', 'Straße – 数据库 🗄'],
  ['a\u001b[2Jb', 'a\\u001b[2Jb'],
  ['a\u009b2Jb', 'a\\u009b2Jb'],
  ['a\u202egpj.b', 'a\\u202egpj.b'],
  ['a\nb', 'a\\u000ab'],
])('%j is shown as %s', (text, shown) => {
  expect(printable(text)).toBe(shown)
})

test('lines of a text stay lines', () => {
  expect(printable('a\nb\r', { keepsLines: true })).toBe('a\nb\\u000d')
})
