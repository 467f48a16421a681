import { setImmediate } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { formatGeneration } from '../../../../src/domain/wal/generation.ts'
import { formatObjectPath } from '../../../../src/domain/stored/replica-layout.ts'
import { never } from '../../../../src/kit/abort.ts'
import { ObjectFetcher, partBytes } from '../../../../src/usecase/restore/object-fetcher.ts'
import { MemoryReplicaClient } from '../../../support/memory-replica-client.ts'

const generation = formatGeneration(Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8))
function storeObjects(client: MemoryReplicaClient, sizes: readonly number[]) {
  return sizes.map((sizeBytes, n) => {
    const object = { kind: 'wal-segment', generation, index: n, offset: 0, sizeBytes } as const
    const bytes = new Uint8Array(sizeBytes).map((_, at) => (at + n) % 251)
    client.objects.set(formatObjectPath(object), { bytes, createdAtMs: 1 })
    return object
  })
}

describe('the fetcher of objects', () => {
  it('gives the parts in order, large objects in ranges, and keeps within its bounds', async () => {
    const client = new MemoryReplicaClient()
    const sizes = [10, 5 * partBytes + 3, 1, 2 * partBytes, 7, 7, 7]
    const objects = storeObjects(client, sizes)
    let inFlight = 0
    let most = 0
    client.beforeOperation = async () => {
      inFlight += 1
      most = Math.max(most, inFlight)
      for (let turn = Math.random() * 20; turn > 0; turn -= 1) await setImmediate()
      inFlight -= 1
    }
    const options = { parallelism: 3, maxBytes: 4 * partBytes, signal: never }
    const fetcher = new ObjectFetcher(client, objects, options)
    let requests = 0
    for (const object of objects) {
      const chunks: Uint8Array[] = []
      for (let isLast = false; !isLast;) {
        const part = await fetcher.take()
        requests += 1
        chunks.push(...part.chunks)
        isLast = part.isLast
      }
      const expected = client.objects.get(formatObjectPath(object))?.bytes ?? new Uint8Array(0)
      expect(Buffer.concat(chunks).equals(expected)).toBe(true)
    }
    expect(requests).toBe(sizes.length + 4)
    expect(most).toBe(3)
    await expect(fetcher.take()).rejects.toThrow('no other part')
  })

  it('has little in memory where parts are there in time, and much where they come late', async () => {
    const client = new MemoryReplicaClient()
    const objects = storeObjects(client, [20 * partBytes])
    let most = 0
    let unused = 0
    client.read = async function* () {
      most = Math.max(most, (unused += 1))
      await setImmediate()
      yield new Uint8Array(1)
    }
    const takeAll = async (isSlow: boolean): Promise<number> => {
      most = unused = 0
      const options = { parallelism: 8, maxBytes: 6 * partBytes, signal: never }
      const fetcher = new ObjectFetcher(client, objects, options)
      for (let isLast = false; !isLast; unused -= 1) {
        for (let turn = 0; !isSlow && turn < 10; turn += 1) await setImmediate()
        isLast = (await fetcher.take()).isLast
      }
      return most
    }
    expect(await takeAll(false)).toBe(3)
    expect(await takeAll(true)).toBeGreaterThan(4)
  })

  it('gives chunks with memory of their own, whatever those of the client are views of', async () => {
    const client = new MemoryReplicaClient()
    const [object] = storeObjects(client, [3000])
    const shared = Buffer.alloc(10_000, 'shared')
    client.read = async function* () {
      await setImmediate()
      yield shared.subarray(0, 1000)
      yield shared.subarray(1000, 3000)
    }
    const options = { parallelism: 1, maxBytes: 100, signal: never }
    const { chunks } = await new ObjectFetcher(client, [object!], options).take()
    for (const chunk of chunks) {
      expect(chunk.buffer.byteLength).toBe(chunk.byteLength)
      expect(chunk.buffer).not.toBe(shared.buffer)
    }
    expect(Buffer.concat(chunks).equals(shared.subarray(0, 3000))).toBe(true)
  })

  it('throws what a request failed with, in its place, and begins nothing after an abort', async () => {
    const client = new MemoryReplicaClient()
    const objects = storeObjects(client, [1, 2, 3, 4])
    client.objects.delete(formatObjectPath(objects[1]!))
    const stop = new AbortController()
    const options = { parallelism: 2, maxBytes: 100, signal: stop.signal }
    const fetcher = new ObjectFetcher(client, objects, options)
    expect(await fetcher.take()).toMatchObject({ sizeBytes: 1, isLast: true })
    await expect(fetcher.take()).rejects.toMatchObject({ code: 'OBJECT_NOT_FOUND' })
    stop.abort()
    await fetcher.settle()
    let reads = 0
    client.beforeOperation = () => {
      reads += 1
    }
    await expect(fetcher.take()).rejects.toThrow()
    expect(reads).toBe(0)
  })
})
