import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { formatObjectPath, type ObjectRef } from '../../../../src/domain/stored/replica-layout.js'
import { formatGeneration } from '../../../../src/domain/wal/generation.js'
import { offsetAfterFrames } from '../../../../src/domain/wal/wal-format.js'
import {
  formatTrailer,
  isTrailerOf,
  parseTrailer,
  type SnapshotTrailer,
  type Trailer,
  type TrailerTail,
  type WalSegmentTrailer,
} from '../../../../src/domain/stored/trailer.js'

/** As the end of an object that is large enough for whatever it says. */
const parse = (tail: Uint8Array): TrailerTail => parseTrailer(tail, Infinity)

const word = fc.integer({ min: 0, max: 0xffff_ffff })
const checksum = fc.record({ s0: word, s1: word })
const salts = fc.record({ salt1: word, salt2: word })
const index = fc.integer({ min: 0, max: 0x7fff_ffff })
const offset = fc.integer({ min: 0, max: 2 ** 45 })
const timeMs = fc.integer({ min: 0, max: 2 ** 45 })
const pageSizeBytes = fc.integer({ min: 9, max: 16 }).map((bits) => 2 ** bits)
const generation = fc.uint8Array({ minLength: 8, maxLength: 8 }).map(formatGeneration)

const segmentTrailer = fc
  .record({
    generation,
    index,
    startFrames: fc.option(fc.integer({ min: 1, max: 2 ** 28 }), { nil: undefined }),
    pageSizeBytes,
    bigEndian: fc.boolean(),
    databaseSizePages: word,
    salts,
    checksumBefore: checksum,
    checksumAfter: checksum,
    steps: fc.array(fc.record({ frames: fc.integer({ min: 1, max: 2 ** 16 }), ms: fc.nat() }), {
      minLength: 1,
      maxLength: 300,
    }),
    firstTimeMs: timeMs,
    previousIndexEnd: fc.option(fc.record({ offset, checksum }), { nil: undefined }),
    source: fc.option(fc.record({ salts, endOffset: offset, checksum }), { nil: undefined }),
  })
  .map(({ steps, firstTimeMs, startFrames, ...fields }): WalSegmentTrailer => {
    const offsetAt = (frames: number): number => offsetAfterFrames(frames, fields.pageSizeBytes)
    const startOffset = startFrames === undefined ? 0 : offsetAt(startFrames)
    let endFrames = startFrames ?? 0
    let time = firstTimeMs
    const captures = steps.map(({ frames, ms }) => {
      endFrames += frames
      time += ms
      return { endOffset: offsetAt(endFrames), timeMs: time }
    })
    const endOffset = offsetAt(endFrames)
    return { kind: 'wal-segment', ...fields, startOffset, endOffset, captures }
  })

const snapshotTrailer: fc.Arbitrary<SnapshotTrailer> = fc.record({
  kind: fc.constant('snapshot' as const),
  generation,
  index,
  consistentFrom: fc.record({ index, offset }),
  pageSizeBytes,
  pageCount: fc.integer({ min: 0, max: 0xffff_fffe }),
  startTimeMs: timeMs,
  endTimeMs: timeMs,
  commitTimeMs: timeMs,
  lineage: fc.option(
    fc.record({
      ordinal: fc.nat(),
      epoch: fc.nat(),
      follows: fc.array(
        fc.record({ generation, end: fc.option(fc.record({ index, offset }), { nil: undefined }) }),
        { maxLength: 5 },
      ),
    }),
    { nil: undefined },
  ),
})

const trailer = fc.oneof(segmentTrailer, snapshotTrailer)
const body = fc.uint8Array({ maxLength: 200 })

