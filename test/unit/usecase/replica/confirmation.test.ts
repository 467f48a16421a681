import { beforeEach, describe, expect, test } from 'vitest'
import { ReplicaError } from '../../../../src/domain/errors.js'
import { formatGeneration } from '../../../../src/domain/wal/generation.js'
import { formatObjectPath } from '../../../../src/domain/stored/replica-layout.js'
import { type WalSegmentTrailer } from '../../../../src/domain/stored/trailer.js'
import { Confirmation, type SentSegment } from '../../../../src/usecase/replica/confirmation.js'
import { MemoryReplicaClient } from '../../../support/memory-replica-client.js'

const generation = formatGeneration(new Uint8Array(8))
const { signal } = new AbortController()
const sizeBytes = 3
const snapshot = { kind: 'snapshot', generation, index: 0 } as const
const pathOf = (offset: number): string =>
  formatObjectPath({ kind: 'wal-segment', generation, index: 0, offset })

let client: MemoryReplicaClient
let now: number
let operations: string[]
let confirmation: Confirmation

beforeEach(() => {
  client = new MemoryReplicaClient()
  now = 0
  operations = []
  client.beforeOperation = (operation, path) => {
    operations.push(`${operation} ${path.split('/').at(-1)}`)
  }
  const clock = { monotonic: () => now }
  confirmation = new Confirmation({ client, clock, intervalMs: 60_000 })
})

const store = (path: string, bytes = 'abc'): void => {
  client.objects.set(path, { bytes: Buffer.from(bytes), createdAtMs: 0 })
}

/** What is sent of 32 bytes of WAL from an offset on, and stored unless it is to be lost. */
function send(offset: number, { isLost = false } = {}): SentSegment {
  if (!isLost) store(pathOf(offset))
  const sent: SentSegment = {
    segment: {
      generation,
      index: 0,
      startOffset: offset,
      endOffset: offset + 32,
      sizeBytes,
      walBytes: 32,
      trailer: {} as WalSegmentTrailer,
    },
    storedBytes: sizeBytes,
    sinceMs: 1000 + offset,
  }
  confirmation.acknowledged(sent)
  return sent
}

const dueInMs = (isUrgent = false): number | undefined => confirmation.dueInMs({ isUrgent })

test('nothing acknowledged is nothing to ask for', () => {
  expect(dueInMs()).toBeUndefined()
  expect(dueInMs(true)).toBeUndefined()
  expect(confirmation.isComplete).toBe(true)
})

test('all that was sent in an interval is confirmed by one listing, whatever there is before it', async () => {
  for (let offset = 0; offset < 3200; offset += 32) store(pathOf(offset))
  for (const offset of [3200, 3232, 3264]) {
    send(offset)
    now += 1000
  }
  expect(confirmation.sinceMs).toBe(4200)
  expect(confirmation.from).toEqual({ index: 0, offset: 3200 })
  expect(dueInMs()).toBe(57_000)
  expect(dueInMs(true)).toBe(0)
  now += 57_000
  expect(dueInMs()).toBe(0)
  await confirmation.check(signal)
  expect(operations).toEqual(['list wal'])
  expect(confirmation.isComplete).toBe(true)
  expect(dueInMs()).toBeUndefined()
})

describe.each([
  ['the first', 0],
  ['one in the middle', 32],
  ['the newest', 64],
])('%s of several that the store acknowledged and lost', (_, lostAt) => {
  beforeEach(async () => {
    for (const offset of [0, 32, 64]) send(offset, { isLost: offset === lostAt })
    await confirmation.check(signal)
  })

  test('is looked for twice, and what lies before it is confirmed', () => {
    expect(confirmation.lost).toBeUndefined()
    expect(confirmation.from).toEqual({ index: 0, offset: lostAt })
    expect(dueInMs(true)).toBe(5000)
  })

  test('is sent again, and unconfirmed until it is seen', async () => {
    now += 5000
    await expect(confirmation.check(signal)).rejects.toThrow(
      `${pathOf(lostAt)} on memory was acknowledged by the store, but is not there: it is sent again`,
    )
    const { lost } = confirmation
    expect(lost?.segment.startOffset).toBe(lostAt)
    expect(confirmation.isMending).toBe(true)
    store(pathOf(lostAt))
    confirmation.acknowledged(lost!)
    expect(confirmation.lost).toBeUndefined()
    expect(confirmation.isMending).toBe(true)
    expect(confirmation.sinceMs).toBe(1000 + lostAt)
    now += dueInMs()!
    await confirmation.check(signal)
    expect(confirmation.isComplete).toBe(true)
    expect(confirmation.isMending).toBe(false)
  })

  test('is not sent again when the listing had lagged', async () => {
    store(pathOf(lostAt))
    now += 5000
    await confirmation.check(signal)
    expect(confirmation.isComplete).toBe(true)
  })
})

test('what is there under its name, and in no listing, stays unconfirmed and is not sent again', async () => {
  send(0)
  client.listWalSegments = async function* () {
    await Promise.resolve()
    yield* []
  }
  for (const pauseMs of [5000, 10_000, 20_000]) {
    await confirmation.check(signal)
    expect(confirmation.lost).toBeUndefined()
    expect(confirmation.isMending).toBe(false)
    expect(confirmation.isComplete).toBe(false)
    expect(dueInMs(true)).toBe(pauseMs)
    now += pauseMs
  }
})

test('an object of another size is lost as well', async () => {
  send(0)
  store(pathOf(0), 'ab')
  await confirmation.check(signal)
  now += 5000
  await expect(confirmation.check(signal)).rejects.toThrow(
    'was acknowledged by the store, but has 2 bytes there',
  )
  expect(confirmation.lost?.segment.startOffset).toBe(0)
})

test('a listing that fails is tried again, and holds up nothing else', async () => {
  send(0)
  client.beforeOperation = () => {
    throw new ReplicaError('away', { retryable: true })
  }
  await expect(confirmation.check(signal)).rejects.toThrow('away')
  expect(dueInMs(true)).toBe(5000)
  expect(confirmation.isMending).toBe(false)
})

describe('a snapshot', () => {
  test('is looked at at once', async () => {
    store(formatObjectPath(snapshot))
    confirmation.acknowledgedSnapshot({ ref: snapshot, storedBytes: 3 })
    expect(confirmation.isComplete).toBe(false)
    expect(dueInMs()).toBe(0)
    await confirmation.check(signal)
    expect(confirmation.isComplete).toBe(true)
  })

  test('that is not there is an error that makes the replica be listed anew', async () => {
    confirmation.acknowledgedSnapshot({ ref: snapshot, storedBytes: 3 })
    await confirmation.check(signal)
    now += 5000
    const error: unknown = await confirmation.check(signal).catch((thrown: unknown) => thrown)
    expect(error).toMatchObject({ retryable: false })
    expect(String(error)).toContain('is not there: it is taken again')
  })

  test('is looked at again whenever segments are', async () => {
    store(formatObjectPath(snapshot))
    confirmation.begin({ generation, position: undefined }, { ref: snapshot, storedBytes: 3 })
    send(0)
    client.objects.delete(formatObjectPath(snapshot))
    await confirmation.check(signal)
    expect(confirmation.from).toBeUndefined()
    expect(confirmation.isSnapshotConfirmed).toBe(false)
  })
})
