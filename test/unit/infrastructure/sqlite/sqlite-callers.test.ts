import { expect, test } from 'vitest'
import { ourselves } from '../../../../src/infrastructure/sqlite/database-owner.js'
import { SqliteCallers } from '../../../../src/infrastructure/sqlite/sqlite-callers.js'

const [anna, bert] = [1000, 1001]
const device = 1

test('databases of one user are opened in threads', () => {
  const callers = new SqliteCallers()
  const [first, second] = [callers.assign(), callers.assign()]
  expect(first.callersFor({ owner: anna, device })).toBe(first.inThreads)
  expect(second.callersFor({ owner: anna, device })).toBe(second.inThreads)
})

test('databases of several users are opened apart, those that were there before, too, and ours are not', () => {
  const callers = new SqliteCallers()
  const [first, second, third] = [callers.assign(), callers.assign(), callers.assign()]
  first.callersFor({ owner: anna, device })
  expect(second.callersFor({ owner: bert, device })).not.toBe(second.inThreads)
  expect(first.callersFor({ owner: anna, device })).toBe(second.callersFor({ owner: bert, device }))
  expect(third.callersFor({ owner: ourselves, device })).toBe(third.inThreads)
})

test('a database whose owner is not the only one that is expected is opened apart from the first time on', () => {
  const callers = new SqliteCallers()
  callers.expect(ourselves)
  const only = callers.assign()
  expect(only.callersFor({ owner: anna, device })).not.toBe(only.inThreads)
})

test('of those that are opened apart, a disk that hangs holds up only those on it', () => {
  const callers = new SqliteCallers()
  for (const owner of [anna, bert]) callers.expect(owner)
  const [first, second, third] = [callers.assign(), callers.assign(), callers.assign()]
  const here = first.callersFor({ owner: anna, device: 1 })
  const there = second.callersFor({ owner: bert, device: 2 })
  for (const of of ['capture', 'checkpoint', 'lock'] as const) expect(here[of]).not.toBe(there[of])
  expect(third.callersFor({ owner: bert, device: 1 })).toBe(here)
  expect(first.callersFor({ owner: anna, device: 1 })).toBe(here)
})
