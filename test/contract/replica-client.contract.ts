/** What every replica client has to keep. Each store's test file calls {@link describeReplicaClient}. */
import { randomBytes } from 'node:crypto'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { ObjectExistsError, ObjectNotFoundError } from '../../src/domain/errors.js'
import { formatGeneration } from '../../src/domain/wal/generation.js'
import { type ObjectRef } from '../../src/domain/stored/replica-layout.js'
import { ObjectWriter } from '../../src/usecase/replica/object-writer.js'
import {
  type ByteRange,
  type ObjectUpload,
  type ReplicaClient,
} from '../../src/usecase/ports/replica-client.js'

export interface ReplicaFixture extends AsyncDisposable {
  readonly client: ReplicaClient
  /** Puts an object past the client, at a path relative to the root. */
  putForeign(path: string, bytes: Uint8Array): Promise<void>
  /** The size that a listing shows, where it is not that of the content. */
  storedBytes?(contentBytes: number): number
}

export const generation = formatGeneration(Uint8Array.from([1, 1, 1, 1, 1, 1, 1, 1]))
const sibling = formatGeneration(Uint8Array.from([1, 1, 1, 1, 1, 1, 1, 2]))
export const { signal } = new AbortController()

export const snapshot = (index: number, of = generation): ObjectRef => ({
  kind: 'snapshot',
  generation: of,
  index,
})

export const segment = (index: number, offset: number, of = generation): ObjectRef => ({
  kind: 'wal-segment',
  generation: of,
  index,
  offset,
})

/** Everything that an iterable yields. */
export async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const result: T[] = []
  for await (const item of items) result.push(item)
  return result
}

export async function put(
  client: ReplicaClient,
  ref: ObjectRef,
  bytes: Uint8Array,
  chunkBytes = 1_000_003,
): Promise<void> {
  await using upload = await client.startUpload(ref, { expectedBytes: bytes.length }, signal)
  const writer = new ObjectWriter(upload)
  for (let at = 0; at < bytes.length; at += chunkBytes) {
    await writer.write(bytes.subarray(at, at + chunkBytes))
  }
  await writer.end()
  await upload.finish()
}

const byPlace = (a: readonly [number, number], b: readonly [number, number]): number =>
  a[0] - b[0] || a[1] - b[1]

/** The one part of a small object. */
const only = (text: string) => ({ number: 0, bytes: Buffer.from(text), last: true })

export async function get(
  client: ReplicaClient,
  ref: ObjectRef,
  range: ByteRange = { offset: 0, length: undefined },
): Promise<Buffer> {
  return Buffer.concat(await collect(client.read(ref, range, signal)))
}

