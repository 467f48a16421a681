import { uncompressSync } from 'lz4-napi'
import xxhash, { type XXHashAPI } from 'xxhash-wasm'
import { CorruptionError } from '../../domain/errors.js'
import { greatestLz4Ratio } from '../../domain/stored/lz4-ratio.js'

/** The first letters of an age file, `age-`. */
const ageMagic = 0x2d656761
const frameMagic = 0x184d2204
const skippableMagic = 0x184d2a50
const storedRaw = 0x8000_0000
const windowBytes = 64 * 1024
const sizeBytes = 4
/**
 * Writers fill their blocks: ours have a frame of a WAL at least. A block costs some microseconds whatever is in it, so a MiB of
 * blocks of a byte took seconds. So many may be small, for whoever flushes; of all others there is so much content.
 */
const smallBlocks = 1024
const leastBlockContentBytes = 512
/** What a block is expected to become at first: the blocks that we write are no larger. */
const usualBlockBytes = 256 * 1024

let library: Promise<XXHashAPI> | undefined

/**
 * Decompresses the one LZ4 frame of an object, block by block, and fails with {@link CorruptionError} unless the object
 * is whole: after the frame nothing but skippable frames may follow. What has been yielded can only be trusted once the
 * end has been reached. `verifyContent: false` passes over the checksum of the content: where that proves itself.
 * A chunk of the source is its owner's again once the next is asked for; what is yielded is the taker's.
 */
export async function* decodeFrame(
  source: AsyncIterable<Uint8Array>,
  { verifyContent }: { readonly verifyContent: boolean } = { verifyContent: true },
): AsyncGenerator<Uint8Array> {
  library ??= xxhash()
  const xxh = await library
  const input = new Input(source)
  try {
    let magic = await input.magic()
    if (magic === undefined) throw new CorruptionError('the object is empty')
    while (isSkippable(magic)) {
      await skipFrame(input)
      magic = await input.magic()
      if (magic === undefined) throw cut()
    }
    if (magic === ageMagic) {
      throw new CorruptionError('it is encrypted with age, and no identity was given', {
        hint: 'restore with a configuration file whose replica has the secret key under age.identities',
      })
    }
    if (magic !== frameMagic) {
      throw new CorruptionError(
        `bad magic ${magic.toString(16).padStart(8, '0')}: not an LZ4 frame`,
      )
    }
    const header = await readHeader(input, xxh)
    const checksum = xxh.create32(0)
    const isHashed = header.hasChecksum && verifyContent
    const blocks = new BlockDecoder(header.maxBlockBytes)
    const window = header.linked ? new Window() : undefined
    let contentBytes = 0
    for (let blockCount = 0; ; blockCount += 1) {
      const word = readWord(await input.exactly(4))
      if (word === 0) break
      const isRaw = word >= storedRaw
      const length = isRaw ? word - storedRaw : word
      if (length > header.maxBlockBytes) throw new CorruptionError(`bad block size ${length}`)
      const content = isRaw
        ? await input.exactly(length)
        : await blocks.decode(input, length, window?.bytes)
      window?.add(content)
      contentBytes += content.length
      if (contentBytes > (header.contentBytes ?? Infinity)) throw otherSize(header)
      if (blockCount > smallBlocks + contentBytes / leastBlockContentBytes) {
        throw new CorruptionError('its blocks are too small: no writer makes so many of so little')
      }
      if (isHashed) checksum.update(content)
      if (content.length > 0) yield content
    }
    if (contentBytes !== (header.contentBytes ?? contentBytes)) throw otherSize(header)
    if (header.hasChecksum) {
      const expected = readWord(await input.exactly(4))
      if (isHashed && checksum.digest() >>> 0 !== expected)
        throw new CorruptionError('bad content checksum')
    }
    for (;;) {
      const trailing = await input.magic()
      if (trailing === undefined) return
      if (!isSkippable(trailing)) throw new CorruptionError('unknown bytes after the LZ4 frame')
      await skipFrame(input)
    }
  } finally {
    await input.close()
  }
}

interface FrameHeader {
  readonly maxBlockBytes: number
  readonly linked: boolean
  readonly hasChecksum: boolean
  /** Of all blocks; undefined: it is not stated. */
  readonly contentBytes: number | undefined
}

function otherSize({ contentBytes }: FrameHeader): CorruptionError {
  return new CorruptionError(
    `its content is not the ${contentBytes} bytes that its LZ4 header states`,
  )
}

async function readHeader(input: Input, xxh: XXHashAPI): Promise<FrameHeader> {
  const start = await input.exactly(2)
  const flags = start[0] ?? 0
  const descriptor = start[1] ?? 0
  const blockSizeCode = (descriptor >> 4) & 7
  const sizeField = (flags & 8) === 0 ? 0 : 8
  const fields = new Uint8Array(2 + sizeField)
  fields.set(start)
  fields.set(await input.exactly(sizeField), 2)
  const checksum = (await input.exactly(1))[0]
  if ((flags & 1) !== 0) throw new CorruptionError('LZ4 dictionaries are not supported')
  if (((xxh.h32Raw(fields, 0) >>> 8) & 0xff) !== checksum)
    throw new CorruptionError('bad header checksum')
  if (flags >> 6 !== 1 || (flags & 2) !== 0 || (descriptor & 0x8f) !== 0) {
    throw new CorruptionError('an unknown version of LZ4 frames')
  }
  if ((flags & 16) !== 0) throw new CorruptionError('LZ4 block checksums are not supported')
  if (blockSizeCode < 4) throw new CorruptionError(`bad block size code ${blockSizeCode}`)
  return {
    maxBlockBytes: 1 << (8 + 2 * blockSizeCode),
    linked: (flags & 32) === 0,
    hasChecksum: (flags & 4) !== 0,
    contentBytes: sizeField === 0 ? undefined : Number(readLongWord(fields.subarray(2))),
  }
}

