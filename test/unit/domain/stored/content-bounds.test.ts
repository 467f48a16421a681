import { expect, test } from 'vitest'
import {
  mostPages,
  mostSnapshotBytes,
  refusePages,
  snapshotPageSize,
  statedPageCount,
} from '../../../../src/domain/stored/content-bounds.ts'
import { ChainVerifier } from '../../../../src/domain/stored/chain-verifier.ts'
import { type SnapshotTrailer } from '../../../../src/domain/stored/trailer.ts'
import { formatGeneration } from '../../../../src/domain/wal/generation.ts'

const generation = formatGeneration(Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8))

/** The first 100 bytes of a database. */
function head({ count = 7, changes = 3, validFor = 3 } = {}): Buffer {
  const bytes = Buffer.alloc(100)
  bytes.write('SQLite format 3\0')
  bytes.writeUInt16BE(4096, 16)
  bytes.writeUInt32BE(changes, 24)
  bytes.writeUInt32BE(count, 28)
  bytes.writeUInt32BE(validFor, 92)
  return bytes
}

test('two forged commits of a few KB make no database of terabytes, and a real one is never too large', () => {
  expect(() => refusePages(0xffff_fffe, mostPages(3000))).toThrow('4294967294 pages')
  expect(() => refusePages(1_000_000, mostPages(300))).not.toThrow()
  expect(() => refusePages(0xffff_fffe, mostPages(2 ** 40))).not.toThrow()
})

test('a chain refuses the commit that states such a size', () => {
  const stored = { sizeBytes: 900, createdAtMs: 1 }
  const snapshot = { kind: 'snapshot', generation, index: 0, ...stored } as const
  const segment = { kind: 'wal-segment', generation, index: 0, offset: 0, ...stored } as const
  const chain = new ChainVerifier(snapshot, { target: undefined, maxPageCount: mostPages(1800) })
  const facts = { trailer: undefined, problem: undefined }
  chain.addSnapshot({ ...facts, pageSizeBytes: 4096, sizeBytes: 4096 })
  const checksum = { s0: 1, s1: 1 }
  const salts = { salt1: 1, salt2: 2 }
  const header = { pageSizeBytes: 4096, checkpointSequence: 0, salts, bigEndian: false, checksum }
  const content = { header, salts, checksumBefore: checksum, checksumAfter: checksum }
  const commit = { endOffset: 4152, pageCount: 0xffff_fffe }
  expect(() =>
    chain.addSegment(segment, { ...facts, content: { ...content, endOffset: 4152, commit } }),
  ).toThrow('cannot hold more')
})

test('a snapshot has no more than its trailer says, and a file may end within a page', () => {
  const trailer: SnapshotTrailer = {
    ...{ kind: 'snapshot', generation, index: 0, consistentFrom: { index: 0, offset: 0 } },
    ...{ pageSizeBytes: 512, pageCount: 3, startTimeMs: 0, endTimeMs: 0, commitTimeMs: 0 },
    lineage: undefined,
  }
  expect(mostSnapshotBytes(trailer)).toBe(2048)
  expect(mostSnapshotBytes(undefined)).toBe(Infinity)
})

test('a snapshot is a SQLite database, or none', () => {
  expect(snapshotPageSize(head())).toBe(4096)
  const other = head()
  other.write('SQLite format 4\0')
  expect(() => snapshotPageSize(other)).toThrow('not a SQLite database')
  expect(() => snapshotPageSize(Buffer.from('SQLite'))).toThrow('not a SQLite database')
})

test('the first page says how many there are, unless an old version of SQLite wrote last', () => {
  expect(statedPageCount(head())).toBe(7)
  expect(statedPageCount(head({ validFor: 2 }))).toBeUndefined()
  expect(statedPageCount(head({ count: 0 }))).toBeUndefined()
  expect(statedPageCount(head().subarray(0, 99))).toBeUndefined()
})
