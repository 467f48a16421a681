import { randomBytes } from 'node:crypto'
import { compressFrameSync, compressSync } from 'lz4-napi'
import xxhash from 'xxhash-wasm'
import { describe, expect, it } from 'vitest'
import { decodeFrame } from '../../../../src/infrastructure/lz4/frame-decoder.js'
import { createLz4Compressor } from '../../../../src/infrastructure/lz4/frame-encoder.js'
import { onThisMachine } from '../../../support/patience.ts'

const xxh = await xxhash()

// eslint-disable-next-line @typescript-eslint/require-await -- the decoder takes a stream
async function* inPieces(bytes: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size)
}

async function decode(bytes: Uint8Array, size = 1000): Promise<Buffer> {
  return Buffer.concat(await Array.fromAsync(decodeFrame(inPieces(bytes, size))))
}

function word(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32LE(value)
  return bytes
}

function longWord(value: number): Buffer<ArrayBuffer> {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64LE(BigInt(value))
  return bytes
}

function header(flags: number, descriptor: number, fields = Buffer.alloc(0)): Buffer {
  const bytes = Buffer.concat([Buffer.from([flags, descriptor]), fields])
  return Buffer.concat([
    word(0x184d2204),
    bytes,
    Buffer.from([(xxh.h32Raw(bytes, 0) >>> 8) & 0xff]),
  ])
}

const raw = (content: Buffer): Buffer =>
  Buffer.concat([word(0x8000_0000 + content.length), content])
const skippable = Buffer.concat([word(0x184d2a5f), word(3), Buffer.from('abc')])
const content = Buffer.concat([randomBytes(3000), Buffer.alloc(200_000, 'some text ')])

async function whole(): Promise<Buffer> {
  const encoder = (await createLz4Compressor()).startFrame()
  return Buffer.concat([encoder.header(), encoder.block(content), encoder.end()])
}

