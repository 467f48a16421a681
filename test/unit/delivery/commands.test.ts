/** A command is a file and a line in the list. */
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { addCommand, defineCommand } from '../../../src/delivery/cli/command.ts'
import { loadCommands } from '../../../src/delivery/cli/commands.ts'
import { configFlags } from '../../../src/delivery/cli/flags.ts'
import { Lifetime } from '../../../src/compose/lifetime.ts'
import { Command } from 'commander'

test('the list has every file of commands/, each under the name of its command', async () => {
  const commands = await loadCommands()
  const files = readdirSync(join(import.meta.dirname, '../../../src/delivery/cli/commands'))
  expect(commands.map(({ name }) => `${name}.ts`).sort()).toEqual(files.sort())
})

test('help names the command to begin with first', async () => {
  const [first] = await loadCommands()
  expect(first?.name).toBe('init')
})

test('a command gets what its flags say, by their names and with their defaults', async () => {
  const heard: unknown[] = []
  const example = defineCommand({
    name: 'example',
    summary: 'shows how it is done',
    about: 'Shows how it is done.',
    example: 'tsreplicate example',
    arguments: [{ name: 'names', description: 'some names', variadic: true }],
    flags: {
      ...configFlags,
      o: { value: 'path', description: 'a path' },
      dryRun: { description: 'do nothing' },
      maxCount: { value: 'n', description: 'at most so many', default: '3' },
    },
    run(words, flags) {
      heard.push({ words, flags })
      return Promise.resolve(0)
    },
  })
  const context = { signal: new AbortController().signal, lifetime: new Lifetime() }
  for (const argv of [[], ['a', '--no-expand-env', '-o', 'x', '--dry-run', '--max-count=5', 'b']]) {
    const program = new Command()
    addCommand(program, example, async (words, options) => {
      await example.run(words, options, context)
    })
    await program.parseAsync(['example', ...argv], { from: 'user' })
  }
  expect(heard).toEqual([
    {
      words: [],
      flags: {
        config: undefined,
        noExpandEnv: false,
        o: undefined,
        dryRun: false,
        maxCount: '3',
      },
    },
    {
      words: ['a', 'b'],
      flags: { config: undefined, noExpandEnv: true, o: 'x', dryRun: true, maxCount: '5' },
    },
  ])
})
