import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { ReplicaError } from '../../../../src/domain/errors.js'
import { formatGeneration } from '../../../../src/domain/wal/generation.js'
import { formatObjectPath } from '../../../../src/domain/stored/replica-layout.js'
import { formatTrailer, parseTrailer } from '../../../../src/domain/stored/trailer.js'
import { systemClock } from '../../../../src/infrastructure/clock/system-clock.js'
import { decodeFrame } from '../../../../src/infrastructure/lz4/frame-decoder.js'
import { createLz4Compressor } from '../../../../src/infrastructure/lz4/frame-encoder.js'
import { retryOperations } from '../../../../src/infrastructure/replica-clients/around/retry-operations.js'
import { GenerationFeed } from '../../../../src/usecase/backlog/generation-feed.js'
import { Permits } from '../../../../src/kit/permits.js'
import { type Logger } from '../../../../src/usecase/ports/logger.js'
import { silent } from '../../../support/silent-logger.ts'
import { type ManagedDatabase } from '../../../../src/usecase/ports/managed-database.js'
import { type CaptureStatus } from '../../../../src/domain/status.js'
import { ReplicaProblems } from '../../../../src/usecase/replica-problems.js'
import { SyncReplica } from '../../../../src/usecase/replica/sync-replica.js'
import { until } from '../../../support/cli.js'
import { FakeClock } from '../../../support/fake-clock.js'
import { MemoryReplicaClient } from '../../../support/memory-replica-client.js'
import { segmentBytes, SpooledHistory } from '../../../support/spooled-history.js'

const generation = formatGeneration(Uint8Array.from([1, 2, 3, 4, 5, 6, 7, 8]))
const compressor = await createLz4Compressor()
const { signal } = new AbortController()
let history: SpooledHistory
let feed: GenerationFeed
let kill: AbortController
let running: Promise<void>[]

beforeEach(async () => {
  history = await SpooledHistory.begin(generation)
  feed = history.feed
  kill = new AbortController()
  running = []
})

afterEach(async () => {
  kill.abort()
  await Promise.all(running)
  await history[Symbol.asyncDispose]()
})

/** The end of a snapshot, which is all that is looked at here. */
function snapshotBytes(of = generation): Buffer {
  return Buffer.concat([
    Buffer.from('body'),
    formatTrailer({
      kind: 'snapshot',
      generation: of,
      index: 0,
      consistentFrom: { index: 0, offset: 0 },
      pageSizeBytes: 512,
      pageCount: 1,
      startTimeMs: 500,
      endTimeMs: 500,
      commitTimeMs: 500,
      lineage: undefined,
    }),
  ])
}

/** A replica in whose generation a snapshot is, and nothing else. */
function replicate(
  name: string,
  sleeps: number[] = [],
): { client: MemoryReplicaClient; sync: SyncReplica } {
  const client = new MemoryReplicaClient()
  const snapshot = formatObjectPath({ kind: 'snapshot', generation, index: 0 })
  client.objects.set(snapshot, { bytes: snapshotBytes(), createdAtMs: Date.now() })
  const sync = new SyncReplica({
    name,
    database: {} as ManagedDatabase,
    client,
    spool: history.spool,
    compressor,
    decode: decodeFrame,
    feed,
    clock: {
      ...systemClock,
      sleep: (ms, until) => {
        sleeps.push(ms)
        return systemClock.sleep(Math.min(ms, 5), until)
      },
    },
    logger: silent,
    syncIntervalMs: 0,
    snapshotIntervalMs: undefined,
    retentionMs: undefined,
    snapshotSlots: new Permits(2),
    problems: new ReplicaProblems({ logger: silent, clock: systemClock, location: name }),
  })
  return { client, sync }
}

function run(...syncs: SyncReplica[]): void {
  running.push(...syncs.map((sync) => sync.run(signal, kill.signal)))
}

test('a replica with a snapshot and no segment yet is stored up to the beginning of its index', async () => {
  const { sync } = replicate('snapshot-only')
  run(sync)
  const capture = { position: { generation, index: 0, offset: 0 } } as CaptureStatus
  const position = (): unknown => sync.standing.status(capture).position
  await until(() => position() !== undefined, 10_000, 'the place to be known')
  expect(position()).toEqual({ generation, index: 0, offset: 0 })
})

test('where capturing was cut short, a replica without a snapshot ends: none could be finished', async () => {
  const { sync, client } = replicate('empty')
  client.objects.clear()
  feed.end(undefined)
  await sync.run(AbortSignal.abort(), kill.signal)
  expect(sync.standing.missing).toBeDefined()
})

