import { randomBytes } from 'node:crypto'
import { decompressFrameSync } from 'lz4-napi'
import { describe, expect, it } from 'vitest'
import { createLz4Compressor } from '../../../../src/infrastructure/lz4/frame-encoder.js'

async function frame(blocks: readonly Uint8Array[]): Promise<Buffer> {
  const encoder = (await createLz4Compressor()).startFrame()
  const parts = [encoder.header()]
  for (const block of blocks) parts.push(encoder.block(block))
  parts.push(encoder.end())
  return Buffer.concat(parts)
}

describe('the LZ4 frame that is written', () => {
  it('begins with the header of the original', async () => {
    expect((await frame([])).toString('hex')).toBe('04224d186470b900000000055dcc02')
  })

  it('is read by another decoder, whether its blocks shrink or not', async () => {
    const blocks = [
      Buffer.alloc(4 * 1024 * 1024, 'abcdefg'),
      randomBytes(70_000),
      Buffer.from('x'),
      Buffer.alloc(4096),
      // As of a hole in a file.
      ...Array.from({ length: 3 }, () => Buffer.alloc(256 * 1024)),
    ]
    const bytes = await frame(blocks)
    expect(decompressFrameSync(bytes).equals(Buffer.concat(blocks))).toBe(true)
    expect(bytes.length).toBeLessThan(100_000)
  })
})
