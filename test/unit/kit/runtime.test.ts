import { expect, test } from 'vitest'
import { whyNotHere } from '../../../src/kit/runtime.js'

test.each(['22.22.0', '22.23.1', '24.21.0', '26.0.0', '101.0.0'])('runs by Node.js %s', (node) => {
  expect(whyNotHere({ node })).toBeUndefined()
})

test.each(['20.19.0', '22.21.9', '8.0.0'])('does not run by Node.js %s', (node) => {
  expect(whyNotHere({ node })).toBe(
    `tsreplicate needs Node.js 22.22 or later, but this is ${node}: install a current Node.js, and run it again`,
  )
})

test.each([
  ['Bun', { bun: '1.4.5' }],
  ['Deno', { deno: '2.9.6' }],
])('does not run by %s, which claims to be a Node.js', (name, versions) => {
  expect(whyNotHere({ node: '26.3.0', ...versions })).toMatch(
    `tsreplicate needs Node.js 22.22 or later, but this is ${name} `,
  )
})
