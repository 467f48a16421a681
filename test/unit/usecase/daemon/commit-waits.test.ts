import { beforeEach, describe, expect, test } from 'vitest'
import { InUseError, NotStoredError, UsageError } from '../../../../src/domain/errors.js'
import { type DatabaseConfig, type ReplicaConfig } from '../../../../src/domain/settings/config.js'
import { formatGeneration } from '../../../../src/domain/wal/generation.js'
import { isAbortError, never } from '../../../../src/kit/abort.ts'
import { type Barrier, GenerationFeed } from '../../../../src/usecase/backlog/generation-feed.js'
import { awaitSnapshot, awaitStored } from '../../../../src/usecase/daemon/await-stored.js'
import { CommitWaits, type WantedStored } from '../../../../src/usecase/daemon/commit-waits.js'
import { barrierAt } from '../../../support/barrier.ts'
import { ManualClock } from '../../../support/manual-clock.ts'

const generation = formatGeneration(new Uint8Array(8))
const other = formatGeneration(new Uint8Array(8).fill(1))
const path = '/data/app.db'
const now: WantedStored = { replicas: 'all', urgency: 'now' }
const ride: WantedStored = { replicas: 'all', urgency: 'ride' }

const barrierUpTo = (offset: number, of = generation): Barrier =>
  barrierAt({ generation: of, position: { index: 0, offset } })

let clock: ManualClock
let feed: GenerationFeed
/** Up to where each replica has the current generation. */
let stored: Map<string, number>
let takenBy: Map<string, string>
/** The index of the newest snapshot of each replica. */
let snapshots: Map<string, number>
let names: string[]
/** The `urgent-sync-interval` of those that have not the usual one. */
let intervalsMs: Map<string, number>
/** When each replica stored something last. */
let lastStoredAtMs: Map<string, number>
let waits: CommitWaits

beforeEach(() => {
  clock = new ManualClock()
  feed = new GenerationFeed()
  feed.current = { generation, pageSizeBytes: 4096, segments: [], end: { index: 0, offset: 0 } }
  names = ['a', 'b']
  intervalsMs = new Map()
  stored = new Map([
    ['a', 0],
    ['b', 0],
  ])
  takenBy = new Map()
  snapshots = new Map()
  lastStoredAtMs = new Map()
  for (const name of names) feed.addReplica(name)
  const replica = (name: string) =>
    ({ name, urgentSyncIntervalMs: intervalsMs.get(name) ?? 50 }) as ReplicaConfig
  waits = new CommitWaits({
    feed,
    clock,
    config: () => ({ path, replicas: names.map(replica) }) as unknown as DatabaseConfig,
    standings: () =>
      new Map(
        [...stored].map(([name, offset]) => [
          name,
          {
            isRestorableTo: (barrier) =>
              barrier.generation === feed.current?.generation && barrier.position.offset <= offset,
            snapshotOf: ({ position }) => {
              const index = snapshots.get(name) ?? -1
              return index < position.index
                ? undefined
                : { index, consistentFrom: position, atMs: 7 }
            },
            takenBy: takenBy.get(name),
            awaited: `what follows ${offset}`,
            lastStoredAtMs: lastStoredAtMs.get(name) ?? 5,
            failure: undefined,
          },
        ]),
      ),
    captureProblem: () => undefined,
  })
})

/** Somebody who waits, and what he is told. */
function waiter(wanted: WantedStored, signal = never): { told: unknown } {
  const waiting = { told: undefined as unknown }
  waits.wait(wanted, { barrier: undefined }, signal).then(
    (each) => (waiting.told = each),
    (error: unknown) => (waiting.told = error),
  )
  return waiting
}

async function answerBarriers(offset: number): Promise<number> {
  await clock.advance(0)
  const taken = feed.takeBarriers()
  taken.resolve(barrierUpTo(offset))
  await clock.advance(0)
  return taken.count
}

async function store(name: string, offset: number): Promise<void> {
  stored.set(name, offset)
  feed.announce()
  await clock.advance(0)
}

