import { expect, test } from 'vitest'
import { SendSchedule } from '../../../../src/usecase/replica/send-schedule.ts'

const at = (offset: number) => ({ index: 0, offset })

/** When a replica sends within two seconds, in each millisecond of which somebody commits and waits. */
function sendings(hurriedIntervalMs: number, intervalMs = 60_000): readonly number[] {
  let nowMs = 0
  const clock = { monotonic: () => nowMs }
  const schedule = new SendSchedule({ clock, intervalMs, hurriedIntervalMs })
  const times: number[] = []
  let position = at(0)
  for (nowMs = 1; nowMs <= 2000; nowMs += 1) {
    const pending = { position, end: at(nowMs) }
    const due = schedule.dueInMs(pending, { isUrgent: false, hurriedTo: at(nowMs) })
    if (due !== 0) continue
    schedule.begin(pending)
    times.push(nowMs)
    position = pending.end
  }
  return times
}

test.each([
  [50, 60_000, [1, 2, 51, 101], 41],
  [700, 60_000, [1, 2, 701, 1401], 4],
  [700, 100, [1, 2, 101, 201], 21],
])(
  'while somebody waits, a replica sends once per %d ms of its own, or per %d where that is shorter',
  (urgent, usual, first, count) => {
    const times = sendings(urgent, usual)
    expect(times.slice(0, 4)).toEqual(first)
    expect(times).toHaveLength(count)
  },
)
