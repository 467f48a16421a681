/**
 * Whoever feeds the decoder takes a chunk back when the next is asked for, and whoever is fed by it frees the blocks: how
 * the bytes came in must not be seen in what comes out.
 */
import { randomBytes } from 'node:crypto'
import { compressSync } from 'lz4-napi'
import { describe, expect, it } from 'vitest'
import xxhash from 'xxhash-wasm'
import { freeMemory } from '../../../../src/kit/free-memory.js'
import { ObjectBody } from '../../../../src/infrastructure/image/object-body.js'
import { decodeFrame } from '../../../../src/infrastructure/lz4/frame-decoder.js'
import { everyBytes, lentPieces, type TakeBack } from '../../../support/lent-pieces.js'
import { storedObjects } from '../../../support/stored-objects.js'

const objects = await storedObjects()
const xxh = await xxhash()

async function decode(source: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const copies: Uint8Array[] = []
  for await (const block of decodeFrame(source)) {
    copies.push(new Uint8Array(block))
    freeMemory(block)
  }
  return Buffer.concat(copies)
}

/** As a thread of a restore gets it. */
function bodyOf(bytes: Uint8Array, cuts: readonly number[]): ObjectBody {
  const body = new ObjectBody(() => undefined)
  const chunks = [...cuts, bytes.length].map(
    (to, i) => new Uint8Array(bytes.subarray(cuts[i - 1] ?? 0, to)),
  )
  body.push(chunks, true)
  return body
}

describe.each(objects)('the $name', ({ bytes, content }) => {
  it.each<TakeBack>(['freed', 'used again'])(
    'is whole wherever it is cut, with chunks that are %s',
    async (takeBack) => {
      for (let cut = 1; cut < bytes.length; cut += 1) {
        const decoded = await decode(lentPieces(bytes, [cut], takeBack))
        expect(decoded.equals(content), `cut at ${cut}`).toBe(true)
      }
    },
  )

  it('is whole in pieces of any size, and as the body that a thread is given', async () => {
    for (let size = 1; size < bytes.length; size += 1) {
      const cuts = everyBytes(bytes.length, size)
      const decoded = await decode(lentPieces(bytes, cuts))
      expect(decoded.equals(content), `pieces of ${size}`).toBe(true)
      const body = bodyOf(bytes, cuts)
      expect((await decode(body)).equals(content), `a body in pieces of ${size}`).toBe(true)
      expect(body.trailer.kind, `a body in pieces of ${size}`).toBe('trailer')
    }
  })

  it('is not whole when its end is missing, wherever it is cut', async () => {
    for (let length = 0; length < bytes.length; length += 1) {
      const cut = bytes.subarray(0, length)
      const decoded = decode(lentPieces(cut, everyBytes(length, 3))).then(
        (found) => found.equals(content),
        () => false,
      )
      // Without its trailer it is a whole object of the original.
      expect(await decoded, `${length} bytes`).toBe(length === frameLength(bytes))
    }
  })
})

it('blocks that refer to those before them are decoded though those are freed', async () => {
  const first = randomBytes(100_000)
  const blocks = [first, first.subarray(-60_000), first.subarray(-30_000), randomBytes(10)]
  const content = Buffer.concat(blocks)
  const parts = blocks.flatMap((block, i) => {
    const window = Buffer.concat(blocks.slice(0, i)).subarray(-65_536)
    const packed = i === 0 ? compressSync(block) : compressSync(block, window)
    return [word(packed.length - 4), packed.subarray(4)]
  })
  const descriptor = Uint8Array.of(0x40, 0x70)
  const check = Uint8Array.of((xxh.h32Raw(descriptor, 0) >>> 8) & 0xff)
  const bytes = Buffer.concat([word(0x184d2204), descriptor, check, ...parts, word(0)])
  const decoded = await decode(lentPieces(bytes, everyBytes(bytes.length, 10_000)))
  expect(decoded.equals(content)).toBe(true)
})

function frameLength(bytes: Buffer): number {
  return bytes.length - bytes.readUInt32LE(bytes.length - 8)
}

function word(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32LE(value)
  return bytes
}