class BlockDecoder {
  readonly #maxBlockBytes: number
  /** No block has been larger yet. */
  #expectedBytes = usualBlockBytes
  /** The library wants the content's size in front of a block. Used again, because fresh memory costs page faults. */
  #stored = new Uint8Array(0)

  constructor(maxBlockBytes: number) {
    this.#maxBlockBytes = maxBlockBytes
  }

  async decode(
    input: Input,
    length: number,
    dictionary: Uint8Array | undefined,
  ): Promise<Uint8Array> {
    if (this.#stored.length < sizeBytes + length) {
      this.#stored = new Uint8Array(Math.min(sizeBytes + this.#maxBlockBytes, 2 * length + 64))
    }
    const stored = this.#stored.subarray(0, sizeBytes + length)
    await input.fill(stored.subarray(sizeBytes))
    const limit = Math.min(this.#maxBlockBytes, length * greatestLz4Ratio + 64)
    // The library clears as much memory as the size says: the 4 MiB that a frame may allow would take longer than decoding,
    // and stay with each thread. A size that is too small only fails.
    if (this.#expectedBytes < limit) {
      try {
        return uncompress(stored, { roomBytes: this.#expectedBytes, dictionary })
      } catch {
        // It is larger than any before, or damaged.
      }
    }
    try {
      const content = uncompress(stored, { roomBytes: limit, dictionary })
      this.#expectedBytes = Math.max(this.#expectedBytes, content.length)
      return content
    } catch (error) {
      throw new CorruptionError('a block cannot be decompressed', { cause: error })
    }
  }
}

/** What is stored after four bytes, which become the size that the library makes room for. It cuts what is not filled. */
function uncompress(
  stored: Uint8Array,
  {
    roomBytes,
    dictionary,
  }: { readonly roomBytes: number; readonly dictionary: Uint8Array | undefined },
): Uint8Array {
  new DataView(stored.buffer).setUint32(0, roomBytes, true)
  return dictionary === undefined || dictionary.length === 0
    ? uncompressSync(stored)
    : uncompressSync(stored, dictionary)
}

/** The last 64 KiB of what was decompressed, in memory of their own: the content is its taker's. */
class Window {
  /** Twice as much, so that a small block costs no copy of all of it. */
  readonly #memory = new Uint8Array(2 * windowBytes)
  #length = 0

  get bytes(): Uint8Array {
    return this.#memory.subarray(Math.max(0, this.#length - windowBytes), this.#length)
  }

  add(content: Uint8Array): void {
    const added = content.subarray(-windowBytes)
    if (this.#length + added.length > this.#memory.length) {
      const kept = this.bytes
      this.#memory.copyWithin(0, kept.byteOffset, kept.byteOffset + kept.length)
      this.#length = kept.length
    }
    this.#memory.set(added, this.#length)
    this.#length += added.length
  }
}

async function skipFrame(input: Input): Promise<void> {
  await input.skip(readWord(await input.exactly(4)))
}

function isSkippable(magic: number): boolean {
  return (magic & 0xffff_fff0) >>> 0 === skippableMagic
}

function readWord(bytes: Uint8Array): number {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getUint32(0, true)
}

function readLongWord(bytes: Uint8Array): bigint {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getBigUint64(0, true)
}

function cut(): CorruptionError {
  return new CorruptionError('the object ends too early')
}

/** Takes exact counts of bytes from a stream of chunks, each of which is its owner's again once the next is asked for. */
class Input {
  readonly #chunks: AsyncIterator<Uint8Array>
  /** What is left of the latest chunk. No other view of it outlives a wait. */
  #chunk: Uint8Array = new Uint8Array(0)

  constructor(source: AsyncIterable<Uint8Array>) {
    this.#chunks = source[Symbol.asyncIterator]()
  }

  /** Whether there is a byte to take. */
  async #more(): Promise<boolean> {
    while (this.#chunk.length === 0) {
      const next = await this.#chunks.next()
      if (next.done === true) return false
      this.#chunk = next.value
    }
    return true
  }

  /** The next bytes of the latest chunk, at most `limit`; to be used before anything is waited for. */
  #take(limit: number): Uint8Array {
    const part = this.#chunk.subarray(0, limit)
    this.#chunk = this.#chunk.subarray(part.length)
    return part
  }

  /** Four bytes, or undefined if nothing is left. */
  async magic(): Promise<number | undefined> {
    return (await this.#more()) ? readWord(await this.exactly(4)) : undefined
  }

  async exactly(count: number): Promise<Uint8Array> {
    const bytes = new Uint8Array(count)
    await this.fill(bytes)
    return bytes
  }

  async fill(bytes: Uint8Array): Promise<void> {
    for (let filled = 0; filled < bytes.length;) {
      if (!(await this.#more())) throw cut()
      const part = this.#take(bytes.length - filled)
      bytes.set(part, filled)
      filled += part.length
    }
  }

  async skip(count: number): Promise<void> {
    for (let left = count; left > 0;) {
      if (!(await this.#more())) throw cut()
      left -= this.#take(left).length
    }
  }

  async close(): Promise<void> {
    await this.#chunks.return?.()
  }
}
