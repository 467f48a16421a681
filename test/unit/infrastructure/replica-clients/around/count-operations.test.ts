import { expect, test } from 'vitest'
import { formatGeneration } from '../../../../../src/domain/wal/generation.js'
import { countOperations } from '../../../../../src/infrastructure/replica-clients/around/count-operations.js'
import { ObjectWriter } from '../../../../../src/usecase/replica/object-writer.js'
import { MemoryReplicaClient } from '../../../../support/memory-replica-client.js'

test('counts every operation and the bytes of bodies', async () => {
  const counts = new Map<string, { operations: number; bytes: number }>()
  const add = (name: string, operations: number, bytes: number): void => {
    const before = counts.get(name) ?? { operations: 0, bytes: 0 }
    counts.set(name, {
      operations: before.operations + operations,
      bytes: before.bytes + bytes,
    })
  }
  const client = countOperations(new MemoryReplicaClient({ partSizeBytes: 10 }), {
    countOperation: (operation, bytes) => {
      add(operation, 1, bytes)
    },
    countReadBytes: (bytes) => {
      add('GET', 0, bytes)
    },
  })
  const { signal } = new AbortController()
  const generation = formatGeneration(new Uint8Array(8))
  const ref = { kind: 'snapshot', generation, index: 0 } as const
  for (const size of [7, 25]) {
    await using upload = await client.startUpload(ref, { expectedBytes: size }, signal)
    const writer = new ObjectWriter(upload)
    await writer.write(new Uint8Array(size))
    await writer.end()
    await upload.finish()
  }
  await Array.fromAsync(client.read(ref, { offset: 5, length: undefined }, signal))
  await Array.fromAsync(client.listSnapshots(generation, signal))
  await client.delete([ref, ref], signal)
  expect(Object.fromEntries(counts)).toEqual({
    PUT: { operations: 1 + 3 + 1, bytes: 32 },
    GET: { operations: 1, bytes: 20 },
    LIST: { operations: 1, bytes: 0 },
    DELETE: { operations: 2, bytes: 0 },
  })
})
