import { Command, CommanderError } from 'commander'

import {
  ConfigError,
  InUseError,
  NotRunningError,
  NotStoredError,
  TsreplicateError,
  UsageError,
} from '../../domain/errors.js'
import { type Owner } from '../../compose/owner.js'
import { isAbortError } from '../../kit/abort.js'
import { exitCodes } from '../exit-codes.js'
import { databases, generations, snapshots, wal, type WalFlags } from './commands/listings.js'
import { replicate, type ReplicateFlags } from './commands/replicate.js'
import { restore, type RestoreFlags } from './commands/restore.js'
import { status } from './commands/status.js'
import { retention, type RetentionFlags } from './commands/retention.js'
import { verify, type VerifyFlags } from './commands/verify.js'
import { type CommonFlags } from './context.js'
import { normalizeGoFlags } from './go-flags.js'
import { complain, print, printed, printJson } from './output.js'
import { version } from './version.js'

/** Runs a command line and returns the exit code of the process. What is to be ended with it is the owner's. */
export async function main(argv: readonly string[], owner: Owner): Promise<number> {
  let exitCode: number = exitCodes.done.code
  const program = createProgram({ interrupt: new AbortController(), owner }, (code) => {
    exitCode = code
  })
  try {
    await program.parseAsync(prepare(program, argv), { from: 'user' })
    return await afterPrinting(exitCode, argv)
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) return afterPrinting(0, argv)
    return report(error, argv)
  }
}

/** Commands that have done what they were to do when they print, and whose exit code says so. */
const effective = new Set(['restore', 'retention'])

/** The exit code, when all that a command printed is written or cannot be. */
async function afterPrinting(exitCode: number, [name = '']: readonly string[]): Promise<number> {
  const problem = await printed()
  if (problem === undefined) return exitCode
  const isDone = effective.has(name) && exitCode === 0
  const done = isDone ? `${name} is done, but ` : ''
  complain(`tsreplicate: ${done}its output cannot be written to stdout: ${problem}`)
  return exitCode === 0 && !isDone ? exitCodes.failed.code : exitCode
}

