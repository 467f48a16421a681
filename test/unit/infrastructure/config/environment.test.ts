import { describe, expect, it } from 'vitest'
import { expandEnvironment, findUnset } from '../../../../src/infrastructure/config/environment.ts'

describe('findUnset', () => {
  it.each([
    ['$A ${A} $EMPTY', []],
    ['# $B\na: $B # $C', ['$B (line 2)']],
    ['a: $B\nb: x/${C}y', ['$B (line 1)', '$C (line 2)']],
    ['a: $B $B', ['$B (line 1)']],
    ['password: pa$$word', ['a variable (line 1)']],
    ['password: pa$WORD', ['a variable (line 1)']],
    ['password: $ecret', ['a variable (line 1)']],
    ['a: ${B:-b}${B-b}', ['$B (line 1; a default is not supported: write ${B} and set it)']],
  ])('of %j: %j', (text, unset) => {
    expect(findUnset(text, { A: 'x', EMPTY: '' })).toEqual(unset)
  })
})

describe('expandEnvironment', () => {
  it.each([
    ['$A', 'x'],
    ['${A}b', 'xb'],
    ['$Ab', ''],
    ['${A:-b}', ''],
    ['$$', ''],
    ['$1A', 'A'],
    ['$ A', '$ A'],
    ['a$', 'a$'],
    ['${}', ''],
    ['${A\n}', ''],
  ])('%j is %j', (text, expanded) => {
    expect(expandEnvironment(text, { A: 'x' })).toBe(expanded)
  })
})
