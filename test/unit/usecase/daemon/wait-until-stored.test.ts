import { beforeEach, expect, test } from 'vitest'
import { ReplicaError } from '../../../../src/domain/errors.js'
import { formatGeneration } from '../../../../src/domain/wal/generation.js'
import { isAbortError } from '../../../../src/kit/abort.ts'
import { GenerationFeed } from '../../../../src/usecase/backlog/generation-feed.js'
import { waitUntilStored } from '../../../../src/usecase/daemon/wait-until-stored.js'
import { barrierAt } from '../../../support/barrier.ts'
import { ManualClock } from '../../../support/manual-clock.ts'

const generation = formatGeneration(new Uint8Array(8))
const barrier = barrierAt({ generation, position: { index: 0, offset: 4152 } })
const waiterCount = 50
const timeoutMs = 60_000

let clock: ManualClock
let feed: GenerationFeed
let isStored: boolean

beforeEach(() => {
  clock = new ManualClock()
  feed = new GenerationFeed()
  feed.current = { generation, pageSizeBytes: 4096, segments: [], end: barrier.position }
  isStored = false
})

/** Fifty that wait, and what becomes of them. */
function startWaiters(signal = new AbortController().signal): unknown[] {
  const ends: unknown[] = []
  const standing = { hasStored: () => isStored }
  for (let i = 0; i < waiterCount; i += 1) {
    waitUntilStored({ feed, standing, clock, timeoutMs }, signal).then(
      (end) => ends.push(end),
      (error: unknown) => ends.push(error),
    )
  }
  return ends
}

test('all that wait go on when what they wait for is stored, whatever fails before', async () => {
  const ends = startWaiters()
  await clock.advance(1000)
  feed.takeBarriers().reject(new Error('the disk is full'))
  await clock.advance(1000)
  const asked = feed.takeBarriers()
  expect(asked.count).toBe(waiterCount)
  asked.resolve(barrier)
  await clock.advance(1000)
  expect(ends).toEqual([])
  isStored = true
  feed.announce()
  await clock.advance(0)
  expect(ends).toEqual(Array.from({ length: waiterCount }, () => barrier))
})

test.each([
  ['nothing is captured', () => undefined],
  ['nothing is stored', () => feed.takeBarriers().resolve(barrier)],
])('all that wait stop at once when they are told to, while %s', async (_, answer) => {
  const stop = new AbortController()
  const ends = startWaiters(stop.signal)
  await clock.advance(1000)
  answer()
  await clock.advance(1000)
  expect(ends).toEqual([])
  stop.abort()
  await clock.advance(0)
  expect(ends).toHaveLength(waiterCount)
  expect(ends.every(isAbortError)).toBe(true)
})

test('all that wait are refused after the timeout, and when the daemon has ended', async () => {
  const late = startWaiters()
  await clock.advance(timeoutMs - 1)
  expect(late).toEqual([])
  await clock.advance(1)
  expect(late).toHaveLength(waiterCount)
  const cut = startWaiters()
  await clock.advance(1000)
  feed.end(undefined)
  await clock.advance(0)
  expect(cut).toHaveLength(waiterCount)
  for (const end of [...late, ...cut]) expect(end).toBeInstanceOf(ReplicaError)
})
