import { expect, test } from 'vitest'
import { type GenerationFacts, orderGenerations } from '../../../../src/domain/stored/lineage.js'
import { formatGeneration, type Generation } from '../../../../src/domain/wal/generation.js'
import {
  newestBut,
  type ReplicaHistory,
  storedSpan,
} from '../../../../src/usecase/stored/replica-history.js'

const nameOf = (number: number): Generation =>
  formatGeneration(Uint8Array.of(0, 0, 0, 0, 0, 0, 0, number))

/** A generation that follows others, each stored a second later than the one numbered before it. */
function factsOf(number: number, follows: readonly number[]): GenerationFacts {
  const lineage = {
    ordinal: follows.length + 1,
    epoch: 1,
    follows: follows.map((each) => ({ generation: nameOf(each), end: undefined })),
  }
  const atMs = number * 1000
  return { generation: nameOf(number), lineage, firstStoredMs: atMs, lastStoredMs: atMs }
}

test('the newest are those that nothing follows, but for what is passed over', () => {
  const facts = [factsOf(1, []), factsOf(2, [1]), factsOf(3, [1, 2])]
  const history = { facts, order: orderGenerations(facts) } as unknown as ReplicaHistory
  expect(newestBut(history, [])).toEqual([nameOf(3)])
  expect(newestBut(history, [nameOf(3)])).toEqual([nameOf(2)])
  expect(newestBut(history, [1, 2, 3].map(nameOf))).toEqual([])
})

test('a generation is there from its first object to its last, of either kind', () => {
  const generation = nameOf(1)
  const object = { generation, index: 0, sizeBytes: 1 }
  const snapshots = [{ ...object, kind: 'snapshot' as const, createdAtMs: 20 }]
  const segments = [10, 30, 15].map((createdAtMs, offset) => ({
    ...{ ...object, kind: 'wal-segment' as const, offset },
    createdAtMs,
  }))
  expect(storedSpan({ generation, snapshots: [], segments: [] })).toBeUndefined()
  expect(storedSpan({ generation, snapshots, segments: [] })).toEqual({
    firstStoredMs: 20,
    lastStoredMs: 20,
  })
  expect(storedSpan({ generation, snapshots, segments })).toEqual({
    firstStoredMs: 10,
    lastStoredMs: 30,
  })
})
