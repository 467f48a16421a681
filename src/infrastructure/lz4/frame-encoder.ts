import { compressSync } from 'lz4-napi'
import xxhash from 'xxhash-wasm'
import { freeMemory } from '../../kit/free-memory.js'
import {
  type Compressor,
  type FrameEncoder,
  maxBlockBytes,
} from '../../usecase/ports/compressor.js'

/** Version 1, independent blocks of at most 4 MiB, a checksum of the content. */
const frameHeader = [0x04, 0x22, 0x4d, 0x18, 0x64, 0x70, 0xb9] as const
const sizeBytes = 4
const storedRaw = 0x8000_0000

/** As much as is read of a database at once: a block of a hole in its file need not be compressed each time. */
const zeros = new Uint8Array(256 * 1024)

function isZeros(content: Uint8Array): boolean {
  return content.length === zeros.length && Buffer.compare(content, zeros) === 0
}

/**
 * Compresses in the thread that asks, which takes a millisecond for half a megabyte. The library's allocator keeps memory for
 * each thread that uses it, and takes what another one freed back late: with libuv's threads in turn it held 60 MB more.
 */
export async function createLz4Compressor(): Promise<Compressor> {
  const xxh = await xxhash()
  const zerosBlock = new Uint8Array(compressSync(Buffer.from(zeros.buffer)))
  writeWord(zerosBlock, 0, zerosBlock.length - sizeBytes)
  return {
    startFrame(): FrameEncoder {
      const checksum = xxh.create32(0)
      return {
        header: () => Uint8Array.from(frameHeader),

        block(content) {
          if (content.length > maxBlockBytes) {
            throw new RangeError(`a block of ${content.length} bytes is too large`)
          }
          if (content.length === 0) return new Uint8Array(0)
          checksum.update(content)
          if (isZeros(content)) return zerosBlock.slice()
          // The library puts the content's size in front, where the frame wants the size of the block.
          const block: Uint8Array = compressSync(
            Buffer.from(content.buffer, content.byteOffset, content.length),
          )
          const compressedBytes = block.length - sizeBytes
          if (compressedBytes >= content.length) {
            freeMemory(block)
            const raw = new Uint8Array(sizeBytes + content.length)
            writeWord(raw, 0, storedRaw + content.length)
            raw.set(content, sizeBytes)
            return raw
          }
          writeWord(block, 0, compressedBytes)
          return block
        },

        end() {
          const bytes = new Uint8Array(8)
          writeWord(bytes, 4, checksum.digest())
          return bytes
        },
      }
    },
  }
}

function writeWord(bytes: Uint8Array, offset: number, value: number): void {
  new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).setUint32(offset, value, true)
}
