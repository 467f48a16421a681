import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { formatGeneration } from '../../../../src/domain/wal/generation.js'
import {
  formatTrailer,
  parseTrailer,
  type SnapshotTrailer,
  type WalSegmentTrailer,
} from '../../../../src/domain/stored/trailer.js'

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
    startOffset: offset,
    pageSizeBytes,
    bigEndian: fc.boolean(),
    databaseSizePages: word,
    salts,
    checksumBefore: checksum,
    checksumAfter: checksum,
    steps: fc.array(fc.record({ bytes: fc.integer({ min: 1, max: 2 ** 32 }), ms: fc.nat() }), {
      minLength: 1,
      maxLength: 300,
    }),
    firstTimeMs: timeMs,
    previousIndexEnd: fc.option(fc.record({ offset, checksum }), { nil: undefined }),
    source: fc.option(fc.record({ salts, endOffset: offset, checksum }), { nil: undefined }),
  })
  .map(({ steps, firstTimeMs, ...fields }): WalSegmentTrailer => {
    let endOffset = fields.startOffset
    let time = firstTimeMs
    const captures = steps.map(({ bytes, ms }) => {
      endOffset += bytes
      time += ms
      return { endOffset, timeMs: time }
    })
    return { kind: 'wal-segment', ...fields, endOffset, captures }
  })

const snapshotTrailer: fc.Arbitrary<SnapshotTrailer> = fc.record({
  kind: fc.constant('snapshot' as const),
  generation,
  index,
  consistentFrom: fc.record({ index, offset }),
  pageSizeBytes,
  pageCount: word,
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

describe('trailer', () => {
  test('is read back from behind any body', () => {
    fc.assert(
      fc.property(trailer, body, (written, before) => {
        const bytes = formatTrailer(written)
        expect(parseTrailer(Buffer.concat([before, bytes]))).toEqual({
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
        expect(parseTrailer(Buffer.concat([before, bytes])).kind).not.toBe('trailer')
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
        expect(parseTrailer(bytes.subarray(missing))).toEqual({
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
        expect(parseTrailer(kept).kind).not.toBe('trailer')
      }),
    )
  })

  test('is not found in other bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 500 }), (bytes) => {
        expect(parseTrailer(bytes).kind).toBe('none')
      }),
    )
    const end = Buffer.from('________tsr1')
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => {
        expect(parseTrailer(Buffer.concat([bytes, end])).kind).not.toBe('trailer')
      }),
    )
  })
})