/** First and last segment of each object, as the trailers say. */
function spansOf(client: MemoryReplicaClient): [number, number][] {
  return [...client.objects]
    .filter(([path]) => path.includes('/wal/'))
    .map(([, { bytes }]): [number, number] => {
      const tail = parseTrailer(bytes.subarray(-4096), Infinity)
      if (tail.kind !== 'trailer' || tail.trailer.kind !== 'wal-segment') {
        throw new Error('no trailer')
      }
      const { startOffset, endOffset } = tail.trailer
      return [startOffset / segmentBytes, endOffset / segmentBytes - 1]
    })
    .sort(([a], [b]) => a - b)
}

/** What the capture says of itself when all is well. */
const captured = (): CaptureStatus => ({
  state: 'replicating',
  lastFailure: undefined,
  copyingProblem: undefined,
  isWalPinned: false,
  generationsLately: undefined,
  fileProblem: undefined,
  silentMs: 0,
  blindForMs: undefined,
  pageSizeBytes: 512,
  resumed: undefined,
  position: { generation, ...feed.current!.end },
  generationForMs: 0,
  unsealedBytes: 0,
  unsealedForMs: undefined,
  spoolBytes: 0,
  maxSpoolBytes: 1,
  totals: {
    syncs: 0,
    syncMs: 0,
    errors: {},
    frameBytes: 0,
    checkpoints: {
      PASSIVE: { count: 0, errors: 0, durationMs: 0 },
      RESTART: { count: 0, errors: 0, durationMs: 0 },
    },
    writerLocks: 0,
    writerLockMs: 0,
    maxWriterLockMs: 0,
    generations: {},
    continued: {},
    scrubs: {},
    foreignPages: 0,
  },
})

const hasAll = (sync: SyncReplica): boolean =>
  sync.standing.hasStored({ generation, position: feed.current!.end })

const everythingIsStored = (...syncs: SyncReplica[]): Promise<void> =>
  until(
    () => syncs.every(hasAll),
    20_000,
    () => syncs.map((sync) => sync.standing.missing ?? 'nothing').join('; '),
  )

test('segments that are gone before they were sent end the generation, and are not waited for', async () => {
  await history.add(4)
  const { client, sync } = replicate('a')
  client.beforeOperation = (operation, path) => {
    if (operation !== 'finish' || path !== history.nameOf(0)) return
    feed.current!.segments = feed.current!.segments.slice(-1)
  }
  run(sync)
  await until(() => feed.hasWish, 20_000, 'a new generation to be asked for')
  expect(feed.takeNewGeneration()).toMatchObject({
    reason: 'replica missed segments that the spool no longer has',
  })
})

test('a replica that has other frames than were captured, at the same place, ends the generation', async () => {
  await history.add(3)
  const before = replicate('a')
  run(before.sync)
  await everythingIsStored(before.sync)
  const current = feed.current!
  const last = current.segments.at(-1)!
  const trailer = { ...last.trailer, checksumAfter: { s0: 7, s1: 7 } }
  current.segments = [...current.segments.slice(0, -1), { ...last, trailer }]
  const after = replicate('b')
  for (const [path, object] of before.client.objects) after.client.objects.set(path, object)
  run(after.sync)
  await until(() => feed.hasWish, 20_000, 'a new generation to be asked for')
  expect(feed.takeNewGeneration()).toMatchObject({ reason: 'replica differs from the local state' })
})

test.each([0, 2])(
  'a snapshot that the store has cut to %d bytes is no snapshot: nothing is restorable until another one is there',
  async (bytes) => {
    const { client, sync } = replicate('a')
    const path = formatObjectPath({ kind: 'snapshot', generation, index: 0 })
    client.objects.set(path, { bytes: snapshotBytes().subarray(0, bytes), createdAtMs: Date.now() })
    await history.add(2)
    run(sync)
    await until(
      () => sync.standing.missing === `generation ${generation} has no snapshot`,
      4000,
      () => `no snapshot to be said: ${sync.standing.missing}`,
    )
    expect(hasAll(sync)).toBe(false)
    // A snapshot is asked for, and never taken here.
    kill.abort()
    feed.end(undefined)
  },
)

