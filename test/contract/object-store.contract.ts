/** What the clients of all object stores have in common beyond the port. */
import { randomBytes, randomUUID } from 'node:crypto'
import { expect, test } from 'vitest'
import { ReplicaError } from '../../src/domain/errors.js'
import { type ReplicaClient } from '../../src/usecase/ports/replica-client.js'
import {
  collect,
  generation,
  get,
  put,
  segment,
  signal,
  snapshot,
} from './replica-client.contract.js'

const mebibyte = 1024 * 1024

/** Settings that the targets of all stores have. */
export interface StoreSettings {
  readonly prefix?: string
  readonly partSizeBytes?: number
}

/** The error that an attempt fails with. */
export async function failure(promise: Promise<unknown>): Promise<ReplicaError> {
  const error: unknown = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  )
  expect(error).toBeInstanceOf(ReplicaError)
  return error as ReplicaError
}

/** `open` makes a new client, without a prefix given at a place of its own. */
export function testObjectStore(open: (settings?: StoreSettings) => ReplicaClient): void {
  test.each([
    ['in three parts', 12 * mebibyte],
    ['in two whole parts', 10 * mebibyte],
  ])('an object %s, read whole and by ranges', async (_, sizeBytes) => {
    const client = open({ partSizeBytes: 5 * mebibyte })
    const bytes = randomBytes(sizeBytes)
    await put(client, snapshot(0), bytes)
    expect((await get(client, snapshot(0))).equals(bytes)).toBe(true)
    const range = { offset: 5 * mebibyte - 3, length: 5 * mebibyte }
    const part = await get(client, snapshot(0), range)
    expect(part.equals(bytes.subarray(range.offset, range.offset + range.length))).toBe(true)
  })

  test('a finish that is repeated is harmless', async () => {
    const client = open({ partSizeBytes: 5 * mebibyte })
    const bytes = randomBytes(6 * mebibyte)
    await using upload = await client.startUpload(snapshot(1), { expectedBytes: 1 }, signal)
    for (const number of [0, 0, 1, 1]) {
      const part = bytes.subarray(number * 5 * mebibyte, (number + 1) * 5 * mebibyte)
      await upload.sendPart({ number, bytes: part, last: number === 1 })
    }
    await upload.finish()
    await upload.finish()
    expect((await get(client, snapshot(1))).equals(bytes)).toBe(true)
  })

  test.each(['a b', 'ü/ñ', '100%/a+b', "it's(a)*!", 'x=y&z', '日本', '//slashes//all/over//'])(
    'the prefix %j',
    async (suffix) => {
      const prefix = `${randomUUID()}/${suffix}`
      const client = open({ prefix, partSizeBytes: 5 * mebibyte })
      const large = Buffer.alloc(6 * mebibyte, 'large')
      await put(client, segment(0, 0), Buffer.from('x'))
      await put(client, snapshot(0), large)
      expect(await collect(client.listGenerations(signal))).toEqual([generation])
      expect(await collect(client.listWalSegments(generation, signal))).toHaveLength(1)
      expect((await get(client, segment(0, 0))).toString()).toBe('x')
      expect((await get(client, snapshot(0))).equals(large)).toBe(true)
      await client.delete([segment(0, 0), snapshot(0)], signal)
      expect(await collect(client.listGenerations(signal))).toEqual([])
    },
  )

  test('a prefix that begins like another is another replica', async () => {
    const prefix = randomUUID()
    const one = open({ prefix: `${prefix}/db` })
    const two = open({ prefix: `${prefix}/db2` })
    await put(two, segment(0, 0), Buffer.from('two'))
    expect(await collect(one.listGenerations(signal))).toEqual([])
    await one.sweep(signal)
    await put(one, segment(0, 0), Buffer.from('one'))
    await one.delete([segment(0, 0)], signal)
    expect((await get(two, segment(0, 0))).toString()).toBe('two')
  })

  test('an object that is replaced while it is being read is noticed', async () => {
    const prefix = randomUUID()
    const client = open({ prefix })
    await put(client, snapshot(0), Buffer.from('0123456789'))
    await get(client, snapshot(0))
    await put(open({ prefix }), snapshot(0), Buffer.from('abcdefghij'))
    const rest = get(client, snapshot(0), { offset: 4, length: undefined })
    expect((await failure(rest)).message).toContain('replaced while it was being read')
  })
}
