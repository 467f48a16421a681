/** The man pages and completions that come with every installation. */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { completions } from '../../scripts/release/completions.ts'
import { manualPages } from '../../scripts/release/manual.ts'
import { formatFlag } from '../../src/delivery/cli/command.ts'
import * as text from '../../src/delivery/cli/command-text.ts'
import { loadCommands } from '../../src/delivery/cli/commands.ts'
import { exitCodes } from '../../src/delivery/exit-codes.ts'

const commands = await loadCommands()
const program = { version: '1.2.3', commands, exitCodes, text }
const shells = completions(program)

const folder = mkdtempSync(join(tmpdir(), 'tsreplicate-manual-'))
afterAll(() => rmSync(folder, { recursive: true }))

/** What bash offers for the last word. */
function complete(...words: string[]): string[] {
  const file = join(folder, 'completion')
  writeFileSync(file, shells.bash.text)
  const script = `source '${file}'
    COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
    _tsreplicate
    printf '%s\\n' "\${COMPREPLY[@]}"`
  const { stdout, stderr } = spawnSync('bash', ['-c', script, 'bash', 'tsreplicate', ...words], {
    encoding: 'utf8',
    cwd: folder,
  })
  expect(stderr).toBe('')
  return stdout.split('\n').filter((line) => line !== '')
}

test('there is a page of the program and of each command, with all its flags', () => {
  const pages = new Map(manualPages(program).map((page) => [page.name, page.text]))
  expect(pages.size).toBe(commands.length + 1)
  for (const { name, flags } of commands) {
    expect(pages.get('tsreplicate.1')).toContain(name)
    const page = pages.get(`tsreplicate-${name}.1`)?.replaceAll('\\-', '-')
    for (const flag of Object.keys(flags)) expect(page, name).toContain(formatFlag(flag))
  }
})

test('no line of a page is taken for a request that there is not', () => {
  const requests = manualPages(program)
    .flatMap((page) => page.text.split('\n'))
    .filter((line) => /^[.']/.test(line))
    .map((line) => line.split(' ', 1)[0])
  expect([...new Set(requests)].sort()).toEqual(['.PP', '.SH', '.TH', '.TP', '.fi', '.nf'])
})

describe('bash', () => {
  test('completes commands', () => {
    expect(complete('')).toEqual(commands.map(({ name }) => name))
    expect(complete('rest')).toEqual(['restore'])
  })

  test('completes the flags of a command', () => {
    expect(complete('restore', '-time')).toEqual(['-timestamp'])
    expect(complete('verify', '-time')).toEqual([])
  })

  test('completes files where a path may stand', () => {
    writeFileSync(join(folder, 'app.db'), '')
    expect(complete('restore', '-o', 'app')).toEqual(['app.db'])
    expect(complete('restore', '-json', 'app')).toEqual(['app.db'])
    expect(complete('restore', '-timestamp', 'app')).toEqual([])
  })
})

test('zsh and fish know every command and flag', () => {
  for (const { name, flags } of commands) {
    expect(shells.zsh.text).toContain(`    ${name})`)
    expect(shells.fish.text).toContain(`-a ${name} `)
    for (const flag of Object.keys(flags)) {
      expect(shells.zsh.text).toContain(`'${formatFlag(flag)}[`)
      expect(shells.fish.text).toMatch(new RegExp(`-[os] ${formatFlag(flag).slice(1)} `))
    }
  }
})
