import { expect, test } from 'vitest'
import { nextSnapshot } from '../../../src/domain/policy/snapshot-schedule.ts'
import { ScheduleRetention } from '../../../src/usecase/retention/schedule-retention.ts'
import { type Clock } from '../../../src/usecase/ports/clock.ts'
import { silent } from '../../support/silent-logger.ts'
import { randomFrom, RetentionHistory } from '../../support/retention-model.ts'

const minuteMs = 60_000
const hourMs = 60 * minuteMs
const dayMs = 24 * hourMs
test('in 90 days on a fake clock the window is always whole, storage is bounded, and idle days ask nothing', async () => {
  const retentionMs = 3 * dayMs
  const keep = { hourly: 0, daily: 7, weekly: 4, monthly: 2 }
  const history = new RetentionHistory(90, { retentionMs, keep })
  const startMs = history.wallMs
  const stop = new AbortController()
  let snapshots = 0
  let mostObjects = 0
  let requests = 0
  let idleRequests = 0
  history.commit()
  history.startSnapshot()
  history.finishSnapshot()

  const isIdle = (): boolean => [5, 6].includes(Math.floor((history.wallMs - startMs) / dayMs) % 7)
  const liveFor10Minutes = (): void => {
    history.pass(10 * minuteMs)
    const tenMinutes = Math.round((history.wallMs - startMs) / (10 * minuteMs))
    if (tenMinutes % (20 * 144) === 0) {
      history.beginGeneration()
      history.startSnapshot()
      history.finishSnapshot()
    }
    if (!isIdle() && tenMinutes % 12 === 0) history.commit()
    const schedule = history.schedule
    if (schedule === undefined) return
    const intervals = { snapshotIntervalMs: dayMs, retentionMs }
    const next = nextSnapshot(
      schedule.newest,
      { end: schedule.end, nowMs: history.wallMs },
      intervals,
    )
    if (next.kind !== 'due') return
    snapshots += 1
    history.startSnapshot()
    history.finishSnapshot()
  }
  const clock: Clock = {
    now: () => history.wallMs,
    monotonic: () => history.wallMs,
    sleep: (durationMs) => {
      const untilMs = history.wallMs + durationMs
      while (history.wallMs < untilMs) liveFor10Minutes()
      if (history.wallMs - startMs > 90 * dayMs) {
        stop.abort()
        return Promise.reject(stop.signal.reason as Error)
      }
      return Promise.resolve()
    },
  }
  const failures: unknown[] = []
  const schedule = new ScheduleRetention({
    retention: {
      lookAtClock: () => Promise.resolve(),
      enforce: async () => {
        requests += 1
        // Long after the last commit of a week: what falls out of the window then is asked for, nothing else.
        if (isIdle()) idleRequests += 1
        const report = await history.retain()
        if (report === undefined) throw new Error('a run failed')
        mostObjects = Math.max(mostObjects, history.client.objects.size)
        return report
      },
    },
    checkIntervalMs: hourMs,
    storedState: () => JSON.stringify(history.schedule),
    clock,
    logger: { ...silent, error: (fields) => failures.push(fields) },
    random: randomFrom(1),
  })
  await schedule.run(stop.signal)
  console.info(
    '90 days:',
    JSON.stringify({ snapshots, mostObjects, requests, idleRequests }),
    JSON.stringify(history.outcome),
  )
  expect(failures).toEqual([])
  expect(snapshots).toBeGreaterThan(50)
  expect(snapshots).toBeLessThan(91)
  // Four days of twelve segments, twelve snapshots with a few segments each, and what waits for its turn.
  expect(mostObjects).toBeLessThan(160)
  expect(idleRequests).toBeLessThan(26 * 6)
  expect(history.outcome.deleted).toBeGreaterThan(500)
})
