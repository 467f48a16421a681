import { describe, expect, it } from 'vitest'
import {
  type KeyInfo,
  type KeyType,
  keys,
  objectStoreTypes,
} from '../../../../src/infrastructure/config/keys.ts'
import {
  parseScalar,
  parseSize,
  plainScalar,
} from '../../../../src/infrastructure/config/scalars.ts'

/** What a text of the table, or of the query of a URL, is to a key. */
function read(type: KeyType, text: string, info: Partial<KeyInfo> = {}): unknown {
  const parsed = parseScalar({ type, description: '', ...info }, plainScalar(text))
  return parsed.kind === 'value' ? parsed.value : `! ${parsed.problem}`
}

describe('parseScalar', () => {
  it.each<[KeyType, string, Partial<KeyInfo>, unknown]>([
    ['string', 'a', {}, 'a'],
    ['string', '12', {}, '12'],
    ['string', 'true', {}, 'true'],
    ['string', '', {}, '! is empty: give it a value, or remove it'],
    ['string', '', { mayBeEmpty: true }, ''],
    ['duration', '90s', {}, 90_000],
    ['duration', '0s', {}, '! must be above 0, not 0s'],
    ['duration', 'x', {}, '! not a duration: x (write for example 500ms, 30s, 5m or 24h)'],
    [
      'duration',
      '5',
      {},
      '! not a duration: 5 (the unit is missing: write for example 5s, 5m or 5h)',
    ],
    ['duration', '2d', {}, '! not a duration: 2d (there is no unit for days: write 48h)'],
    ['duration', '', {}, '! is empty: give it a value, or remove it'],
    ['duration', '0', { zero: 'off' }, undefined],
    ['duration', '-1s', { zero: 'off' }, '! must not be negative: -1s'],
    ['duration', '4s', { zero: 'off', least: '5s' }, '! must be 5s or more, or 0, not 4s'],
    ['duration', '5s', { zero: 'off', least: '5s' }, 5000],
    ['duration-or-none', 'none', {}, undefined],
    ['duration-or-none', '-1s', {}, undefined],
    ['duration-or-none', '1h', {}, 3_600_000],
    ['duration-or-none', 'never', {}, expect.stringContaining('! not a duration: never')],
    ['integer', '7', { least: '1' }, 7],
    ['integer', '0', { least: '1' }, '! must be above 0, not 0'],
    ['integer', '0', { zero: 'never' }, undefined],
    ['integer', '1h', {}, '! not a whole number: 1h'],
    ['size', '1.5KiB', {}, 1536],
    ['size', '0', {}, '! not a size: 0 (write for example 500MB or 4GiB)'],
    ['boolean', 'false', {}, false],
    ['boolean', 'maybe', {}, '! neither true nor false: maybe'],
    ['choice', 'B', { choices: ['a', 'b'] }, 'b'],
    ['choice', 'd', { choices: ['a', 'b', 'c'] }, '! must be a, b or c, not d'],
    ['choice', 'd', { choices: ['a'] }, '! must be a, not d'],
    ['choice', '', { choices: ['a', 'b'], default: 'b', mayBeEmpty: true }, 'b'],
  ])('a %s %j with %j is %j', (type, text, info, value) => {
    expect(read(type, text, info)).toEqual(value)
  })
})

describe('the table of keys', () => {
  const all = Object.entries(keys).flatMap(([section, infos]) =>
    Object.entries(infos).map(([name, info]) => [`${section}.${name}`, info] as const),
  )

  it.each(all)('%s has a default and an example that it accepts itself', (_, info) => {
    for (const text of [info.default, info.example]) {
      if (text === undefined || info.type === 'list') continue
      expect(parseScalar(info, plainScalar(text)).kind).toBe('value')
    }
  })

  it.each(all)('%s is described in whole sentences', (_, { description }) => {
    expect(description).toMatch(/^[`A-Z/].*\.$/)
  })

  it.each(all)('%s does not show what is secret, and may not be in a URL if it is', (_, info) => {
    if (info.secret !== true) return
    expect(info.inUrl).toBeUndefined()
    expect(['string', 'list']).toContain(info.type)
  })

  it.each(all)('%s may be in a URL of an object store only', (_, info) => {
    if (info.inUrl !== true) return
    expect(objectStoreTypes).toEqual(expect.arrayContaining([...(info.stores ?? ['file'])]))
  })
})

describe('parseSize', () => {
  it.each([
    ['12', 12],
    ['1KB', 1000],
    ['1.5KiB', 1536],
    ['4 GiB', 4 * 1024 ** 3],
    ['1kb', undefined],
    ['-1', undefined],
  ])('%s is %s', (text, bytes) => {
    expect(parseSize(text)).toBe(bytes)
  })
})
