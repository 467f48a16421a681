import { expect, test } from 'vitest'
import { NewestEntries } from '../../../src/kit/newest-entries.js'

test('the entries that were set last are kept, one that is set anew among them', () => {
  const entries = new NewestEntries<string, number>(2)
  entries.set('a', 1)
  entries.set('b', 2)
  entries.set('a', 3)
  entries.set('c', 4)
  expect(['a', 'b', 'c'].map((key) => entries.get(key))).toEqual([3, undefined, 4])
  entries.delete('a')
  entries.set('d', 5)
  expect(['a', 'c', 'd'].map((key) => entries.get(key))).toEqual([undefined, 4, 5])
})
