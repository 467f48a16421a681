import { describe, expect, test } from 'vitest'
import { formatGeneration, type Generation } from '../../../../src/domain/wal/generation.js'
import {
  type FoundGeneration,
  type GenerationFacts,
  type Lineage,
  following,
  lineageAfter,
  orderGenerations,
} from '../../../../src/domain/stored/lineage.js'
import { type WalPosition } from '../../../../src/domain/wal/position.js'

const [g1, g2, g3, original] = [1, 2, 3, 255].map((byte) =>
  formatGeneration(new Uint8Array(8).fill(byte)),
) as [Generation, Generation, Generation, Generation]

function facts(
  generation: Generation,
  lineage: Partial<Lineage> | undefined,
  stored: readonly [number, number] = [0, 0],
): GenerationFacts {
  const [firstStoredMs, lastStoredMs] = stored
  const whole = lineage && { ordinal: 1, epoch: 1, follows: [], ...lineage }
  return { generation, lineage: whole, firstStoredMs, lastStoredMs }
}

const after = (...generations: readonly Generation[]): Lineage['follows'] =>
  generations.map((generation) => ({ generation, end: undefined }))

describe('the order of generations', () => {
  test('is what they say to follow, whatever the clocks say', () => {
    const order = orderGenerations([
      facts(g1, { ordinal: 1 }, [5000, 9000]),
      facts(g2, { ordinal: 2, follows: after(g1) }, [100, 200]),
    ])
    expect(order.newest).toEqual([g2])
    expect(order.isBefore(g1, g2)).toBe(true)
    expect(order.isBefore(g2, g1)).toBe(false)
  })

  test('is told by ordinals where one in between is deleted', () => {
    const order = orderGenerations([
      facts(g3, { ordinal: 3, follows: after(g2) }, [0, 0]),
      facts(g1, { ordinal: 1 }, [5000, 9000]),
    ])
    expect(order.newest).toEqual([g3])
  })

  test('of two that found the same replica is told by the later claim, and else by nothing', () => {
    const one = facts(g1, { ordinal: 2, epoch: 4 })
    expect(orderGenerations([one, facts(g2, { ordinal: 2, epoch: 5 })]).newest).toEqual([g2])
    const names = orderGenerations([one, facts(g2, { ordinal: 2, epoch: 4 })]).newest
    expect(names).toEqual([g1, g2])
  })

  test('of the original’s generations is that of their newest objects; equal ones have none', () => {
    const one = facts(g1, undefined, [100, 900])
    expect(orderGenerations([one, facts(g2, undefined, [200, 800])]).newest).toEqual([g1])
    expect(orderGenerations([one, facts(g2, undefined, [200, 900])]).newest).toEqual([g1, g2])
  })

  test('of one of the original’s and one of ours is that of the store, unless ours knows it', () => {
    const ours = facts(g1, { ordinal: 1 }, [1000, 2000])
    const isNewest = (stored: readonly [number, number]): readonly Generation[] =>
      orderGenerations([ours, facts(original, undefined, stored)]).newest
    expect(isNewest([2001, 2002])).toEqual([original])
    expect(isNewest([500, 999])).toEqual([g1])
    expect(isNewest([1500, 2500])).toEqual([g1, original])
    const knowing = facts(g1, { ordinal: 1, follows: after(original) }, [1000, 2000])
    const order = orderGenerations([knowing, facts(original, undefined, [1500, 2500])])
    expect(order.newest).toEqual([g1])
  })

  test('that goes round in a circle is none', () => {
    const order = orderGenerations([
      facts(g1, { ordinal: 1, follows: after(g2) }),
      facts(g2, { ordinal: 1, follows: after(g1) }),
    ])
    expect(order.newest).toEqual([g1, g2])
  })
})

describe('the place of a generation that begins', () => {
  const found = (
    generation: Generation,
    lineage: Partial<Lineage> | undefined,
    end: WalPosition | undefined,
    stored: readonly [number, number] = [0, 0],
  ): FoundGeneration => ({ ...facts(generation, lineage, stored), end, lastMomentMs: 0 })
  const own = { epoch: 7, follows: [], recordedOrdinal: 0 }
  const at = (index: number): WalPosition => ({ index, offset: 4152 })

  test('is the first one of an empty replica', () => {
    expect(lineageAfter([], own)).toEqual({
      lineage: { ordinal: 1, epoch: 7, follows: [] },
      forks: [],
    })
  })

  test('is told by what it follows, where somebody has forged the last ordinal there is', () => {
    expect(following(7)).toBe(8)
    expect(following(Number.MAX_SAFE_INTEGER)).toBe(Number.MAX_SAFE_INTEGER)
  })

  test('is behind all others: it follows the newest, those without lineage, and those of the local state', () => {
    const { lineage, forks } = lineageAfter(
      [
        found(g1, { ordinal: 3 }, at(1)),
        found(g2, { ordinal: 4, follows: after(g1) }, at(2)),
        found(original, undefined, undefined, [5, 6]),
      ],
      { ...own, recordedOrdinal: 6, follows: [{ generation: g3, end: at(3) }] },
    )
    expect(lineage).toEqual({
      ordinal: 7,
      epoch: 7,
      follows: [
        { generation: g2, end: at(2) },
        { generation: original, end: undefined },
        { generation: g3, end: at(3) },
      ],
    })
    expect(forks).toEqual([])
  })

  test('says a fork where somebody else began one since, or stored more than was captured', () => {
    const was = [{ generation: g1, end: at(1) }]
    const others = [
      found(g1, { ordinal: 1 }, at(1)),
      found(g2, { ordinal: 2, follows: after(g1) }, at(2)),
    ]
    const beginning = { index: 0, offset: 0 }
    const forked = lineageAfter(others, { ...own, follows: was })
    expect(forked.forks).toEqual([{ generation: g2, from: beginning }])
    expect(forked.lineage.follows).toEqual([{ generation: g2, end: beginning }, ...was])
    // Of those before, retention has deleted everything.
    expect(lineageAfter(others.slice(1), { ...own, follows: was }).forks).toEqual(forked.forks)
    const ahead = lineageAfter([found(g1, { ordinal: 1 }, at(2))], { ...own, follows: was })
    expect(ahead.forks).toEqual([{ generation: g1, from: at(1) }])
    expect(ahead.lineage.follows).toEqual(was)
  })

  test('says no fork where nothing tells what the database holds', () => {
    const others = [
      found(g1, { ordinal: 1 }, at(2)),
      found(g2, { ordinal: 2, follows: after(g1) }, at(2)),
    ]
    for (const follows of [[], after(g1), [{ generation: g3, end: at(1) }]]) {
      expect(lineageAfter(others, { ...own, follows }).forks).toEqual([])
    }
  })
})
