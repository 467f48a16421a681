/** Prints `docs/commands.md`, and what exit codes mean, from what each command says of itself. */
import { readFileSync } from 'node:fs'
import { type CliCommand, type Flag } from '../../../src/delivery/cli/command.ts'
import {
  formatFlagWithValue,
  formatSentence,
  formatSynopsis,
  ownExitCodes,
} from '../../../src/delivery/cli/command-text.ts'
import { loadCommands } from '../../../src/delivery/cli/commands.ts'
import { configFlags, jsonFlag, replicaFlag } from '../../../src/delivery/cli/flags.ts'
import { exitCodes } from '../../../src/delivery/exit-codes.ts'
import { code, codes, pathOf, table } from './markdown.ts'

const commands = await loadCommands()
const sharedFlags = Object.entries({ ...configFlags, ...replicaFlag, ...jsonFlag })

function isShared([name]: readonly [string, Flag]): boolean {
  return sharedFlags.some(([shared]) => shared === name)
}

/** What each exit code means with every command, and then with some. */
export function exitCodeMeanings(): readonly { readonly code: number; readonly meaning: string }[] {
  return Object.entries(exitCodes).map(([name, { code: number, meaning }]) => {
    const own = commands.flatMap((command) =>
      ownExitCodes(command)
        .filter(([known]) => known === name)
        .map(([, , text]) => `${code(command.name)}: ${text}`),
    )
    return {
      code: number,
      meaning: [...(meaning === undefined ? [] : [meaning]), ...own].join('. '),
    }
  })
}

/** `docs/errors.md`, with what the exit codes mean; what to do is written there by hand. */
export function errorsPage(): string {
  const meanings = new Map(exitCodeMeanings().map(({ code: number, meaning }) => [number, meaning]))
  return readFileSync(pathOf('docs/errors.md'), 'utf8').replaceAll(
    /^(\| (\d+) *\|) .*? (\|.*\|)$/gm,
    (_, start: string, number: string, end: string) =>
      `${start} ${meanings.get(Number(number)) ?? ''} ${end}`,
  )
}

/** `docs/commands.md` */
export function commandsReference(): string {
  return `<!-- Written by \`npm run docs:reference\` from the commands themselves. -->

# Commands

${table(
  ['command', 'what it does'],
  commands.map(({ name, summary }) => [`[${code(name)}](#${name})`, formatSentence(summary)]),
)}

\`DB\` is the path of a database in the configuration. \`URL\` is a replica: \`file:///FOLDER\`, \`s3://BUCKET/PATH\`, \`gcs://BUCKET/PATH\` or
\`abs://ACCOUNT@CONTAINER/PATH\`. Without either, a command takes the database of the configuration, if there is only one.

\`-flag value\`, \`-flag=value\` and \`--flag value\` are the same. \`tsreplicate COMMAND -help\` prints a command’s flags. Results go to stdout, logs and errors to
stderr.

Most commands take some of these flags:

${table(
  ['flag', 'what it does'],
  sharedFlags.map((flag) => [code(formatFlagWithValue(flag)), formatSentence(flag[1].description)]),
)}

With \`-json\`, an error is JSON on stdout as well: \`{"error": {"code": …, "message": …}}\`.

The examples are for this configuration:

\`\`\`yaml
# /etc/tsreplicate.yml
dbs:
  - path: /data/app.db
    replicas:
      - path: /backup/app
\`\`\`

${commands.map(sectionOf).join('\n\n')}

## Exit codes

Every command has these; its own are with the command.

${exitTable(
  Object.values(exitCodes).flatMap(({ code: number, meaning }) =>
    meaning === undefined ? [] : [[number, meaning]],
  ),
)}

With \`-exec\`, \`replicate\` ends with the exit code of the program, or with 128 and the number of the signal that ended it; 126 and 127 mean that the program
could not be started.
`
}

function sectionOf(command: CliCommand): string {
  const { name, about, example, exampleEnd = 'done' } = command
  const end = exitCodes[exampleEnd].code
  const all = Object.entries(command.flags)
  const own = all.filter((flag) => !isShared(flag))
  const shared = all.filter(isShared).map(formatFlagWithValue)
  const endings = ownExitCodes(command).map(([, number, meaning]): [number, string] => [
    number,
    meaning,
  ])
  return [
    `## ${name}`,
    code(`tsreplicate ${formatSynopsis(command)}`),
    about,
    `\`\`\`sh${end === 0 ? '' : ` exit=${end}`}\n${example}\n\`\`\``,
    ...(own.length === 0 ? [] : [flagTable(own)]),
    `${own.length === 0 ? 'Takes' : 'Also takes'} ${codes(shared)}.`,
    ...(endings.length === 0 ? [] : [exitTable(endings)]),
  ].join('\n\n')
}

function flagTable(flags: readonly (readonly [string, Flag])[]): string {
  return table(
    ['flag', 'what it does', 'default'],
    flags.map(([name, flag]) => [
      code(formatFlagWithValue([name, flag])),
      formatSentence(flag.description),
      flag.default === undefined ? '' : code(flag.default),
    ]),
  )
}

function exitTable(rows: readonly (readonly [number, string])[]): string {
  return table(
    ['exit code', 'meaning'],
    rows.map(([number, meaning]) => [String(number), formatSentence(meaning)]),
  )
}
