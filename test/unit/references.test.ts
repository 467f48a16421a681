/** The pages that are printed from what the program itself goes by: `npm run docs:reference` writes them. */
import { readdirSync, readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { keys } from '../../src/infrastructure/config/keys.ts'
import { parseConfig } from '../../src/infrastructure/config/config-file.ts'
import { commandsReference, errorsPage } from '../support/reference/commands.ts'
import {
  configurationReference,
  sampleConfiguration,
  variables,
} from '../support/reference/configuration.ts'
import { format, pathOf } from '../support/reference/markdown.ts'

const stale = (page: string): string => `${page} is not what is printed: npm run docs:reference`

test.each([
  ['docs/configuration.md', configurationReference],
  ['config/tsreplicate.yml', sampleConfiguration],
  ['docs/commands.md', commandsReference],
  ['docs/errors.md', errorsPage],
])('%s is up to date', async (page, print) => {
  const text = await format(print(), page)
  await expect(text, stale(page)).toMatchFileSnapshot(pathOf(page))
})

describe('config/tsreplicate.yml', () => {
  const sample = readFileSync(pathOf('config/tsreplicate.yml'), 'utf8')
  const parse = (text: string): unknown =>
    parseConfig(text, 'sample', { home: '/root', cwd: '/', env: {} })

  test('is a configuration, without a warning', () => {
    expect(parse(sample)).toMatchObject({ warnings: [] })
  })

  test('shows defaults: put into effect, they change nothing', () => {
    const infos = Object.values(keys).flatMap((section) => Object.entries(section))
    const isDefault = (key: string, value: string): boolean =>
      // They mean nothing without the URL, and without the path.
      !['heartbeat-interval', 'permissions'].includes(key) &&
      infos.some(([name, info]) => name === key && info.default === value)
    let shown = 0
    const [entries = '', folder = ''] = sample.split(/(?=^ *# A folder of databases)/m)
    const inEffect = entries
      .replaceAll(/^#logging:$/gm, 'logging:')
      .replaceAll(/^( *)#((?: {2})*)([a-z-]+): (.*)$/gm, (line, indent, inner, key, value) => {
        if (!isDefault(String(key), String(value))) return line
        shown += 1
        return `${String(indent)}${String(inner)}${String(key)}: ${String(value)}`
      })
    expect(shown).toBeGreaterThan(20)
    expect(parse(inEffect + folder)).toEqual(parse(sample))
  })
})

test('docs/configuration.md names every environment variable that the program reads', () => {
  const files = readdirSync(pathOf('src'), { recursive: true, encoding: 'utf8' })
  const read = files
    .filter((name) => name.endsWith('.ts'))
    .flatMap((name) => [
      ...readFileSync(pathOf(`src/${name}`), 'utf8').matchAll(/\b(?:env|environment)\['(\w+)'\]/g),
    ])
    .map(([, name = '']) => name)
    // Not ours: it is passed on.
    .filter((name) => name !== 'PATH')
  const documented = variables.flatMap(([names]) => names)
  expect(new Set(read).size).toBeGreaterThan(5)
  expect([...new Set(read)].filter((name) => !documented.includes(name))).toEqual([])
})
