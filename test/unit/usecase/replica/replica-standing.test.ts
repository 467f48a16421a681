import { beforeEach, expect, test } from 'vitest'
import { type CaptureStatus } from '../../../../src/domain/status.js'
import { type WalSegmentTrailer } from '../../../../src/domain/stored/trailer.js'
import { formatGeneration } from '../../../../src/domain/wal/generation.js'
import { GenerationFeed } from '../../../../src/usecase/backlog/generation-feed.js'
import { silent } from '../../../support/silent-logger.ts'
import { type SpooledSegment } from '../../../../src/usecase/ports/spool.js'
import { ReplicaProblems } from '../../../../src/usecase/replica-problems.js'
import { CheckTiling } from '../../../../src/usecase/replica/check-tiling.js'
import { Confirmation } from '../../../../src/usecase/replica/confirmation.js'
import { type OwnReplica } from '../../../../src/usecase/replica/own-replica.js'
import { type Place, ReplicaStanding } from '../../../../src/usecase/replica/replica-standing.js'
import { ManualClock } from '../../../support/manual-clock.js'
import { MemoryReplicaClient } from '../../../support/memory-replica-client.js'

const generation = formatGeneration(new Uint8Array(8))
const other = formatGeneration(new Uint8Array(8).fill(1))
const name = 'r'
const dayMs = 24 * 3_600_000

let clock: ManualClock
let feed: GenerationFeed
let client: MemoryReplicaClient
let confirmation: Confirmation
let takenBy: string | undefined
let standing: ReplicaStanding

beforeEach(() => {
  clock = new ManualClock()
  feed = new GenerationFeed()
  feed.addReplica(name)
  feed.current = { generation, pageSizeBytes: 512, segments: [], end: { index: 0, offset: 0 } }
  client = new MemoryReplicaClient()
  confirmation = new Confirmation({ client, clock, intervalMs: 60_000 })
  takenBy = undefined
  const owner = {
    get takenBy() {
      return takenBy
    },
    get isOurs() {
      return takenBy === undefined
    },
  } as unknown as OwnReplica
  const problems = new ReplicaProblems({ logger: silent, clock, location: 'memory' })
  standing = new ReplicaStanding({ name, client, feed, clock, problems, confirmation, owner })
})

const placeOf = (known: Partial<Place> = {}): Place => ({
  generation,
  lineage: undefined,
  position: undefined,
  hasSnapshot: true,
  newestSnapshot: { index: 0, consistentFrom: undefined, atMs: clock.now() },
  tiling: undefined,
  ...known,
})

/** Another 100 bytes of WAL in the spool. */
function spool(): SpooledSegment {
  const { current } = feed
  if (current === undefined) throw new Error('no generation')
  const startOffset = current.end.offset
  const endOffset = startOffset + 100
  const trailer = {} as WalSegmentTrailer
  const sizes = { sizeBytes: 10, walBytes: 100 }
  const segment = { generation, index: 0, startOffset, endOffset, ...sizes, trailer }
  feed.noteSince(segment, clock.monotonic())
  current.segments.push(segment)
  current.end = { index: 0, offset: endOffset }
  return segment
}

/** The store acknowledges it. */
function send(place: Place, segment: SpooledSegment): void {
  const monotonicMs = clock.monotonic()
  standing.sent(place, segment, { wallMs: clock.now(), monotonicMs })
  confirmation.acknowledged({ segment, storedBytes: 10, sinceMs: feed.sinceMs(segment) ?? 0 })
  standing.acknowledge(place)
}

const unread = {
  client: new MemoryReplicaClient(),
  generation,
  firstIndex: 0,
  listed: [],
  remembered: undefined,
  spooled: [],
}

const capture = {
  position: { generation, index: 0, offset: 0 },
  generationForMs: 7,
  unsealedBytes: 5,
} as CaptureStatus

