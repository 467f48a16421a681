import fc from 'fast-check'
import { expect, test } from 'vitest'
import { formatGeneration } from '../../../../src/domain/wal/generation.js'
import { comparePositions } from '../../../../src/domain/wal/position.js'
import {
  chainSegments,
  type ChainEnd,
  isBefore,
  orderListing,
  type StoredSegment,
} from '../../../../src/domain/stored/restore-plan.js'

const generation = formatGeneration(Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8))

/** The segments of consecutive indexes, each index with at least the one at offset 0. */
const history = fc
  .tuple(
    fc.nat({ max: 0x1000 }),
    fc.array(fc.uniqueArray(fc.integer({ min: 1, max: 0x2_0000_0000 }), { maxLength: 6 }), {
      minLength: 1,
      maxLength: 6,
    }),
  )
  .map(([firstIndex, indexes]) =>
    indexes.flatMap((offsets, i) =>
      [0, ...offsets.toSorted((a, b) => a - b)].map((offset): StoredSegment => ({
        kind: 'wal-segment',
        generation,
        index: firstIndex + i,
        offset,
        sizeBytes: 1,
        createdAtMs: 1,
      })),
    ),
  )

const listed = (segments: readonly StoredSegment[]): ReturnType<typeof orderListing> =>
  orderListing({ generation, snapshots: [], segments })

const ends = (segments: readonly StoredSegment[]): fc.Arbitrary<ChainEnd> =>
  fc.oneof(
    fc.constant<ChainEnd>({ kind: 'newest' }),
    fc.constantFrom(...segments).map(({ index }): ChainEnd => ({ kind: 'index', index })),
    fc
      .constantFrom(...segments)
      .map(({ index, offset }): ChainEnd => ({ kind: 'position', position: { index, offset } })),
  )

const planned = history.chain((segments) =>
  fc.record({
    segments: fc.constant(segments),
    shuffled: fc.shuffledSubarray(segments, { minLength: segments.length }),
    snapshotIndex: fc.constantFrom(...segments.map(({ index }) => index)),
    end: ends(segments),
    lost: fc.constantFrom(...segments),
  }),
)

test('a whole history is planned in order, from the snapshot to the end, however it was listed', () => {
  fc.assert(
    fc.property(planned, ({ segments, shuffled, snapshotIndex, end }) => {
      const chain = chainSegments(listed(shuffled), snapshotIndex, end)
      expect(chain).toEqual({
        kind: 'whole',
        segments: segments.filter(
          (segment) => segment.index >= snapshotIndex && isBefore(segment, end),
        ),
      })
    }),
  )
})

test('the loss of the first segment of an index is said, unless the plan does not go that far', () => {
  fc.assert(
    fc.property(planned, ({ segments, snapshotIndex, end, lost }) => {
      const first = { ...lost, offset: 0 }
      const rest = segments.filter((segment) => comparePositions(segment, first) !== 0)
      const needed = rest.filter(
        (segment) => segment.index >= snapshotIndex && isBefore(segment, end),
      )
      const chain = chainSegments(listed(rest), snapshotIndex, end)
      const isNeeded =
        first.index >= snapshotIndex && needed.some((segment) => segment.index >= first.index)
      if (isNeeded) {
        expect(chain).toMatchObject({ kind: 'gap', missing: { index: first.index, offset: 0 } })
      } else {
        expect(chain).toEqual({ kind: 'whole', segments: needed })
      }
    }),
  )
})