const segment: WalSegmentTrailer = {
  kind: 'wal-segment',
  generation: formatGeneration(Buffer.from('579d9a5437e0f212', 'hex')),
  index: 3,
  startOffset: 0,
  endOffset: 12_392,
  pageSizeBytes: 4096,
  bigEndian: true,
  databaseSizePages: 300,
  salts: { salt1: 0x1111_1111, salt2: 0x2222_2222 },
  checksumBefore: { s0: 0x3333_3333, s1: 0x4444_4444 },
  checksumAfter: { s0: 0x5555_5555, s1: 0x6666_6666 },
  captures: [
    { endOffset: 8272, timeMs: 1_700_000_000_000 },
    { endOffset: 12_392, timeMs: 1_700_000_000_300 },
  ],
  previousIndexEnd: { offset: 4152, checksum: { s0: 0x7777_7777, s1: 0x8888_8888 } },
  source: {
    salts: { salt1: 0x9999_9999, salt2: 0xaaaa_aaaa },
    endOffset: 16_512,
    checksum: { s0: 0xbbbb_bbbb, s1: 0xcccc_cccc },
  },
}

const snapshot: SnapshotTrailer = {
  kind: 'snapshot',
  generation: segment.generation,
  index: 3,
  consistentFrom: { index: 4, offset: 4152 },
  pageSizeBytes: 4096,
  pageCount: 300,
  startTimeMs: 1_700_000_000_000,
  endTimeMs: 1_700_000_000_500,
  commitTimeMs: 1_700_000_000_400,
  lineage: undefined,
}

const snapshotWithLineage: SnapshotTrailer = {
  ...snapshot,
  lineage: {
    ordinal: 7,
    epoch: 2,
    follows: [
      {
        generation: formatGeneration(Buffer.from('0123456789abcdef', 'hex')),
        end: { index: 5, offset: 8272 },
      },
      {
        generation: formatGeneration(Buffer.from('fedcba9876543210', 'hex')),
        end: undefined,
      },
    ],
  },
}

/** What replicas hold already. These bytes stay readable: what changes them is a new version beside the old ones. */
const stored: readonly (readonly [string, Trailer, readonly string[]])[] = [
  [
    'version 1 of a segment',
    segment,
    [
      ...['5a2a4d18', '63000000', '01', '01', '579d9a5437e0f212', '03', '8020'],
      ...['07', '00', 'ac02', '1111111122222222', '3333333344444444', '5555555566666666'],
      ...['b820', '7777777788888888', '99999999aaaaaaaa', '808101', 'bbbbbbbbcccccccc'],
      ...['02', 'd040', '80d095ffbc31', '9820', 'ac02', 'b34798e5bfce7696', '6b000000'],
    ],
  ],
  [
    'version 1 of a snapshot',
    snapshot,
    [
      ...['5a2a4d18', '34000000', '01', '02', '579d9a5437e0f212', '03', '8020'],
      ...['04', 'b820', 'ac02', '80d095ffbc31', 'f4d395ffbc31', '90d395ffbc31'],
      ...['702c585f6d5834e4', '3c000000'],
    ],
  ],
  [
    'version 2 of a snapshot',
    snapshotWithLineage,
    [
      ...['5a2a4d18', '4c000000', '02', '02', '579d9a5437e0f212', '03', '8020'],
      ...['04', 'b820', 'ac02', '80d095ffbc31', 'f4d395ffbc31', '90d395ffbc31'],
      ...['07', '02', '02', '0123456789abcdef', '01', '05', 'd040', 'fedcba9876543210', '00'],
      ...['26016e25d94077cc', '54000000'],
    ],
  ],
]