describe('the LZ4 frame that is read', () => {
  it.each([1, 7, 100_000])('may come in pieces of %i bytes', async (size) => {
    expect((await decode(await whole(), size)).equals(content)).toBe(true)
  })

  it('may be of another encoder, and be empty', async () => {
    expect((await decode(compressFrameSync(content))).equals(content)).toBe(true)
    const empty = (await createLz4Compressor()).startFrame()
    expect(await decode(Buffer.concat([empty.header(), empty.end()]))).toHaveLength(0)
  })

  it('may have its content taken on trust, and nothing else', async () => {
    const bytes = await whole()
    const trusting = async (damaged: Uint8Array): Promise<Buffer> => {
      const blocks = decodeFrame(inPieces(damaged, 1000), { verifyContent: false })
      return Buffer.concat(await Array.fromAsync(blocks))
    }
    const flipped = Buffer.from(bytes)
    flipped[flipped.length - 1] = (flipped.at(-1) ?? 0) ^ 1
    await expect(decode(flipped)).rejects.toThrow('bad content checksum')
    expect((await trusting(flipped)).equals(content)).toBe(true)
    await expect(trusting(bytes.subarray(0, bytes.length - 1))).rejects.toThrow('too early')
    await expect(trusting(Buffer.concat([bytes, bytes]))).rejects.toThrow('unknown bytes')
  })

  it('may have skippable frames before and behind it', async () => {
    const bytes = Buffer.concat([skippable, await whole(), skippable, skippable])
    expect((await decode(bytes)).equals(content)).toBe(true)
  })

  it.each([0x40, 0x50, 0x60, 0x70])(
    'may have blocks of size code %i, a content size, empty blocks and no checksum',
    async (descriptor) => {
      const bytes = Buffer.concat([
        header(0x68, descriptor, longWord(6)),
        raw(Buffer.from('one')),
        raw(Buffer.alloc(0)),
        raw(Buffer.from('two')),
        word(0),
      ])
      expect((await decode(bytes)).toString()).toBe('onetwo')
    },
  )

  it('may have a thousand small blocks in a row, linked, each with what came before', async () => {
    const parts = Array.from({ length: 1000 }, (_, n) => Buffer.alloc(500, `${n % 10} of the log `))
    const blocks = parts.map((part, n) => {
      const block = compressSync(part, Buffer.concat(parts.slice(Math.max(0, n - 131), n)))
      return Buffer.concat([word(block.length - 4), block.subarray(4)])
    })
    const bytes = Buffer.concat([header(0x40, 0x40), ...blocks, word(0)])
    expect((await decode(bytes)).equals(Buffer.concat(parts))).toBe(true)
  })

  it('is not followed through a million blocks of nothing, nor past the size that it states', async () => {
    const literal = Buffer.concat([word(2), Buffer.from([0x10, 0x61])])
    for (const [flags, block] of [
      [0x40, literal],
      [0x60, literal],
      [0x60, raw(Buffer.from('a'))],
      [0x60, raw(Buffer.alloc(0))],
    ] as const) {
      const frame = Buffer.concat([header(flags, 0x70), Buffer.alloc(6_000_000, block)])
      const startedMs = performance.now()
      await expect(decode(frame, 65_536)).rejects.toThrow('its blocks are too small')
      expect(performance.now() - startedMs).toBeLessThan(onThisMachine(1000))
    }
    const zeros = compressSync(Buffer.alloc(4 * 1024 * 1024))
    const bomb = Buffer.concat([word(zeros.length - 4), zeros.subarray(4)])
    const promised = header(0x68, 0x70, longWord(5 * 1024 * 1024))
    const bytes = Buffer.concat([promised, ...Array.from({ length: 1000 }, () => bomb)])
    let decoded = 0
    const reading = async (): Promise<void> => {
      for await (const block of decodeFrame(inPieces(bytes, 65_536))) decoded += block.length
    }
    await expect(reading()).rejects.toThrow('header states')
    expect(decoded).toBe(4 * 1024 * 1024)
  })

  it('may have linked blocks', async () => {
    const first = Buffer.from('the dictionary of the block behind it '.repeat(20))
    const second = Buffer.from('the dictionary of the block behind it '.repeat(5))
    const block = compressSync(second, first).subarray(4)
    const bytes = Buffer.concat([
      header(0x40, 0x40),
      raw(first),
      word(block.length),
      block,
      word(0),
    ])
    expect((await decode(bytes)).toString()).toBe(`${first.toString()}${second.toString()}`)
  })

  it.each([false, true])(
    'may have small and large blocks in any order, linked: %s',
    async (linked) => {
      const sizes = [10, 300_000, 262_144, 262_145, 5, 4 * 1024 * 1024, 1_000_000, 70_000]
      const contents = sizes.map((size) => Buffer.alloc(size, randomBytes(Math.min(size, 30_000))))
      const blocks = contents.map((content, i) => {
        const before = contents.slice(0, i)
        const window = Buffer.concat(before).subarray(-64 * 1024)
        const block = linked && i > 0 ? compressSync(content, window) : compressSync(content)
        return Buffer.concat([word(block.length - 4), block.subarray(4)])
      })
      const bytes = Buffer.concat([header(linked ? 0x40 : 0x60, 0x70), ...blocks, word(0)])
      const decoded = await decode(bytes, 100_000)
      expect(decoded.equals(Buffer.concat(contents))).toBe(true)
    },
  )

  it.each<[string, (bytes: Buffer) => Buffer]>([
    ['the object is empty', () => Buffer.alloc(0)],
    ['bad magic', (bytes) => Buffer.concat([Buffer.from('x'), bytes])],
    ['bad header checksum', (bytes) => flip(bytes, 6)],
    ['bad block size', (bytes) => flip(bytes, 10, 0x7f)],
    ['ends too early', (bytes) => bytes.subarray(0, 500)],
    ['ends too early', (bytes) => bytes.subarray(0, -4)],
    ['ends too early', (bytes) => bytes.subarray(0, -8)],
    ['ends too early', (bytes) => Buffer.concat([bytes, skippable.subarray(0, -1)])],
    ['bad content checksum', (bytes) => flip(bytes, 100)],
    ['bad content checksum', (bytes) => flip(bytes, bytes.length - 1)],
    ['unknown bytes after', (bytes) => Buffer.concat([bytes, bytes])],
    ['dictionaries', () => header(0x61, 0x70)],
    ['block checksums', () => header(0x74, 0x70)],
    ['bad block size code', () => header(0x64, 0x30)],
    ['unknown version', () => header(0xa4, 0x70)],
    ['unknown version', () => header(0x66, 0x70)],
    ['unknown version', () => header(0x64, 0x71)],
    ['unknown version', () => header(0x64, 0xf0)],
    [
      'states',
      (bytes) => Buffer.concat([header(0x6c, 0x70, longWord(2 ** 60)), bytes.subarray(7)]),
    ],
    ['states', (bytes) => Buffer.concat([header(0x6c, 0x70, longWord(0)), bytes.subarray(7)])],
  ])('fails: %s', async (message, damage) => {
    await expect(decode(damage(await whole()))).rejects.toMatchObject({
      code: 'CORRUPTION',
      message: expect.stringContaining(message) as unknown,
    })
  })
})

function flip(bytes: Buffer, at: number, mask = 1): Buffer {
  const copy = Buffer.from(bytes)
  copy[at] = (copy[at] ?? 0) ^ mask
  return copy
}