/** Finds the command and puts its flags into the form that commander reads. */
function prepare(program: Command, argv: readonly string[]): string[] {
  const [given, ...rest] = argv
  const name = given !== undefined && /^--?version$/.test(given) ? 'version' : given
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

/** Every command with its flags; `exit` hears the exit code of the one that was run. */
export function createProgram(
  { interrupt, owner }: { readonly interrupt: AbortController; readonly owner: Owner },
  exit: (code: number) => void,
): Command {
  const { signal } = interrupt
  const program = new Command('tsreplicate')
    .description('Streams SQLite databases to replicas and restores them.')
    .option('--version', 'print the version')
    .helpCommand(false)
    .exitOverride()
    .configureOutput({
      writeOut: print,
      writeErr: (text) => complain(text.trimEnd()),
      outputError: () => undefined,
    })

  const command = (name: string, description: string): Command => {
    return program.command(name).description(description).allowExcessArguments(false).exitOverride()
  }
  const common = (added: Command): Command =>
    added
      .option('--config <path>', 'configuration file')
      .option('--no-expand-env', 'do not replace $NAME in the configuration')
  const json = (added: Command): Command => added.option('--json', 'print JSON')
  const replica = (added: Command): Command => added.option('--replica <name>', 'only this replica')
  /** Ctrl-C ends a command between two steps, with its leftovers removed. */
  const run = async (work: () => Promise<number>): Promise<void> => {
    const onSignal = (): void => interrupt.abort()
    process.once('SIGINT', onSignal)
    process.once('SIGTERM', onSignal)
    try {
      exit(await work())
    } finally {
      process.off('SIGINT', onSignal)
      process.off('SIGTERM', onSignal)
    }
  }

  common(command('replicate', 'replicates databases until it is stopped'))
    .argument('[database]', 'database file; without it, all databases of the configuration')
    .argument('[urls...]', 'replica URLs of the database')
    .option('--exec <command>', 'a program to run; tsreplicate exits when it does')
    .option(
      '--restore-if-db-not-exists',
      'first restore databases that do not exist and have a backup',
    )
    .option(
      '--integrity-check <kind>',
      'what SQLite checks after these restores: none, quick or full',
      'quick',
    )
    .option(
      '--first-sync-timeout <duration>',
      'how long the program and READY=1 wait for the first sync (30s)',
    )
    .option('--shutdown-timeout <duration>', 'how long the last sync may take (30s)')
    .action((database: string | undefined, urls: string[], flags: ReplicateFlags) =>
      run(() =>
        replicate(database === undefined ? [] : [database, ...urls], flags, { signal, owner }),
      ),
    )

  json(replica(common(command('restore', 'restores a database from a replica'))))
    .argument('[database-or-url]', 'database path or replica URL')
    .option('-o <path>', 'the database to create')
    .option('--generation <name>', 'only this generation')
    .option('--index <hex>', 'up to the end of this WAL index, or to a position: index:offset')
    .option(
      '--timestamp <time>',
      'the last commit at or before this time, RFC 3339 with a time zone',
    )
    .option('--parallelism <n>', 'WAL segments fetched at once', '64')
    .option('--if-db-not-exists', 'exit 0 if the output exists')
    .option('--if-replica-exists', 'exit 0 if there is no backup')
    .option('--dry-run', 'only show what would be restored')
    .option(
      '--integrity-check <kind>',
      'what SQLite checks at the end: none, quick or full',
      'quick',
    )
    .action((subject: string | undefined, flags: RestoreFlags) =>
      run(() => restore(subject, flags, signal)),
    )

  json(common(command('databases', 'lists the databases of the configuration'))).action(
    (flags: CommonFlags) => run(() => databases(flags)),
  )
  json(replica(common(command('generations', 'lists the generations of a database'))))
    .argument('[database-or-url]', 'database path or replica URL')
    .action((subject: string | undefined, flags: CommonFlags) =>
      run(() => generations(subject, flags, signal)),
    )
  json(replica(common(command('snapshots', 'lists the snapshots of a database'))))
    .argument('[database-or-url]', 'database path or replica URL')
    .action((subject: string | undefined, flags: CommonFlags) =>
      run(() => snapshots(subject, flags, signal)),
    )
  json(replica(common(command('wal', 'lists the WAL segments of a database'))))
    .argument('[database-or-url]', 'database path or replica URL')
    .option('--generation <name>', 'only this generation')
    .action((subject: string | undefined, flags: WalFlags) =>
      run(() => wal(subject, flags, signal)),
    )
  json(
    replica(
      common(
        command('retention', 'deletes what is no longer needed, and says why the rest is kept'),
      ),
    ),
  )
    .argument('[database-or-url]', 'database path or replica URL')
    .option('--dry-run', 'delete nothing')
    .option('--retention <duration>', 'for a URL: how far back every commit can be restored (24h)')
    .option('--keep-hourly <n>', 'for a URL: keep a snapshot of each of so many hours before that')
    .option('--keep-daily <n>', 'for a URL: keep a snapshot of each of so many days before that')
    .option('--keep-weekly <n>', 'for a URL: keep a snapshot of each of so many weeks before that')
    .option(
      '--keep-monthly <n>',
      'for a URL: keep a snapshot of each of so many months before that',
    )
    .action((subject: string | undefined, flags: RetentionFlags) =>
      run(() => retention(subject, flags, signal)),
    )
  json(common(command('status', 'asks the running daemon what it is doing')))
    .argument('[database]', 'only this database')
    .action((subject: string | undefined, flags: CommonFlags) =>
      run(() => status(subject, flags, signal)),
    )
  json(replica(common(command('verify', 'verifies that what is stored can be restored'))))
    .argument('[database-or-url]', 'database path or replica URL')
    .option('--level <level>', 'how much to check: structure, full or restore', 'full')
    .option('--temp-path <folder>', 'where to put the restored copy')
    .action((subject: string | undefined, flags: VerifyFlags) =>
      run(() => verify(subject, flags, signal)),
    )
  json(command('version', 'prints the version'))
    .allowExcessArguments(true)
    .action((flags: { json?: boolean }) => {
      if (flags.json === true) printJson({ version: version() })
      else print(`${version()}\n`)
    })
  return program
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
  printErrorJson(argv, { code, message, hint })
  if (error instanceof UsageError) return exitCodes.usage.code
  if (error instanceof ConfigError) return exitCodes.config.code
  if (error instanceof InUseError) return exitCodes.inUse.code
  if (error instanceof NotRunningError) return exitCodes.notRunning.code
  return error instanceof NotStoredError ? exitCodes.notStored.code : exitCodes.failed.code
}

function printErrorJson(argv: readonly string[], error: object): void {
  if (argv.some((argument) => /^--?json(=(1|t|T|true|TRUE|True))?$/.test(argument))) {
    printJson({ error })
  }
}
