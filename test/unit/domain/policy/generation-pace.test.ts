import { expect, test } from 'vitest'
import {
  generationsLately,
  generationWaitMs,
} from '../../../../src/domain/policy/generation-pace.js'

/** When generations begin that follow each other as fast as they may, for so long. */
function beginnings(forMs: number): number[] {
  const beganAtMs: number[] = []
  for (let nowMs = 0; nowMs < forMs; nowMs += Math.max(generationWaitMs(beganAtMs, nowMs), 1)) {
    if (generationWaitMs(beganAtMs, nowMs) === 0) beganAtMs.push(nowMs)
  }
  return beganAtMs
}

test('each generation waits twice as long for the next, up to five minutes, for ever', () => {
  const seconds = beginnings(20 * 60_000).map((each) => each / 1000)
  expect(seconds).toEqual([0, 1, 3, 7, 15, 31, 63, 127, 255, 511, 811, 1111])
  expect(beginnings(24 * 3_600_000).length).toBeLessThan(24 * 14 + 12)
})

test('one that comes alone does not wait', () => {
  expect(generationWaitMs([], 0)).toBe(0)
  expect(generationWaitMs([0], 1000)).toBe(0)
  expect(generationWaitMs([0, 1_000_000, 2_000_000], 3_900_000)).toBe(0)
})

test('those that keep beginning are counted until ten minutes are quiet', () => {
  expect(generationsLately([0, 1000, 3000, 7000], 8000)).toBeUndefined()
  expect(generationsLately([0, 1000, 3000, 7000, 15_000], 16_000)).toEqual({
    count: 5,
    withinMs: 16_000,
  })
  expect(generationsLately([0, 1000, 3000, 7000, 15_000], 601_000)).toBeUndefined()
})
