import { expect, test } from 'vitest'
import { ChainVerifier, type SegmentFacts } from '../../../../src/domain/stored/chain-verifier.js'
import { formatGeneration } from '../../../../src/domain/wal/generation.js'
import {
  type StoredSegment,
  type StoredSnapshot,
} from '../../../../src/domain/stored/restore-plan.js'
import { SegmentVerifier } from '../../../../src/domain/wal/segment-verifier.js'
import { type WalSegmentTrailer } from '../../../../src/domain/stored/trailer.js'
import {
  type Checksum,
  formatWalHeader,
  frameBytes,
  parseWalHeader,
  resaltFrames,
  walHeaderBytes,
} from '../../../../src/domain/wal/wal-format.js'

const maxPageCount = 9
const generation = formatGeneration(Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8))
const pageSizeBytes = 512
const stored = { sizeBytes: 1, createdAtMs: 1 }
const snapshot: StoredSnapshot = { kind: 'snapshot', generation, index: 3, ...stored }

/** A WAL of so many commits, a frame each, cut into segments behind each of them. */
function segmentsOf(
  index: number,
  commits: number,
  previousIndexEnd?: { offset: number; checksum: Checksum },
): { segment: StoredSegment; facts: SegmentFacts }[] {
  const salts = { salt1: index, salt2: 4711 }
  const format = { pageSizeBytes, checkpointSequence: 1, salts, bigEndian: false }
  const start = formatWalHeader(format)
  const parsed = parseWalHeader(start)
  if (!parsed.ok) throw new Error(parsed.problem)
  const stepBytes = frameBytes(pageSizeBytes)
  const frames = new Uint8Array(commits * stepBytes)
  const data = new DataView(frames.buffer)
  for (let frame = 0; frame < commits; frame += 1) {
    data.setUint32(frame * stepBytes, 1)
    data.setUint32(frame * stepBytes + 4, 1)
  }
  resaltFrames(frames, { ...format, checksum: parsed.header.checksum })
  const wal = Uint8Array.from([...start, ...frames])
  return Array.from({ length: commits }, (_, n) => {
    const offset = n === 0 ? 0 : walHeaderBytes + n * stepBytes
    const endOffset = walHeaderBytes + (n + 1) * stepBytes
    const verifier = new SegmentVerifier({
      offset,
      header: n === 0 ? undefined : parsed.header,
      wantedEndOffset: Infinity,
      latestEndOffset: Infinity,
    })
    verifier.push(wal.slice(offset, endOffset))
    const { content } = verifier
    const trailer: WalSegmentTrailer = {
      kind: 'wal-segment',
      generation,
      index,
      startOffset: offset,
      endOffset,
      pageSizeBytes,
      bigEndian: false,
      databaseSizePages: 1,
      salts,
      checksumBefore: content.checksumBefore ?? parsed.header.checksum,
      checksumAfter: content.checksumAfter ?? parsed.header.checksum,
      captures: [{ endOffset, timeMs: index * 1000 + n }],
      previousIndexEnd: n === 0 ? previousIndexEnd : undefined,
      source: undefined,
    }
    return {
      segment: { kind: 'wal-segment', generation, index, offset, ...stored },
      facts: { content, trailer, problem: undefined },
    }
  })
}

test('where the last segment of an index is missing, the last commit is the one before the gap', () => {
  const first = segmentsOf(3, 3)
  const end = first.at(-1)!.facts.content
  const second = segmentsOf(4, 2, { offset: end.endOffset, checksum: end.checksumAfter! })
  const prove = (objects: typeof first): void => {
    const proof = new ChainVerifier(snapshot, { target: undefined, maxPageCount })
    proof.addSnapshot({ pageSizeBytes, sizeBytes: 512, trailer: undefined, problem: undefined })
    for (const { segment, facts } of objects) proof.addSegment(segment, facts)
    proof.finish()
  }
  prove([...first, ...second])
  const lost = first.at(-1)!.segment
  const at = (offset: number): string => `${generation}/00000003:${offset}`
  const path = `generations/${generation}/wal/00000003_${lost.offset.toString(16).padStart(8, '0')}.wal.lz4`
  expect(() => {
    prove([...first.slice(0, -1), ...second])
  }).toThrow(
    `a segment is missing before it, ${path}: nothing is stored from ${at(lost.offset)} to ${at(end.endOffset)}; at ${at(lost.offset)}; the last verified commit ends at ${at(lost.offset)} of 1970-01-01T00:00:03.001Z`,
  )
})