export function describeReplicaClient(name: string, make: () => Promise<ReplicaFixture>): void {
  describe(`replica client: ${name}`, () => {
    let fixture: ReplicaFixture
    let client: ReplicaClient

    beforeEach(async () => {
      fixture = await make()
      client = fixture.client
    })

    afterEach(async () => {
      await fixture[Symbol.asyncDispose]()
    })

    const snapshots = async (of = generation) => {
      const found = await collect(client.listSnapshots(of, signal))
      return found.sort((a, b) => a.index - b.index)
    }
    const segments = async (of = generation) => {
      const found = await collect(client.listWalSegments(of, signal))
      return found.sort((a, b) => a.index - b.index || a.offset - b.offset)
    }
    const storedBytes = (size: number) => fixture.storedBytes?.(size) ?? size
    const generations = async () => (await collect(client.listGenerations(signal))).sort()

    test.each([0, 1, 1000, 5 * 1024 * 1024 - 1, 5 * 1024 * 1024, 5 * 1024 * 1024 + 1])(
      'stores and gives back %i bytes',
      async (size) => {
        const bytes = randomBytes(size)
        await put(client, segment(0, 0), bytes)
        expect(bytes.equals(await get(client, segment(0, 0)))).toBe(true)
        const listed = await segments()
        expect(listed).toHaveLength(1)
        expect(listed[0]).toMatchObject({ ...segment(0, 0), sizeBytes: storedBytes(size) })
        expect(Math.abs(Date.now() - (listed[0]?.createdAtMs ?? 0))).toBeLessThan(60_000)
      },
    )

    test.each([
      ['nothing', 0],
      ['less', 100 * 1024 * 1024],
    ])('a body may be larger or smaller than expected: %s was', async (_, expectedBytes) => {
      const upload = await client.startUpload(snapshot(1), { expectedBytes }, signal)
      const bytes = randomBytes(expectedBytes === 0 ? 2 * upload.partSizeBytes + 1 : 7)
      const writer = new ObjectWriter(upload)
      await writer.write(Uint8Array.from(bytes))
      await writer.end()
      await upload.finish()
      expect(bytes.equals(await get(client, snapshot(1)))).toBe(true)
    })

    test('an object is not visible before it is finished', async () => {
      await using upload = await client.startUpload(snapshot(3), { expectedBytes: 9 }, signal)
      await upload.sendPart(only('123'))
      expect(await snapshots()).toEqual([])
      await expect(get(client, snapshot(3))).rejects.toThrow(ObjectNotFoundError)
      await upload.finish()
      await upload[Symbol.asyncDispose]()
      await upload[Symbol.asyncDispose]()
      expect(await snapshots()).toHaveLength(1)
      expect((await get(client, snapshot(3))).toString()).toBe('123')
    })

    test('parts may come again, and in any order where several may be in flight', async () => {
      const expectedBytes = 12 * 1024 * 1024
      await using upload = await client.startUpload(snapshot(1), { expectedBytes }, signal)
      const { partSizeBytes, maxConcurrentParts } = upload
      const bytes = randomBytes(2 * partSizeBytes + 7)
      const parts = [0, 1, 2].map((number) => ({
        number,
        bytes: bytes.subarray(number * partSizeBytes, (number + 1) * partSizeBytes),
        last: number === 2,
      }))
      const order = maxConcurrentParts > 1 ? [2, 0, 1] : [0, 1, 2]
      for (const number of order) {
        const part = parts[number]
        if (part === undefined) continue
        await upload.sendPart(part)
        await upload.sendPart(part)
      }
      expect(await snapshots()).toEqual([])
      await upload.finish()
      expect(await snapshots()).toMatchObject([{ sizeBytes: storedBytes(bytes.length) }])
      expect(bytes.equals(await get(client, snapshot(1)))).toBe(true)
    }, 60_000)

    test('an upload of several parts that is given up leaves nothing, with a part in flight too', async () => {
      const expectedBytes = 12 * 1024 * 1024
      const upload = await client.startUpload(snapshot(1), { expectedBytes }, signal)
      const bytes = randomBytes(upload.partSizeBytes)
      await upload.sendPart({ number: 0, bytes, last: false })
      const inFlight = upload.sendPart({ number: 1, bytes, last: false }).catch(() => undefined)
      await upload[Symbol.asyncDispose]()
      await inFlight
      expect(await snapshots()).toEqual([])
      expect(await generations()).toEqual([])
    }, 60_000)

    test('an upload that is given up leaves nothing', async () => {
      const upload = await client.startUpload(segment(0, 0), { expectedBytes: 1 }, signal)
      await upload.sendPart(only('123'))
      await upload[Symbol.asyncDispose]()
      await upload[Symbol.asyncDispose]()
      expect(await segments()).toEqual([])
      expect(await generations()).toEqual([])
      await expect(get(client, segment(0, 0))).rejects.toThrow(ObjectNotFoundError)
    })

    test('an aborted upload rejects with the reason and leaves what was there', async () => {
      await put(client, segment(0, 0), Buffer.from('old'))
      const controller = new AbortController()
      {
        await using upload = await client.startUpload(
          segment(0, 0),
          { expectedBytes: 3 },
          controller.signal,
        )
        await upload.sendPart(only('new'))
        controller.abort()
        await expect(upload.finish()).rejects.toBe(controller.signal.reason)
      }
      expect((await get(client, segment(0, 0))).toString()).toBe('old')
      expect(await segments()).toHaveLength(1)
    })

    test('every operation rejects with the reason of an aborted signal', async () => {
      await put(client, segment(0, 0), Buffer.from('x'))
      const aborted = AbortSignal.abort()
      const range = { offset: 0, length: undefined }
      for (const attempt of [
        () => collect(client.listGenerations(aborted)),
        () => collect(client.listSnapshots(generation, aborted)),
        () => collect(client.listWalSegments(generation, aborted)),
        () => collect(client.read(segment(0, 0), range, aborted)),
        () => client.startUpload(segment(0, 0), { expectedBytes: 1 }, aborted),
        () => client.delete([segment(0, 0)], aborted),
      ]) {
        await expect(attempt()).rejects.toBe(aborted.reason)
      }
      expect(await segments()).toHaveLength(1)
    })

    test('overwriting replaces the whole object', async () => {
      await put(client, segment(0, 0), Buffer.from('a longer body'))
      await put(client, segment(0, 0), Buffer.from('short'))
      expect((await get(client, segment(0, 0))).toString()).toBe('short')
      expect(await segments()).toMatchObject([{ sizeBytes: storedBytes(5) }])
    })

    test('a new object takes no other’s place, however often it is tried', async () => {
      const ref = segment(0, 0)
      const start = async (text: string): Promise<ObjectUpload> => {
        const upload = await client.startUpload(ref, { expectedBytes: 9, isNew: true }, signal)
        await upload.sendPart({ number: 0, bytes: Buffer.from(text), last: true })
        return upload
      }
      {
        await using first = await start('the first')
        await using late = await start('a late one')
        await first.finish()
        await expect(late.finish()).rejects.toBeInstanceOf(ObjectExistsError)
        await expect(late.finish()).rejects.toBeInstanceOf(ObjectExistsError)
      }
      expect((await get(client, ref)).toString()).toBe('the first')
      expect(await segments()).toHaveLength(1)
      await put(client, ref, Buffer.from('one that may'))
      expect((await get(client, ref)).toString()).toBe('one that may')
    })

    test.each([
      ['head', 0, 4, '0123'],
      ['middle', 3, 4, '3456'],
      ['tail', 6, undefined, '6789'],
      ['reaching past the end', 8, 100, '89'],
      ['at the end', 10, undefined, ''],
      ['past the end', 11, 5, ''],
      ['of no length', 2, 0, ''],
    ])('reads a range: %s', async (_, offset, length, expected) => {
      await put(client, segment(0, 0), Buffer.from('0123456789'))
      expect((await get(client, segment(0, 0), { offset, length })).toString()).toBe(expected)
    })

    test('reads a range across chunks of a large object', async () => {
      const bytes = randomBytes(3 * 1024 * 1024 + 17)
      await put(client, segment(0, 0), bytes)
      const range = { offset: 1_000_001, length: 2_000_003 }
      const part = await get(client, segment(0, 0), range)
      expect(part.equals(bytes.subarray(1_000_001, 3_000_004))).toBe(true)
    })

    test('a missing object is an ObjectNotFoundError', async () => {
      await expect(get(client, segment(0, 0))).rejects.toThrow(ObjectNotFoundError)
      await put(client, segment(0, 0), Buffer.from('x'))
      await expect(get(client, segment(0, 4120))).rejects.toThrow(ObjectNotFoundError)
      await expect(get(client, snapshot(0))).rejects.toThrow(ObjectNotFoundError)
    })

    test('an absent root lists as empty', async () => {
      expect(await generations()).toEqual([])
      expect(await snapshots()).toEqual([])
      expect(await segments()).toEqual([])
    })

    test('lists and deletes any number of objects, beyond pages and batches', async () => {
      const refs = Array.from({ length: 2500 }, (_, index) => segment(index, 32))
      const waiting = [...refs]
      const work = async () => {
        for (let ref = waiting.pop(); ref !== undefined; ref = waiting.pop()) {
          await put(client, ref, Buffer.from('x'))
        }
      }
      await Promise.all(Array.from({ length: 32 }, work))
      const indexes = async () => (await segments()).map(({ index }) => index)
      const from = (first: number) => refs.slice(first).map(({ index }) => index)
      expect(await indexes()).toEqual(from(0))
      const listedFrom = async (index: number) =>
        (await collect(client.listWalSegments(generation, signal, { from: { index, offset: 32 } })))
          .map((found) => found.index)
          .sort((a, b) => a - b)
      expect(await listedFrom(2499)).toEqual(from(2499))
      expect(await listedFrom(700)).toEqual(from(700))
      // To one more than a page, to a page, to one, to none; some of those asked for are gone already.
      for (const [first, last] of [
        [0, 1499],
        [1499, 1500],
        [1500, 2499],
        [1499, 2500],
      ] as const) {
        await client.delete(refs.slice(first, last), signal)
        expect(await indexes()).toEqual(from(last))
      }
    }, 240_000)

    test('lists segments from a place on, that one included, and tells before how large one will be', async () => {
      const places = [
        [0, 0],
        [0, 32],
        [0, 4128],
        [1, 0],
        [0x10, 0],
        [0x10, 0x20],
      ] as const
      for (const [index, offset] of places) {
        await put(client, segment(index, offset), Buffer.from('x'))
      }
      for (const [at, [index, offset]] of places.entries()) {
        for (const from of [
          { index, offset },
          { index, offset: Math.max(0, offset - 1) },
        ]) {
          const found = await collect(client.listWalSegments(generation, signal, { from }))
          const sorted = found.map((each) => [each.index, each.offset] as const).sort(byPlace)
          expect(sorted).toEqual(places.slice(at))
        }
      }
      const from = { index: 0x10, offset: 0x21 }
      expect(await collect(client.listWalSegments(generation, signal, { from }))).toEqual([])
      expect(await collect(client.listWalSegments(sibling, signal, { from }))).toEqual([])
      for (const size of [0, 1, 65_536, 65_537]) {
        const ref = segment(0x20, size)
        await using upload = await client.startUpload(ref, { expectedBytes: size }, signal)
        await upload.sendPart({ number: 0, bytes: randomBytes(size), last: true })
        await upload.finish()
        const [listed] = await collect(
          client.listWalSegments(generation, signal, { from: { index: 0x20, offset: size } }),
        )
        expect(listed?.sizeBytes).toBe(upload.storedBytes(size))
      }
    })

    test('passes foreign names over', async () => {
      const folder = `generations/${generation}`
      const foreign = Buffer.from('x')
      await put(client, segment(1, 0), foreign)
      await put(client, snapshot(1), foreign)
      for (const path of [
        `${folder}/wal/00000001_00000020.wal.lz4.tmp`,
        `${folder}/wal/00000001_0000002A.wal.lz4`,
        `${folder}/wal/1_0.wal.lz4`,
        `${folder}/wal/notes.txt`,
        `${folder}/snapshots/00000002.snapshot`,
        `${folder}/snapshots/00000002.snapshot.lz4.99-1.tsr.tmp`,
        `${folder}/readme`,
        'generations/lost+found/x',
        'generations/0101010101010AAA/x',
        'other/x',
      ]) {
        await fixture.putForeign(path, foreign)
      }
      expect(await generations()).toEqual([generation])
      expect(await segments()).toHaveLength(1)
      expect(await snapshots()).toHaveLength(1)
    })

    test('lists offsets past 32 bits', async () => {
      await fixture.putForeign(
        `generations/${generation}/wal/00000001_100000020.wal.lz4`,
        Buffer.from('far'),
      )
      expect(await segments()).toMatchObject([{ index: 1, offset: 0x1_0000_0020 }])
      expect((await get(client, segment(1, 0x1_0000_0020))).toString()).toBe('far')
    })

    test('keeps generations apart', async () => {
      await put(client, segment(0, 0), Buffer.from('one'))
      await put(client, segment(0, 0, sibling), Buffer.from('two'))
      await put(client, snapshot(0, sibling), Buffer.from('three'))
      expect(await generations()).toEqual([generation, sibling])
      expect(await segments()).toHaveLength(1)
      expect(await snapshots()).toHaveLength(0)
      expect((await get(client, segment(0, 0, sibling))).toString()).toBe('two')
    })

    test('deletes objects, and absent ones are no error', async () => {
      await client.delete([], signal)
      await client.delete([segment(0, 0), snapshot(0)], signal)
      await put(client, segment(0, 0), Buffer.from('a'))
      await put(client, segment(0, 32), Buffer.from('b'))
      await put(client, snapshot(0), Buffer.from('c'))
      await client.delete([segment(0, 0), segment(9, 9), snapshot(0)], signal)
      expect(await segments()).toMatchObject([{ offset: 32 }])
      expect(await snapshots()).toEqual([])
      await client.delete([segment(0, 32)], signal)
      expect(await generations()).toEqual([])
      await put(client, segment(0, 0), Buffer.from('again'))
      expect(await segments()).toHaveLength(1)
    })

    describe('the owner object', () => {
      const write = (content: string, replaces: string | undefined) =>
        client.writeOwner({ content, replaces }, signal)

      test('is created once, replaced only by who knows it, and read with its version', async () => {
        expect(await client.readOwner(signal)).toBeUndefined()
        const first = await write('first', undefined)
        expect(first).toBeDefined()
        expect(await client.readOwner(signal)).toEqual({ content: 'first', version: first })
        expect(await write('another', undefined)).toBeUndefined()
        const second = await write('second, longer', first)
        expect(second).toBeDefined()
        expect(second).not.toBe(first)
        expect(await write('another', first)).toBeUndefined()
        expect(await write('another', undefined)).toBeUndefined()
        expect(await client.readOwner(signal)).toEqual({
          content: 'second, longer',
          version: second,
        })
      })

      test('goes to one of many who want it at once, round after round', async () => {
        let version: string | undefined
        for (let round = 0; round < 5; round += 1) {
          const replaces = version
          const writes = Array.from({ length: 8 }, async (_, i) => {
            const content = `round ${round}, ${i}`
            return { content, version: await write(content, replaces) }
          })
          // Ceph fails with an internal error for some of them.
          const answers = await Promise.allSettled(writes)
          const won = answers.flatMap((answer) =>
            answer.status === 'fulfilled' && answer.value.version !== undefined
              ? [answer.value]
              : [],
          )
          expect(won.length).toBeLessThanOrEqual(1)
          const now = await client.readOwner(signal)
          if (won.length > 0) expect([now]).toEqual(won)
          else expect(answers.map(({ status }) => status)).toContain('rejected')
          version = now?.version
        }
      })

      test('is in no listing, and neither deletion nor sweep reaches it', async () => {
        const version = await write('mine', undefined)
        expect(await generations()).toEqual([])
        await put(client, segment(0, 0), Buffer.from('a'))
        await client.delete([segment(0, 0)], signal)
        await client.sweep(signal)
        expect(await generations()).toEqual([])
        expect(await client.readOwner(signal)).toEqual({ content: 'mine', version })
      })

      test('is left alone when the signal is aborted', async () => {
        const aborted = AbortSignal.abort()
        const owner = { content: 'mine', replaces: undefined }
        await expect((async () => client.readOwner(aborted))()).rejects.toBe(aborted.reason)
        await expect((async () => client.writeOwner(owner, aborted))()).rejects.toBe(aborted.reason)
        expect(await client.readOwner(signal)).toBeUndefined()
      })
    })

    test('sweeping leaves objects and running uploads alone', async () => {
      await client.sweep(signal)
      await put(client, segment(0, 0), Buffer.from('a'))
      await using upload = await client.startUpload(snapshot(0), { expectedBytes: 1 }, signal)
      await upload.sendPart(only('b'))
      await client.sweep(signal)
      await upload.finish()
      expect(await segments()).toHaveLength(1)
      expect((await get(client, snapshot(0))).toString()).toBe('b')
    })
  })
}
