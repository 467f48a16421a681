import { expect, test } from 'vitest'
import { ourselves } from '../../../../src/infrastructure/sqlite/database-owner.js'
import { SqliteCallers } from '../../../../src/infrastructure/sqlite/sqlite-callers.js'

const [anna, bert] = [1000, 1001]

test('databases of one user are opened in threads', () => {
  const callers = new SqliteCallers()
  const [first, second] = [callers.assign(), callers.assign()]
  expect(first.callersFor(anna)).toBe(first.inThreads)
  expect(second.callersFor(anna)).toBe(second.inThreads)
})

test('databases of several users are opened apart, those that were there before, too, and ours are not', () => {
  const callers = new SqliteCallers()
  const [first, second, third] = [callers.assign(), callers.assign(), callers.assign()]
  first.callersFor(anna)
  expect(second.callersFor(bert)).not.toBe(second.inThreads)
  expect(first.callersFor(anna)).toBe(second.callersFor(bert))
  expect(third.callersFor(ourselves)).toBe(third.inThreads)
})

test('a database whose owner is not the only one that is expected is opened apart from the first time on', () => {
  const callers = new SqliteCallers()
  callers.expect(ourselves)
  const only = callers.assign()
  expect(only.callersFor(anna)).not.toBe(only.inThreads)
})
