import { describe, expect, it } from 'vitest'
import { CorruptionError, OutputError } from '../../../../src/domain/errors.ts'
import { parseGeneration } from '../../../../src/domain/wal/generation.ts'
import { Permits } from '../../../../src/kit/permits.ts'
import { type Logger } from '../../../../src/usecase/ports/logger.ts'
import { type ProvenRestore } from '../../../../src/usecase/ports/validation-record.ts'
import { ProvenRestores } from '../../../../src/usecase/verify/proven-restores.ts'
import { ScheduleValidation } from '../../../../src/usecase/verify/schedule-validation.ts'
import { type ValidationReport } from '../../../../src/usecase/verify/validate-replica.ts'
import { ManualClock } from '../../../support/manual-clock.ts'

const hourMs = 3_600_000
const report: ValidationReport = {
  replica: 'file',
  position: { generation: parseGeneration('0123456789abcdef')!, index: 1, offset: 32 },
  commitTimeMs: 1,
  pageCount: 1,
  pageSizeBytes: 4096,
  segmentCount: 1,
  storedBytes: 1,
  comparison: { verdict: 'same', comparedPages: 1, changedPages: 0 },
  notes: [],
  durationMs: 5,
}

function scene(options: { remembered?: (clock: ManualClock) => ProvenRestore } = {}): {
  clock: ManualClock
  proven: ProvenRestores
  logged: string[]
  saved: ProvenRestore[]
  slots: Permits
  started: () => number
  outcomes: (Error | undefined)[]
  stop: AbortController
  run: () => Promise<void>
} {
  const clock = new ManualClock()
  const proven = new ProvenRestores()
  const logged: string[] = []
  const saved: ProvenRestore[] = []
  const outcomes: (Error | undefined)[] = []
  const slots = new Permits(1)
  const stop = new AbortController()
  let started = 0
  const log = (_: object, message: string): void => void logged.push(message)
  const logger: Logger = { debug: log, info: log, warn: log, error: log, child: () => logger }
  const schedule = new ScheduleValidation({
    validate: () => {
      started += 1
      const error = outcomes.shift()
      return error === undefined ? Promise.resolve(report) : Promise.reject(error)
    },
    sweep: () => Promise.resolve(),
    record: {
      load: () => Promise.resolve(options.remembered?.(clock)),
      save: (record) => Promise.resolve(void saved.push(record)),
    },
    intervalMs: hourMs,
    slots,
    clock,
    logger,
    random: () => 0.5,
    proven,
  })
  return {
    ...{ clock, proven, logged, saved, slots, outcomes, stop },
    started: () => started,
    run: () => schedule.run(stop.signal),
  }
}

describe('ScheduleValidation', () => {
  it('proves a replica an interval after the start, and again and again', async () => {
    const { clock, proven, saved, logged, started, stop, run } = scene()
    const running = run()
    await clock.advance(hourMs - 1)
    expect(started()).toBe(0)
    await clock.advance(2 * hourMs + 1)
    expect(started()).toBe(3)
    expect(proven).toMatchObject({ proven: 3, failed: 0, lastProvenAtMs: clock.now() })
    expect(saved).toHaveLength(3)
    expect(logged).toEqual(['validator', 'validator', 'validator'])
    stop.abort()
    await running
  })

  it('goes by when a process before proved it', async () => {
    const { clock, proven, started, stop, run } = scene({
      remembered: (now) => ({ atMs: now.now() - 0.75 * hourMs }),
    })
    const running = run()
    await clock.advance(1)
    expect(proven.lastProvenAtMs).toBe(clock.now() - 1 - 0.75 * hourMs)
    await clock.advance(0.25 * hourMs)
    expect(started()).toBe(1)
    stop.abort()
    await running
  })

  it('is not put off by a clock that was wrong', async () => {
    const { clock, started, stop, run } = scene({
      remembered: (now) => ({ atMs: now.now() + 1000 * hourMs }),
    })
    const running = run()
    await clock.advance(hourMs)
    expect(started()).toBe(1)
    stop.abort()
    await running
  })

  it('tells damage from what could not be found out, and tries again soon', async () => {
    const { clock, proven, logged, outcomes, started, stop, run } = scene()
    outcomes.push(new CorruptionError('a page differs'), new OutputError('no room'))
    const running = run()
    await clock.advance(hourMs)
    expect(proven).toMatchObject({ proven: 0, failed: 1, lastProvenAtMs: undefined })
    await clock.advance(15 * 60_000)
    expect(proven).toMatchObject({ proven: 0, failed: 1 })
    await clock.advance(15 * 60_000)
    expect(proven).toMatchObject({ proven: 1, failed: 1 })
    expect(started()).toBe(3)
    expect(logged).toEqual(['invalid replica', 'validation error', 'validator'])
    stop.abort()
    await running
  })

  it('waits while another replica is proven', async () => {
    const { clock, slots, started, stop, run } = scene()
    const slot = await slots.take(stop.signal)
    const running = run()
    await clock.advance(2 * hourMs)
    expect(started()).toBe(0)
    slot[Symbol.dispose]()
    await clock.advance(1)
    expect(started()).toBe(1)
    stop.abort()
    await running
  })
})
