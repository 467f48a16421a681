import fc from 'fast-check'
import { compressSync } from 'lz4-napi'
import { expect, test } from 'vitest'
import xxhash from 'xxhash-wasm'
import { CorruptionError } from '../../../../src/domain/errors.js'
import { decodeFrame } from '../../../../src/infrastructure/lz4/frame-decoder.js'

const xxh = await xxhash()

function word(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32LE(value >>> 0)
  return bytes
}

interface Shape {
  readonly blocks: readonly { readonly content: Uint8Array; readonly raw: boolean }[]
  readonly sizeCode: number
  readonly linked: boolean
  readonly checksum: boolean
  readonly size: boolean
  readonly skippable: {
    readonly before: readonly Skippable[]
    readonly behind: readonly Skippable[]
  }
}
interface Skippable {
  readonly nibble: number
  readonly content: Uint8Array
}

const skippable = fc.array(
  fc.record({ nibble: fc.nat({ max: 15 }), content: fc.uint8Array({ maxLength: 40 }) }),
  { maxLength: 2 },
)
/** Half of it repeats itself, so that blocks shrink and refer to those before. */
const content = fc.oneof(
  fc.uint8Array({ maxLength: 300 }),
  fc
    .tuple(fc.uint8Array({ minLength: 1, maxLength: 30 }), fc.integer({ min: 1, max: 60 }))
    .map(([bytes, times]) => Buffer.concat(Array.from({ length: times }, () => bytes))),
)
const shapes: fc.Arbitrary<Shape> = fc.record({
  blocks: fc.array(fc.record({ content, raw: fc.boolean() }), { maxLength: 5 }),
  sizeCode: fc.integer({ min: 4, max: 7 }),
  linked: fc.boolean(),
  checksum: fc.boolean(),
  size: fc.boolean(),
  skippable: fc.record({ before: skippable, behind: skippable }),
})

const contentOf = (shape: Shape): Buffer =>
  Buffer.concat(shape.blocks.map((block) => block.content))

const skippableBytes = (frames: readonly Skippable[]): Buffer =>
  Buffer.concat(
    frames.flatMap(({ nibble, content: bytes }) => [
      word(0x184d2a50 + nibble),
      word(bytes.length),
      bytes,
    ]),
  )

/** The frame proper, by the letter of the LZ4 frame format. */
function frame({ blocks, sizeCode, linked, checksum, size }: Shape): Buffer {
  const all = Buffer.concat(blocks.map((block) => block.content))
  const flags = 0x40 | (linked ? 0 : 0x20) | (size ? 8 : 0) | (checksum ? 4 : 0)
  const sizeField = Buffer.alloc(size ? 8 : 0)
  if (size) sizeField.writeBigUInt64LE(BigInt(all.length))
  const descriptor = Buffer.concat([Buffer.from([flags, sizeCode << 4]), sizeField])
  const parts = [word(0x184d2204), descriptor]
  parts.push(Buffer.from([(xxh.h32Raw(descriptor, 0) >>> 8) & 0xff]))
  let written = 0
  for (const { content: bytes, raw } of blocks) {
    const before = all.subarray(Math.max(0, written - 65_536), written)
    written += bytes.length
    if (raw || bytes.length === 0) {
      parts.push(word(0x8000_0000 + bytes.length), Buffer.from(bytes))
    } else {
      const source = Buffer.from(bytes)
      const packed =
        linked && before.length > 0 ? compressSync(source, before) : compressSync(source)
      parts.push(word(packed.length - 4), packed.subarray(4))
    }
  }
  parts.push(word(0))
  if (checksum) parts.push(word(xxh.h32Raw(all, 0)))
  return Buffer.concat(parts)
}

const object = (shape: Shape): Buffer =>
  Buffer.concat([
    skippableBytes(shape.skippable.before),
    frame(shape),
    skippableBytes(shape.skippable.behind),
  ])

// eslint-disable-next-line @typescript-eslint/require-await -- the decoder takes a stream
async function* inPieces(bytes: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size)
}

const decode = async (bytes: Uint8Array, pieceBytes = 97): Promise<Buffer> =>
  Buffer.concat(await Array.fromAsync(decodeFrame(inPieces(bytes, pieceBytes))))

test('any frame of the format is read, in pieces of any size', async () => {
  await fc.assert(
    fc.asyncProperty(shapes, fc.integer({ min: 1, max: 5000 }), async (shape, pieceBytes) => {
      expect((await decode(object(shape), pieceBytes)).equals(contentOf(shape))).toBe(true)
    }),
  )
})

test('a frame without its end, whatever is missing of it, is refused', async () => {
  await fc.assert(
    fc.asyncProperty(shapes, fc.nat(), async (shape, cut) => {
      const whole = Buffer.concat([skippableBytes(shape.skippable.before), frame(shape)])
      const rest = whole.subarray(0, cut % whole.length)
      await expect(decode(rest)).rejects.toBeInstanceOf(CorruptionError)
    }),
  )
})

test('whatever follows a frame and may not be skipped is refused, another frame too', async () => {
  await fc.assert(
    fc.asyncProperty(
      shapes,
      fc.uint8Array({ minLength: 1, maxLength: 20 }),
      async (shape, tail) => {
        fc.pre(tail.length < 4 || !(Buffer.from(tail).readUInt32LE() >>> 4 === 0x184d2a5))
        const bytes = object(shape)
        await expect(decode(Buffer.concat([bytes, tail]))).rejects.toBeInstanceOf(CorruptionError)
        await expect(decode(Buffer.concat([bytes, frame(shape)]))).rejects.toBeInstanceOf(
          CorruptionError,
        )
      },
    ),
  )
})

test('no flipped bit of a frame with a checksum is read as other content', async () => {
  await fc.assert(
    fc.asyncProperty(shapes, fc.nat(), fc.nat({ max: 7 }), async (shape, at, bit) => {
      const bytes = frame({ ...shape, checksum: true })
      const place = at % bytes.length
      bytes[place] = bytes[place]! ^ (1 << bit)
      const decoded = await decode(bytes).catch((error: unknown) => {
        expect(error).toBeInstanceOf(CorruptionError)
        return undefined
      })
      if (decoded !== undefined) expect(decoded.equals(contentOf(shape))).toBe(true)
    }),
  )
})
