import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { formatGeneration } from '../../../../src/domain/wal/generation.js'
import { comparePositions, type WalPosition } from '../../../../src/domain/wal/position.js'
import {
  chainStart,
  checksumAt,
  headOf,
  isNext,
  isPieceOf,
  type LogSegment,
  nextInLog,
  succession,
  type Succession,
  tailOf,
} from '../../../../src/domain/stored/segment-chain.js'
import { type WalSegmentTrailer } from '../../../../src/domain/stored/trailer.js'

const generation = formatGeneration(Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8))
const otherGeneration = formatGeneration(Uint8Array.of(8, 7, 6, 5, 4, 3, 2, 1))
const firstIndex = 3

interface Segment {
  readonly index: number
  readonly offset: number
  readonly trailer: WalSegmentTrailer
}

/** A history that tiles: of each index the lengths of its segments. Each frame has a checksum of its own. */
const history = fc
  .array(fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 4 }), {
    minLength: 1,
    maxLength: 5,
  })
  .map((indexes) => {
    const segments: Segment[] = []
    let sum = 1
    let previousIndexEnd: WalSegmentTrailer['previousIndexEnd']
    for (const [i, lengths] of indexes.entries()) {
      const index = firstIndex + i
      let offset = 0
      for (const length of lengths) {
        const endOffset = offset + (offset === 0 ? 32 : 0) + length * 4120
        const checksumBefore = { s0: sum, s1: index }
        const checksumAfter = { s0: (sum += 1), s1: index }
        const trailer: WalSegmentTrailer = {
          kind: 'wal-segment',
          generation,
          index,
          startOffset: offset,
          endOffset,
          pageSizeBytes: 4096,
          bigEndian: false,
          databaseSizePages: 1,
          salts: { salt1: index, salt2: 7 },
          checksumBefore,
          checksumAfter,
          captures: [{ endOffset, timeMs: sum }],
          previousIndexEnd: offset === 0 ? previousIndexEnd : undefined,
          source: undefined,
        }
        segments.push({ index, offset, trailer })
        offset = endOffset
        previousIndexEnd = { offset, checksum: checksumAfter }
      }
    }
    return segments
  })

const pair = history.chain((segments) =>
  fc.record({
    segments: fc.constant(segments),
    a: fc.nat({ max: segments.length - 1 }),
    b: fc.nat({ max: segments.length - 1 }),
  }),
)

function judge(a: Segment, b: Segment, has = { a: true, b: true }): Succession {
  return succession(
    tailOf(a, has.a ? a.trailer : undefined),
    headOf(b, has.b ? b.trailer : undefined),
  )
}

describe('of two segments of one history', () => {
  test('the next one continues, a later one leaves a gap, and any other overlaps', () => {
    fc.assert(
      fc.property(pair, ({ segments, a, b }) => {
        const [one, other] = [segments[a]!, segments[b]!]
        const { kind } = judge(one, other)
        expect(kind).toBe(b === a + 1 ? 'continues' : b > a ? 'gap' : 'overlap')
      }),
    )
  })

  test('a gap goes from the end to the next one, and names an object that is missing', () => {
    fc.assert(
      fc.property(pair, ({ segments, a, b }) => {
        const [one, other] = [segments[a]!, segments[b]!]
        const found = judge(one, other)
        if (found.kind !== 'gap') return
        expect(found.from).toEqual({ index: one.index, offset: one.trailer.endOffset })
        const between = segments.slice(a + 1, b)
        expect(between.some((each) => comparePositions(each, found.missing) === 0)).toBe(true)
        const last = between.at(-1)!
        const end = { index: last.index, offset: last.trailer.endOffset }
        expect([other, end].some((each) => comparePositions(each, found.to) === 0)).toBe(true)
      }),
    )
  })

  test('what trailers don’t say makes less known, and nothing wrong', () => {
    fc.assert(
      fc.property(pair, fc.boolean(), fc.boolean(), ({ segments, a, b }, hasA, hasB) => {
        const [one, other] = [segments[a]!, segments[b]!]
        const { kind } = judge(one, other, { a: hasA, b: hasB })
        const whole = judge(one, other).kind
        expect([whole, 'unknown']).toContain(kind)
        if (other.index > one.index + 1) expect(kind).toBe('gap')
      }),
    )
  })

  test('frames of another history are noticed', () => {
    fc.assert(
      fc.property(pair, ({ segments, a }) => {
        const [one, next] = [segments[a]!, segments[a + 1]]
        if (next === undefined) return
        const checksumAfter = { s0: 4711, s1: 0 }
        const foreign = { ...one, trailer: { ...one.trailer, checksumAfter } }
        expect(judge(foreign, next).kind).toBe('other frames')
        if (next.index !== one.index) return
        const salts = { salt1: 4711, salt2: 0 }
        expect(judge(one, { ...next, trailer: { ...next.trailer, salts } }).kind).toBe(
          'other frames',
        )
      }),
    )
  })

  test('a chain begins with the first segment of its snapshot’s index', () => {
    fc.assert(
      fc.property(pair, ({ segments, b }) => {
        const { kind } = succession(chainStart(firstIndex), headOf(segments[b]!, undefined))
        expect(kind).toBe(b === 0 ? 'continues' : 'gap')
        expect(succession(chainStart(firstIndex + 1), headOf(segments[0]!, undefined)).kind).toBe(
          'overlap',
        )
      }),
    )
  })
})

