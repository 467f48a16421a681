import { expect, test } from 'vitest'
import { formatGeneration } from '../../../../../src/domain/wal/generation.js'
import { type ObjectRef } from '../../../../../src/domain/stored/replica-layout.js'
import { limitOperations } from '../../../../../src/infrastructure/replica-clients/around/limit-operations.js'
import { Permits } from '../../../../../src/kit/permits.js'
import { MemoryReplicaClient } from '../../../../support/memory-replica-client.js'

const generation = formatGeneration(new Uint8Array(8))
const { signal } = new AbortController()
const ref = (index: number): ObjectRef => ({ kind: 'wal-segment', generation, index, offset: 0 })
const whole = { offset: 0, length: undefined }

test('no more operations run at once than there are permits, and all of them run', async () => {
  const store = new MemoryReplicaClient()
  let running = 0
  let most = 0
  store.beforeOperation = async () => {
    running += 1
    most = Math.max(most, running)
    await new Promise((resolve) => setImmediate(resolve))
    running -= 1
  }
  const client = limitOperations(store, new Permits(3))
  await Promise.all(
    Array.from({ length: 20 }, async (_, index) => {
      await using upload = await client.startUpload(ref(index), { expectedBytes: 1 }, signal)
      await upload.sendPart({ number: 0, bytes: Buffer.from('x'), last: true })
      await upload.finish()
      await Array.fromAsync(client.read(ref(index), whole, signal))
      await client.delete([ref(index)], signal)
      await Array.fromAsync(client.listWalSegments(generation, signal))
    }),
  )
  expect(most).toBe(3)
  expect(store.objects.size).toBe(0)
})

test('a permit comes back from what fails, is aborted or is not read to its end', async () => {
  const store = new MemoryReplicaClient()
  const client = limitOperations(store, new Permits(1))
  store.objects.set(`generations/${generation}/wal/00000000_00000000.wal.lz4`, {
    bytes: Buffer.alloc(200_000),
    createdAtMs: 0,
  })
  await expect(Array.fromAsync(client.read(ref(9), whole, signal))).rejects.toThrow('not exist')
  for await (const chunk of client.read(ref(0), whole, signal)) {
    expect(chunk.byteLength).toBeGreaterThan(0)
    break
  }
  const reading = client.read(ref(0), whole, signal)[Symbol.asyncIterator]()
  await reading.next()
  const controller = new AbortController()
  const waiting = client.delete([ref(0)], controller.signal)
  controller.abort()
  await expect(waiting).rejects.toBe(controller.signal.reason)
  await reading.return?.()
  await client.delete([ref(0)], signal)
  expect(store.objects.size).toBe(0)
})
