import { expect, it } from 'vitest'
import { Owner } from '../../../src/compose/owner.ts'

it('disposes of what it owns in reverse order, once, and of the rest when one of them fails', async () => {
  const ended: string[] = []
  const owner = new Owner()
  const first = { [Symbol.dispose]: () => void ended.push('first') }
  expect(owner.owns(first)).toBe(first)
  owner.owns({ [Symbol.asyncDispose]: () => Promise.reject(new Error('will not end')) })
  owner.atEnd(() => void ended.push('last'))
  await expect(owner[Symbol.asyncDispose]()).rejects.toThrow('will not end')
  expect(ended).toEqual(['last', 'first'])
  await owner[Symbol.asyncDispose]()
  expect(ended).toEqual(['last', 'first'])
})
