import { beforeEach, describe, expect, test } from 'vitest'
import { ObjectNotFoundError, ReplicaError } from '../../../../../src/domain/errors.js'
import { formatGeneration } from '../../../../../src/domain/wal/generation.js'
import {
  formatObjectPath,
  type ObjectRef,
} from '../../../../../src/domain/stored/replica-layout.js'
import { retryOperations } from '../../../../../src/infrastructure/replica-clients/around/retry-operations.js'
import {
  type ByteRange,
  type ObjectUpload,
  type ReplicaClient,
} from '../../../../../src/usecase/ports/replica-client.js'
import { MemoryReplicaClient } from '../../../../support/memory-replica-client.js'

const generation = formatGeneration(new Uint8Array(8))
const ref: ObjectRef = { kind: 'wal-segment', generation, index: 0, offset: 0 }
const body = Buffer.alloc(200_000, 'litestream')
const { signal } = new AbortController()
const whole: ByteRange = { offset: 0, length: undefined }

/** A store whose reads break after `breakAfter` chunks, `breaks` times. */
class BreakingClient extends MemoryReplicaClient {
  breaks = 0
  breakAfter = 1
  readonly ranges: ByteRange[] = []
  lastUploadSignal: AbortSignal | undefined

  override startUpload(
    what: ObjectRef,
    options: { expectedBytes: number },
    given: AbortSignal,
  ): Promise<ObjectUpload> {
    this.lastUploadSignal = given
    return super.startUpload(what, options, given)
  }

  override async *read(
    what: ObjectRef,
    range: ByteRange,
    given: AbortSignal,
  ): AsyncIterable<Uint8Array> {
    this.ranges.push(range)
    let count = 0
    for await (const chunk of super.read(what, range, given)) {
      if (this.breaks > 0 && count === this.breakAfter) {
        this.breaks -= 1
        throw new ReplicaError('connection reset')
      }
      count += 1
      yield chunk
    }
  }
}

let store: BreakingClient
let client: ReplicaClient
let pauses: number[]

beforeEach(() => {
  store = new BreakingClient()
  store.objects.set(formatObjectPath(ref), { bytes: body, createdAtMs: 0 })
  pauses = []
  client = retryOperations(store, {
    attempts: 4,
    baseDelayMs: 100,
    maxDelayMs: 250,
    random: () => 1,
    clock: {
      sleep: (durationMs, given) => {
        given.throwIfAborted()
        pauses.push(durationMs)
        return Promise.resolve()
      },
    },
  })
})

async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const result: T[] = []
  for await (const item of items) result.push(item)
  return result
}

function failTimes(times: number, error: Error): void {
  let left = times
  store.beforeOperation = () => {
    if (left === 0) return
    left -= 1
    throw error
  }
}

