/** The man pages, from what each command says of itself: `tsreplicate(1)`, and one of each command. */
import type { CliCommand, Flag } from '../../src/delivery/cli/command.ts'
import type * as commandText from '../../src/delivery/cli/command-text.ts'
import type * as exits from '../../src/delivery/exit-codes.ts'

/** What the program says of itself. The scripts take it from what is built, the tests from the sources. */
export interface Program {
  readonly version: string
  readonly commands: readonly CliCommand[]
  readonly exitCodes: typeof exits.exitCodes
  readonly text: typeof commandText
}

export interface TextFile {
  readonly name: string
  readonly text: string
}

export function manualPages(program: Program): TextFile[] {
  const { commands } = program
  const overview = [
    ...head(program, 'tsreplicate', 'streams SQLite databases to replicas and restores them'),
    '.SH SYNOPSIS',
    ...commands.flatMap((command) => [
      '.PP',
      `\\fBtsreplicate\\fR ${escape(program.text.formatSynopsis(command))}`,
    ]),
    '.SH DESCRIPTION',
    escape(
      'Copies every commit of a SQLite database to a folder or an object store while the application goes on, and restores the database as it is now or as it was at a moment. DB is the path of a database in the configuration. URL is a replica: file:///FOLDER, s3://BUCKET/PATH, gcs://BUCKET/PATH or abs://ACCOUNT@CONTAINER/PATH. Results go to stdout, logs and errors to stderr.',
    ),
    '.SH COMMANDS',
    ...commands.flatMap(({ name, summary }) => entry(name, program.text.formatSentence(summary))),
    '.SH FILES',
    ...entry(
      '/etc/tsreplicate.yml',
      'The configuration, unless -config or LITESTREAM_CONFIG names another.',
    ),
    ...entry('/etc/litestream.yml', 'The configuration where the one above is not there.'),
    ...entry('/etc/tsreplicate.env', 'Credentials and other variables of the service.'),
    ...exitStatus(
      Object.values(program.exitCodes).flatMap(({ code, meaning }) =>
        meaning === undefined ? [] : [[code, meaning] as const],
      ),
    ),
    ...seeAlso(commands.map(({ name }) => `tsreplicate-${name}`)),
  ]
  return [
    { name: 'tsreplicate.1', text: `${overview.join('\n')}\n` },
    ...commands.map((command) => ({
      name: `tsreplicate-${command.name}.1`,
      text: `${pageOf(program, command).join('\n')}\n`,
    })),
  ]
}

function pageOf(program: Program, command: CliCommand): string[] {
  const { name, about, summary, flags, example } = command
  const { formatSynopsis, formatFlagWithValue, formatSentence, ownExitCodes } = program.text
  const describe = ({ description, default: otherwise }: Flag): string =>
    formatSentence(description) + (otherwise === undefined ? '' : ` Default: ${otherwise}.`)
  return [
    ...head(program, `tsreplicate-${name}`, summary),
    '.SH SYNOPSIS',
    `\\fBtsreplicate\\fR ${escape(formatSynopsis(command))}`,
    '.SH DESCRIPTION',
    escape(about.replaceAll('`', '')),
    ...(Object.keys(flags).length === 0 ? [] : ['.SH OPTIONS']),
    ...Object.entries(flags).flatMap((flag) => entry(formatFlagWithValue(flag), describe(flag[1]))),
    ...exitStatus(ownExitCodes(command).map(([, code, meaning]) => [code, meaning])),
    '.SH EXAMPLE',
    '.nf',
    escape(example),
    '.fi',
    ...seeAlso(['tsreplicate']),
  ]
}

function head({ version }: Program, name: string, summary: string): string[] {
  return [
    `.TH ${name.toUpperCase()} 1 "" "tsreplicate ${version}" "tsreplicate"`,
    '.SH NAME',
    `${escape(name)} \\- ${escape(summary)}`,
  ]
}

function entry(name: string, text: string): string[] {
  return ['.TP', `\\fB${escape(name)}\\fR`, escape(text.replaceAll('`', ''))]
}

function exitStatus(rows: readonly (readonly [number, string])[]): string[] {
  if (rows.length === 0) return []
  return ['.SH EXIT STATUS', ...rows.flatMap(([code, meaning]) => entry(String(code), meaning))]
}

function seeAlso(pages: readonly string[]): string[] {
  const names = pages.map((page) => `\\fB${escape(page)}\\fR(1)`)
  return ['.SH SEE ALSO', names.join(', ')]
}

/** Text for roff: no escape, no hyphen that a reader cannot copy, and no line that is taken for a request. */
function escape(text: string): string {
  return text
    .replaceAll('\\', String.raw`\e`)
    .replaceAll('-', String.raw`\-`)
    .replaceAll(/^(?=[.'])/gm, String.raw`\&`)
}