describe('whoever waits for his commits', () => {
  test('is told when all replicas have what was captured after he asked', async () => {
    const waiting = waiter(now)
    expect(await answerBarriers(100)).toBe(1)
    await store('a', 100)
    expect(waiting.told).toBeUndefined()
    await store('b', 100)
    expect(waiting.told).toEqual({
      database: path,
      position: { generation, index: 0, offset: 100 },
      commitTimeMs: 1,
      replicas: [
        { name: 'a', storedAtMs: 5 },
        { name: 'b', storedAtMs: 5 },
      ],
    })
  })

  test('is told of each replica when it had that, though a quick one has stored more since', async () => {
    const waiting = waiter(now)
    await answerBarriers(100)
    lastStoredAtMs.set('a', 11)
    await store('a', 100)
    lastStoredAtMs.set('a', 22)
    await store('a', 300)
    lastStoredAtMs.set('b', 33)
    await store('b', 100)
    expect(waiting.told).toMatchObject({
      replicas: [
        { name: 'a', storedAtMs: 11 },
        { name: 'b', storedAtMs: 33 },
      ],
    })
  })

  test('is never told by what was captured before he asked, however little later that was', async () => {
    await store('a', 100)
    await store('b', 100)
    const first = waiter(now)
    expect(await answerBarriers(100)).toBe(1)
    expect(first.told).toMatchObject({ position: { offset: 100 } })
    const second = waiter(now)
    await clock.advance(1000)
    expect(second.told).toBeUndefined()
    expect(await answerBarriers(200)).toBe(1)
    expect(second.told).toBeUndefined()
    await store('a', 200)
    await store('b', 200)
    expect(second.told).toMatchObject({ position: { offset: 200 } })
  })

  test('shares a barrier with all who ask within the interval, and it is sent before its time', async () => {
    const first = waiter(now)
    await answerBarriers(100)
    expect(feed.hurriedTo('a', generation)).toEqual({ index: 0, offset: 100 })
    // Once, the next one comes sooner.
    const second = waiter(now)
    await answerBarriers(150)
    const many = Array.from({ length: 500 }, () => waiter(now))
    await clock.advance(49)
    expect(feed.hasWish).toBe(false)
    await clock.advance(1)
    expect(await answerBarriers(200)).toBe(1)
    await store('a', 200)
    await store('b', 200)
    for (const { told } of [first, second, ...many]) expect(told).toMatchObject({ database: path })
  })

  test('is captured for as often as the replica with the shortest interval sends', async () => {
    intervalsMs = new Map([
      ['a', 700],
      ['b', 200],
    ])
    for (const offset of [100, 150]) {
      waiter(now)
      expect(await answerBarriers(offset)).toBe(1)
    }
    waiter(now)
    await clock.advance(199)
    expect(feed.hasWish).toBe(false)
    await clock.advance(1)
    expect(await answerBarriers(200)).toBe(1)
  })

  test('has nothing sent before its time when he rides', async () => {
    const waiting = waiter(ride)
    await clock.advance(0)
    expect(feed.hasWish).toBe(true)
    expect(feed.hasUrgentWish).toBe(false)
    const taken = feed.takeBarriers()
    expect(taken.isUrgent).toBe(false)
    taken.ride(barrierUpTo(100))
    await store('a', 100)
    await store('b', 100)
    expect(waiting.told).toBeUndefined()
    feed.current!.end = { index: 0, offset: 150 }
    feed.settleRiding()
    await clock.advance(0)
    expect(waiting.told).toMatchObject({ position: { offset: 100 } })
    expect(feed.hurriedTo('a', generation)).toBeUndefined()
  })

  test('is asked for again when what was captured for him is lost from memory', async () => {
    const waiting = waiter(ride)
    await clock.advance(0)
    feed.takeBarriers().ride(barrierUpTo(100))
    feed.dropRiding(new Error('the disk is full'))
    await clock.advance(0)
    expect(feed.hasWish).toBe(true)
    feed.takeBarriers().reject(new Error('the disk is full'))
    await store('a', 120)
    await store('b', 120)
    expect(await answerBarriers(120)).toBe(1)
    expect(waiting.told).toMatchObject({ position: { offset: 120 } })
  })

  test('waits for the next generation when one ends before it is stored', async () => {
    const waiting = waiter(now)
    await answerBarriers(100)
    feed.current = { ...feed.current!, generation: other }
    await store('a', 100)
    await store('b', 100)
    expect(waiting.told).toBeUndefined()
    await clock.advance(50)
    feed.takeBarriers().resolve(barrierUpTo(40, other))
    await clock.advance(0)
    expect(waiting.told).toMatchObject({ position: { generation: other, offset: 40 } })
  })

  test.each([
    ['any', 'b', ['b']],
    [['a'], 'a', ['a']],
  ] as const)('of %o replicas is told when %s has it', async (replicas, name, having) => {
    const waiting = waiter({ replicas, urgency: 'now' })
    await answerBarriers(100)
    expect(waiting.told).toBeUndefined()
    await store(name, 100)
    expect(waiting.told).toMatchObject({ replicas: having.map((each) => ({ name: each })) })
  })

  test('is not told by a replica that does not run at this moment', async () => {
    const waiting = waiter(now)
    await answerBarriers(100)
    stored.clear()
    await store('a', 100)
    expect(waiting.told).toBeUndefined()
    await store('b', 100)
    expect(waiting.told).toBeDefined()
  })

  test('is refused when a replica is taken over, by whom, and of any when all are', async () => {
    const [all, any] = [waiter(now), waiter({ replicas: 'any', urgency: 'now' })]
    await answerBarriers(100)
    takenBy.set('a', 'process 7 on host')
    await store('b', 50)
    expect(all.told).toBeInstanceOf(NotStoredError)
    expect(all.told).toMatchObject({
      message: expect.stringContaining('replica a was taken over by process 7 on host') as string,
      cause: expect.any(InUseError) as InUseError,
      missing: [
        { database: path, replica: 'a', detail: 'what follows 0' },
        { database: path, replica: 'b', detail: 'what follows 50' },
      ],
    })
    expect(any.told).toBeUndefined()
    takenBy.set('b', 'process 7 on host')
    await store('b', 60)
    expect(any.told).toBeInstanceOf(NotStoredError)
  })

  test('is not told by the barrier of the end, which may lie before what he committed', async () => {
    const waiting = waiter(now)
    await clock.advance(0)
    await store('a', 100)
    await store('b', 100)
    feed.end(barrierUpTo(100))
    await clock.advance(0)
    expect(waiting.told).toBeInstanceOf(NotStoredError)
    const captured = waiter(now)
    await clock.advance(50)
    expect(captured.told).toBeInstanceOf(NotStoredError)
  })

  test('goes on waiting for the last sync, and is refused after it', async () => {
    const [first, second] = [waiter(now), waiter(now)]
    await answerBarriers(100)
    feed.end(barrierUpTo(100))
    await store('a', 100)
    expect(first.told).toBeUndefined()
    waits.end()
    await clock.advance(0)
    for (const { told } of [first, second]) expect(told).toBeInstanceOf(NotStoredError)
  })

  test('stops at an abort, and is refused for a replica that does not exist', async () => {
    const stop = new AbortController()
    const waiting = waiter(now, stop.signal)
    await clock.advance(10)
    stop.abort()
    await clock.advance(0)
    expect(isAbortError(waiting.told)).toBe(true)
    const wrong = waiter({ replicas: ['c'], urgency: 'now' })
    const none = waiter({ replicas: [], urgency: 'now' })
    await clock.advance(0)
    for (const { told } of [wrong, none]) expect(told).toBeInstanceOf(UsageError)
  })
})

