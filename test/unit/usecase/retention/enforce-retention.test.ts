import { beforeEach, describe, expect, test } from 'vitest'
import { hintOf, ReplicaError } from '../../../../src/domain/errors.ts'
import { type ClockMemory } from '../../../../src/domain/policy/wall-clock.ts'
import { never } from '../../../../src/kit/abort.ts'
import {
  EnforceRetention,
  type EnforceRetentionOptions,
  type RetentionReport,
} from '../../../../src/usecase/retention/enforce-retention.ts'
import { ScheduleRetention } from '../../../../src/usecase/retention/schedule-retention.ts'
import { type Clock } from '../../../../src/usecase/ports/clock.ts'
import { type RetentionRecord } from '../../../../src/usecase/ports/retention-record.ts'
import { type LogFields, type Logger } from '../../../../src/usecase/ports/logger.ts'
import { RetentionHistory } from '../../../support/retention-model.ts'

const hourMs = 3_600_000
const rules = { retentionMs: hourMs, keep: { hourly: 0, daily: 0, weekly: 0, monthly: 0 } }
let history: RetentionHistory
let log: { level: string; fields: LogFields; message: string }[]
let logger: Logger

/** Two generations: the first one has ended before the window; of the second the window needs the second snapshot. */
beforeEach(() => {
  log = []
  skewMs = 0
  memory = undefined
  const at =
    (level: string) =>
    (fields: LogFields, message: string): void =>
      void log.push({ level, fields, message })
  logger = {
    debug: at('debug'),
    info: at('info'),
    warn: at('warn'),
    error: at('error'),
    child: () => logger,
  }
  history = new RetentionHistory(7, rules)
  for (const commits of [9, 9, 4]) {
    if (commits === 9 && history.client.objects.size > 0) history.beginGeneration()
    history.startSnapshot()
    history.finishSnapshot()
    for (let i = 0; i < commits; i += 1) {
      history.pass(60_000)
      history.commit()
    }
    history.startSnapshot()
    history.finishSnapshot()
    history.pass(3 * hourMs)
  }
  history.commit()
})

let skewMs: number
let memory: ClockMemory | undefined
const record: RetentionRecord = {
  load: () => Promise.resolve([]),
  save: () => Promise.resolve(),
  loadClock: () => Promise.resolve(memory),
  saveClock: (saved) => {
    memory = saved
    return Promise.resolve()
  },
}

function enforcer(options: Partial<EnforceRetentionOptions> = {}): EnforceRetention {
  const clock: Clock = {
    now: () => history.wallMs + skewMs,
    monotonic: () => history.wallMs,
    sleep: () => Promise.resolve(),
  }
  return new EnforceRetention({
    ...options,
    client: history.client,
    rules,
    record: options.record,
    currentGeneration: () => history.currentGeneration,
    clock,
    machine: { boot: 'a', sinceBootMs: () => history.trueMs, setBackMs: () => 0 },
    logger,
  })
}

