/**
 * A command as it is written down: once, in its own file. Its parsing, its help, its page in docs/commands.md and the
 * meaning of its exit codes come from there.
 */
import { type Command, Option } from 'commander'
import { type Lifetime } from '../../compose/lifetime.js'
import { type ExitCodeName, exitCodes } from '../exit-codes.js'

export interface Flag {
  readonly description: string
  /** What its value is, as help calls it; without it, the flag is on or off. */
  readonly value?: string
  readonly default?: string
}

/** By their names as identifiers: `dryRun` is given as `-dry-run`. */
export type Flags = Readonly<Record<string, Flag>>

/** What a command line says of these flags; undefined: nothing, and there is no default. */
export type FlagValues<F extends Flags> = {
  readonly [N in keyof F]: F[N] extends { readonly value: string } ? string | undefined : boolean
}

export interface CommandArgument {
  readonly name: string
  readonly description: string
  /** Takes all that follow. */
  readonly variadic?: boolean
}

/** What a command is run with. */
export interface CommandContext {
  /** Aborted at Ctrl-C. */
  readonly signal: AbortSignal
  /** What lasts until the end of the command is added to it. */
  readonly lifetime: Lifetime
}

interface CommandText {
  readonly name: string
  /** What it does, in a line. */
  readonly summary: string
  /** What it does, in sentences. */
  readonly about: string
  readonly example: string
  /** What the example ends with where its configuration is all that there is, if not with `done`. */
  readonly exampleEnd?: ExitCodeName
  readonly arguments?: readonly CommandArgument[]
  /** Whatever else is on its command line is no mistake. */
  readonly ignoresArguments?: boolean
  /** What exit codes mean with this command, beyond what they mean with all. */
  readonly exitCodes?: Partial<Readonly<Record<ExitCodeName, string>>>
  /** What it was to do is done when it prints, and its exit code says so even if that cannot be printed. */
  readonly printsWhatIsDone?: boolean
}

interface CommandDefinition<F extends Flags> extends CommandText {
  readonly flags: F
  /** Resolves with the exit code. */
  readonly run: (
    words: readonly string[],
    flags: FlagValues<F>,
    context: CommandContext,
  ) => Promise<number>
}

export interface CliCommand extends CommandText {
  readonly flags: Flags
  readonly run: (
    words: readonly string[],
    options: Readonly<Record<string, unknown>>,
    context: CommandContext,
  ) => Promise<number>
}

export function defineCommand<F extends Flags>(definition: CommandDefinition<F>): CliCommand {
  return {
    ...definition,
    run: (words, options, context) =>
      definition.run(words, valuesOf(definition.flags, options), context),
  }
}

/** The flag as messages and documents write it. */
export function formatFlag(name: string): string {
  return `-${dashed(name)}`
}

/** Adds a command to what commander parses. `run` gets what was given. */
export function addCommand(
  program: Command,
  command: CliCommand,
  run: (words: readonly string[], options: Readonly<Record<string, unknown>>) => Promise<void>,
): void {
  const { name, summary, about, ignoresArguments = false, arguments: named = [] } = command
  const added = program
    .command(name)
    .summary(summary)
    .description(about.replaceAll('`', ''))
    .allowExcessArguments(ignoresArguments)
    .exitOverride()
    .addHelpText('after', () => helpAfterFlags(command))
  for (const { name: argument, description, variadic = false } of named) {
    added.argument(`[${argument}${variadic ? '...' : ''}]`, description)
  }
  for (const option of optionsOf(command.flags).values()) added.addOption(option)
  added.action(() => run(added.args, added.opts()))
}

function helpAfterFlags({ example, exitCodes: own = {} }: CommandText): string {
  const codes = Object.entries(exitCodes).flatMap(([name, { code }]) => {
    const meaning = Object.entries(own).find(([known]) => known === name)?.[1]
    return meaning === undefined ? [] : [`  ${String(code).padEnd(5)}${meaning}`]
  })
  const text = ['', 'Example:', `  ${example}`]
  return [...text, ...(codes.length === 0 ? [] : ['', 'Exit codes:', ...codes])].join('\n')
}

function optionsOf(flags: Flags): ReadonlyMap<string, Option> {
  return new Map(
    Object.entries(flags).map(([name, flag]) => {
      const written = name.length === 1 ? `-${name}` : `--${dashed(name)}`
      const value = flag.value === undefined ? '' : ` <${flag.value}>`
      const option = new Option(written + value, flag.description)
      return [name, flag.default === undefined ? option : option.default(flag.default)]
    }),
  )
}

/** Takes what commander has parsed by the options of these flags. */
function valuesOf<F extends Flags>(
  flags: F,
  options: Readonly<Record<string, unknown>>,
): FlagValues<F> {
  const values = [...optionsOf(flags)].map(([name, option]) => {
    const given = options[option.attributeName()]
    if (flags[name]?.value !== undefined) return [name, given]
    return [name, given === !option.negate]
  })
  return Object.fromEntries(values) as FlagValues<F>
}

function dashed(name: string): string {
  return name.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)
}