test('what is known is gone by for a day, and not when it is of another generation or given up', async () => {
  standing.found(placeOf())
  expect(standing.currentPlace).toBe(standing.place)
  expect(standing.trustedForMs).toBe(dayMs)
  await clock.advance(dayMs)
  expect(standing.trustedForMs).toBe(0)
  feed.detach(name)
  expect(standing.currentPlace).toBeUndefined()
  standing.found(placeOf({ generation: other }))
  expect(standing.currentPlace).toBeUndefined()
})

test('after a loss of its snapshot it is not proven any more, and is looked at at once', () => {
  const place = placeOf()
  standing.found(place)
  standing.isKnownRestorable = true
  standing.loseSnapshot(place)
  expect(standing.trustedForMs).toBe(0)
  expect(standing.status(capture).hasSnapshot).toBe(false)
  const before = placeOf()
  standing.found(before)
  standing.isKnownRestorable = true
  standing.found(placeOf({ hasSnapshot: false }))
  expect(standing.isKnownRestorable).toBe(false)
})

test('lag is the age of what is not acknowledged, of what is not seen there, and of a doubt', async () => {
  const place = placeOf()
  standing.found(place)
  const first = spool()
  await clock.advance(1000)
  const second = spool()
  await clock.advance(1000)
  expect(standing.status(capture)).toMatchObject({ lagMs: 2000, pendingBytes: 205 })
  send(place, first)
  expect(standing.status(capture)).toMatchObject({ lagMs: 1000, confirmedLagMs: 2000 })
  send(place, second)
  expect(standing.status(capture)).toMatchObject({
    lagMs: 0,
    confirmedLagMs: 2000,
    pendingBytes: 5,
    position: { generation, index: 0, offset: 200 },
    totals: { walBytes: 200 },
  })
  standing.doubt()
  await clock.advance(300)
  standing.doubt()
  expect(standing.place).toBeUndefined()
  expect(standing.last).toBe(place)
  expect(standing.status(capture).lagMs).toBe(300)
})

test('a replica that is added waits from then on for its snapshot, however old the generation is', async () => {
  await clock.advance(3)
  standing.found(placeOf({ hasSnapshot: false, newestSnapshot: undefined }))
  expect(standing.status(capture).lagMs).toBe(3)
})

test('until the first snapshot is acknowledged and seen, the generation waits', async () => {
  await clock.advance(7)
  const place = placeOf({ hasSnapshot: false, newestSnapshot: undefined })
  standing.found(place)
  expect(standing.status(capture)).toMatchObject({ lagMs: 7, confirmedLagMs: 7 })
  const state = standing.storedState
  const consistentFrom = { index: 0, offset: 0 }
  standing.snapshotSent(place, { index: 0, consistentFrom, storedBytes: 1 }, 'generation')
  expect(standing.storedState).not.toBe(state)
  expect(standing.status(capture)).toMatchObject({ lagMs: 0, confirmedLagMs: 7 })
  standing.snapshotSeen()
  expect(standing.status(capture)).toMatchObject({
    confirmedLagMs: 0,
    totals: { snapshots: { generation: 1, interval: 0, retention: 0, request: 0 } },
  })
})

test('the spool keeps what is not confirmed, and everything until the segments there are known to follow each other', () => {
  const place = placeOf({ tiling: new CheckTiling(unread) })
  standing.found(place)
  const [first] = [spool(), spool(), spool()]
  place.position = { index: 0, offset: 300 }
  standing.acknowledge(place)
  expect(feed.releasable({ isFull: false, isScarce: true })).toEqual([])
  place.tiling = undefined
  standing.acknowledge(place)
  expect(feed.releasable({ isFull: false, isScarce: true })).toEqual([first])
})

test('the spool keeps all of the index that is captured, for a replica that has to begin there, while there is room', () => {
  const place = placeOf()
  standing.found(place)
  const [first] = [spool(), spool(), spool()]
  place.position = { index: 0, offset: 300 }
  standing.acknowledge(place)
  expect(feed.releasable({ isFull: false })).toEqual([])
  expect(feed.releasable({ isFull: true })).toEqual([])
  expect(feed.beginningOfIndex).toEqual({ index: 0, offset: 0 })
  if (feed.current !== undefined) feed.current.end = { index: 1, offset: 100 }
  expect(feed.releasable({ isFull: false })).toEqual([first])
  expect(feed.beginningOfIndex).toBeUndefined()
})

