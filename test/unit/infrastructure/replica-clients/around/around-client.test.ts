import { describe, expect, test } from 'vitest'
import { formatGeneration } from '../../../../../src/domain/wal/generation.js'
import { type ObjectRef } from '../../../../../src/domain/stored/replica-layout.js'
import { encryptObjects } from '../../../../../src/infrastructure/replica-clients/age/encrypt-objects.js'
import { around } from '../../../../../src/infrastructure/replica-clients/around/around-client.js'
import { countOperations } from '../../../../../src/infrastructure/replica-clients/around/count-operations.js'
import { guardWrites } from '../../../../../src/infrastructure/replica-clients/around/guard-writes.js'
import { limitOperations } from '../../../../../src/infrastructure/replica-clients/around/limit-operations.js'
import { retryOperations } from '../../../../../src/infrastructure/replica-clients/around/retry-operations.js'
import { Permits } from '../../../../../src/kit/permits.js'
import { type ReplicaClient } from '../../../../../src/usecase/ports/replica-client.js'
import { MemoryReplicaClient } from '../../../../support/memory-replica-client.js'

const { signal } = new AbortController()
const generation = formatGeneration(new Uint8Array(8))
const ref: ObjectRef = { kind: 'snapshot', generation, index: 7 }

/** How each member of the port is used; a member that is missing here does not compile. */
const uses: Readonly<Record<keyof ReplicaClient, (client: ReplicaClient) => unknown>> = {
  type: (client) => client.type,
  location: (client) => client.location,
  isEncrypted: (client) => client.isEncrypted,
  listGenerations: (client) => Array.fromAsync(client.listGenerations(signal)),
  listSnapshots: (client) => Array.fromAsync(client.listSnapshots(generation, signal)),
  listWalSegments: (client) => Array.fromAsync(client.listWalSegments(generation, signal)),
  startUpload: (client) => client.startUpload(ref, { expectedBytes: 1 }, signal),
  read: (client) => Array.fromAsync(client.read(ref, { offset: 0, length: undefined }, signal)),
  contentBytes: (client) => client.contentBytes({ ref, sizeBytes: 1 }, signal),
  isMarked: (client) => client.isMarked({ ref, mark: 'x' }, signal),
  delete: (client) => client.delete([ref], signal),
  readOwner: (client) => client.readOwner(signal),
  writeOwner: (client) => client.writeOwner({ content: '{}', replaces: undefined }, signal),
  sweep: (client) => client.sweep(signal),
}

const wrappers: readonly (readonly [string, (client: ReplicaClient) => ReplicaClient])[] = [
  ['around', (client) => around(client)],
  [
    'countOperations',
    (client) =>
      countOperations(client, { countOperation: () => undefined, countReadBytes: () => undefined }),
  ],
  ['guardWrites', (client) => guardWrites(client, { check: () => Promise.resolve() })],
  ['limitOperations', (client) => limitOperations(client, new Permits(1))],
  [
    'retryOperations',
    (client) =>
      retryOperations(client, {
        attempts: 2,
        baseDelayMs: 1,
        maxDelayMs: 1,
        clock: { sleep: () => Promise.resolve() },
        random: () => 0,
      }),
  ],
  ['encryptObjects', (client) => encryptObjects(client, { recipients: [], identities: [] })],
]

/** A client whose members leave their names in `used` when they are used. */
function watched(used: string[]): ReplicaClient {
  const memory = new MemoryReplicaClient()
  memory.objects.set(`generations/${generation}/snapshots/00000007.snapshot.lz4`, {
    bytes: Buffer.from('x'),
    createdAtMs: 0,
  })
  return new Proxy(memory, {
    get: (target, name) => {
      used.push(String(name))
      const value: unknown = Reflect.get(target, name)
      return typeof value === 'function' ? (value.bind(target) as unknown) : value
    },
  })
}

describe.each(wrappers)('%s', (name, wrap) => {
  /** Without keys there is nothing to find out about an object's size. */
  const answersItself = name === 'encryptObjects' ? ['isEncrypted', 'contentBytes', 'isMarked'] : []

  test('hands on every member of the port', async () => {
    const handedOn: string[] = []
    for (const [member, use] of Object.entries(uses)) {
      const used: string[] = []
      const client = wrap(watched(used))
      // What is no method is read when the client is wrapped.
      if (typeof Reflect.get(client, member) === 'function') used.length = 0
      await Promise.resolve(use(client)).catch(() => undefined)
      if (used.includes(member)) handedOn.push(member)
    }
    const wanted = Object.keys(uses).filter((member) => !answersItself.includes(member))
    expect(handedOn.filter((member) => !answersItself.includes(member))).toEqual(wanted)
  })

  test('hands on every member of an upload', async () => {
    const memory = new MemoryReplicaClient({ partSizeBytes: 77, maxConcurrentParts: 5 })
    const began = memory.startUpload.bind(memory)
    memory.startUpload = async (...args) => ({
      ...(await began(...args)),
      isWhole: true,
      storedBytes: (contentBytes) => 2 * contentBytes,
    })
    await using upload = await wrap(memory).startUpload(ref, { expectedBytes: 1 }, signal)
    const { partSizeBytes, maxConcurrentParts, isWhole } = upload
    expect({ partSizeBytes, maxConcurrentParts, isWhole }).toEqual({
      partSizeBytes: 77,
      maxConcurrentParts: 5,
      isWhole: true,
    })
    expect(upload.storedBytes(21)).toBe(42)
    await upload.sendPart({ number: 0, bytes: Buffer.from('x'), last: true })
    expect(memory.objects.size).toBe(0)
    await upload.finish()
    expect(memory.objects.size).toBe(1)
    const given = await wrap(memory).startUpload(ref, { expectedBytes: 1 }, signal)
    expect(memory.openUploads.size).toBe(1)
    await given[Symbol.asyncDispose]()
    expect(memory.openUploads.size).toBe(0)
  })
})