test('whoever wants a snapshot is told when each replica has one of the WAL that goes on, and all commits', async () => {
  const find = () => ({ path, waits, changed: undefined, problem: undefined })
  const ask = () =>
    awaitSnapshot(find, { replicas: 'all', timeoutMs: 5000 }, { clock, signal: never })
  const taken = { told: undefined as unknown }
  void ask().then((each) => (taken.told = each))
  await answerBarriers(100)
  expect(feed.snapshotWanted('a', generation)).toBe(0)
  expect(feed.hurriedTo('b', generation)).toEqual({ index: 0, offset: 100 })
  await store('a', 100)
  await store('b', 100)
  snapshots.set('a', 0)
  await store('a', 100)
  expect(taken.told).toBeUndefined()
  snapshots.set('b', 1)
  await store('b', 100)
  expect(taken.told).toMatchObject({
    database: path,
    replicas: [
      { name: 'a', snapshot: { index: 0, takenAtMs: 7 } },
      { name: 'b', snapshot: { index: 1, takenAtMs: 7 } },
    ],
  })

  snapshots.clear()
  const late = ask().catch((error: unknown) => error)
  await clock.advance(50)
  await answerBarriers(100)
  await clock.advance(5000)
  expect(await late).toMatchObject({
    message: 'not stored: /data/app.db: not within 5s; on a: a snapshot; on b: a snapshot',
  })
})

