import { describe, expect, test } from 'vitest'
import { formatGeneration } from '../../../src/domain/generation.js'
import { formatObjectPath } from '../../../src/domain/replica-layout.js'
import { ReadBack } from '../../../src/usecase/read-back.js'
import { MemoryReplicaClient } from '../../support/memory-replica-client.js'

const generation = formatGeneration(new Uint8Array(8))
const { signal } = new AbortController()
const ref = (offset: number) => ({ kind: 'wal-segment', generation, index: 0, offset }) as const

function make() {
  const client = new MemoryReplicaClient()
  let now = 0
  let reads = 0
  client.beforeOperation = (operation) => {
    if (operation === 'read') reads += 1
  }
  const readBack = new ReadBack({ client, clock: { monotonic: () => now }, intervalMs: 60_000 })
  return {
    readBack,
    reads: () => reads,
    wait: (ms: number) => (now += ms),
    store: (offset: number, bytes: string) =>
      client.objects.set(formatObjectPath(ref(offset)), {
        bytes: Buffer.from(bytes),
        createdAtMs: 0,
      }),
  }
}

describe('ReadBack', () => {
  test('nothing acknowledged is nothing to read', async () => {
    const { readBack, reads } = make()
    expect(readBack.dueInMs).toBeUndefined()
    await readBack.check(signal)
    expect(reads()).toBe(0)
  })

  test('only the newest of an interval is read, and all before it is confirmed', async () => {
    const { readBack, reads, wait, store } = make()
    for (const offset of [0, 32, 64]) {
      store(offset, 'abc')
      readBack.acknowledged(ref(offset), 3, 1000 + offset)
      wait(1000)
    }
    expect(readBack.sinceMs).toBe(1000)
    expect(readBack.dueInMs).toBe(57_000)
    wait(57_000)
    expect(readBack.dueInMs).toBe(0)
    await readBack.check(signal)
    expect(reads()).toBe(1)
    expect(readBack.sinceMs).toBeUndefined()
    expect(readBack.dueInMs).toBeUndefined()
  })

  test.each([
    ['is not there', undefined],
    ['is shorter than what was sent', 'ab'],
  ])('an object that %s is an error, and stays unconfirmed until a later one is', async (_, is) => {
    const { readBack, store } = make()
    if (is !== undefined) store(0, is)
    readBack.acknowledged(ref(0), 3, 1000)
    await expect(readBack.check(signal)).rejects.toThrow(
      'was acknowledged by the store and is not there',
    )
    expect(readBack.sinceMs).toBe(1000)
    expect(readBack.dueInMs).toBeUndefined()
    store(32, 'abc')
    readBack.acknowledged(ref(32), 3, 5000)
    expect(readBack.sinceMs).toBe(1000)
    await readBack.check(signal)
    expect(readBack.sinceMs).toBeUndefined()
  })
})
