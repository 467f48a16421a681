import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { exitCodes } from '../../../src/delivery/exit-codes.ts'
import { exitCodeMeanings } from '../../support/reference/commands.ts'

const root = join(import.meta.dirname, '../../..')

test('the table of exit codes in the documentation is that of the program', () => {
  const page = readFileSync(join(root, 'docs/errors.md'), 'utf8')
  const rows = [...page.matchAll(/^\| (\d+) *\| (.*?) *\|/gm)]
  expect(rows.map(([, code, meaning]) => ({ code: Number(code), meaning }))).toEqual(
    exitCodeMeanings(),
  )
})

test('an old Node.js is answered with one of them before anything is loaded', () => {
  const program = readFileSync(join(root, 'bin/tsreplicate.js'), 'utf8')
  expect(program).toContain(`process.exitCode = ${exitCodes.config.code}\n`)
})
