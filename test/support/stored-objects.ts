import { createHash } from 'node:crypto'
import { formatGeneration } from '../../src/domain/wal/generation.js'
import { formatTrailer, type Trailer } from '../../src/domain/stored/trailer.js'
import { createLz4Compressor } from '../../src/infrastructure/lz4/frame-encoder.js'

export interface StoredObject {
  readonly name: string
  readonly content: Buffer
  readonly bytes: Buffer
  /** The first bytes of its frames, each four long. */
  readonly magics: readonly number[]
}

const generation = formatGeneration(Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8))
const checksum = { s0: 0x1234_5678, s1: 0x9abc_def0 }

const segment: Trailer = {
  kind: 'wal-segment',
  generation,
  index: 3,
  startOffset: 0,
  endOffset: 8272,
  pageSizeBytes: 4096,
  bigEndian: false,
  databaseSizePages: 2,
  salts: { salt1: 1, salt2: 2 },
  checksumBefore: checksum,
  checksumAfter: checksum,
  captures: [{ endOffset: 8272, timeMs: 1_700_000_000_000 }],
  previousIndexEnd: { offset: 4152, checksum },
  source: undefined,
}

const snapshot: Trailer = {
  kind: 'snapshot',
  generation,
  index: 3,
  consistentFrom: { index: 3, offset: 8272 },
  pageSizeBytes: 4096,
  pageCount: 2,
  startTimeMs: 1_700_000_000_000,
  endTimeMs: 1_700_000_000_001,
  commitTimeMs: 1_700_000_000_000,
  lineage: undefined,
}

export const storedTrailer = formatTrailer(segment)

/** A snapshot and a segment as we store them, small enough to be cut at every byte: a block that shrank, and a raw one. */
export async function storedObjects(): Promise<readonly StoredObject[]> {
  const compressor = await createLz4Compressor()
  return [snapshot, segment].map((trailer): StoredObject => {
    const blocks = [
      Buffer.alloc(8000, `a page of the ${trailer.kind} `),
      createHash('sha512').update(trailer.kind).digest(),
    ]
    const encoder = compressor.startFrame()
    const parts: Uint8Array[] = [encoder.header()]
    for (const block of blocks) parts.push(encoder.block(block))
    parts.push(encoder.end())
    const frame = Buffer.concat(parts)
    const bytes = Buffer.concat([frame, formatTrailer(trailer)])
    const content = Buffer.concat(blocks)
    return { name: trailer.kind, content, bytes, magics: [0, frame.length] }
  })
}
