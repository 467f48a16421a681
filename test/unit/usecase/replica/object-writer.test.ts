import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { ObjectWriter } from '../../../../src/usecase/replica/object-writer.js'
import { type ObjectPart, type ObjectUpload } from '../../../../src/usecase/ports/replica-client.js'

/** An upload whose parts arrive when the test says so, or at once. */
class FakeUpload implements ObjectUpload {
  readonly isWhole = false
  readonly partSizeBytes: number
  readonly maxConcurrentParts: number
  readonly parts: ObjectPart[] = []
  readonly waiting: { resolve: () => void; reject: (error: Error) => void }[] = []
  maxInFlight = 0
  held = false

  constructor(options: { partSizeBytes: number; maxConcurrentParts: number }) {
    this.partSizeBytes = options.partSizeBytes
    this.maxConcurrentParts = options.maxConcurrentParts
  }

  storedBytes(contentBytes: number): number {
    return contentBytes
  }

  async sendPart(part: ObjectPart): Promise<void> {
    // Its memory is the writer's again once this has resolved.
    this.parts.push({ ...part, bytes: part.bytes.slice() })
    await new Promise<void>((resolve, reject) => {
      const entry = { resolve, reject }
      this.waiting.push(entry)
      this.maxInFlight = Math.max(this.maxInFlight, this.waiting.length)
      if (!this.held) setImmediate(resolve)
    }).finally(() => this.waiting.shift())
  }

  finish(): Promise<void> {
    return Promise.resolve()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return Promise.resolve()
  }
}

const settled = async (): Promise<void> => {
  for (let i = 0; i < 20; i += 1) await Promise.resolve()
}

describe('ObjectWriter', () => {
  test('any chunks become parts of the exact size, whole and in order, the last one marked', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 20 }),
        fc.integer({ min: 1, max: 16 }),
        fc.integer({ min: 1, max: 4 }),
        async (chunks, partSizeBytes, maxConcurrentParts) => {
          const upload = new FakeUpload({ partSizeBytes, maxConcurrentParts })
          const writer = new ObjectWriter(upload)
          for (const chunk of chunks) await writer.write(chunk.slice())
          await writer.end()
          expect(Buffer.concat(upload.parts.map(({ bytes }) => bytes))).toEqual(
            Buffer.concat(chunks),
          )
          expect(upload.parts.map(({ number }) => number)).toEqual(upload.parts.map((_, i) => i))
          expect(upload.parts.map(({ last }) => last)).toEqual(
            upload.parts.map((_, i) => i === upload.parts.length - 1),
          )
          for (const part of upload.parts.slice(0, -1)) {
            expect(part.bytes.length).toBe(partSizeBytes)
          }
          expect(upload.parts.at(-1)?.bytes.length).toBeLessThanOrEqual(partSizeBytes)
          expect(upload.maxInFlight).toBeLessThanOrEqual(maxConcurrentParts)
          expect(upload.waiting).toEqual([])
        },
      ),
    )
  })

  test('an empty object is one empty part', async () => {
    const upload = new FakeUpload({ partSizeBytes: 4, maxConcurrentParts: 1 })
    await new ObjectWriter(upload).end()
    expect(upload.parts).toEqual([{ number: 0, bytes: new Uint8Array(0), last: true }])
  })

  test('a chunk that is a part by itself is not copied', async () => {
    const upload = new FakeUpload({ partSizeBytes: 4, maxConcurrentParts: 1 })
    const writer = new ObjectWriter(upload)
    const chunk = Buffer.from('abcdefghij')
    await writer.write(chunk)
    await writer.end()
    expect(upload.parts.map(({ bytes }) => bytes.buffer === chunk.buffer)).toEqual([
      true,
      true,
      true,
    ])
  })

  test('holds the writer off when all places are taken', async () => {
    const upload = new FakeUpload({ partSizeBytes: 1, maxConcurrentParts: 2 })
    upload.held = true
    const writer = new ObjectWriter(upload)
    let written = false
    const writing = writer.write(Buffer.from('abcd')).then(() => (written = true))
    await settled()
    expect([written, upload.parts.length]).toEqual([false, 2])
    upload.waiting[0]?.resolve()
    await settled()
    expect([written, upload.parts.length]).toEqual([true, 3])
    await writing
    const ending = writer.end()
    while (upload.waiting.length > 0) {
      upload.waiting[0]?.resolve()
      await settled()
    }
    await ending
    expect(upload.parts).toHaveLength(4)
  })

  test('the first failure of a part is thrown by the next call, and no part is sent after it', async () => {
    const upload = new FakeUpload({ partSizeBytes: 1, maxConcurrentParts: 2 })
    upload.held = true
    const writer = new ObjectWriter(upload)
    await writer.write(Buffer.from('abc'))
    upload.waiting[0]?.reject(new Error('first'))
    await settled()
    await expect(writer.write(Buffer.from('d'))).rejects.toThrow('first')
    await expect(writer.end()).rejects.toThrow('first')
    expect(upload.parts).toHaveLength(2)
  })

  test('a failure of the last part is thrown at the end', async () => {
    const upload = new FakeUpload({ partSizeBytes: 9, maxConcurrentParts: 2 })
    upload.held = true
    const writer = new ObjectWriter(upload)
    await writer.write(Buffer.from('abc'))
    const ending = writer.end()
    await settled()
    upload.waiting[0]?.reject(new Error('last'))
    await expect(ending).rejects.toThrow('last')
  })
})
