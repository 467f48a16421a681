/** The encrypting client around the in-memory one, against the library itself. */
import { randomBytes } from 'node:crypto'
import { Decrypter, Encrypter, generateX25519Identity, identityToRecipient } from 'age-encryption'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { formatObjectPath } from '../../src/domain/stored/replica-layout.js'
import { Secret } from '../../src/domain/settings/secret.js'
import {
  parseIdentities,
  parseRecipients,
} from '../../src/infrastructure/replica-clients/age/age-keys.js'
import { encryptObjects } from '../../src/infrastructure/replica-clients/age/encrypt-objects.js'
import { ObjectWriter } from '../../src/usecase/replica/object-writer.js'
import { type ReplicaClient } from '../../src/usecase/ports/replica-client.js'
import { MemoryReplicaClient } from '../support/memory-replica-client.js'
import {
  collect,
  describeReplicaClient,
  get,
  put,
  signal,
  snapshot,
} from './replica-client.contract.js'

const chunkBytes = 64 * 1024
const identity = await generateX25519Identity()
const recipient = await identityToRecipient(identity)
const other = await generateX25519Identity()
const keys = { recipients: [recipient], identities: [identity] }

const sizes = [0, 1, chunkBytes - 1, chunkBytes, chunkBytes + 1, 3 * chunkBytes, 1_000_003]

async function encrypt(bytes: Uint8Array): Promise<Uint8Array> {
  const encrypter = new Encrypter()
  encrypter.addRecipient(recipient)
  return encrypter.encrypt(bytes)
}

const stored = (memory: ReplicaClient) => get(memory, snapshot(0))

describeReplicaClient('age over memory', () => {
  const memory = new MemoryReplicaClient()
  return Promise.resolve({
    client: encryptObjects(memory, keys),
    putForeign: async (path, bytes) => {
      memory.objects.set(path, { bytes: await encrypt(bytes), createdAtMs: 0 })
    },
    // A head for one recipient, and a tag for each chunk.
    storedBytes: (size) => 184 + size + 16 * Math.max(1, Math.ceil(size / chunkBytes)),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  })
})

