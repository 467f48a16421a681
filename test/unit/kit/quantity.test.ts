import { expect, test } from 'vitest'
import { countOf, formatBytes } from '../../../src/kit/quantity.ts'

test.each([
  [0, '0 pages'],
  [1, '1 page'],
  [2, '2 pages'],
])('a count of %d is %s', (count, text) => {
  expect(countOf(count, 'page')).toBe(text)
})

test('a plural without s', () => {
  expect(countOf(1, 'index', 'indexes')).toBe('1 index')
  expect(countOf(3, 'index', 'indexes')).toBe('3 indexes')
})

test.each([
  [0, '0 B'],
  [999, '999 B'],
  [1000, '1.00 kB'],
  [9_994, '9.99 kB'],
  [9_996, '10.0 kB'],
  [99_960, '100 kB'],
  [999_499, '999 kB'],
  [999_500, '1.00 MB'],
  [4_294_967_296, '4.29 GB'],
  [5e18, '5000 PB'],
])('%d bytes are %s', (bytes, text) => {
  expect(formatBytes(bytes)).toBe(text)
})