describe('retryOperations', () => {
  test('retries with growing, bounded pauses', async () => {
    failTimes(3, new ReplicaError('busy'))
    await client.delete([ref], signal)
    expect(store.objects.size).toBe(0)
    expect(pauses).toEqual([100, 200, 250])
  })

  test('gives up after the attempts it has', async () => {
    failTimes(4, new ReplicaError('busy'))
    await expect(client.delete([ref], signal)).rejects.toThrow('busy')
    expect(pauses).toHaveLength(3)
  })

  test.each([
    ['final', new ReplicaError('forbidden', { retryable: false })],
    ['missing', new ObjectNotFoundError('gone')],
    ['a bug', new TypeError('bug')],
  ])('does not retry what is %s', async (_, error) => {
    failTimes(1, error)
    await expect(collect(client.read(ref, whole, signal))).rejects.toBe(error)
    expect(pauses).toEqual([])
  })

  test('begins a listing anew that has shown nothing', async () => {
    failTimes(2, new ReplicaError('busy'))
    expect(await collect(client.listWalSegments(generation, signal))).toHaveLength(1)
    failTimes(1, new ReplicaError('busy'))
    expect(await collect(client.listGenerations(signal))).toEqual([generation])
    expect(pauses).toHaveLength(3)
  })

  test('does not begin a listing anew in its middle', async () => {
    store.listGenerations = async function* () {
      yield await Promise.resolve(generation)
      throw new ReplicaError('connection reset')
    }
    await expect(collect(client.listGenerations(signal))).rejects.toThrow('connection reset')
    expect(pauses).toEqual([])
  })

  test('goes on reading where it stopped, however often, if there is progress', async () => {
    store.breaks = 3
    const range = { offset: 10, length: 199_980 }
    const read = Buffer.concat(await collect(client.read(ref, range, signal)))
    expect(read.equals(body.subarray(10, 199_990))).toBe(true)
    expect(store.ranges).toEqual([
      { offset: 10, length: 199_980 },
      { offset: 65_546, length: 134_444 },
      { offset: 131_082, length: 68_908 },
      { offset: 196_618, length: 3_372 },
    ])
    expect(pauses).toEqual([100, 100, 100])
  })

  test('gives up reading when there is no progress', async () => {
    store.breaks = 9
    store.breakAfter = 0
    await expect(collect(client.read(ref, whole, signal))).rejects.toThrow('connection reset')
    expect(store.breaks).toBe(5)
  })

  test('an abort ends the pause', async () => {
    const controller = new AbortController()
    store.beforeOperation = () => {
      controller.abort()
      throw new ReplicaError('busy')
    }
    await expect(client.delete([ref], controller.signal)).rejects.toThrow(Error)
    expect(pauses).toEqual([])
  })

  test('retries the start, each part and the end of an upload by themselves', async () => {
    const busy = new ReplicaError('busy')
    failTimes(1, busy)
    await using upload = await client.startUpload(ref, { expectedBytes: 1 }, signal)
    failTimes(2, busy)
    await upload.sendPart({ number: 0, bytes: Buffer.from('new'), last: true })
    failTimes(3, busy)
    await upload.finish()
    expect(pauses).toEqual([100, 100, 200, 100, 200, 250])
    expect(Buffer.from(store.objects.get(formatObjectPath(ref))?.bytes ?? []).toString()).toBe(
      'new',
    )
  })

  test('gives up on a part after the attempts it has', async () => {
    await using upload = await client.startUpload(ref, { expectedBytes: 1 }, signal)
    failTimes(4, new ReplicaError('busy'))
    const part = { number: 0, bytes: Buffer.from('new'), last: true }
    await expect(upload.sendPart(part)).rejects.toThrow('busy')
  })

  test('with patience, what belongs to an object of several parts is tried until it works', async () => {
    const told: string[] = []
    const small = new MemoryReplicaClient({ partSizeBytes: 1 })
    const patient = retryOperations(small, {
      attempts: 2,
      baseDelayMs: 100,
      maxDelayMs: 250,
      random: () => 1,
      clock: { sleep: () => Promise.resolve() },
      patience: {
        report: ({ message }) => void told.push(message),
        recovered: () => void told.push('recovered'),
      },
    })
    const failing = (times: number) => {
      let left = times
      small.beforeOperation = () => {
        left -= 1
        if (left >= 0) throw new ReplicaError('away')
      }
    }
    await using upload = await patient.startUpload(ref, { expectedBytes: 2 }, signal)
    failing(5)
    await upload.sendPart({ number: 0, bytes: Buffer.from('a'), last: false })
    failing(1)
    await upload.sendPart({ number: 1, bytes: Buffer.from('b'), last: true })
    failing(3)
    await upload.finish()
    expect(small.objects.size).toBe(1)
    const away = Array.from({ length: 4 }, () => 'away')
    expect(told).toEqual([...away, 'recovered', 'away', 'away', 'recovered'])

    await using whole = await patient.startUpload(ref, { expectedBytes: 1 }, signal)
    await whole.sendPart({ number: 0, bytes: Buffer.from('a'), last: true })
    failing(2)
    await expect(whole.finish()).rejects.toThrow('away')
  })

  test('a part that hangs ends when its upload is given up', async () => {
    const upload = await client.startUpload(ref, { expectedBytes: 1 }, signal)
    let given: AbortSignal | undefined
    store.beforeOperation = async () => {
      await new Promise((_, reject) => {
        given = store.lastUploadSignal
        given?.addEventListener('abort', () => {
          reject(given?.reason as Error)
        })
      })
    }
    const sending = upload.sendPart({ number: 0, bytes: Buffer.from('new'), last: true })
    await upload[Symbol.asyncDispose]()
    await expect(sending).rejects.toMatchObject({ name: 'AbortError' })
    expect(store.openUploads.size).toBe(0)
  })
})
