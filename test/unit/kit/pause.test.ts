import { expect, test } from 'vitest'
import { pauseAfter } from '../../../src/kit/pause.ts'

test('a pause doubles from one failure to the next, up to the most', () => {
  const pauses = { firstMs: 250, mostMs: 3000 }
  const failures = [1, 2, 3, 4, 5, 6, 5000]
  expect(failures.map((count) => pauseAfter(count, pauses))).toEqual([
    250, 500, 1000, 2000, 3000, 3000, 3000,
  ])
})
