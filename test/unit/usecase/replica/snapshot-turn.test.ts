import { expect, test } from 'vitest'
import { never } from '../../../../src/kit/abort.ts'
import { Permits } from '../../../../src/kit/permits.ts'
import { SnapshotTurn } from '../../../../src/usecase/replica/snapshot-turn.ts'

test('snapshots that take hours hold up no other one for longer than their turns', async () => {
  let nowMs = 0
  const parts = { slots: new Permits(2), clock: { monotonic: () => nowMs } }
  const huge = [await SnapshotTurn.take(parts, never), await SnapshotTurn.take(parts, never)]
  let isTaken = false
  const small = SnapshotTurn.take(parts, never).then((turn) => {
    isTaken = true
    return turn
  })
  nowMs = 9000
  for (const turn of huge) await turn.letOthers(never)
  expect(isTaken).toBe(false)

  nowMs = 10_000
  const waiting = huge[0]!.letOthers(never)
  using turn = await small
  expect(isTaken).toBe(true)
  // Nobody else waits but the one that gave way: it goes on when the small one has ended.
  turn[Symbol.dispose]()
  await waiting
  nowMs = 20_000
  await huge[0]!.letOthers(never)
  for (const each of huge) each[Symbol.dispose]()
  using _next = await SnapshotTurn.take(parts, never)
})