describe('age', () => {
  test('a part whose memory is freed once it was sent, in the middle of an encrypted chunk', async () => {
    const memory = new MemoryReplicaClient({ partSizeBytes: 10_000 })
    const client = encryptObjects(memory, keys)
    const bytes = randomBytes(35_000)
    await using upload = await client.startUpload(snapshot(0), { expectedBytes: 35_000 }, signal)
    const writer = new ObjectWriter(upload)
    for (let at = 0; at < bytes.length; at += 10_000) {
      const chunk = Buffer.from(new Uint8Array(bytes.subarray(at, at + 10_000)).buffer)
      await writer.write(chunk)
    }
    await writer.end()
    await writer.finish()
    expect((await get(client, snapshot(0))).equals(bytes)).toBe(true)
  })

  test('an object is known again by its mark, without an identity, and read with one', async () => {
    const memory = new MemoryReplicaClient()
    const blind = encryptObjects(memory, { ...keys, identities: [] })
    const send = async (index: number, mark: string): Promise<void> => {
      const options = { expectedBytes: 9, mark }
      await using upload = await blind.startUpload(snapshot(index), options, signal)
      await upload.sendPart({ number: 0, bytes: Buffer.from('same size'), last: true })
      await upload.finish()
    }
    await send(0, 'one history')
    await send(1, 'another one')
    await send(2, 'one history')
    await put(blind, snapshot(3), Buffer.from('same size'))
    const isMarked = (index: number): Promise<boolean | undefined> =>
      blind.isMarked({ ref: snapshot(index), mark: 'one history' }, signal)
    expect(await Promise.all([0, 1, 2, 3].map(isMarked))).toEqual([true, false, true, false])
    const texts = [0, 1, 2].map((index) => get(encryptObjects(memory, keys), snapshot(index)))
    expect(String(await Promise.all(texts))).toBe('same size,same size,same size')
    const heads = await Promise.all([0, 2].map((index) => get(memory, snapshot(index))))
    expect(heads[0]?.subarray(-25)).not.toEqual(heads[1]?.subarray(-25))
  })

  test.each(sizes)('%i bytes are one age file that its library opens', async (size) => {
    const memory = new MemoryReplicaClient()
    const bytes = randomBytes(size)
    await put(encryptObjects(memory, keys), snapshot(0), bytes, 10_007)
    const file = await stored(memory)
    if (size > 32) expect(file.includes(bytes.subarray(0, 32))).toBe(false)
    const decrypter = new Decrypter()
    decrypter.addIdentity(identity)
    expect(Buffer.from(await decrypter.decrypt(file)).equals(bytes)).toBe(true)
  })

  test.each(sizes)('%i bytes of a file that the library made are read', async (size) => {
    const memory = new MemoryReplicaClient()
    const bytes = randomBytes(size)
    const encrypter = new Encrypter()
    encrypter.addRecipient(await identityToRecipient(other))
    encrypter.addRecipient(recipient)
    await put(memory, snapshot(0), await encrypter.encrypt(bytes))
    const client = encryptObjects(memory, keys)
    expect((await get(client, snapshot(0))).equals(bytes)).toBe(true)
    const sizeBytes = (await stored(memory)).length
    expect(await client.contentBytes({ ref: snapshot(0), sizeBytes }, signal)).toBe(size)
  })

  test('any range is what it is of the whole', async () => {
    const memory = new MemoryReplicaClient()
    const client = encryptObjects(memory, keys)
    const bytes = randomBytes(3 * chunkBytes + 17)
    await put(client, snapshot(0), bytes)
    const edge = fc.oneof(
      fc.integer({ min: 0, max: bytes.length + 100 }),
      fc
        .tuple(fc.integer({ min: 0, max: 4 }), fc.integer({ min: -1, max: 1 }))
        .map(([chunk, off]) => Math.max(0, chunk * chunkBytes + off)),
    )
    await fc.assert(
      fc.asyncProperty(edge, fc.option(edge, { nil: undefined }), async (offset, length) => {
        const part = await get(client, snapshot(0), { offset, length })
        const end = length === undefined ? undefined : offset + length
        expect(part.equals(bytes.subarray(offset, end))).toBe(true)
      }),
    )
  })

  test('no flip, cut or exchange of chunks is read as content', async () => {
    const memory = new MemoryReplicaClient()
    const bytes = randomBytes(2 * chunkBytes + 100)
    await put(encryptObjects(memory, keys), snapshot(0), bytes)
    const file = await stored(memory)
    const damaged = [
      ...[0, 100, 190, 250, 70_000, file.length - 1].map((at) => {
        const copy = Buffer.from(file)
        copy.writeUInt8(copy.readUInt8(at) ^ 1, at)
        return copy
      }),
      ...[
        0,
        50,
        215,
        300,
        file.length - 1,
        file.length - 116,
        file.length - 116 - chunkBytes - 16,
      ].map((length) => file.subarray(0, length)),
      Buffer.concat([file, Buffer.from('x')]),
    ]
    for (const copy of damaged) {
      const place = new MemoryReplicaClient()
      await put(place, snapshot(0), copy)
      const client = encryptObjects(place, keys)
      await expect(get(client, snapshot(0))).rejects.toThrow(formatObjectPath(snapshot(0)))
    }
  })

  test('another identity, and an object that is plain, are said in plain words', async () => {
    const memory = new MemoryReplicaClient()
    await put(encryptObjects(memory, keys), snapshot(0), Buffer.from('x'))
    await put(memory, snapshot(1), Buffer.from('plain'))
    const wrong = encryptObjects(memory, { recipients: [], identities: [other] })
    await expect(get(wrong, snapshot(0))).rejects.toMatchObject({
      retryable: false,
      hint: expect.stringContaining('age.identities') as unknown,
    })
    await expect(get(wrong, snapshot(1))).rejects.toThrow('is not encrypted with age')
  })

  test('without identities objects are read as they are stored', async () => {
    const memory = new MemoryReplicaClient()
    const client = encryptObjects(memory, { recipients: [recipient], identities: [] })
    await put(client, snapshot(0), Buffer.from('x'))
    expect(await collect(client.read(snapshot(0), { offset: 0, length: 21 }, signal))).toEqual([
      expect.objectContaining({ length: 21 }),
    ])
    const sizeBytes = (await stored(memory)).length
    expect(await client.contentBytes({ ref: snapshot(0), sizeBytes }, signal)).toBe(1)
  })
})

describe('keys', () => {
  test('are one a line, with comments and empty lines between', async () => {
    expect(await parseRecipients([`# mine\n\n${recipient}\n`, recipient])).toEqual([
      recipient,
      recipient,
    ])
    expect(await parseIdentities([new Secret(`# made today\n${identity}\n`)])).toEqual([identity])
  })

  const otherEnd = recipient.endsWith('q') ? 'p' : 'q'
  test.each([
    'age1nonsense',
    `${recipient.slice(0, -1)}${otherEnd}`,
    'ssh-ed25519 AAAA',
    `${recipient}x`,
  ])('refuses the recipient %s', async (text) => {
    await expect(parseRecipients([`#\n${text}`])).rejects.toThrow('malformed recipient at line 2')
  })

  test('refuses an identity that is none, and does not show it', async () => {
    const text = identity.slice(0, -2)
    const error: unknown = await parseIdentities([new Secret(text)]).catch((e: unknown) => e)
    expect(String(error)).toContain('error at line 1: malformed secret key')
    expect(`${String(error)} ${JSON.stringify(error)}`).not.toContain(text.slice(-20))
  })
})
