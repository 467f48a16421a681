import { describe, expect, it } from 'vitest'
import {
  layerSettings,
  noSettings,
  type Settings,
  textSettings,
} from '../../../../src/infrastructure/config/settings.ts'

describe('settings', () => {
  const problems: string[] = []
  const of = (name: string, texts: Readonly<Record<string, string>>): Settings<'replica'> =>
    textSettings('replica', new Map(Object.entries(texts)), (key, problem) => {
      problems.push(`${name} ${key}: ${problem}`)
    })

  it('that say nothing are every default', () => {
    const none = noSettings('replica')
    expect(none.has('retention')).toBe(false)
    expect(none.value('retention')).toBe(86_400_000)
    expect(none.value('snapshot-interval')).toBeUndefined()
    expect(none.value('region')).toBeUndefined()
    expect(() => none.problem('region', 'is wrong')).toThrow('region: is wrong')
  })

  it('of two layers are those above, where they say anything, and each layer hears its own problems', () => {
    const both = layerSettings(
      of('above', { region: 'one', concurrency: 'x' }),
      of('below', { region: 'two', provider: 'r2', 'part-size': 'y' }),
    )
    expect([both.value('region'), both.value('provider'), both.value('endpoint')]).toEqual([
      'one',
      'r2',
      undefined,
    ])
    expect([both.value('concurrency'), both.value('part-size')]).toEqual([undefined, undefined])
    both.problem('bucket', 'is missing')
    expect(problems).toEqual([
      'above concurrency: not a whole number: x',
      'below part-size: not a size: y (write for example 500MB or 4GiB)',
      'above bucket: is missing',
    ])
  })
})
