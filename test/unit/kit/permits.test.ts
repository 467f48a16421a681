import { expect, test } from 'vitest'
import { never } from '../../../src/kit/abort.ts'
import { Permits } from '../../../src/kit/permits.ts'

test('gives at most so many slots at once, in the order of asking', async () => {
  const slots = new Permits(2)
  const order: number[] = []
  let held = 0
  let most = 0
  await Promise.all(
    [1, 2, 3, 4, 5].map(async (number) => {
      const slot = await slots.take(never)
      order.push(number)
      held += 1
      most = Math.max(most, held)
      await Promise.resolve()
      held -= 1
      slot[Symbol.dispose]()
      slot[Symbol.dispose]()
    }),
  )
  expect({ order, most, held }).toEqual({ order: [1, 2, 3, 4, 5], most: 2, held: 0 })
})

test('who gives up waiting takes no slot', async () => {
  const slots = new Permits(1)
  const first = await slots.take(never)
  const aborter = new AbortController()
  const given = slots.take(aborter.signal)
  const next = slots.take(never)
  aborter.abort()
  await expect(given).rejects.toMatchObject({ name: 'AbortError' })
  first[Symbol.dispose]()
  const second = await next
  second[Symbol.dispose]()
  await expect(slots.take(never)).resolves.toBeDefined()
})

test('an owner who queues a hundred times holds up another for one turn', async () => {
  const slots = new Permits(1)
  const first = await slots.take(never, 1000)
  const served: number[] = []
  const queued = async (owner: number): Promise<void> => {
    using _slot = await slots.of(() => owner).take(never)
    served.push(owner)
  }
  const crowd = Array.from({ length: 100 }, () => queued(1000))
  const other = queued(1001)
  first[Symbol.dispose]()
  await Promise.all([...crowd, other])
  expect(served.indexOf(1001)).toBe(1)
  expect(served).toHaveLength(101)
})
