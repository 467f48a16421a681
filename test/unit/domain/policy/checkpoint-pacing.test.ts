import { describe, expect, test } from 'vitest'
import { CheckpointPacing } from '../../../../src/domain/policy/checkpoint-pacing.js'

const bySize = { minFrameCount: 1000, isByTime: false, isSuspicious: false }
const frames = (frameCount: number) => ({ frameCount, copiedBackCount: 0 })
const failed = { isDone: false, hasReached: false, isTooLarge: false }

describe('a round begins', () => {
  test('at its size, or at its time', () => {
    const pacing = new CheckpointPacing()
    expect(pacing.isDue(frames(999), bySize, 0)).toBe(false)
    expect(pacing.isDue(frames(1000), bySize, 0)).toBe(true)
    expect(pacing.isDue(frames(1), { ...bySize, isByTime: true }, 0)).toBe(true)
  })

  test('beside an application that restarts its WAL itself for a minute only when there is four times as much', () => {
    const pacing = new CheckpointPacing()
    pacing.restarted(0) // The first one is ours, as far as is known.
    pacing.restarted(1000)
    expect(pacing.isDue(frames(3999), bySize, 60_999)).toBe(false)
    expect(pacing.isDue(frames(4000), bySize, 60_999)).toBe(true)
    expect(pacing.isDue(frames(1000), bySize, 61_000)).toBe(true)
  })

  test('and not by a restart that one of our own rounds brought about', () => {
    const pacing = new CheckpointPacing()
    pacing.restarted(0)
    pacing.ended({ isDone: true, hasReached: true, isTooLarge: false })
    pacing.restarted(10)
    expect(pacing.isDue(frames(1000), bySize, 20)).toBe(true)
  })

  test('while the file is suspicious only when there is four times as much, at its time too', () => {
    const pacing = new CheckpointPacing()
    const options = { ...bySize, isByTime: true, isSuspicious: true }
    expect(pacing.isDue(frames(3999), options, 0)).toBe(false)
    expect(pacing.isDue(frames(4000), options, 0)).toBe(true)
  })
})

describe('pauses', () => {
  /** How long after its beginning each next round may begin. */
  function pausesOf(pacing: CheckpointPacing, end: () => void, rounds: number): number[] {
    const pauses: number[] = []
    let now = 0
    for (let round = 0; round < rounds; round += 1) {
      pacing.begin(now)
      end()
      const begunAt = now
      while (!pacing.isDue(frames(1000), bySize, now)) now += 50
      pauses.push(now - begunAt)
    }
    return pauses
  }

  test('grow to ten seconds beside a reader that pins the WAL, and to one beside a quick writer', () => {
    const pinned = new CheckpointPacing()
    expect(pausesOf(pinned, () => pinned.ended(failed), 8)).toEqual([
      250, 500, 1000, 2000, 4000, 8000, 10_000, 10_000,
    ])
    const quick = new CheckpointPacing()
    const end = (): void => quick.ended({ ...failed, hasReached: true })
    expect(pausesOf(quick, end, 4)).toEqual([250, 500, 1000, 1000])
  })

  test('there are none once it is done, nor when the WAL is too large', () => {
    for (const end of [{ isDone: true }, { isTooLarge: true }]) {
      const pacing = new CheckpointPacing()
      pacing.ended(failed)
      pacing.ended({ ...failed, hasReached: true, ...end })
      expect(pacing.isDue(frames(1000), bySize, 0)).toBe(true)
    }
  })

  test('after failures they grow to fifteen seconds, whatever the interval', () => {
    const pacing = new CheckpointPacing()
    expect(pausesOf(pacing, () => pacing.failed(), 6)).toEqual([
      1000, 2000, 4000, 8000, 15_000, 15_000,
    ])
    pacing.begin(100)
    for (const intervalMs of [undefined, 60_000]) {
      expect(pacing.dueInMs({ intervalMs, isFailing: true }, 100)).toBe(15_000)
    }
    expect(pacing.dueInMs({ intervalMs: 60_000, isFailing: false }, 100)).toBe(60_000)
    expect(pacing.dueInMs({ intervalMs: undefined, isFailing: false }, 100)).toBeUndefined()
  })

  test('writers are held off again after a second, after failures after up to a minute', () => {
    const pacing = new CheckpointPacing()
    pacing.forced({ isDone: true }, 0)
    expect([pacing.mayForce(999), pacing.mayForce(1000)]).toEqual([false, true])
    let now = 1000
    const pauses: number[] = []
    for (let i = 0; i < 8; i += 1) {
      pacing.forced({ isDone: false }, now)
      const forcedAt = now
      while (!pacing.mayForce(now)) now += 500
      pauses.push(now - forcedAt)
    }
    expect(pauses).toEqual([2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000, 60_000])
  })
})

test('an application that waits for us at each of its restarts is looked at often for a second', () => {
  const pacing = new CheckpointPacing()
  pacing.restarted(0)
  pacing.restarted(5000)
  expect(pacing.isEager(5000)).toBe(false)
  pacing.restarted(5900)
  expect([pacing.isEager(6899), pacing.isEager(6900)]).toEqual([true, false])
})
