/** The Azure client against Azurite. */
import { randomBytes, randomUUID } from 'node:crypto'
import {
  ContainerSASPermissions,
  generateBlobSASQueryParameters,
  StorageSharedKeyCredential,
} from '@azure/storage-blob'
import { describe, expect, inject, test } from 'vitest'
import { type AbsReplicaTarget } from '../../src/domain/config.js'
import { ReplicaError } from '../../src/domain/errors.js'
import { formatObjectPath } from '../../src/domain/replica-layout.js'
import { Secret } from '../../src/domain/secret.js'
import { AbsReplicaClient } from '../../src/infrastructure/replica-clients/azure/abs-replica-client.js'
import { absTarget, plainContainer } from '../support/stores/azurite.js'
import {
  collect,
  describeReplicaClient,
  generation,
  get,
  put,
  segment,
  signal,
  snapshot,
} from './replica-client.contract.js'

const mebibyte = 1024 * 1024

async function failure(promise: Promise<unknown>): Promise<ReplicaError> {
  const error: unknown = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  )
  expect(error).toBeInstanceOf(ReplicaError)
  return error as ReplicaError
}

const store = inject('stores').azurite
if ('unavailable' in store) {
  test.skip(`Azurite is not reached: ${store.unavailable}`, () => undefined)
} else {
  const vendor = plainContainer(store)
  const open = (settings: Partial<AbsReplicaTarget> = {}) => {
    const target = absTarget(store, { prefix: `contract/${randomUUID()}`, ...settings })
    return { target, client: new AbsReplicaClient(target) }
  }
  const sas = (permissions: string, expiresInMs = 600_000) =>
    new Secret(
      generateBlobSASQueryParameters(
        {
          containerName: store.container,
          permissions: ContainerSASPermissions.parse(permissions),
          expiresOn: new Date(Date.now() + expiresInMs),
        },
        new StorageSharedKeyCredential(store.accountName, store.accountKey),
      ).toString(),
    )

  describe('Azurite', () => {
    describeReplicaClient('Azurite', () => {
      const { client, target } = open()
      return Promise.resolve({
        client,
        putForeign: async (path, bytes) => {
          await vendor.uploadBlockBlob(
            `${target.prefix}/${path}`,
            Buffer.from(bytes),
            bytes.byteLength,
          )
        },
        [Symbol.asyncDispose]: () => Promise.resolve(),
      })
    })

    test('an object of three parts, read whole and by ranges', async () => {
      const { client } = open({ partSizeBytes: 5 * mebibyte })
      const bytes = randomBytes(12 * mebibyte)
      await put(client, snapshot(0), bytes)
      expect((await get(client, snapshot(0))).equals(bytes)).toBe(true)
      const range = { offset: 5 * mebibyte - 3, length: 5 * mebibyte + 6 }
      const part = await get(client, snapshot(0), range)
      expect(part.equals(bytes.subarray(range.offset, range.offset + range.length))).toBe(true)
    })

    test('a finish that is repeated is harmless', async () => {
      const { client } = open({ partSizeBytes: mebibyte })
      const bytes = randomBytes(3 * mebibyte)
      await put(client, snapshot(0), bytes)
      await using upload = await client.startUpload(snapshot(1), { expectedBytes: 1 }, signal)
      for (let number = 0; number < 3; number++) {
        const part = bytes.subarray(number * mebibyte, (number + 1) * mebibyte)
        await upload.sendPart({ number, bytes: part, last: number === 2 })
        await upload.sendPart({ number, bytes: part, last: number === 2 })
      }
      await upload.finish()
      await upload.finish()
      expect((await get(client, snapshot(1))).equals(bytes)).toBe(true)
    })

    test('an upload that is cancelled while its parts are on the way shows nothing', async () => {
      const { client } = open()
      const controller = new AbortController()
      {
        await using upload = await client.startUpload(
          snapshot(0),
          { expectedBytes: 100 * mebibyte },
          controller.signal,
        )
        const bytes = randomBytes(upload.partSizeBytes)
        await upload.sendPart({ number: 0, bytes, last: false })
        const others = [1, 2, 3].map((number) => upload.sendPart({ number, bytes, last: false }))
        setTimeout(() => controller.abort(new Error('enough')), 5)
        await Promise.all(others.map((other) => expect(other).rejects.toThrow('enough')))
      }
      expect(await collect(client.listSnapshots(generation, signal))).toEqual([])
    })

    test('blocks that another program left under the name are no obstacle', async () => {
      const { client, target } = open({ partSizeBytes: mebibyte })
      const name = `${target.prefix}/${formatObjectPath(snapshot(0))}`
      const theirs = Buffer.alloc(64, 7).toString('base64')
      await vendor.getBlockBlobClient(name).stageBlock(theirs, Buffer.from('left'), 4)
      const bytes = randomBytes(2 * mebibyte)
      await put(client, snapshot(0), bytes)
      expect((await get(client, snapshot(0))).equals(bytes)).toBe(true)
    })

    test('lists and deletes more objects than a page holds', async () => {
      const { client } = open()
      const refs = Array.from({ length: 2500 }, (_, index) => segment(index, 0))
      const waiting = [...refs]
      const work = async () => {
        for (let ref = waiting.pop(); ref !== undefined; ref = waiting.pop()) {
          await put(client, ref, Buffer.from('x'))
        }
      }
      await Promise.all(Array.from({ length: 32 }, work))
      const indexes = async () =>
        (await collect(client.listWalSegments(generation, signal))).map(({ index }) => index)
      expect((await indexes()).sort((a, b) => a - b)).toEqual(refs.map(({ index }) => index))
      await client.delete(refs.slice(0, 1001), signal)
      expect(await indexes()).toHaveLength(1499)
      await client.delete(refs, signal)
      expect(await indexes()).toEqual([])
    }, 240_000)

    test.each(['a b', 'ü/ñ', '100%/a+b', "it's(a)*!", 'x=y&z', '日本', '//slashes//all/over//'])(
      'the prefix %j',
      async (suffix) => {
        const { client } = open({ prefix: `${randomUUID()}/${suffix}` })
        await put(client, segment(0, 0), Buffer.from('x'))
        await put(client, snapshot(0), Buffer.alloc(1))
        expect(await collect(client.listGenerations(signal))).toEqual([generation])
        expect(await collect(client.listWalSegments(generation, signal))).toHaveLength(1)
        expect((await get(client, segment(0, 0))).toString()).toBe('x')
        await client.delete([segment(0, 0), snapshot(0)], signal)
        expect(await collect(client.listGenerations(signal))).toEqual([])
      },
    )

    test('a prefix that begins like another is another replica', async () => {
      const prefix = randomUUID()
      const one = open({ prefix: `${prefix}/db` }).client
      const two = open({ prefix: `${prefix}/db2` }).client
      await put(two, segment(0, 0), Buffer.from('two'))
      expect(await collect(one.listGenerations(signal))).toEqual([])
    })

    test('an object that is replaced while it is being read is noticed', async () => {
      const { client, target } = open()
      await put(client, snapshot(0), Buffer.from('0123456789'))
      await get(client, snapshot(0))
      await put(new AbsReplicaClient(target), snapshot(0), Buffer.from('abcdefghij'))
      const rest = get(client, snapshot(0), { offset: 4, length: undefined })
      expect((await failure(rest)).message).toContain('replaced while it was being read')
    })

    test('a sas-token does for everything', async () => {
      const { client } = open({ accountKey: undefined, sasToken: sas('racwdl') })
      await put(client, segment(0, 0), Buffer.from('x'))
      expect((await get(client, segment(0, 0))).toString()).toBe('x')
      expect(await collect(client.listGenerations(signal))).toEqual([generation])
      await client.delete([segment(0, 0)], signal)
    })

    test.each<[string, Partial<AbsReplicaTarget>, string]>([
      ['a wrong key', { accountKey: new Secret('d3Jvbmc=') }, 'key or token is not accepted'],
      [
        'a token that may only read',
        { accountKey: undefined, sasToken: sas('r') },
        'permission denied',
      ],
      [
        'an expired token',
        { accountKey: undefined, sasToken: sas('racwdl', -60_000) },
        'the sas-token has expired',
      ],
      ['no container', { bucket: 'tsreplicate-absent' }, 'there is no such container'],
    ])('%s is told in plain words', async (_, settings, phrase) => {
      const { client, target } = open(settings)
      for (const attempt of [
        () => put(client, segment(0, 0), Buffer.from('x')),
        () => put(client, snapshot(0), randomBytes(9 * mebibyte)),
        () => collect(client.listGenerations(signal)),
        () => client.delete([segment(0, 0)], signal),
      ]) {
        const error = await failure(attempt())
        expect.soft(error.message).toContain(phrase)
        expect(error.message).toContain(' abs://devstoreaccount1@tsreplicate-')
        expect(error.hint).toBeDefined()
        expect(error.retryable).toBe(false)
        const shown = `${error.message} ${String(error.cause)} ${JSON.stringify(error)}`
        for (const secret of [target.accountKey, target.sasToken]) {
          if (secret !== undefined) expect(shown).not.toContain(secret.reveal())
        }
      }
    })
  })
}
