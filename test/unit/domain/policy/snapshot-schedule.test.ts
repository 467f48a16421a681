import { describe, expect, test } from 'vitest'
import { parseGeneration } from '../../../../src/domain/wal/generation.ts'
import {
  nextSnapshot,
  unscheduledBurst,
  unscheduledPauseMs,
  unscheduledWaitMs,
} from '../../../../src/domain/policy/snapshot-schedule.ts'

const generation = parseGeneration('0123456789abcdef')!
const hourMs = 3_600_000
const newest = { index: 4, consistentFrom: { index: 5, offset: 4152 }, atMs: 1_000_000_000_000 }
const end = { generation, index: 9, offset: 32 }
const hourly = { snapshotIntervalMs: hourMs, retentionMs: 24 * hourMs }

function next(
  afterMs: number,
  options: { end?: typeof end; intervals?: Parameters<typeof nextSnapshot>[2] } = {},
): ReturnType<typeof nextSnapshot> {
  const state = { end: options.end ?? end, nowMs: newest.atMs + afterMs }
  return nextSnapshot(newest, state, options.intervals ?? hourly)
}

describe('nextSnapshot', () => {
  test('is due one interval after the newest stored one, with up to a tenth of it or 5 minutes added', () => {
    const waiting = next(0)
    expect(waiting.kind).toBe('at')
    const dueMs = waiting.kind === 'at' ? waiting.timeMs - newest.atMs : 0
    expect(dueMs).toBeGreaterThanOrEqual(hourMs)
    expect(dueMs).toBeLessThanOrEqual(hourMs + 5 * 60_000)
    expect(next(dueMs - 1)).toEqual(waiting)
    expect(next(dueMs)).toEqual({ kind: 'due', reason: 'interval' })
  })

  test('is none when nothing was written since, or nothing but what the newest holds', () => {
    expect(next(100 * hourMs, { end: { generation, ...newest.consistentFrom } }).kind).toBe('none')
    expect(next(100 * hourMs, { end: { generation, index: 4, offset: 99_999 } }).kind).toBe('none')
    expect(next(100 * hourMs, { end: { generation, index: 5, offset: 4153 } }).kind).toBe('due')
  })

  test('comes once per retention where no interval or a longer one is set, so that pruning works', () => {
    for (const snapshotIntervalMs of [undefined, 100 * hourMs]) {
      const intervals = { snapshotIntervalMs, retentionMs: 24 * hourMs }
      expect(next(23 * hourMs, { intervals })).toMatchObject({ kind: 'at', reason: 'retention' })
      expect(next(25 * hourMs, { intervals })).toEqual({ kind: 'due', reason: 'retention' })
    }
    const never = { snapshotIntervalMs: undefined, retentionMs: undefined }
    expect(next(1e6 * hourMs, { intervals: never })).toEqual({ kind: 'none' })
  })

  test('does not wait for a snapshot from the future', () => {
    expect(next(-2 * hourMs).kind).toBe('due')
    expect(next(-hourMs / 2).kind).toBe('at')
  })
})

describe('unscheduledWaitMs', () => {
  test('lets some through at once and then one per pause, for ever', () => {
    const taken: number[] = []
    const tenDaysMs = 240 * hourMs
    for (let nowMs = 0; nowMs < tenDaysMs;) {
      const waitMs = unscheduledWaitMs(taken, nowMs)
      if (waitMs === 0) taken.push(nowMs)
      nowMs += Math.max(waitMs, 1000)
    }
    expect(taken.length).toBeLessThanOrEqual(unscheduledBurst + tenDaysMs / unscheduledPauseMs)
    expect(unscheduledWaitMs([0, 1, 2, 3], 10)).toBe(0)
    expect(unscheduledWaitMs([0, 1, 2, 3, 4], 10)).toBe(unscheduledPauseMs - 6)
  })
})
