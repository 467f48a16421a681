import { describe, expect, it } from 'vitest'
import { formatGeneration } from '../../../../src/domain/wal/generation.js'
import {
  chainSegments,
  type GenerationListing,
  orderListing,
} from '../../../../src/domain/stored/restore-plan.js'

const generation = formatGeneration(Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8))

function listing(places: readonly (readonly [number, number])[]): GenerationListing {
  const stored = { generation, sizeBytes: 1, createdAtMs: 1 }
  return orderListing({
    generation,
    snapshots: [
      { ...stored, kind: 'snapshot', index: 10 },
      { ...stored, kind: 'snapshot', index: 9 },
    ],
    segments: places.map(([index, offset]) => ({ ...stored, kind: 'wal-segment', index, offset })),
  })
}

const places = (chain: ReturnType<typeof chainSegments>): unknown =>
  chain.kind === 'whole'
    ? chain.segments.map(({ index, offset }) => [index, offset])
    : [chain.missing.index, chain.missing.offset]

describe('the chain of segments', () => {
  const whole = listing([
    [11, 0],
    [10, 0x1_0000_0000],
    [10, 32],
    [9, 4000],
    [10, 0],
  ])

  it('is in the order of numbers and begins at the snapshot', () => {
    expect(whole.snapshots.map(({ index }) => index)).toEqual([9, 10])
    expect(places(chainSegments(whole, 10, { kind: 'newest' }))).toEqual([
      [10, 0],
      [10, 32],
      [10, 0x1_0000_0000],
      [11, 0],
    ])
  })

  it('ends with an index, or before a position', () => {
    expect(places(chainSegments(whole, 11, { kind: 'index', index: 11 }))).toEqual([[11, 0]])
    const position = { index: 10, offset: 33 }
    expect(places(chainSegments(whole, 10, { kind: 'position', position }))).toEqual([
      [10, 0],
      [10, 32],
    ])
    expect(places(chainSegments(whole, 12, { kind: 'newest' }))).toEqual([])
  })

  it('tells what is missing', () => {
    expect(chainSegments(whole, 9, { kind: 'newest' })).toMatchObject({ kind: 'gap' })
    const gap = listing([
      [10, 0],
      [12, 0],
    ])
    expect(chainSegments(gap, 10, { kind: 'newest' })).toMatchObject({
      kind: 'gap',
      missing: { index: 11, offset: 0 },
      lastKnown: { index: 10, offset: 0 },
    })
    const headless = listing([
      [10, 0],
      [11, 32],
    ])
    expect(places(chainSegments(headless, 10, { kind: 'newest' }))).toEqual([11, 0])
  })
})
