import { describe, expect, it } from 'vitest'
import { CheckTimeoutError, CorruptionError, OutputError } from '../../../../src/domain/errors.ts'
import { parseGeneration } from '../../../../src/domain/wal/generation.ts'
import { Permits } from '../../../../src/kit/permits.ts'
import { type Logger } from '../../../../src/usecase/ports/logger.ts'
import { ValidatedRestores } from '../../../../src/usecase/verify/validated-restores.ts'
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

function scene(options: { remembered?: (clock: ManualClock) => number } = {}): {
  clock: ManualClock
  validated: ValidatedRestores
  logged: string[]
  saved: number[]
  slots: Permits
  started: () => number
  outcomes: (Error | undefined)[]
  stop: AbortController
  run: () => Promise<void>
} {
  const clock = new ManualClock()
  const validated = new ValidatedRestores()
  const logged: string[] = []
  const saved: number[] = []
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
    validated,
  })
  return {
    ...{ clock, validated, logged, saved, slots, outcomes, stop },
    started: () => started,
    run: () => schedule.run(stop.signal),
  }
}

describe('ScheduleValidation', () => {
  it('validates a replica an interval after the start, and again and again', async () => {
    const { clock, validated, saved, logged, started, stop, run } = scene()
    const running = run()
    await clock.advance(hourMs - 1)
    expect(started()).toBe(0)
    await clock.advance(2 * hourMs + 1)
    expect(started()).toBe(3)
    expect(validated).toMatchObject({ valid: 3, failed: 0, lastValidatedAtMs: clock.now() })
    expect(saved).toHaveLength(3)
    expect(logged).toEqual(['validator', 'validator', 'validator'])
    stop.abort()
    await running
  })

  it('goes by when a process before validated it', async () => {
    const { clock, validated, started, stop, run } = scene({
      remembered: (now) => now.now() - 0.75 * hourMs,
    })
    const running = run()
    await clock.advance(1)
    expect(validated.lastValidatedAtMs).toBe(clock.now() - 1 - 0.75 * hourMs)
    await clock.advance(0.25 * hourMs)
    expect(started()).toBe(1)
    stop.abort()
    await running
  })

  it('is not put off by a clock that was wrong', async () => {
    const { clock, started, stop, run } = scene({
      remembered: (now) => now.now() + 1000 * hourMs,
    })
    const running = run()
    await clock.advance(hourMs)
    expect(started()).toBe(1)
    stop.abort()
    await running
  })

  it('tells damage from what could not be found out, and tries again soon', async () => {
    const { clock, validated, logged, outcomes, started, stop, run } = scene()
    outcomes.push(
      ...[new CorruptionError('a page differs'), new OutputError('no room')],
      new CheckTimeoutError('it reads nothing'),
    )
    const running = run()
    await clock.advance(hourMs)
    expect(validated).toMatchObject({ valid: 0, failed: 1, lastValidatedAtMs: undefined })
    await clock.advance(2 * 15 * 60_000)
    expect(validated).toMatchObject({ valid: 0, failed: 1 })
    expect(started()).toBe(3)
    // One that took too long has had its turn.
    await clock.advance(hourMs - 1)
    expect(started()).toBe(3)
    await clock.advance(1)
    expect(validated).toMatchObject({ valid: 1, failed: 1 })
    expect(started()).toBe(4)
    expect(logged).toEqual([
      ...['invalid replica', 'validation error', 'not validated in time', 'validator'],
    ])
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
