import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { formatGeneration, parseGeneration } from '../../../../src/domain/wal/generation.js'
import {
  comparePositions,
  formatIndex,
  formatPosition,
  maxIndex,
  parseIndex,
} from '../../../../src/domain/wal/position.js'

const position = fc.record({
  index: fc.integer({ min: 0, max: maxIndex }),
  offset: fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER }),
})

describe('positions', () => {
  test('are totally ordered: first by index, then by offset', () => {
    fc.assert(
      fc.property(position, position, position, (a, b, c) => {
        expect(comparePositions(a, a)).toBe(0)
        expect(Math.sign(comparePositions(a, b))).toBe(0 - Math.sign(comparePositions(b, a)))
        if (a.index !== b.index) expect(comparePositions(a, b) < 0).toBe(a.index < b.index)
        const [x, y, z] = [a, b, c].sort(comparePositions)
        expect(comparePositions(x!, y!)).toBeLessThanOrEqual(0)
        expect(comparePositions(x!, z!)).toBeLessThanOrEqual(0)
      }),
    )
    expect(comparePositions({ index: 1, offset: 0 }, { index: 0, offset: 99 })).toBeGreaterThan(0)
    expect(comparePositions({ index: 1, offset: 0 }, { index: 1, offset: 32 })).toBeLessThan(0)
  })

  test('are printed as the original does', () => {
    const generation = formatGeneration(new Uint8Array(8).fill(0xab))
    expect(formatPosition({ generation, index: 26, offset: 4152 })).toBe(
      'abababababababab/0000001a:4152',
    )
  })

  test('an index is parsed from what formatting makes, and nothing else', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 0xffff_ffff }), (index) => {
        expect(parseIndex(formatIndex(index))).toBe(index)
      }),
    )
    fc.assert(
      fc.property(fc.string({ maxLength: 10 }), (text) => {
        const index = parseIndex(text)
        if (index !== undefined) expect(formatIndex(index)).toBe(text)
      }),
    )
  })

  test('a generation is named by its bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 8, maxLength: 8 }), (bytes) => {
        const generation = formatGeneration(bytes)
        expect(generation).toBe(Buffer.from(bytes).toString('hex'))
        expect(parseGeneration(generation)).toBe(generation)
        expect(parseGeneration(generation.slice(1))).toBeUndefined()
        expect(parseGeneration(`${generation}0`)).toBeUndefined()
        expect(parseGeneration(`${generation}\n`)).toBeUndefined()
      }),
    )
    expect(() => formatGeneration(new Uint8Array(7))).toThrow(RangeError)
  })
})