test('a generation that begins while the one before is looked for is not waited for', async () => {
  const { client, sync } = replicate('a')
  const next = formatGeneration(Uint8Array.from([8, 7, 6, 5, 4, 3, 2, 1]))
  client.objects.set(formatObjectPath({ kind: 'snapshot', generation: next, index: 0 }), {
    bytes: snapshotBytes(next),
    createdAtMs: Date.now(),
  })
  client.beforeOperation = (operation) => {
    if (operation !== 'list' || feed.current?.generation === next) return
    feed.current = { ...feed.current!, generation: next }
    feed.announce()
  }
  run(sync)
  await until(
    () => sync.standing.storedState.startsWith(next),
    4000,
    'the new generation to be looked for',
  )
})

describe('a listing that lacks the newest objects', () => {
  /** As the process before has left it: an object for each of `count` segments. */
  async function storedBefore(count: number): Promise<MemoryReplicaClient> {
    const before = replicate('a')
    run(before.sync)
    for (let i = 0; i < count; i += 1) {
      await history.add(1)
      await everythingIsStored(before.sync)
    }
    kill.abort()
    await Promise.all(running)
    kill = new AbortController()
    expect(spansOf(before.client)).toEqual(Array.from({ length: count }, (_, i) => [i, i]))
    return before.client
  }

  /** Another process on what is stored: its listings lack the newest two of what they would show. */
  function startAgain(stored: MemoryReplicaClient): ReturnType<typeof replicate> {
    const { segments, end } = feed.current!
    feed = history.feed = new GenerationFeed()
    feed.current = { generation, pageSizeBytes: 512, segments, end }
    const again = replicate('a')
    for (const [path, object] of stored.objects) again.client.objects.set(path, object)
    const list = again.client.listWalSegments.bind(again.client)
    again.client.listWalSegments = async function* (...args) {
      const all = await Array.fromAsync(list(...args))
      yield* all.toSorted((a, b) => a.offset - b.offset).slice(0, -2)
    }
    return again
  }

  const spansBehind = (spans: readonly [number, number][], count: number): [number, number][] =>
    spans.filter(([first]) => first >= count)

  test.each([
    ['has released them', 1],
    ['has the last two of them', 2],
    ['has all of them', 6],
  ])('costs neither an error nor a generation where the spool %s', async (_, kept) => {
    const stored = await storedBefore(6)
    feed.current!.segments = feed.current!.segments.slice(-kept)
    const { client, sync } = startAgain(stored)
    feed.continued = generation
    await history.add(4)
    run(sync)
    await everythingIsStored(sync)
    expect(feed.hasWish).toBe(false)
    expect(sync.standing.status(captured()).lastFailure).toBeUndefined()
    // What is there is as it was, and what is new goes on from it.
    expect(spansOf(client).slice(0, 6)).toEqual(Array.from({ length: 6 }, (_, i) => [i, i]))
    expect(spansBehind(spansOf(client), 6)[0]?.[0]).toBe(6)
    expect(spansOf(client).at(-1)?.[1]).toBe(9)
  })

  test('costs nothing either when an object turns up while it is sent, cut otherwise', async () => {
    const stored = await storedBefore(6)
    const { client, sync } = startAgain(stored)
    await history.add(4)
    // Nothing says that anybody was here before, and so nothing is asked for: the store refuses what is sent.
    run(sync)
    await everythingIsStored(sync)
    expect(feed.hasWish).toBe(false)
    expect(sync.standing.status(captured()).lastFailure).toBeUndefined()
    const spans = spansOf(client)
    expect(spans.slice(0, 5)).toEqual(Array.from({ length: 5 }, (_, i) => [i, i]))
    expect(spans.map(([first]) => first)).toEqual([
      0,
      ...spans.slice(0, -1).map(([, last]) => last + 1),
    ])
  })
})

describe('a replica that fell behind', () => {
  test('gets the rest merged, but for what may have been sent before', async () => {
    await history.add(20)
    const { client, sync } = replicate('a')
    run(sync)
    await everythingIsStored(sync)
    expect(spansOf(client)).toEqual([
      [0, 0],
      [1, 19],
    ])
  })

  test('is not left inside an object that is merged for another one meanwhile', async () => {
    await history.add(12)
    const a = replicate('a')
    const b = replicate('b')
    const merging = Promise.withResolvers<undefined>()
    const goOn = Promise.withResolvers<undefined>()
    a.client.beforeOperation = async (operation, path) => {
      if (operation !== 'finish' || path !== history.nameOf(1)) return
      merging.resolve(undefined)
      await goOn.promise
    }
    // The other one is held until the first sends what was merged, and is then farther behind.
    const released = Promise.withResolvers<undefined>()
    b.client.beforeOperation = async (operation, path) => {
      if (operation === 'finish' && path === history.nameOf(0)) await released.promise
    }
    run(a.sync, b.sync)
    await merging.promise
    await history.add(20)
    released.resolve(undefined)
    await everythingIsStored(b.sync)
    goOn.resolve(undefined)
    await everythingIsStored(a.sync)
    expect(spansOf(a.client).at(-1)?.[1]).toBe(31)
  })
})