test('of what is no longer kept for it, commits go on waiting until it has a snapshot again', async () => {
  const place = placeOf()
  standing.found(place)
  standing.acknowledge(place)
  feed.restorable(name, generation)
  spool()
  await clock.advance(5000)
  expect(feed.detachLaggard()).toBe(name)
  expect(feed.detachLaggard()).toBeUndefined()
  if (feed.current !== undefined) feed.current.segments = []
  await clock.advance(1000)
  expect(standing.status(capture).lagMs).toBe(6000)
  const anew = placeOf({ hasSnapshot: false, newestSnapshot: undefined })
  standing.found(anew)
  standing.acknowledge(anew)
  expect(standing.status(capture).lagMs).toBe(6000)
  const consistentFrom = { index: 0, offset: 100 }
  standing.snapshotSent(anew, { index: 0, consistentFrom, storedBytes: 1 }, 'generation')
  feed.restorable(name, generation)
  expect(standing.status(capture).lagMs).toBe(0)
})

test('nobody is told that his commits are stored behind what may be a hole, or where somebody else writes', () => {
  const place = placeOf({ tiling: new CheckTiling(unread), hasSnapshot: false })
  standing.found(place)
  send(place, spool())
  const barrier = { generation, position: { index: 0, offset: 100 } }
  expect(standing.isRestorableTo(barrier)).toBe(false)
  place.hasSnapshot = true
  expect(standing.isRestorableTo(barrier)).toBe(false)
  place.tiling = undefined
  expect(standing.isRestorableTo(barrier)).toBe(true)
  expect(standing.isRestorableTo({ ...barrier, generation: other })).toBe(false)
  expect(standing.isRestorableTo({ generation, position: { index: 0, offset: 101 } })).toBe(false)
  takenBy = 'somebody'
  expect(standing.isRestorableTo(barrier)).toBe(false)
})

test('a snapshot is of a barrier whose WAL it is of, or of a later one', () => {
  const barrierAt = (index: number, of = generation) => ({
    generation: of,
    position: { index, offset: 100 },
  })
  expect(standing.snapshotOf(barrierAt(0))).toBeUndefined()
  const place = placeOf()
  standing.found(place)
  const consistentFrom = { index: 3, offset: 0 }
  standing.snapshotSent(place, { index: 2, consistentFrom, storedBytes: 1 }, 'request')
  const newest = { index: 2, consistentFrom, atMs: clock.now() }
  expect(standing.snapshotOf(barrierAt(2))).toEqual(newest)
  expect(standing.snapshotOf(barrierAt(1))).toEqual(newest)
  expect(standing.snapshotOf(barrierAt(3))).toBeUndefined()
  expect(standing.snapshotOf(barrierAt(2, other))).toBeUndefined()
  expect(standing.status(capture).totals.snapshots).toMatchObject({ request: 1 })
})

test('what is missing is said, in the order in which it matters', () => {
  expect(standing.missing).toBe(`nothing is known to be stored of generation ${generation}`)
  const place = placeOf({ hasSnapshot: false })
  standing.found(place)
  expect(standing.missing).toBe(`generation ${generation} has no snapshot`)
  place.hasSnapshot = true
  const segment = spool()
  expect(standing.missing).toContain('the commits from ')
  expect(standing.hasStored({ generation, position: { index: 0, offset: 100 } })).toBe(false)
  send(place, segment)
  expect(standing.hasStored({ generation, position: { index: 0, offset: 100 } })).toBe(true)
  expect(standing.isConfirmed(place, { index: 0, offset: 100 })).toBe(false)
  expect(standing.missing).toContain('has not listed them since')
  takenBy = 'somebody'
  expect(standing.missing).toBe('it was taken over by somebody')
  feed.current = undefined
  expect(standing.missing).toBeUndefined()
})
