import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { formatGeneration } from '../../../../src/domain/wal/generation.js'
import {
  formatObjectPath,
  formatSnapshotName,
  formatWalSegmentName,
  parseSnapshotName,
  parseWalSegmentName,
} from '../../../../src/domain/stored/replica-layout.js'

const index = fc.integer({ min: 0, max: 0x7fff_ffff })
const offset = fc.oneof(
  fc.integer({ min: 0, max: 0xffff_ffff }),
  fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER }),
)

/** Names that are nearly right: a right one with one character replaced, added or removed. */
const almost = (name: fc.Arbitrary<string>): fc.Arbitrary<string> =>
  fc
    .tuple(
      name,
      fc.nat(),
      fc.constantFrom('', '0', 'f', 'F', 'g', '_', '.', '\n'),
      fc.nat({ max: 1 }),
    )
    .map(([text, at, insert, removed]) => {
      const from = at % (text.length + 1)
      return text.slice(0, from) + insert + text.slice(from + removed)
    })

const segmentName = fc.record({ index, offset }).map(formatWalSegmentName)
const snapshotName = index.map(formatSnapshotName)

describe('names of objects', () => {
  test('look as the original writes them', () => {
    const generation = formatGeneration(Uint8Array.from([0xde, 0xad, 0, 0, 0, 0, 0xbe, 0xef]))
    expect(formatObjectPath({ kind: 'snapshot', generation, index: 0x1a })).toBe(
      'generations/dead00000000beef/snapshots/0000001a.snapshot.lz4',
    )
    expect(formatObjectPath({ kind: 'wal-segment', generation, index: 1, offset: 4152 })).toBe(
      'generations/dead00000000beef/wal/00000001_00001038.wal.lz4',
    )
  })

  test('parsing undoes formatting', () => {
    fc.assert(
      fc.property(index, offset, (i, o) => {
        expect(parseSnapshotName(formatSnapshotName(i))).toBe(i)
        const position = { index: i, offset: o }
        expect(parseWalSegmentName(formatWalSegmentName(position))).toEqual(position)
      }),
    )
  })

  test('only names that formatting makes are parsed', () => {
    fc.assert(
      fc.property(fc.oneof(almost(segmentName), almost(snapshotName), fc.string()), (name) => {
        const segment = parseWalSegmentName(name)
        if (segment !== undefined) expect(formatWalSegmentName(segment)).toBe(name)
        const snapshot = parseSnapshotName(name)
        if (snapshot !== undefined) expect(formatSnapshotName(snapshot)).toBe(name)
      }),
      { numRuns: 2000 },
    )
  })

  test.each([
    '00000000_00000000.wal.lz4\n',
    '00000000_0000000.wal.lz4',
    '00000000_000000000.wal.lz4',
    '00000000_0000000A.wal.lz4',
    '00000000_ffffffffffffffff.wal.lz4',
    '00000000.wal.lz4',
    '00000000.snapshot.lz4.tmp',
    '',
  ])('%j is no name', (name) => {
    expect(parseWalSegmentName(name)).toBeUndefined()
    expect(parseSnapshotName(name)).toBeUndefined()
  })
})
