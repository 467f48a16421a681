import { describe, expect, test } from 'vitest'
import {
  aheadOfStoreMs,
  type ClockMemory,
  rememberClock,
  stampBefore,
} from '../../../../src/domain/policy/wall-clock.ts'

const hourMs = 3_600_000
const startMs = Date.UTC(2026, 0, 1)

describe('rememberClock', () => {
  const look = (
    memory: ClockMemory | undefined,
    {
      passedMs,
      aheadMs = 0,
      setBackMs = 0,
      boot = 'a',
    }: { passedMs: number; aheadMs?: number; setBackMs?: number; boot?: string },
  ): ClockMemory =>
    rememberClock(memory, {
      wallMs: startMs + passedMs + aheadMs,
      boot,
      sinceBootMs: passedMs,
      setBackMs,
    })
  const first = look(undefined, { passedMs: hourMs })

  test('a steady clock is nothing to remember', () => {
    expect(first).toEqual({ boot: 'a', atBootMs: startMs, leaps: [] })
    expect(look(first, { passedMs: 9 * hourMs, aheadMs: 900 })).toBe(first)
    expect(look(first, { passedMs: 9 * hourMs, aheadMs: -900 })).toBe(first)
  })

  test('one that was set ahead is, and one that was set back only so that it is known when it is put right', () => {
    const ahead = look(first, { passedMs: 2 * hourMs, aheadMs: hourMs })
    expect(ahead.leaps).toEqual([{ toMs: startMs + 3 * hourMs, byMs: hourMs }])
    const right = look(ahead, { passedMs: 3 * hourMs, setBackMs: hourMs })
    expect(right.leaps).toEqual(ahead.leaps)
    const again = look(right, { passedMs: 4 * hourMs, aheadMs: hourMs })
    expect(again.leaps.map(({ byMs }) => byMs)).toEqual([hourMs, hourMs])
  })

  test('set back and ahead again between two looks, it was set ahead', () => {
    const { leaps } = look(first, { passedMs: 2 * hourMs, setBackMs: 5000 })
    expect(leaps).toEqual([{ toMs: startMs + 2 * hourMs, byMs: 5000 }])
  })

  test('what it did while the machine was off is not known, and what it did before stays known', () => {
    const ahead = look(first, { passedMs: 2 * hourMs, aheadMs: hourMs })
    const next = look(ahead, { passedMs: 0, aheadMs: 9 * hourMs, boot: 'b' })
    expect(next).toEqual({ boot: 'b', atBootMs: startMs + 9 * hourMs, leaps: ahead.leaps })
  })

  test('of very many, the oldest are put together', () => {
    let memory = first
    for (let i = 1; i <= 100; i += 1) {
      memory = look(memory, { passedMs: hourMs * (1 + i), aheadMs: i * 2000 })
    }
    expect(memory.leaps).toHaveLength(20)
    expect(memory.leaps.reduce((sum, { byMs }) => sum + byMs, 0)).toBe(200_000)
  })
})

test('what is before a duration is so much further back as the clock was set ahead in it', () => {
  const before = (hours: number): number =>
    stampBefore(10 * hourMs, {
      durationMs: hours * hourMs,
      leaps: [
        { toMs: 2 * hourMs, byMs: 100 * hourMs },
        { toMs: 5 * hourMs, byMs: hourMs },
        { toMs: 8 * hourMs, byMs: 2 * hourMs },
      ],
    })
  expect([1, 2, 3, 4].map((hours) => before(hours) / hourMs)).toEqual([9, 8, 5, 3])
})

test('our clock is ahead of the store’s when it was at the last request, and is still', () => {
  const sent = { wallMs: startMs, monotonicMs: 0 }
  const ahead = (createdAtMs: number, wallMs: number, monotonicMs: number): number =>
    aheadOfStoreMs(sent, { now: { wallMs, monotonicMs }, createdAtMs })
  const laterMs = startMs + hourMs
  expect(ahead(startMs + 10, laterMs, hourMs)).toBe(0)
  expect(ahead(startMs - 2 * hourMs, laterMs, hourMs)).toBe(2 * hourMs)
  expect(ahead(startMs + 2 * hourMs, laterMs, hourMs)).toBe(0)
  // Put right since; the machine slept since.
  expect(ahead(startMs - 2 * hourMs, laterMs - 2 * hourMs, hourMs)).toBe(0)
  expect(ahead(startMs, laterMs + 8 * hourMs, hourMs)).toBe(0)
})
