/** The client of Google Cloud Storage against fake-gcs-server. */
import { randomBytes, randomUUID } from 'node:crypto'
import { describe, expect, inject, test } from 'vitest'
import { type GcsReplicaTarget } from '../../src/domain/config.js'
import { ReplicaError } from '../../src/domain/errors.js'
import { formatObjectPath } from '../../src/domain/replica-layout.js'
import { GcsReplicaClient } from '../../src/infrastructure/replica-clients/gcs/gcs-replica-client.js'
import { describeObject, gcsTarget, putObject } from '../support/stores/fake-gcs.js'
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

const kibibyte = 1024
const mebibyte = 1024 * kibibyte

async function failure(promise: Promise<unknown>): Promise<ReplicaError> {
  const error: unknown = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  )
  expect(error).toBeInstanceOf(ReplicaError)
  return error as ReplicaError
}

const store = inject('stores')['fake-gcs']
if ('unavailable' in store) {
  test.skip(`fake-gcs-server is not reached: ${store.unavailable}`, () => undefined)
} else {
  const open = (settings: Partial<GcsReplicaTarget> = {}) => {
    const target = gcsTarget(store, { prefix: `contract/${randomUUID()}`, ...settings })
    return { target, client: new GcsReplicaClient(target) }
  }

  describe('fake-gcs-server', () => {
    describeReplicaClient('fake-gcs-server', () => {
      const { client, target } = open()
      return Promise.resolve({
        client,
        putForeign: (path, bytes) => putObject(store, `${target.prefix}/${path}`, bytes),
        [Symbol.asyncDispose]: () => Promise.resolve(),
      })
    })

    test.each([
      ['in three parts', 12 * mebibyte],
      ['in two whole parts', 10 * mebibyte],
    ])('an object %s, read whole and by ranges', async (_, sizeBytes) => {
      const { client, target } = open({ partSizeBytes: 5 * mebibyte, storageClass: 'NEARLINE' })
      const bytes = randomBytes(sizeBytes)
      await put(client, snapshot(0), bytes)
      expect((await get(client, snapshot(0))).equals(bytes)).toBe(true)
      const range = { offset: 5 * mebibyte - 3, length: 5 * mebibyte }
      const part = await get(client, snapshot(0), range)
      expect(part.equals(bytes.subarray(range.offset, range.offset + range.length))).toBe(true)
      const name = `${target.prefix}/${formatObjectPath(snapshot(0))}`
      expect(await describeObject(store, name)).toMatchObject({
        storageClass: 'NEARLINE',
        contentType: 'application/octet-stream',
      })
    })

    test('a finish that is repeated is harmless', async () => {
      const { client } = open({ partSizeBytes: 256 * kibibyte })
      const bytes = randomBytes(512 * kibibyte)
      await using upload = await client.startUpload(snapshot(1), { expectedBytes: 1 }, signal)
      for (const number of [0, 0, 1, 1]) {
        const part = bytes.subarray(number * 256 * kibibyte, (number + 1) * 256 * kibibyte)
        await upload.sendPart({ number, bytes: part, last: number === 1 })
      }
      await upload.finish()
      await upload.finish()
      expect((await get(client, snapshot(1))).equals(bytes)).toBe(true)
    })

    test('an upload that is cancelled while a part is on the way shows nothing', async () => {
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
        const other = upload.sendPart({ number: 1, bytes, last: false })
        setTimeout(() => controller.abort(new Error('enough')), 2)
        await expect(other).rejects.toThrow('enough')
      }
      expect(await collect(client.listSnapshots(generation, signal))).toEqual([])
    })

    test('lists and deletes more objects than a page holds', async () => {
      const { client } = open()
      const refs = Array.from({ length: 1500 }, (_, index) => segment(index, 0))
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
      await client.delete(refs.slice(0, 401), signal)
      expect(await indexes()).toHaveLength(1099)
      await client.delete(refs, signal)
      expect(await indexes()).toEqual([])
    }, 240_000)

    test.each(['a b', 'ü/ñ', '100%/a+b', "it's(a)*!", 'x=y&z', '日本', '//slashes//all/over//'])(
      'the prefix %j',
      async (suffix) => {
        const { client } = open({
          prefix: `${randomUUID()}/${suffix}`,
          partSizeBytes: 256 * kibibyte,
        })
        await put(client, segment(0, 0), Buffer.from('x'))
        await put(client, snapshot(0), Buffer.alloc(600 * kibibyte))
        expect(await collect(client.listGenerations(signal))).toEqual([generation])
        expect(await collect(client.listWalSegments(generation, signal))).toHaveLength(1)
        expect((await get(client, segment(0, 0))).toString()).toBe('x')
        expect(await get(client, snapshot(0))).toHaveLength(600 * kibibyte)
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
      await put(new GcsReplicaClient(target), snapshot(0), Buffer.from('abcdefghij'))
      const rest = get(client, snapshot(0), { offset: 4, length: undefined })
      expect((await failure(rest)).message).toContain('replaced while it was being read')
    })

    test('that there is no bucket is told in plain words', async () => {
      const { client } = open({ bucket: 'tsreplicate-absent' })
      for (const attempt of [
        () => put(client, segment(0, 0), Buffer.from('x')),
        () => put(client, snapshot(0), randomBytes(9 * mebibyte)),
        () => collect(client.listGenerations(signal)),
      ]) {
        const error = await failure(attempt())
        expect.soft(error.message).toContain('there is no such bucket')
        expect(error.message).toContain(' gcs://tsreplicate-absent/')
        expect(error.hint).toBeDefined()
        expect(error.retryable).toBe(false)
      }
    })
  })
}