describe('trailer', () => {
  test.each(stored)('%s is these bytes', (_, written, parts) => {
    const bytes = Buffer.from(`${parts.join('')}74737231`, 'hex')
    expect(Buffer.from(formatTrailer(written)).toString('hex')).toBe(bytes.toString('hex'))
    expect(parse(bytes)).toEqual({
      kind: 'trailer',
      trailer: written,
      lengthBytes: bytes.length,
    })
  })

  test('is read back from behind any body', () => {
    fc.assert(
      fc.property(trailer, body, (written, before) => {
        const bytes = formatTrailer(written)
        expect(parse(Buffer.concat([before, bytes]))).toEqual({
          kind: 'trailer',
          trailer: written,
          lengthBytes: bytes.length,
        })
      }),
    )
  })

  test('is an LZ4 skippable frame as a whole', () => {
    fc.assert(
      fc.property(trailer, (written) => {
        const bytes = Buffer.from(formatTrailer(written))
        expect(bytes.readUInt32LE(0)).toBe(0x184d2a5a)
        expect(bytes.readUInt32LE(4)).toBe(bytes.length - 8)
        expect(bytes.subarray(-4).toString()).toBe('tsr1')
        expect(bytes.readUInt32LE(bytes.length - 8)).toBe(bytes.length)
      }),
    )
  })

  test('with any bit flipped is never taken for a trailer', () => {
    fc.assert(
      fc.property(trailer, body, fc.nat(), fc.integer({ min: 1, max: 255 }), (t, before, at, x) => {
        const bytes = formatTrailer(t)
        const place = at % bytes.length
        bytes[place] = bytes[place]! ^ x
        expect(parse(Buffer.concat([before, bytes])).kind).not.toBe('trailer')
      }),
      { numRuns: 2000 },
    )
  })

  test('asks for more when the tail is shorter than it', () => {
    fc.assert(
      fc.property(trailer, fc.nat(), (written, cut) => {
        const bytes = formatTrailer(written)
        // Less than the smallest thing that can be one is no tail to judge by.
        const missing = 1 + (cut % (bytes.length - 24))
        expect(parse(bytes.subarray(missing))).toEqual({
          kind: 'longer',
          lengthBytes: bytes.length,
        })
      }),
    )
  })

  test('with its end cut off is none', () => {
    fc.assert(
      fc.property(trailer, fc.nat(), (written, cut) => {
        const bytes = formatTrailer(written)
        const kept = bytes.subarray(0, bytes.length - 1 - (cut % bytes.length))
        expect(parse(kept).kind).not.toBe('trailer')
      }),
    )
  })

  describe('of impossible values', () => {
    const captured = (changes: Partial<WalSegmentTrailer>): Uint8Array => {
      const captures = changes.captures ?? segment.captures
      const endOffset = captures.at(-1)?.endOffset ?? 0
      return formatTrailer({ ...segment, ...changes, endOffset })
    }
    const end = (frames: number): number => offsetAfterFrames(frames, 4096)
    const first = { pageSizeBytes: 4096, startOffset: 0 }
    const following = (count: number): Uint8Array => {
      const followed = { generation: snapshot.generation, end: undefined }
      const follows = Array.from({ length: count }, () => followed)
      return formatTrailer({ ...snapshot, lineage: { ordinal: 1, epoch: 1, follows } })
    }

    test.each<[string, Uint8Array]>([
      [
        'a capture of less than a frame',
        captured({ ...first, captures: [{ endOffset: end(1) - 33, timeMs: 1 }] }),
      ],
      [
        'a capture of nothing',
        captured({ ...first, captures: [1, 2].map((timeMs) => ({ endOffset: end(1), timeMs })) }),
      ],
      [
        'a time that is no date',
        captured({ ...first, captures: [{ endOffset: end(1), timeMs: 8.64e15 + 1 }] }),
      ],
      ['a snapshot at no date', formatTrailer({ ...snapshot, commitTimeMs: 8.64e15 + 1 })],
      [
        'more pages than a database can have',
        formatTrailer({ ...snapshot, pageCount: 0xffff_ffff }),
      ],
      ['a hundred and one generations that it follows', following(101)],
    ])('(%s) is not believed', (_, bytes) => {
      expect(parse(bytes)).toEqual({ kind: 'unreadable', problem: 'impossible values' })
    })

    test.each<[string, number, (frames: number) => Uint8Array]>([
      [
        'captures',
        4120,
        (frames) => {
          const captures = Array.from({ length: frames }, (_, n) => ({
            endOffset: end(n + 1),
            timeMs: n,
          }))
          return captured({ ...first, captures })
        },
      ],
      [
        'frames',
        4120,
        (frames) => captured({ ...first, captures: [{ endOffset: end(frames), timeMs: 1 }] }),
      ],
      [
        'pages of a snapshot',
        4096,
        (pageCount) => formatTrailer({ ...snapshot, pageSizeBytes: 4096, pageCount }),
      ],
    ])('(more %s than the object can hold) is not believed', (_, stepBytes, make) => {
      // A byte of LZ4 becomes 255 at most.
      const bytes = make(100)
      const leastBytes = bytes.length + Math.ceil((100 * stepBytes + 32) / 255)
      expect(parseTrailer(bytes, leastBytes)).toMatchObject({ kind: 'trailer' })
      const problem = { kind: 'unreadable', problem: 'impossible values' }
      expect(parseTrailer(bytes, leastBytes - 2)).toEqual(problem)
      expect(parseTrailer(make(10_000), leastBytes)).toEqual(problem)
    })

    test('(no more generations that it follows than are ever written) is believed', () => {
      expect(parse(following(100))).toMatchObject({ kind: 'trailer' })
    })

    test('(more captures than are ever written) is not believed, and takes no memory', () => {
      const bytes = captured({ ...first, captures: [{ endOffset: end(1), timeMs: 1 }] })
      const many = Buffer.concat([
        bytes.subarray(0, -20),
        Buffer.alloc(9 * 1024 * 1024),
        bytes.subarray(-20),
      ])
      many.writeUInt32LE(many.length, many.length - 8)
      many.writeUInt32LE(many.length - 8, 4)
      expect(parse(many)).toMatchObject({ problem: `impossible length ${many.length}` })
    })

    test('(more captures than may be) is never written: times are known less exactly then', () => {
      const captures = Array.from({ length: 300_000 }, (_, i) => ({
        endOffset: end(i + 1),
        timeMs: i,
      }))
      const parsed = parse(captured({ ...first, captures }))
      if (parsed.kind !== 'trailer' || parsed.trailer.kind !== 'wal-segment')
        throw new Error(parsed.kind)
      expect(parsed.trailer.captures).toHaveLength(150_000)
      expect(parsed.trailer.captures.at(-1)).toEqual(captures.at(-1))
      expect(captures).toEqual(expect.arrayContaining(parsed.trailer.captures.slice(0, 3)))
    })
  })

  test('is not found in other bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 500 }), (bytes) => {
        expect(parse(bytes).kind).toBe('none')
      }),
    )
    const end = Buffer.from('________tsr1')
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => {
        expect(parse(Buffer.concat([bytes, end])).kind).not.toBe('trailer')
      }),
    )
  })
})

test('a trailer is that of one object: of its kind, generation and place', () => {
  const own = (trailer: Trailer): ObjectRef =>
    trailer.kind === 'snapshot'
      ? { kind: 'snapshot', generation: trailer.generation, index: trailer.index }
      : { ...trailer, offset: trailer.startOffset }
  const trailers = fc.oneof(segmentTrailer, snapshotTrailer)
  fc.assert(
    fc.property(trailers, trailers, (one, other) => {
      expect(isTrailerOf(own(one), one)).toBe(true)
      const isSame = formatObjectPath(own(one)) === formatObjectPath(own(other))
      expect(isTrailerOf(own(one), other)).toBe(isSame)
      expect(isTrailerOf({ ...own(one), index: one.index + 1 }, one)).toBe(false)
      if (one.kind === 'wal-segment')
        expect(isTrailerOf({ ...own(one), kind: 'snapshot' }, one)).toBe(false)
    }),
  )
})
