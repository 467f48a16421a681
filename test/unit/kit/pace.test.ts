import { expect, test } from 'vitest'
import { Pace } from '../../../src/kit/pace.js'

/** When each happens that comes at these times. */
function happenAt(comeAt: readonly number[]): number[] {
  const pace = new Pace()
  let freeAt = Number.NEGATIVE_INFINITY
  return comeAt.map((cameAt) => {
    const now = Math.max(cameAt, freeAt)
    freeAt = now + pace.dueInMs(now)
    pace.happens(freeAt, 50)
    return freeAt
  })
}

test('what comes once per interval never waits, however late one of them is', () => {
  const late = [0, 31, 3, 18, 0, 44, 2]
  const comeAt = Array.from({ length: 700 }, (_, i) => i * 50 + (late[i % late.length] ?? 0))
  expect(happenAt(comeAt)).toEqual(comeAt)
})

test('what comes at once is spread over the intervals, but for one', () => {
  expect(happenAt([7, 7, 7, 7, 7])).toEqual([7, 7, 57, 107, 157])
  // Nothing is saved up for longer than an interval.
  expect(happenAt([0, 1000, 1000, 1000, 1060, 1101])).toEqual([0, 1000, 1000, 1050, 1100, 1150])
})

test('three are never within one interval', () => {
  const comeAt = Array.from({ length: 400 }, (_, i) => i * 2)
  const at = happenAt(comeAt)
  for (let i = 2; i < at.length; i += 1) expect(at[i]! - at[i - 2]!).toBeGreaterThanOrEqual(50)
})