test('after the timeout he is told what is missing where, and how long he waited', async () => {
  const find = () => ({ path, waits, changed: undefined, problem: undefined })
  const request = { ...now, timeoutMs: 5000, waits: true }
  const waiting = awaitStored(find, request, { clock, signal: never }).catch((e: unknown) => e)
  await answerBarriers(100)
  await clock.advance(5000)
  expect(await waiting).toMatchObject({
    message: 'not stored: /data/app.db: not within 5s; on a: what follows 0; on b: what follows 0',
    hint: expect.stringContaining('safe in the database') as string,
  })
})

test.each([
  ['all', 'on b: what follows 50'],
  [['a', 'b'], 'on b: what follows 50'],
  [['b'], 'on b: what follows 50'],
] as const)(
  'of %o replicas, only those are named that lack his commits',
  async (replicas, what) => {
    const find = () => ({ path, waits, changed: undefined, problem: undefined })
    const request = { replicas, urgency: 'now', timeoutMs: 5000, waits: true } as const
    const waiting = awaitStored(find, request, { clock, signal: never }).catch((e: unknown) => e)
    await answerBarriers(100)
    await store('a', 100)
    await store('b', 50)
    // What is captured since is not his: it is no matter that it is stored nowhere.
    feed.current!.end = { index: 0, offset: 150 }
    await clock.advance(5000)
    expect(await waiting).toMatchObject({
      message: `not stored: /data/app.db: not within 5s; ${what}`,
      missing: [{ database: path, replica: 'b', detail: 'what follows 50' }],
    })
  },
)

test('of replicas of which any does, all are named while none has his commits', async () => {
  const find = () => ({ path, waits, changed: undefined, problem: undefined })
  const request = { replicas: 'any', urgency: 'now', timeoutMs: 5000, waits: true } as const
  const asked = () => awaitStored(find, request, { clock, signal: never }).catch((e: unknown) => e)
  const late = asked()
  await answerBarriers(100)
  await store('a', 50)
  await clock.advance(5000)
  expect(await late).toMatchObject({ missing: [{ replica: 'a' }, { replica: 'b' }] })
  const closed = () => ({ path, waits: undefined, changed: undefined, problem: 'locked' })
  const unopened = awaitStored(closed, request, { clock, signal: never }).catch((e: unknown) => e)
  await clock.advance(5000)
  expect(await unopened).toMatchObject({ missing: [{ database: path, replica: 'all' }] })
})

test('a database that another process has is not waited for', async () => {
  const inUse = new InUseError('user 5 has it')
  const slot: { inUse?: InUseError } = {}
  const changed = new Promise(() => undefined)
  const find = () => ({ path, waits: undefined, changed, problem: inUse.message, ...slot })
  const request = { ...now, timeoutMs: 5000, waits: true }
  const asked = awaitStored(find, request, { clock, signal: never }).catch((e: unknown) => e)
  await clock.advance(1000)
  slot.inUse = inUse
  await clock.advance(100)
  const detail = 'it cannot be opened: user 5 has it'
  expect(await asked).toMatchObject({ cause: inUse, missing: [{ database: path, detail }] })
})

test('a database that is not open yet is waited for', async () => {
  const slot: { waits?: CommitWaits } = {}
  const find = () => ({ path, waits: slot.waits, changed: undefined, problem: 'locked' })
  const request = { ...now, timeoutMs: 5000, waits: true }
  const asked = () => awaitStored(find, request, { clock, signal: never }).catch((e: unknown) => e)
  const late = asked()
  await clock.advance(5000)
  expect(await late).toMatchObject({ missing: [{ detail: 'it cannot be opened: locked' }] })
  const waiting = asked()
  await clock.advance(1000)
  slot.waits = waits
  await clock.advance(100)
  await store('a', 100)
  await store('b', 100)
  expect(await answerBarriers(100)).toBe(1)
  expect(await waiting).toMatchObject({ database: path })
})
