import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { ChainVerifier, type SegmentFacts } from '../../../../src/domain/stored/chain-verifier.ts'
import { formatGeneration } from '../../../../src/domain/wal/generation.ts'
import {
  type StoredSegment,
  type StoredSnapshot,
} from '../../../../src/domain/stored/restore-plan.ts'
import { SegmentVerifier } from '../../../../src/domain/wal/segment-verifier.ts'
import {
  formatWalHeader,
  frameBytes,
  parseWalHeader,
  resaltFrames,
  type WalHeader,
  walHeaderBytes,
} from '../../../../src/domain/wal/wal-format.ts'

const maxPageCount = 9
const generation = formatGeneration(Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8))
const pageSizeBytes = 512
const stepBytes = frameBytes(pageSizeBytes)
const stored = { sizeBytes: 1, createdAtMs: 1 }
const snapshot: StoredSnapshot = { kind: 'snapshot', generation, index: 3, ...stored }

/** A WAL whose frames commit or not, as told; the last one does. */
function createWal(commits: readonly boolean[], bigEndian: boolean): Uint8Array {
  const salts = { salt1: 17, salt2: 4711 }
  const header = formatWalHeader({ pageSizeBytes, checkpointSequence: 1, salts, bigEndian })
  const parsed = parseWalHeader(header)
  if (!parsed.ok) throw new Error(parsed.problem)
  const frames = new Uint8Array(commits.length * stepBytes)
  const data = new DataView(frames.buffer)
  for (const [frame, commit] of commits.entries()) {
    data.setUint32(frame * stepBytes, 1 + (frame % 5))
    data.setUint32(frame * stepBytes + 4, commit || frame === commits.length - 1 ? 5 : 0)
    frames.fill(frame + 1, frame * stepBytes + 24, (frame + 1) * stepBytes)
  }
  resaltFrames(frames, { pageSizeBytes, bigEndian, salts, checksum: parsed.header.checksum })
  return Uint8Array.from([...header, ...frames])
}

/** Verifies a segment, handed over in blocks of some size. */
function verify(
  bytes: Uint8Array,
  start: {
    offset: number
    header: WalHeader | undefined
    wantedEndOffset?: number
    latestEndOffset?: number
  },
  blockBytes: number,
): { facts: SegmentFacts; wanted: Uint8Array } {
  const verifier = new SegmentVerifier({
    wantedEndOffset: Infinity,
    latestEndOffset: Infinity,
    ...start,
  })
  const wanted: number[] = []
  let problem: string | undefined
  try {
    for (let at = 0; at < bytes.length; at += blockBytes) {
      for (const run of verifier.push(bytes.slice(at, at + blockBytes))) wanted.push(...run)
    }
    verifier.end()
  } catch (error) {
    problem = (error as Error).message
  }
  return {
    facts: { content: verifier.content, trailer: undefined, problem },
    wanted: Uint8Array.from(wanted),
  }
}

function segmentAt(offset: number): StoredSegment {
  return { kind: 'wal-segment', generation, index: 3, offset, ...stored }
}

/** Proves a WAL that is cut into segments of so many frames. */
function prove(wal: Uint8Array, frameCounts: readonly number[], blockBytes: number): number {
  const proof = new ChainVerifier(snapshot, { target: undefined, maxPageCount })
  proof.addSnapshot({ pageSizeBytes, sizeBytes: 512, trailer: undefined, problem: undefined })
  let header: WalHeader | undefined
  let offset = 0
  for (const frameCount of frameCounts) {
    const end = Math.max(offset, walHeaderBytes) + frameCount * stepBytes
    const { facts } = verify(wal.subarray(offset, end), { offset, header }, blockBytes)
    proof.addSegment(segmentAt(offset), facts)
    header ??= facts.content.header
    offset = end
  }
  return proof.finish().position.offset
}

const cutWal = fc.record({
  commits: fc.array(fc.boolean(), { minLength: 1, maxLength: 12 }),
  bigEndian: fc.boolean(),
  firstFrames: fc.nat(12),
  blockBytes: fc.integer({ min: 1, max: 3000 }),
})

describe('a WAL that is verified segment by segment', () => {
  it('is proven however it is cut into segments and blocks', () => {
    fc.assert(
      fc.property(cutWal, ({ commits, bigEndian, firstFrames, blockBytes }) => {
        const first = Math.min(firstFrames, commits.length - 1)
        const wal = createWal(commits, bigEndian)
        const counts = [first, commits.length - first]
        expect(prove(wal, counts, blockBytes)).toBe(wal.length)
      }),
    )
  })

  it('is never proven with a bit flipped', () => {
    fc.assert(
      fc.property(cutWal, fc.nat(), fc.nat(7), (cut, place, bit) => {
        const { commits, bigEndian, firstFrames, blockBytes } = cut
        const first = Math.min(firstFrames, commits.length - 1)
        const wal = createWal(commits, bigEndian)
        wal[place % wal.length]! ^= 1 << bit
        expect(() => prove(wal, [first, commits.length - first], blockBytes)).toThrow()
      }),
    )
  })

  it('wants only the frames up to the target, and knows the last commit among them', () => {
    const wal = createWal([false, true, false, true], false)
    const wantedEndOffset = walHeaderBytes + 3 * stepBytes
    const start = { offset: 0, header: undefined, wantedEndOffset }
    const { facts, wanted } = verify(wal, start, 700)
    expect(facts.problem).toBeUndefined()
    expect(wanted).toEqual(wal.subarray(walHeaderBytes, wantedEndOffset))
    expect(facts.content).toMatchObject({
      endOffset: wal.length,
      commit: { endOffset: walHeaderBytes + 2 * stepBytes, pageCount: 5 },
    })
  })
})

describe('what is not proven', () => {
  it('names the object, the position and the last commit that is', () => {
    const wal = createWal([true, true, true, true], false)
    wal[walHeaderBytes + 3 * stepBytes - 1]! ^= 1
    const proof = new ChainVerifier(snapshot, { target: undefined, maxPageCount })
    const { facts } = verify(wal, { offset: 0, header: undefined }, 700)
    const at = (frames: number): string =>
      `${generation}/00000003:${walHeaderBytes + frames * stepBytes}`
    expect(() => proof.addSegment(segmentAt(0), facts)).toThrow(
      `generations/${generation}/wal/00000003_00000000.wal.lz4: the frame there does not continue the previous one; at ${at(2)}; the last verified commit ends at ${at(2)}`,
    )
  })

  it('is a history that ends within a transaction', () => {
    const wal = createWal([true, false, true], false)
    expect(() => prove(wal, [2], 700)).toThrow('within a transaction')
  })

  it('is a history with a hole, or with overlapping segments', () => {
    const wal = createWal([true, true, true, true], false)
    const { facts } = verify(
      wal.subarray(0, walHeaderBytes + 2 * stepBytes),
      { offset: 0, header: undefined },
      700,
    )
    for (const [frames, problem] of [
      [3, 'a segment is missing'],
      [1, 'segments overlap'],
    ] as const) {
      const proof = new ChainVerifier(snapshot, { target: undefined, maxPageCount })
      proof.addSegment(segmentAt(0), facts)
      const offset = walHeaderBytes + frames * stepBytes
      const next = verify(wal.subarray(offset), { offset, header: facts.content.header }, 700)
      expect(() => proof.addSegment(segmentAt(offset), next.facts)).toThrow(problem)
    }
  })
})
