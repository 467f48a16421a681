/**
 * An object comes out whole of each client, however its body was cut on the way: fetched and decoded as a restore does
 * it, by the vendors' real clients against a server on loopback.
 */
import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { generateX25519Identity, identityToRecipient } from 'age-encryption'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { freeMemory } from '../../src/kit/free-memory.js'
import { ObjectBody } from '../../src/infrastructure/image/object-body.js'
import { decodeFrame } from '../../src/infrastructure/lz4/frame-decoder.js'
import { createLz4Compressor } from '../../src/infrastructure/lz4/frame-encoder.js'
import { encryptObjects } from '../../src/infrastructure/replica-clients/age/encrypt-objects.js'
import { openAbsReplica } from '../../src/infrastructure/replica-clients/azure/abs-store.js'
import { FileReplicaClient } from '../../src/infrastructure/replica-clients/file/file-replica-client.js'
import { openGcsReplica } from '../../src/infrastructure/replica-clients/gcs/gcs-store.js'
import { openS3Replica } from '../../src/infrastructure/replica-clients/s3/s3-store.js'
import { ObjectFetcher } from '../../src/usecase/restore/object-fetcher.js'
import { maxBlockBytes } from '../../src/usecase/ports/compressor.js'
import { type ReplicaClient } from '../../src/usecase/ports/replica-client.js'
import { everyBytes } from '../support/lent-pieces.js'
import { MemoryReplicaClient } from '../support/memory-replica-client.js'
import { storedObjects, storedTrailer } from '../support/stored-objects.js'
import { absTarget } from '../support/stores/azurite.js'
import { gcsTarget } from '../support/stores/fake-gcs.js'
import { type PacedServer, startPacedServer } from '../support/stores/paced-server.js'
import { s3Target } from '../support/stores/s3-target.js'
import { get, put, signal, snapshot } from './replica-client.contract.js'

const ref = snapshot(0)
const objects = await storedObjects()
const compressor = await createLz4Compressor()
const identity = await generateX25519Identity()
const keys = { recipients: [await identityToRecipient(identity)], identities: [identity] }

/** Fetches an object and decodes it from memory that has moved, as to a thread. */
async function decode(client: ReplicaClient, sizeBytes: number): Promise<Buffer> {
  const options = { parallelism: 1, maxBytes: 1024 * 1024, signal }
  const fetcher = new ObjectFetcher(client, [{ ...ref, sizeBytes }], options)
  const { chunks, isLast } = await fetcher.take()
  const body = new ObjectBody(() => undefined)
  const transfer = [...new Set(chunks.map((chunk) => chunk.buffer as ArrayBuffer))]
  body.push(structuredClone(chunks, { transfer }), isLast)
  const copies: Uint8Array[] = []
  for await (const block of decodeFrame(body)) {
    copies.push(new Uint8Array(block))
    freeMemory(block)
  }
  expect(body.trailer.kind).toBe('trailer')
  return Buffer.concat(copies)
}

describe.each<[string, (endpoint: string) => ReplicaClient]>([
  [
    's3',
    (endpoint) => {
      const keys = { accessKeyId: 'AKID', secretAccessKey: 'secret' }
      return openS3Replica(s3Target({ endpoint, ...keys, bucket: 'bucket', region: 'us-east-1' }))
    },
  ],
  ['gcs', (endpoint) => openGcsReplica(gcsTarget({ endpoint, bucket: 'box' }))],
  [
    'abs',
    (endpoint) => {
      const account = { accountName: 'account', accountKey: 'c2VjcmV0a2V5', container: 'box' }
      return openAbsReplica(absTarget({ endpoint: `${endpoint}/account`, ...account }))
    },
  ],
])('the body of %s', (_, open) => {
  let server: PacedServer
  /** The client, and how its bodies came. */
  let client: ReplicaClient
  let lengths: number[]

  beforeAll(async () => {
    server = await startPacedServer()
    client = open(server.endpoint)
    const read = client.read.bind(client)
    client.read = async function* (...request) {
      for await (const chunk of read(...request)) {
        lengths.push(chunk.length)
        server.received(chunk.length)
        yield chunk
      }
    }
  })

  afterAll(() => server[Symbol.asyncDispose]())

  async function check(
    served: { readonly bytes: Uint8Array; readonly content: Buffer },
    cuts: readonly number[],
    reader = client,
  ): Promise<void> {
    lengths = []
    server.serve(served.bytes, cuts)
    const decoded = await decode(reader, served.bytes.length)
    expect(decoded.equals(served.content), `cut at ${cuts.join()}`).toBe(true)
  }

  test.each(objects)('a $name, cut in each magic', async (object) => {
    for (const magic of object.magics) {
      for (let cut = Math.max(1, magic - 1); cut <= magic + 5; cut += 1) {
        await check(object, [cut])
        expect(lengths).toEqual([cut, object.bytes.length - cut])
      }
    }
  })

  test.each(objects)('a $name in pieces', async (object) => {
    for (const size of [1, 2, 3, 5, 7]) {
      await check(object, everyBytes(object.bytes.length, size))
      expect(lengths.length).toBe(Math.ceil(object.bytes.length / size))
    }
  })

  test('a larger object, plain and encrypted, in pieces as packets carry them', async () => {
    const large = objectWithFrameOf(20_000)
    const memory = new MemoryReplicaClient()
    await put(encryptObjects(memory, keys), ref, large.bytes, 1000)
    const encrypted = { ...large, bytes: await get(memory, ref) }
    for (const size of [536, 1460]) {
      await check(large, everyBytes(large.bytes.length, size))
      const cuts = everyBytes(encrypted.bytes.length, size)
      await check(encrypted, cuts, encryptObjects(client, keys))
    }
  })
})

/** An object whose trailer begins at that place. */
function objectWithFrameOf(frameBytes: number): {
  readonly bytes: Buffer
  readonly content: Buffer
} {
  const encoder = compressor.startFrame()
  const header = encoder.header()
  const parts = [header]
  // Random bytes are stored as they are, behind their length; the end has eight bytes.
  const blockCount = Math.ceil(frameBytes / maxBlockBytes)
  const content = randomBytes(frameBytes - header.length - 4 * blockCount - 8)
  for (let n = 0; n < blockCount; n += 1) {
    const [from, to] = [n, n + 1].map((i) => Math.round((i * content.length) / blockCount))
    parts.push(encoder.block(content.subarray(from, to)))
  }
  parts.push(encoder.end(), storedTrailer)
  return { bytes: Buffer.concat(parts), content }
}

test.each([
  ['of a file', 1024 * 1024, (inner: ReplicaClient) => inner],
  ['of age', 64 * 1024, (inner: ReplicaClient) => encryptObjects(inner, keys)],
])('a chunk %s ends within the magic of a trailer', async (_, chunkBytes, wrap) => {
  const path = mkdtempSync(join(tmpdir(), 'bodies-'))
  try {
    const client = wrap(new FileReplicaClient({ path, owner: undefined }))
    for (let before = -1; before <= 5; before += 1) {
      const object = objectWithFrameOf(chunkBytes - before)
      await put(client, ref, object.bytes)
      const decoded = await decode(client, object.bytes.length)
      expect(decoded.equals(object.content), `${before} bytes before the end`).toBe(true)
    }
  } finally {
    rmSync(path, { recursive: true, force: true })
  }
})
