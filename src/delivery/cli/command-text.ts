/** How documents write a command: docs/commands.md, the man pages and the completions of shells. */
import { exitCodes } from '../exit-codes.js'
import { type CliCommand, type CommandArgument, type Flag, formatFlag } from './command.js'

/** `restore [FLAGS] [DB|URL]` */
export function formatSynopsis({ name, arguments: named = [] }: CliCommand): string {
  return [name, '[FLAGS]', ...named.map((argument) => `[${formatArgument(argument)}]`)].join(' ')
}

function formatArgument({ name, variadic = false }: CommandArgument): string {
  const whole = name.toUpperCase().replace('DATABASE-OR-URL', 'DB|URL')
  const plain = whole.replace('DATABASE', 'DB').replace('URLS', 'URL')
  return plain + (variadic ? '...' : '')
}

/** In Go's style, as messages write flags: `-config PATH` */
export function formatFlagWithValue([name, { value }]: readonly [string, Flag]): string {
  return formatFlag(name) + (value === undefined ? '' : ` ${value.toUpperCase()}`)
}

/** What exit codes mean with this command, beyond what they mean with all. */
export function ownExitCodes({
  exitCodes: own = {},
}: CliCommand): (readonly [name: string, code: number, meaning: string])[] {
  return Object.entries(exitCodes).flatMap(([name, { code }]) =>
    Object.entries(own)
      .filter(([known]) => known === name)
      .map(([, meaning]) => [name, code, meaning] as const),
  )
}

export function formatSentence(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}.`
}
