import { expect, test } from 'vitest'
import { formatObjectPath } from '../../../../src/domain/stored/replica-layout.ts'
import { type WalSegmentTrailer } from '../../../../src/domain/stored/trailer.ts'
import { parseGeneration } from '../../../../src/domain/wal/generation.ts'
import { offsetAfterFrames } from '../../../../src/domain/wal/wal-format.ts'
import { never } from '../../../../src/kit/abort.ts'
import { TrailerReader } from '../../../../src/usecase/stored/trailers.ts'
import { MemoryReplicaClient } from '../../../support/memory-replica-client.ts'
import { objectOf } from '../../../support/object-of.ts'

const ref = {
  kind: 'wal-segment',
  generation: parseGeneration('0123456789abcdef')!,
  index: 1,
  offset: 0,
} as const

/** A segment of so many commits, each of which was seen by itself. */
function segmentOf(count: number): WalSegmentTrailer {
  const captures = Array.from({ length: count }, (_, n) => ({
    endOffset: offsetAfterFrames(n + 1, 512),
    timeMs: n,
  }))
  const checksum = { s0: 1, s1: 1 }
  return {
    ...{ kind: 'wal-segment', generation: ref.generation, index: 1, startOffset: 0 },
    ...{ endOffset: captures.at(-1)!.endOffset, pageSizeBytes: 512, bigEndian: false },
    ...{ databaseSizePages: 1, salts: { salt1: 1, salt2: 1 }, captures },
    ...{ checksumBefore: checksum, checksumAfter: checksum },
    ...{ previousIndexEnd: undefined, source: undefined },
  }
}

test.each([
  ['is read once', 1000, 1],
  // All of many such would not fit into memory.
  ['of very many captures is read whenever it is asked for', 100_000, 4],
])('a trailer %s', async (_, count, wantedReads) => {
  const client = new MemoryReplicaClient()
  const bytes = objectOf(segmentOf(count))
  client.objects.set(formatObjectPath(ref), { bytes, createdAtMs: 1 })
  let reads = 0
  client.beforeOperation = (operation) => void (reads += operation === 'read' ? 1 : 0)
  const trailers = new TrailerReader(client, [], never)
  const segment = { ...ref, sizeBytes: bytes.length, createdAtMs: 1 }
  const asked = [await trailers.segment(segment), await trailers.segment(segment)]
  expect(asked.map((trailer) => trailer?.captures.length)).toEqual([count, count])
  // A long one takes two: the first tells its length.
  expect(reads).toBe(wantedReads)
})
