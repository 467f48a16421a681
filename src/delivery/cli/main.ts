import { Command, CommanderError } from 'commander'

import {
  CheckTimeoutError,
  ConfigError,
  InUseError,
  NotRunningError,
  NotStoredError,
  TsreplicateError,
  UsageError,
} from '../../domain/errors.js'
import { type Lifetime } from '../../compose/lifetime.js'
import { isAbortError } from '../../kit/abort.js'
import { exitCodes } from '../exit-codes.js'
import { addCommand, type CliCommand } from './command.js'
import { loadCommands } from './commands.js'
import { normalizeGoFlags } from './go-flags.js'
import { complain, print, printed, printJson } from './output.js'

/** Runs a command line and returns the exit code of the process. What lasts until its end is in `lifetime`. */
export async function main(argv: readonly string[], lifetime: Lifetime): Promise<number> {
  let exitCode: number = exitCodes.done.code
  const name = commandName(argv)
  const commands = await loadCommands(name)
  const command = commands.find((each) => each.name === name)
  const program = createProgram(commands, lifetime, (code) => {
    exitCode = code
  })
  try {
    await program.parseAsync(prepare(program, name, argv.slice(1)), { from: 'user' })
    return await afterPrinting(exitCode, command)
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) return afterPrinting(0, command)
    return report(error, argv)
  }
}

function commandName([given]: readonly string[]): string | undefined {
  return given !== undefined && /^--?version$/.test(given) ? 'version' : given
}

/** The exit code, when all that a command printed is written or cannot be. */
async function afterPrinting(exitCode: number, command: CliCommand | undefined): Promise<number> {
  const problem = await printed()
  if (problem === undefined) return exitCode
  const isDone = command?.printsWhatIsDone === true && exitCode === 0
  const done = isDone ? `${command.name} is done, but ` : ''
  complain(`tsreplicate: ${done}its output cannot be written to stdout: ${problem}`)
  return exitCode === 0 && !isDone ? exitCodes.failed.code : exitCode
}

/** Finds the command and puts its flags into the form that commander reads. */
function prepare(program: Command, name: string | undefined, rest: readonly string[]): string[] {
  if (name === undefined) {
    program.outputHelp({ error: true })
    throw new CommanderError(exitCodes.usage.code, 'overview', '')
  }
  if (name === 'help' || /^--?h(elp)?$/.test(name)) return ['--help']
  const command = program.commands.find((candidate) => candidate.name() === name)
  if (command === undefined) {
    throw new UsageError(
      name.startsWith('-') ? `flag provided but not defined: ${name}` : `${name}: unknown command`,
      { hint: 'tsreplicate --help lists the commands.' },
    )
  }
  const names = (required: boolean): Set<string> =>
    new Set(
      command.options
        .filter((option) => option.required === required && option.long !== undefined)
        .map((option) => (option.long ?? '').replace(/^--/, '')),
    )
  const flags = { command: name, valued: names(true), booleans: names(false) }
  return [name, ...normalizeGoFlags(rest, flags)]
}

/** The commands with their flags; `exit` hears the exit code of the one that was run. */
function createProgram(
  commands: readonly CliCommand[],
  lifetime: Lifetime,
  exit: (code: number) => void,
): Command {
  const program = new Command('tsreplicate')
    .description(
      'Streams SQLite databases to replicas and restores them.\nNew here? Begin with: tsreplicate init',
    )
    .option('--version', 'print the version')
    .helpCommand(false)
    .exitOverride()
    .configureOutput({
      writeOut: print,
      writeErr: (text) => complain(text.trimEnd()),
      outputError: () => undefined,
    })
  for (const command of commands) {
    addCommand(program, command, async (words, options) => {
      exit(await interruptible((signal) => command.run(words, options, { signal, lifetime })))
    })
  }
  return program
}

/** Ctrl-C ends a command between two steps, with its leftovers removed. */
async function interruptible<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const interrupt = new AbortController()
  const onSignal = (): void => interrupt.abort()
  process.once('SIGINT', onSignal)
  process.once('SIGTERM', onSignal)
  try {
    return await work(interrupt.signal)
  } finally {
    process.off('SIGINT', onSignal)
    process.off('SIGTERM', onSignal)
  }
}

/** Tells the user what went wrong and returns the exit code for it. */
function report(error: unknown, argv: readonly string[]): number {
  if (error instanceof CommanderError) {
    if (error.code === 'overview') return exitCodes.usage.code
    const message = error.message.replace(/^error: /, '')
    const text = error.code === 'commander.excessArguments' ? 'too many arguments' : message
    const hint = `tsreplicate ${argv[0] ?? ''} --help shows how to use it.`
    return report(new UsageError(text, { hint }), argv)
  }
  if (isAbortError(error)) {
    complain('tsreplicate: interrupted')
    return exitCodes.interrupted.code
  }
  if (!(error instanceof TsreplicateError)) {
    const detail = error instanceof Error ? (error.stack ?? error.message) : String(error)
    complain(`tsreplicate: this is a bug, please report it: ${detail}`)
    printErrorJson(argv, { code: 'BUG', message: String(error) })
    return exitCodes.bug.code
  }
  const { code, message, hint } = error
  for (const line of message.split('\n')) complain(`tsreplicate: ${line}`)
  if (hint !== undefined) complain(`hint: ${hint}`)
  const missing = error instanceof NotStoredError ? error.missing : undefined
  printErrorJson(argv, { code, message, hint, missing })
  if (error instanceof UsageError) return exitCodes.usage.code
  if (error instanceof ConfigError) return exitCodes.config.code
  if (error instanceof InUseError) return exitCodes.inUse.code
  if (error instanceof CheckTimeoutError) return exitCodes.checkTimeout.code
  if (error instanceof NotRunningError) return exitCodes.notRunning.code
  return error instanceof NotStoredError ? exitCodes.notStored.code : exitCodes.failed.code
}

function printErrorJson(argv: readonly string[], error: object): void {
  if (argv.some((argument) => /^--?json(=(1|t|T|true|TRUE|True))?$/.test(argument))) {
    printJson({ error })
  }
}