describe('EnforceRetention', () => {
  test('deletes snapshots, then segments at offsets above 0, then those at 0, oldest first, each pass confirmed', async () => {
    const operations: string[] = []
    const objects = [...history.client.objects.keys()]
    history.client.beforeOperation = (operation, path) =>
      void operations.push(`${operation} ${path}`)
    await enforcer().enforce(never)
    const first = objects[0]?.split('/')[1]
    expect(objects.filter((path) => path.includes(first ?? ''))).not.toEqual([])
    const mine = operations
      .slice(operations.findIndex((each) => each.startsWith('delete')))
      .filter((each) => each.includes(first ?? '?'))
    const steps = mine.map((each) =>
      each.startsWith('list')
        ? 'list'
        : each.endsWith('.snapshot.lz4')
          ? 'snapshot'
          : each.endsWith('_00000000.wal.lz4')
            ? 'zero'
            : 'wal',
    )
    expect(steps.join(' ')).toMatch(/^(snapshot )+list (wal )+list (zero )+list$/)
    const wal = mine.filter((each) => each.includes('/wal/') && !each.includes('_00000000'))
    expect(wal).toEqual(wal.toSorted())
    expect([...history.client.objects.keys()].some((path) => path.includes(first ?? '?'))).toBe(
      false,
    )
  })

  test('notices a store that says deleted and keeps the object, and does not touch the segments', async () => {
    const { objects } = history.client
    const before = objects.size
    const remove = objects.delete.bind(objects)
    let lies = 2
    objects.delete = (path) => (lies-- > 0 ? true : remove(path))
    await enforcer().enforce(never)
    expect(log.filter(({ level }) => level === 'warn').map(({ message }) => message)).toContain(
      'the store reported objects as deleted, but still lists them: deleting them again',
    )
    expect(objects.size).toBeLessThan(before)

    lies = Number.POSITIVE_INFINITY
    history.pass(48 * hourMs)
    history.commit()
    history.startSnapshot()
    history.finishSnapshot()
    history.pass(2 * hourMs)
    history.commit()
    const walOf = (): string[] => [...objects.keys()].filter((path) => path.includes('/wal/'))
    const wal = walOf()
    const { failures } = await enforcer().enforce(never)
    expect(failures.join()).toContain('the store still lists them')
    expect(walOf()).toEqual(wal)
  })

  test('a replica that may not be deleted from says so, with what to do', async () => {
    history.client.beforeOperation = (operation) => {
      if (operation === 'delete')
        throw new ReplicaError('cannot delete x: access denied', { retryable: false })
    }
    const before = history.client.objects.size
    const { failures } = await enforcer().enforce(never)
    expect(failures.length).toBeGreaterThan(0)
    const error = log.find(({ level }) => level === 'error')
    expect(hintOf(error?.fields['err'])).toContain('retention: none')
    expect(history.client.objects.size).toBe(before)
  })

  test('says once in half a minute that nothing may be deleted, for all generations', async () => {
    history.client.beforeOperation = (operation) => {
      if (operation === 'delete')
        throw new ReplicaError('cannot delete x: access denied', { retryable: false })
    }
    history.beginGeneration()
    history.startSnapshot()
    history.finishSnapshot()
    history.pass(48 * hourMs)
    history.commit()
    const lines = (): number => log.filter(({ level }) => level !== 'info').length
    const enforce = enforcer()
    expect((await enforce.enforce(never)).failures.length).toBeGreaterThan(1)
    expect(lines()).toBe(1)
    history.pass(29_000)
    await enforce.enforce(never)
    expect(lines()).toBe(1)
    history.pass(1000)
    await enforce.enforce(never)
    expect(lines()).toBe(2)
  })

  test('deletes nothing when a listing fails half-way', async () => {
    let lists = 0
    history.client.beforeOperation = (operation) => {
      if (operation === 'list' && (lists += 1) === 4) throw new ReplicaError('listing broke off')
    }
    const before = history.client.objects.size
    await expect(enforcer().enforce(never)).rejects.toThrow('listing broke off')
    expect(history.client.objects.size).toBe(before)
  })
})

