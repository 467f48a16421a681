import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { keys } from '../../src/infrastructure/config/keys.js'

const root = join(import.meta.dirname, '../..')
const readme = readFileSync(join(root, 'README.md'), 'utf8')

test('the README lists exactly the error codes that there are', () => {
  const source = readFileSync(join(root, 'src/domain/errors.ts'), 'utf8')
  const codes = [...source.matchAll(/readonly code = '([A-Z_]+)'/g)].map((match) => match[1])
  const listed = [...readme.matchAll(/^\| `([A-Z_]+)` /gm)].map((match) => match[1])
  expect(codes.length).toBeGreaterThan(5)
  expect(listed).toEqual(codes)
})

test('the README names every key of the configuration that has an effect', () => {
  for (const section of Object.values(keys))
    for (const [name, { state }] of Object.entries(section))
      if (state === undefined) expect(readme).toContain(name)
})