describe('in a log', () => {
  /** The same histories, from index 0 on, as the spool has them. */
  const log = history.map((segments) =>
    segments.map(({ trailer }) => {
      const index = trailer.index - firstIndex
      const { startOffset, endOffset } = trailer
      return { index, startOffset, endOffset, trailer: { ...trailer, index } }
    }),
  )
  const endOf = ({ index, endOffset: offset }: LogSegment): WalPosition => ({ index, offset })
  const piece = log.chain((segments) =>
    fc.record({
      segments: fc.constant(segments),
      a: fc.nat({ max: segments.length - 1 }),
      b: fc.nat({ max: segments.length - 1 }),
    }),
  )

  test('each segment is next behind the one before it, the first behind nothing, and none behind the last', () => {
    fc.assert(
      fc.property(log, (segments) => {
        const ends = [undefined, ...segments.map(endOf)]
        const next = ends.map((end) => nextInLog(segments, end))
        expect(next).toEqual([...segments, undefined])
      }),
    )
  })

  test('nothing is next behind a place where no segment ends', () => {
    fc.assert(
      fc.property(piece, fc.integer({ min: 1, max: 31 }), ({ segments, a }, by) => {
        const { index, offset } = endOf(segments[a]!)
        for (const moved of [offset + by, offset - by]) {
          expect(nextInLog(segments, { index, offset: moved })).toBeUndefined()
          expect(checksumAt(segments, { index, offset: moved })).toBeUndefined()
        }
      }),
    )
  })

  test('the checksum at an end is known of either side of it', () => {
    fc.assert(
      fc.property(piece, ({ segments, a }) => {
        const { trailer } = segments[a]!
        const end = endOf(segments[a]!)
        expect(checksumAt(segments, end)).toEqual(trailer.checksumAfter)
        const behind = segments.slice(a + 1)
        if (behind.length === 0) return
        expect(checksumAt(behind, end)).toEqual(trailer.checksumAfter)
      }),
    )
  })

  test('consecutive segments of an index, put into one, are a piece, and nothing of other frames is', () => {
    fc.assert(
      fc.property(piece, ({ segments, a, b }) => {
        const [first, last] = [segments[a]!.trailer, segments[b]!.trailer]
        const { startOffset, checksumBefore } = first
        const merged = { ...last, startOffset, checksumBefore }
        expect(isPieceOf(segments, merged)).toBe(a <= b && first.index === last.index)
        const other = { s0: 4711, s1: 0 }
        expect(isPieceOf(segments, { ...merged, checksumAfter: other })).toBe(false)
        expect(isPieceOf(segments, { ...merged, checksumBefore: other })).toBe(false)
        expect(isPieceOf(segments, { ...merged, salts: { salt1: 4711, salt2: 0 } })).toBe(false)
        expect(isPieceOf(segments, { ...merged, endOffset: last.endOffset + 1 })).toBe(false)
        expect(isPieceOf(segments, { ...merged, generation: otherGeneration })).toBe(false)
      }),
    )
  })
})

test.each([
  [{ index: 3, offset: 0 }, { index: 3, offset: 0 }, true],
  [{ index: 3, offset: 4152 }, { index: 3, offset: 4152 }, true],
  [{ index: 3, offset: 4152 }, { index: 3, offset: 32 }, false],
  [{ index: 3, offset: 4152 }, { index: 3, offset: 8272 }, false],
  [{ index: 3, offset: 4152 }, { index: 4, offset: 0 }, true],
  [{ index: 3, offset: 0 }, { index: 4, offset: 0 }, false],
  [{ index: 3, offset: 4152 }, { index: 4, offset: 32 }, false],
  [{ index: 3, offset: 4152 }, { index: 5, offset: 0 }, false],
  [{ index: 3, offset: 4152 }, { index: 2, offset: 4152 }, false],
])('behind %j, frames at %j go on: %j', (end, start, goesOn) => {
  expect(isNext(end, start)).toBe(goesOn)
})