describe('a clock that is wrong', () => {
  const never = new AbortController().signal
  /** An hour with a snapshot every ten minutes and a commit in each, of which the window needs all. */
  function live(): void {
    history.beginGeneration()
    for (let i = 0; i < 60; i += 1) {
      history.pass(60_000)
      history.commit()
      if (i % 10 !== 0) continue
      history.startSnapshot()
      history.finishSnapshot()
    }
  }
  const ofCurrent = (): string[] =>
    [...history.client.objects.keys()].filter((path) =>
      path.includes(history.currentGeneration ?? ''),
    )
  const warnings = (): unknown[] =>
    log.filter(({ level }) => level === 'warn').map(({ message }) => message)

  test('two hours ahead from a start on costs nothing of the true window, on a folder', async () => {
    live()
    await enforcer({ record }).lookAtClock(never)
    const before = ofCurrent()
    // The clock is set, the daemon starts again, and the application goes on; a folder's times are of the same clock.
    history.setClock(2 * hourMs)
    const next = enforcer({ record })
    await next.lookAtClock(never)
    expect(warnings()).toEqual([
      'the clock was set ahead: what was stored before that is kept for that much longer',
    ])
    for (let i = 0; i < 5; i += 1) {
      history.pass(60_000)
      history.commit()
      await next.enforce(never)
    }
    expect(ofCurrent()).toEqual(expect.arrayContaining(before))
    // And not for ever.
    history.pass(3 * hourMs)
    history.commit()
    history.startSnapshot()
    history.finishSnapshot()
    history.pass(2 * hourMs)
    history.commit()
    await enforcer({ record }).enforce(never)
    expect(ofCurrent().length).toBeLessThan(before.length / 2)
    expect(warnings()).toHaveLength(1)
  })

  test('two hours ahead of a store’s deletes nothing, and is an error that says what to do', async () => {
    live()
    skewMs = 2 * hourMs
    const sent = { wallMs: history.wallMs + skewMs, monotonicMs: history.wallMs }
    const ahead = enforcer({ lastSent: () => sent })
    const objects = history.client.objects.size
    const error: unknown = await ahead.enforce(never).catch((thrown: unknown) => thrown)
    expect(String(error)).toMatch(/the clock of this machine is 120 min ahead of that of memory/)
    expect(error).toHaveProperty('hint', expect.stringMatching(/set the clock.*NTP/))
    expect(history.client.objects.size).toBe(objects)
    // A machine that slept since, and one whose clock was put right.
    skewMs = 0
    await ahead.enforce(never)
    skewMs = 2 * hourMs
    const before = { wallMs: history.wallMs, monotonicMs: history.wallMs }
    await enforcer({ lastSent: () => before }).enforce(never)
    expect(history.client.objects.size).toBeLessThan(objects)
  })

  test('of a command on another machine costs nothing of the true window either', async () => {
    live()
    const before = ofCurrent()
    skewMs = 300 * 24 * hourMs
    await enforcer().enforce(never)
    expect(ofCurrent()).toEqual(before)
  })
})

describe('ScheduleRetention', () => {
  /** Runs checks on a clock that advances by what is slept, plus what `jumps` say. */
  async function runs(
    jumpsMs: readonly number[],
    states: readonly string[],
    enforce: () => Promise<RetentionReport>,
  ): Promise<number> {
    const stop = new AbortController()
    let monotonicMs = 0
    let skewMs = 0
    let turn = 0
    let count = 0
    const schedule = new ScheduleRetention({
      retention: {
        lookAtClock: () => Promise.resolve(),
        enforce: () => {
          count += 1
          return enforce()
        },
      },
      checkIntervalMs: hourMs,
      storedState: () => states[turn - 1] ?? 'same',
      clock: {
        now: () => 1e12 + monotonicMs + skewMs,
        monotonic: () => monotonicMs,
        sleep: (durationMs) => {
          monotonicMs += durationMs
          skewMs += jumpsMs[turn] ?? 0
          turn += 1
          if (turn > jumpsMs.length) stop.abort()
          return stop.signal.aborted
            ? Promise.reject(stop.signal.reason as Error)
            : Promise.resolve()
        },
      },
      logger,
      random: () => 0.5,
    })
    await schedule.run(stop.signal)
    return count
  }
  const nothing: RetentionReport = {
    plan: { deletions: [], kept: [], reliedOn: [], nextChangeMs: undefined },
    deletedSnapshots: 0,
    deletedSegments: 0,
    failures: [],
  }

  test('looks at the clock before the first check, to know what it did until then', async () => {
    const stop = new AbortController()
    const steps: string[] = []
    const step = (name: string) => (): Promise<never> => {
      steps.push(name)
      if (steps.length === 3) stop.abort()
      return Promise.reject(new ReplicaError('away'))
    }
    await new ScheduleRetention({
      retention: { lookAtClock: step('look'), enforce: step('enforce') },
      checkIntervalMs: hourMs,
      storedState: () => String(steps.length),
      clock: { now: () => 0, monotonic: () => 0, sleep: () => Promise.resolve() },
      logger,
      random: () => 0.5,
    }).run(stop.signal)
    expect(steps).toEqual(['look', 'enforce', 'enforce'])
  })

  test('asks nothing while nothing is stored and nothing falls out of the window', async () => {
    expect(await runs([0, 0, 0, 0], ['a', 'a', 'a', 'b'], () => Promise.resolve(nothing))).toBe(2)
  })

  test('no error ends it', async () => {
    const fail = (): Promise<RetentionReport> => Promise.reject(new ReplicaError('away'))
    expect(await runs([0, 0, 0], ['a', 'a', 'a'], fail)).toBe(3)
    expect(log.filter(({ level }) => level === 'error')).toHaveLength(3)
  })
})
