import { afterEach, beforeEach, expect, test } from 'vitest'
import { formatObjectPath } from '../../../../src/domain/stored/replica-layout.js'
import { formatGeneration } from '../../../../src/domain/wal/generation.js'
import { never } from '../../../../src/kit/abort.js'
import { GenerationEndedError } from '../../../../src/usecase/replica/take-snapshot.js'
import { barrierAt } from '../../../support/barrier.js'
import { ReplicaParts } from '../../../support/replica-parts.js'
import { Patience } from '../../../support/patience.js'
import { segmentBytes } from '../../../support/spooled-history.js'

const dayMs = 24 * 3_600_000

let parts: ReplicaParts

beforeEach(async () => {
  parts = await ReplicaParts.open()
})

afterEach(() => parts[Symbol.asyncDispose]())

/** Answers what a snapshot asks of the capture, until it is done. */
async function taking(taken: Promise<unknown>): Promise<void> {
  const { feed, clock } = parts
  const state = { isDone: false }
  const done = taken.finally(() => (state.isDone = true))
  void done.catch(() => undefined)
  const patience = new Patience(10_000)
  while (!state.isDone && !patience.isOver) {
    const { current } = feed
    const asked = feed.takeBarriers()
    if (current !== undefined) {
      const { generation, end: position } = current
      asked.resolve(barrierAt({ generation, position }))
    }
    await clock.advance(0)
  }
  expect(state.isDone).toBe(true)
  await done
}

const snapshotPath = (index: number): string =>
  formatObjectPath({ kind: 'snapshot', generation: parts.generation, index })

test('the first snapshot goes ahead of its segments, and is finished when they are known to be there', async () => {
  const { snapshots, history, client, standing } = parts
  const finished: string[] = []
  client.beforeOperation = (operation, path) => {
    if (operation === 'finish') finished.push(path)
  }
  const place = parts.found({ hasSnapshot: false, newestSnapshot: undefined })
  await history.add(3)
  await taking(snapshots.take(place, 'generation', never))
  expect(finished).toEqual([history.nameOf(0), snapshotPath(0)])
  expect(place).toMatchObject({
    hasSnapshot: true,
    position: { index: 0, offset: 3 * segmentBytes },
    newestSnapshot: { index: 0, consistentFrom: { index: 0, offset: 3 * segmentBytes } },
  })
  const end = { index: 0, offset: 3 * segmentBytes }
  expect(standing.hasStored({ generation: parts.generation, position: end })).toBe(true)
})

test('whoever waits for his commits does not wait for a snapshot that is being sent, nor for the next interval', async () => {
  const { snapshots, sender, history, client, feed, clock } = parts
  const sentAt = new Map<string, number>()
  client.beforeOperation = (operation, path) => {
    if (operation === 'finish') sentAt.set(path, clock.monotonic())
  }
  const place = parts.found()
  await history.add(1)
  expect(await sender.sendNext(place, never)).toBe(true)
  await history.add(1)
  expect(sender.dueInMs(place)).toBe(1000)
  const bodyMayEnd = Promise.withResolvers<undefined>()
  parts.readFile = () => bodyMayEnd.promise
  const taken = taking(snapshots.take(place, 'interval', never))
  await clock.advance(20)
  const { generation, end: position } = feed.current ?? expect.unreachable()
  feed.hurry('r', barrierAt({ generation, position }))
  await clock.advance(0)
  expect(sentAt.get(history.nameOf(1))).toBe(20)
  expect(sentAt.has(snapshotPath(0))).toBe(false)
  bodyMayEnd.resolve(undefined)
  await taken
})

test('segments are not held back while the spool is filling up', async () => {
  const { snapshots, history, client, feed } = parts
  const sent: string[] = []
  const bodyMayEnd = Promise.withResolvers<undefined>()
  parts.readFile = async () => {
    await bodyMayEnd.promise
  }
  client.beforeOperation = (operation, path) => {
    if (operation !== 'finish') return
    sent.push(path)
    bodyMayEnd.resolve(undefined)
  }
  feed.maxSpoolBytes = 1
  const place = parts.found({ hasSnapshot: false, newestSnapshot: undefined })
  await history.add(1)
  await taking(snapshots.take(place, 'generation', never))
  expect(sent).toEqual([history.nameOf(0), snapshotPath(0)])
})

test('a snapshot of a generation that has ended is given up, and nothing of it is left', async () => {
  const { snapshots, history, client, feed } = parts
  const place = parts.found()
  await history.add(1)
  parts.readFile = () => {
    const next = formatGeneration(new Uint8Array(8))
    if (feed.current !== undefined) feed.begin({ ...feed.current, generation: next }, 0)
    feed.announce()
    return Promise.resolve()
  }
  await expect(taking(snapshots.take(place, 'interval', never))).rejects.toThrow(
    GenerationEndedError,
  )
  expect(client.objects.has(snapshotPath(0))).toBe(false)
  expect(client.openUploads.size).toBe(0)
})

test('the next one is due by the schedule, and is looked for once a day at least', async () => {
  const { snapshots, clock } = parts
  const place = parts.found()
  expect(snapshots.next(place)).toEqual({ kind: 'none' })
  place.position = { index: 1, offset: segmentBytes }
  const next = snapshots.next(place)
  if (next.kind !== 'at') throw new Error(`it is ${next.kind}`)
  expect(snapshots.dueInMs(place)).toBe(dayMs)
  await clock.advance(next.timeMs - clock.now() - 1000)
  expect(snapshots.dueInMs(place)).toBe(1000)
  await clock.advance(1000)
  expect(snapshots.next(place)).toEqual({ kind: 'due', reason: 'interval' })
  expect(snapshots.dueInMs(place)).toBeUndefined()
})

test('one that somebody asked for is due at once, unless the newest is of the same WAL, or of a later one', () => {
  const { snapshots, feed, generation } = parts
  const place = parts.found()
  place.position = { index: 1, offset: segmentBytes }
  const want = (index: number): void =>
    feed.wantSnapshot('r', barrierAt({ generation, position: { index, offset: segmentBytes } }))
  want(0)
  expect(snapshots.next(place)).toMatchObject({ kind: 'at' })
  want(1)
  expect(snapshots.next(place)).toEqual({ kind: 'due', reason: 'request' })
  // The file may lack what only earlier indexes have.
  feed.isWithinWal = true
  expect(snapshots.next(place)).toEqual({ kind: 'none' })
  feed.isWithinWal = false
  place.newestSnapshot = { index: 1, consistentFrom: undefined, atMs: 0 }
  expect(snapshots.next(place)).toEqual({ kind: 'none' })
})