test.each(Array.from({ length: 8 }, (_, seed) => seed + 1))(
  'replicas that fail, lag and catch up get every segment once, and no object twice with other bytes (%i)',
  async (seed) => {
    let state = seed
    const random = (): number => {
      state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
      return state / 4_294_967_296
    }
    const replicas = ['a', 'b', 'c'].map((name) => replicate(name))
    const overwritten: string[] = []
    const restless = { value: true }
    for (const { client } of replicas) {
      const set = client.objects.set.bind(client.objects)
      let failsAfterwards = false
      client.objects.set = (path, object) => {
        const before = client.objects.get(path)
        if (before !== undefined && Buffer.compare(before.bytes, object.bytes) !== 0) {
          overwritten.push(path)
        }
        set(path, object)
        // Stored, but nobody is told so.
        if (failsAfterwards) throw new ReplicaError('the answer was lost', { retryable: true })
        return client.objects
      }
      client.beforeOperation = async (operation) => {
        if (!restless.value) return void (failsAfterwards = false)
        await systemClock.sleep(random() * (operation === 'finish' ? 30 : 3), signal)
        const retryable = random() < 0.5
        if (random() < 0.1) throw new ReplicaError('the store is away', { retryable })
        failsAfterwards = operation === 'finish' && random() < 0.2
      }
    }
    run(...replicas.map(({ sync }) => sync))
    for (let round = 0; round < 12; round += 1) {
      await history.add(1 + Math.floor(random() * 15))
      await systemClock.sleep(random() * 20, signal)
    }
    restless.value = false
    await everythingIsStored(...replicas.map(({ sync }) => sync))
    expect(overwritten).toEqual([])
    for (const { client } of replicas) {
      let next = 0
      for (const [first, last] of spansOf(client)) {
        expect(first).toBe(next)
        next = last + 1
      }
      expect(next).toBe(feed.current!.segments.at(-1)!.endOffset / segmentBytes)
    }
  },
)

