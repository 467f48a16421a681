import { describe, expect, it } from 'vitest'
import { ConfigError } from '../../../../src/domain/errors.ts'
import { parseYaml, type YamlSection } from '../../../../src/infrastructure/config/yaml-section.ts'
import { onThisMachine } from '../../../support/patience.ts'

/** What `read` makes of a file, and what is then wrong with it. */
function reading(text: string, read: (root: YamlSection<'global'>) => unknown): unknown[] {
  try {
    const { root, problems } = parseYaml(text, 'c.yml')
    const value = read(root)
    try {
      problems.throwIfAny()
    } catch (error) {
      return [value, ...(error as ConfigError).message.split('\n')]
    }
    return [value]
  } catch (error) {
    if (error instanceof ConfigError) return error.message.split('\n')
    throw error
  }
}

const databases = (root: YamlSection<'global'>): YamlSection<'database'>[] =>
  root.sections('dbs', 'database')

describe('a section of a YAML file', () => {
  it('has its values, and defaults where it says nothing', () => {
    const text = 'shutdown-timeout: 5s\n'
    expect(
      reading(text, (root) => [
        root.value('shutdown-timeout'),
        root.value('first-sync-timeout'),
        root.value('exec'),
        root.has('exec'),
        root.keys,
      ]),
    ).toEqual([[5000, 30_000, undefined, false, ['shutdown-timeout']]])
  })

  it('of an empty file has every default', () => {
    for (const text of ['', '# nothing\n', '---\n', '~'])
      expect(reading(text, (root) => root.value('shutdown-timeout'))).toEqual([30_000])
  })

  it('has the default of what is wrong, and says so once', () => {
    const text = '\naddr: [x]\nshutdown-timeout: soon\nexec:\n'
    const found = reading(text, (root) => [
      root.value('exec'),
      root.value('shutdown-timeout'),
      root.value('shutdown-timeout'),
      root.value('addr'),
    ])
    expect(found).toEqual([
      [undefined, 30_000, 30_000, undefined],
      expect.stringMatching(/^c\.yml:2: addr: must be a single value/),
      expect.stringMatching(/^c\.yml:3: shutdown-timeout: not a duration: soon/),
      expect.stringMatching(/^c\.yml:4: exec: is empty/),
    ])
  })

  it('has only keys that are known, each once', () => {
    const found = reading('dbz: 1\nexec: a\nexec: b\n[a]: c\n', (root) => root.value('exec'))
    expect(found.slice(0, 3)).toEqual([
      'a',
      'c.yml:1: dbz: unknown key, did you mean dbs?',
      'c.yml:3: exec: is given twice, first on line 2',
    ])
    expect(found[3]).toMatch(/^c\.yml:4: unknown key/)
  })

  it('takes what an alias stands for, and is told of one that stands for nothing', () => {
    const text = 'exec: &a app\ndbs:\n  - path: *a\n  - path: *none\n'
    expect(reading(text, (root) => databases(root).map((db) => db.value('path')))).toEqual([
      ['app', undefined],
      'c.yml:4: dbs[1].path: there is no anchor of this name (a value that begins with * needs quotes)',
    ])
  })

  it('merges mappings: its own keys first, then those of the first mapping', () => {
    const text = `dbs:
  - &a {path: /a, pattern: a, watch: false}
  - &b {path: /b, dir: /b}
  - <<: [*b, *a]
    path: /c
`
    expect(
      reading(text, (root) =>
        databases(root).map((db) => [db.value('path'), db.value('dir'), db.value('watch')]),
      ),
    ).toEqual([
      [
        ['/a', undefined, false],
        ['/b', '/b', true],
        ['/c', '/b', false],
      ],
    ])
  })

  it('merges a mapping once, however often it is named: 2,000,000,000,000,000 times in 2 KB', () => {
    const merges = Array.from({ length: 50 }, (_, n) => `  - &m${n + 1} {<<: [*m${n}, *m${n}]}`)
    const text = ['dbs:', '  - &m0 {path: /a.db, replicas: []}', ...merges].join('\n')
    const startedMs = performance.now()
    const found = reading(text, (root) => databases(root).map((db) => db.value('path')))
    expect(performance.now() - startedMs).toBeLessThan(onThisMachine(1000))
    expect(found).toEqual([Array.from({ length: 51 }, () => '/a.db')])
  })

  it.each(['{<<: 5}', '&a {<<: *a}', '{<<: [*x]}'])('refuses to merge %s', (item) => {
    const found = reading(`dbs:\n  - ${item}\n`, databases)
    expect(found.join('\n')).toContain(
      'c.yml:2: dbs[0].<<: must be a mapping or a list of mappings',
    )
  })

  it('leaves out items that are no mapping, and says so', () => {
    const found = reading('dbs:\n  - path: /a\n  - 5\n  -\n', (root) => databases(root).length)
    expect(found).toEqual([
      1,
      'c.yml:3: dbs[1]: must be "key: value" lines, not a single value',
      'c.yml:4: dbs[2]: is empty: give it a value, or remove it',
    ])
  })

  it('of what is no YAML shows no text behind a colon', () => {
    const found = reading('exec: "secret\n', () => 'read')
    expect(found).toHaveLength(1)
    expect(found[0]).toMatch(/^c\.yml:\d+: /)
    expect(found[0]).not.toContain('secret')
  })
})
