import { expect, it } from 'vitest'
import { Lifetime } from '../../../src/compose/lifetime.ts'

it('disposes of what was added in reverse order, once, and of the rest when one of them fails', async () => {
  const ended: string[] = []
  const lifetime = new Lifetime()
  const first = { [Symbol.dispose]: () => void ended.push('first') }
  expect(lifetime.add(first)).toBe(first)
  lifetime.add({ [Symbol.asyncDispose]: () => Promise.reject(new Error('will not end')) })
  lifetime.add({ [Symbol.dispose]: () => void ended.push('last') })
  await expect(lifetime[Symbol.asyncDispose]()).rejects.toThrow('will not end')
  expect(ended).toEqual(['last', 'first'])
  await lifetime[Symbol.asyncDispose]()
  expect(ended).toEqual(['last', 'first'])
})
