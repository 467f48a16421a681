import { beforeEach, expect, test } from 'vitest'
import { WaitingCommits } from '../../../../src/usecase/backlog/waiting-commits.js'

let now: number
let waiting: WaitingCommits

beforeEach(() => {
  now = 1000
  waiting = new WaitingCommits({ monotonic: () => now })
})

/** A round of capture: something may be new. */
function look({ captures }: { captures: boolean }): void {
  if (captures) waiting.captured()
  waiting.looked()
}

test('a commit counts from the last look that cannot have seen it, until it is durable', () => {
  look({ captures: false })
  now = 1025
  look({ captures: true })
  now = 1050
  look({ captures: true })
  expect(waiting.sinceMs).toBe(1000)
  waiting.sealing(10)
  now = 1100
  look({ captures: true })
  expect(waiting.sealed()).toBe(1000)
  expect(waiting.sinceMs).toBe(1050)
})

test('what a failure took from memory counts on until all of it is durable', () => {
  look({ captures: true })
  waiting.sealing(10)
  now = 2000
  waiting.discarded()
  waiting.failed()
  expect(waiting.sinceMs).toBe(1000)
  expect(waiting.blindSinceMs(60_000)).toBe(1000)
  now = 9000
  // Captured again, in two segments, of which the first may not have all.
  waiting.captured()
  waiting.sealing(10)
  expect(waiting.sinceMs).toBe(1000)
  look({ captures: true })
  expect(waiting.sealed()).toBe(1000)
  waiting.sealing(10)
  expect(waiting.sinceMs).toBe(1000)
  waiting.discarded()
  expect(waiting.sinceMs).toBe(1000)
  now = 10_000
  look({ captures: true })
  waiting.sealing(10)
  expect(waiting.sealed()).toBe(1000)
  expect(waiting.sinceMs).toBeUndefined()
  expect(waiting.blindSinceMs(60_000)).toBeUndefined()
})

test('where a look finds nothing that is not durable, nothing waits any more', () => {
  look({ captures: true })
  waiting.discarded()
  now = 5000
  look({ captures: false })
  expect(waiting.sinceMs).toBeUndefined()
})

test('a look that is late, and one that fails, leave commits waiting since the last one', () => {
  look({ captures: false })
  now += 3000
  expect(waiting.blindSinceMs(5000)).toBeUndefined()
  expect(waiting.blindSinceMs(1000)).toBe(1000)
  waiting.failed()
  expect(waiting.blindSinceMs(5000)).toBe(1000)
})

test('a generation begins with what waits', () => {
  look({ captures: true })
  now = 4000
  waiting.looked()
  waiting.discarded()
  expect(waiting.began()).toBe(1000)
  expect(waiting.sinceMs).toBeUndefined()
})