describe('requests', () => {
  const secondMs = 1000
  const hourMs = 3_600_000

  /** A second at a time: what is read from the spool takes real time, and none of the clock's. */
  async function passUntil(clock: FakeClock, condition: () => boolean): Promise<void> {
    for (let seconds = 0; !condition() && seconds < 1000; seconds += 1) await clock.pass(secondMs)
    expect(condition()).toBe(true)
  }

  /** A replica on a clock of its own, with what it asks of the store and says in the log. */
  function replicateBy(clock: FakeClock, { name = 'a', syncIntervalMs = secondMs } = {}) {
    const client = new MemoryReplicaClient({ now: () => clock.now() })
    const snapshot = formatObjectPath({ kind: 'snapshot', generation, index: 0 })
    client.objects.set(snapshot, { bytes: snapshotBytes(), createdAtMs: clock.now() })
    const operations: string[] = []
    const lines: { readonly atMs: number; readonly message: string }[] = []
    let isAway = false
    client.beforeOperation = (operation) => {
      operations.push(operation)
      if (isAway) throw new ReplicaError(`away: ${operation} ${operations.length}`)
    }
    const say = (_: unknown, message: string): void => {
      lines.push({ atMs: clock.monotonic(), message })
    }
    const logger: Logger = { ...silent, warn: say, error: say, child: () => logger }
    const problems = new ReplicaProblems({ logger, clock, location: 'memory' })
    const retry = { attempts: 4, baseDelayMs: 250, maxDelayMs: 10_000, random: () => 0.5 }
    const sync = new SyncReplica({
      name,
      database: {} as ManagedDatabase,
      client: retryOperations(client, { ...retry, clock, patience: problems }),
      spool: history.spool,
      compressor,
      decode: decodeFrame,
      feed,
      clock,
      logger,
      syncIntervalMs,
      snapshotIntervalMs: undefined,
      retentionMs: undefined,
      snapshotSlots: new Permits(2),
      problems,
    })
    const count = (operation: string): number =>
      operations.filter((each) => each === operation).length
    return { sync, client, lines, count, setAway: (away: boolean) => (isAway = away) }
  }

  test('the replica is listed at the start and once a day, and idle time costs nothing else', async () => {
    const clock = new FakeClock()
    const { sync, count, client } = replicateBy(clock)
    await history.add(1)
    run(sync)
    await passUntil(clock, () => client.objects.size === 2)
    // The snapshot's trailer is read at the start, and what was stored is looked for once.
    await clock.pass(hourMs)
    expect(['list', 'sweep', 'upload', 'read'].map(count)).toEqual([4, 1, 1, 1])
    await clock.pass(22 * hourMs)
    expect(['list', 'sweep', 'upload', 'read'].map(count)).toEqual([4, 1, 1, 1])
    await clock.pass(2 * hourMs)
    // The last segment's and the snapshot's trailers are looked at, too.
    expect(['list', 'sweep', 'upload', 'read'].map(count)).toEqual([6, 2, 1, 3])
    await clock.pass(22 * hourMs)
    expect(count('list')).toBe(6)
  })

  test('at one commit a second, each is one upload', async () => {
    const clock = new FakeClock()
    const { sync, count } = replicateBy(clock)
    run(sync)
    await passUntil(clock, () => count('read') > 0)
    const before = ['read', 'sweep'].map(count)
    const lists = count('list')
    const startedAtMs = clock.monotonic()
    for (let i = 0; i < 60; i += 1) {
      await history.add(1)
      await passUntil(clock, () => count('upload') > i)
    }
    expect(count('upload')).toBe(60)
    expect(['read', 'sweep'].map(count)).toEqual(before)
    // Snapshots and segments are listed once a minute.
    const minutes = (clock.monotonic() - startedAtMs) / 60_000
    expect(count('list') - lists).toBeLessThanOrEqual(2 * (1 + minutes))
  })

  test('each of two replicas with different intervals gets one object per interval of its own, and is confirmed', async () => {
    const clock = new FakeClock()
    const fast = replicateBy(clock)
    const slow = replicateBy(clock, { name: 'b', syncIntervalMs: 5 * secondMs })
    run(fast.sync, slow.sync)
    const capturedAtMs: number[] = []
    const waitsMs: number[] = []
    for (let i = 0; i < 120; i += 1) {
      await history.add(1, clock.now(), clock.monotonic())
      capturedAtMs.push(clock.monotonic())
      await clock.pass(secondMs)
      // Merging takes real time, and none of the clock's.
      await systemClock.sleep(5, signal)
      await until(() => !feed.merging && slow.client.openUploads.size === 0, 10_000, 'rest')
      const stored = spansOf(slow.client).at(-1)?.[1] ?? -1
      while (waitsMs.length <= stored) {
        waitsMs.push(clock.monotonic() - capturedAtMs[waitsMs.length]!)
      }
    }
    expect(fast.count('upload')).toBeGreaterThan(110)
    expect(slow.count('upload')).toBeLessThanOrEqual(120 / 5 + 2)
    expect(waitsMs.length).toBeGreaterThan(110)
    expect(Math.max(...waitsMs)).toBeLessThanOrEqual(7 * secondMs)
    for (const { sync } of [fast, slow]) {
      const { position } = sync.standing.status(captured())
      expect(position).toBeDefined()
      expect(sync.standing.status(captured()).confirmedLagMs).toBeLessThan(70 * secondMs)
    }
  })

  /** The store acknowledges an object and loses it, once. */
  function lose(client: MemoryReplicaClient, path: string): void {
    const set = client.objects.set.bind(client.objects)
    client.objects.set = (at, object) => {
      if (at !== path) return set(at, object)
      client.objects.set = set
      return client.objects
    }
  }

  test.each([0, 3])(
    'segment %i, which the store acknowledged and lost, is sent again before anything behind it, and the spool has it until then',
    async (lost) => {
      const clock = new FakeClock()
      const { sync, client, lines } = replicateBy(clock)
      lose(client, history.nameOf(lost))
      run(sync)
      for (let i = 0; i < 8; i += 1) {
        await history.add(1, clock.now(), clock.monotonic())
        await clock.pass(2 * secondMs)
      }
      await until(() => hasAll(sync), 10_000, 'all to be stored')
      expect(client.objects.has(history.nameOf(lost))).toBe(false)
      const first = feed.current!.segments[lost]
      expect(feed.releasable({ isFull: false, isScarce: true })).not.toContain(first)
      expect(sync.standing.status(captured()).confirmedLagMs).toBeGreaterThan(0)
      await passUntil(clock, () => client.objects.has(history.nameOf(lost)))
      await passUntil(clock, () => sync.standing.status(captured()).confirmedLagMs === 0)
      expect(spansOf(client)).toEqual(Array.from({ length: 8 }, (_, i) => [i, i]))
      expect(lines.map(({ message }) => message)).toContain(
        'wal segment that the store had lost was sent again',
      )
      expect(feed.releasable({ isFull: false, isScarce: true })).toContain(first)
    },
  )

  test('at the end it is looked whether everything is there, before it is said so', async () => {
    const clock = new FakeClock()
    const { sync, client } = replicateBy(clock)
    await history.add(3, clock.now(), clock.monotonic())
    lose(client, history.nameOf(1))
    let hasEnded = false
    const running = sync.run(signal, kill.signal).then(() => (hasEnded = true))
    await passUntil(clock, () => client.objects.has(history.nameOf(0)))
    await history.add(1, clock.now(), clock.monotonic())
    feed.end(undefined)
    await passUntil(clock, () => hasEnded)
    await running
    expect(sync.standing.missing).toBeUndefined()
    expect(spansOf(client).at(-1)?.[1]).toBe(3)
    const spans = spansOf(client)
    expect(spans.map(([start]) => start)).toEqual([
      0,
      ...spans.slice(0, -1).map(([, end]) => end + 1),
    ])
  })

  test('lag is what has passed since the capture, however the wall clock is set', async () => {
    const clock = new FakeClock()
    clock.set(hourMs)
    const { sync, client, setAway } = replicateBy(clock)
    run(sync)
    await history.add(1, clock.now(), clock.monotonic())
    await passUntil(clock, () => client.objects.size === 2)
    setAway(true)
    clock.set(-hourMs)
    await clock.pass(100)
    await history.add(1, clock.now() + hourMs, clock.monotonic())
    for (const [afterMs, byMs] of [
      [60_000, 0],
      [120_000, -hourMs],
      [180_000, 24 * hourMs],
    ] as const) {
      clock.set(byMs)
      await clock.pass(60_000)
      const { lagMs, confirmedLagMs } = sync.standing.status(captured())
      expect(Math.abs(lagMs - afterMs)).toBeLessThan(2 * secondMs)
      expect(confirmedLagMs).toBeGreaterThanOrEqual(lagMs)
    }
    setAway(false)
    await passUntil(clock, () => sync.standing.status(captured()).confirmedLagMs === 0)
  })

  test('an outage of ten minutes is at most a line in 30 s, and over within 30 s', async () => {
    const clock = new FakeClock()
    const { sync, client, lines, setAway } = replicateBy(clock)
    await history.add(1)
    run(sync)
    await passUntil(clock, () => client.objects.size === 2)
    setAway(true)
    for (let i = 0; i < 60; i += 1) {
      await history.add(1)
      await clock.pass(10 * secondMs)
    }
    expect(client.objects.size).toBe(2)
    expect(lines.length).toBeGreaterThan(0)
    lines.slice(1).forEach(({ atMs }, i) => {
      expect(atMs - lines[i]!.atMs).toBeGreaterThanOrEqual(30 * secondMs)
    })
    setAway(false)
    await clock.pass(30 * secondMs)
    // What there is to send takes real time, and none of the clock's.
    await until(() => hasAll(sync), 10_000, 'all to be stored')
    expect(spansOf(client).at(-1)?.[1]).toBe(60)
  })
})

test('a replica that cannot be used is tried again for ever, after pauses that grow to 15 s and are jittered', async () => {
  const sleeps: number[] = []
  const { client, sync } = replicate('down', sleeps)
  let isDown = true
  client.beforeOperation = () => {
    if (isDown) throw new ReplicaError('it is down', { retryable: true })
  }
  await history.add(1)
  run(sync)
  await until(() => sleeps.length >= 12, 10_000, 'twelve pauses')
  isDown = false
  const ratios = sleeps.slice(0, 12).map((ms, i) => ms / Math.min(1000 * 2 ** i, 15_000))
  for (const ratio of ratios) {
    expect(ratio).toBeGreaterThanOrEqual(0.75)
    expect(ratio).toBeLessThan(1.25)
  }
  expect(new Set(ratios).size).toBeGreaterThan(6)
  await until(() => client.objects.has(history.nameOf(0)), 10_000, 'the segment to be stored')
})
