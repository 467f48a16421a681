import { expect, test } from 'vitest'
import { asError, codeOf, messageOf } from '../../../src/kit/error-text.ts'

const failure = Object.assign(new Error('no such file'), { code: 'ENOENT' })

test('what was thrown has a message, whatever it is', () => {
  expect(messageOf(failure)).toBe('no such file')
  expect(messageOf('only a text')).toBe('only a text')
  expect(messageOf(undefined)).toBe('undefined')
})

test('only errors have a code, and it is a text', () => {
  expect(codeOf(failure)).toBe('ENOENT')
  expect(codeOf(new Error('without'))).toBeUndefined()
  expect(codeOf(Object.assign(new Error('a number'), { code: 5 }))).toBeUndefined()
  expect(codeOf({ code: 'ENOENT' })).toBeUndefined()
})

test('an error stays the error that it is', () => {
  expect(asError(failure)).toBe(failure)
  expect(asError('only a text')).toEqual(new Error('only a text'))
})
