import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { keys } from '../../src/infrastructure/config/keys.js'

const root = join(import.meta.dirname, '../..')
const page = (name: string): string => readFileSync(join(root, 'docs', name), 'utf8')

test('docs/errors.md lists exactly the error codes that there are', () => {
  const source = readFileSync(join(root, 'src/domain/errors.ts'), 'utf8')
  const codes = [...source.matchAll(/readonly code = '([A-Z_]+)'/g)].map((match) => match[1])
  const listed = [...page('errors.md').matchAll(/^\| `([A-Z_]+)` /gm)].map((match) => match[1])
  expect(codes.length).toBeGreaterThan(5)
  expect(listed).toEqual(codes)
})

test('no script of package.json is run by npm before or after another one because of its name', () => {
  const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
    scripts: Record<string, string>
  }
  const names = Object.keys(scripts)
  const partners = names.flatMap((name) => [`pre${name}`, `post${name}`])
  expect(partners.filter((name) => names.includes(name))).toEqual([])
})

test('docs/configuration.md names every key of the configuration that has an effect', () => {
  for (const section of Object.values(keys))
    for (const [name, { state }] of Object.entries(section))
      if (state === undefined) expect(page('configuration.md')).toContain(name)
})

test('a program of ten lines has its commits stored', () => {
  const readme = readFileSync(join(root, 'README.md'), 'utf8')
  const [, program = ''] = /```ts\n([^`]*)```/.exec(readme) ?? []
  expect(program).toContain('await replication.durable(')
  expect(program.trimEnd().split('\n').length).toBeLessThanOrEqual(10)
})
