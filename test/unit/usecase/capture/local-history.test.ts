import { beforeEach, describe, expect, test } from 'vitest'
import { formatGeneration, type Generation } from '../../../../src/domain/wal/generation.js'
import { LocalHistory } from '../../../../src/usecase/capture/local-history.js'
import { type Logger } from '../../../../src/usecase/ports/logger.js'
import { type SpoolState } from '../../../../src/usecase/ports/spool.js'

const [g1, g2, g3] = [1, 2, 3].map((byte) => formatGeneration(new Uint8Array(8).fill(byte))) as [
  Generation,
  Generation,
  Generation,
]
const identity = { device: 1, inode: 2 }
const beginning = { index: 0, offset: 0 }
const end = { index: 3, offset: 4152 }

let nowMs: number
let warnings: unknown[]
let errors: unknown[]

function historyOf(state?: SpoolState): LocalHistory {
  const logger: Logger = {
    debug: () => undefined,
    info: () => undefined,
    warn: (fields) => void warnings.push(fields['byMs']),
    error: (fields) => void errors.push(fields['byMs']),
    child: () => logger,
  }
  const history = new LocalHistory({ clock: { now: () => nowMs }, logger })
  if (state !== undefined) history.resume(state)
  return history
}

const same = { former: undefined, isSameFile: true, notBeforeMs: 0 }

beforeEach(() => {
  nowMs = 1_000_000
  warnings = []
  errors = []
})

describe('times of a history', () => {
  test('do not go back, and a generation begins behind all that was before it', () => {
    const history = historyOf()
    expect(history.begin(g1, same).beganAtMs).toBe(nowMs)
    expect(history.stamp(nowMs + 500)).toBe(nowMs + 500)
    expect(history.stamp(nowMs)).toBe(nowMs + 500)
    // The moment has passed at which the last commit was seen, and nothing was committed since.
    nowMs += 500
    expect(history.begin(g2, same).beganAtMs).toBe(nowMs + 1)
    expect(history.begin(g3, { ...same, notBeforeMs: nowMs + 77 }).beganAtMs).toBe(nowMs + 78)
    expect(history.lastMs).toBe(nowMs + 78)
  })

  test('do not go back over a restart, with segments or without', () => {
    const origin = { beganAtMs: nowMs + 9000, follows: [] }
    const history = historyOf({ generation: g1, identity, origin, segments: [] })
    expect(history.begin(g2, same).beganAtMs).toBe(nowMs + 9001)
  })

  test('stand still behind a clock that is behind, which is said once until it has caught up', () => {
    const history = historyOf()
    expect(history.begin(g1, { ...same, notBeforeMs: nowMs + 3_600_000 }).beganAtMs).toBe(
      nowMs + 3_600_001,
    )
    nowMs += 1000
    expect(history.stamp(nowMs)).toBe(nowMs + 3_599_001)
    expect(errors).toEqual([3_600_001])
    expect(warnings).toEqual([])
    nowMs += 3_600_000
    expect(history.stamp(nowMs)).toBe(nowMs)
    expect(history.stamp(nowMs - 1500)).toBe(nowMs)
    expect(errors).toEqual([3_600_001])
    expect(warnings).toEqual([1500])
  })
})

describe('the generations before one', () => {
  test('are known with where they end, over restarts', () => {
    const history = historyOf()
    history.begin(g1, same)
    const former = { generation: g1, end }
    const origin = history.begin(g2, { ...same, former })
    expect(origin.follows).toEqual([former])
    const again = historyOf({ generation: g2, identity, origin, segments: [] })
    expect(again.begin(g3, same).follows).toEqual([{ generation: g2, end: beginning }, former])
  })

  test('say nothing of what a file holds that took the place of another', () => {
    const history = historyOf()
    history.begin(g1, same)
    const swapped = { ...same, former: { generation: g1, end }, isSameFile: false }
    expect(history.begin(g2, swapped).follows).toEqual([{ generation: g1, end: undefined }])
    expect(history.begin(g3, same).follows).toEqual([
      { generation: g2, end: beginning },
      { generation: g1, end: undefined },
    ])
  })
})
