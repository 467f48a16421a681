/** Prints `docs/commands.md` from the commands and flags that the program itself parses. */
import { type Argument, type Command, type Option } from 'commander'
import { Owner } from '../../../src/compose/owner.ts'
import { createProgram } from '../../../src/delivery/cli/main.ts'
import { code, codes, table } from './markdown.ts'

/** What the parser does not know of a command. */
interface Page {
  readonly about: string
  readonly example: string
  /** What the example ends with, if not with 0. */
  readonly exit?: number
  /** Exit codes besides those that every command has. */
  readonly exitCodes?: readonly (readonly [code: number, meaning: string])[]
}

const url = 'file:///backup/app'

const pages: Readonly<Record<string, Page>> = {
  replicate: {
    about:
      'Without arguments, replicates the databases of the configuration until it is stopped. With a database and URLs, replicates that database to these places, without a configuration: every setting that is not in the URL has its default. On SIGTERM or Ctrl-C it stores the last commits and ends; SIGHUP reads the configuration again.',
    example: `tsreplicate replicate -exec 'sleep 2' /data/app.db ${url}`,
    exitCodes: [
      [
        74,
        'It was stopped and could not store everything in time. What is missing is kept locally.',
      ],
      [75, 'Another process replicates the same database, or to the same replica.'],
      [130, 'A second signal came, and it did not wait for the last commits to be stored.'],
    ],
  },
  restore: {
    about:
      'Creates a database as it was at its newest commit, at a time, or at a position. It never overwrites a file, and it leaves nothing when it fails. Without `-o`, the database is restored to its path in the configuration.',
    example: `tsreplicate restore -o /restored/app.db ${url}`,
  },
  databases: {
    about: 'Lists the databases of the configuration, and the names of their replicas.',
    example: 'tsreplicate databases',
  },
  generations: {
    about:
      'Lists the generations on each replica. A generation is one unbroken history of the database; a new one starts when continuity cannot be proven.',
    example: `tsreplicate generations ${url}`,
  },
  snapshots: {
    about: 'Lists the snapshots on each replica, with their sizes and times.',
    example: `tsreplicate snapshots ${url}`,
  },
  wal: {
    about: 'Lists the WAL segments on each replica, with their sizes and times.',
    example: `tsreplicate wal ${url}`,
  },
  retention: {
    about:
      'Deletes from the replicas what no restore needs any more, and says why the rest stays. The daemon does the same on its own. For a URL, flags say what has to stay; for a database of the configuration, its keys do.',
    example: `tsreplicate retention -dry-run ${url}`,
  },
  status: {
    about:
      'Asks the daemon what it is doing, and whether every commit is stored. It asks the daemon of the configuration or, with a database, the one that was started with that database and URLs.',
    example: 'tsreplicate status /data/app.db',
    exit: 3,
    exitCodes: [
      [1, 'The daemon answers that it is not ready: not every commit is stored in time.'],
      [3, 'No daemon answers.'],
    ],
  },
  verify: {
    about:
      'Verifies that what is stored can be restored. `-level structure` lists objects and reads their ends: nothing is missing, doubled or misplaced. `full` reads every object and checks that each continues the one before it. `restore` also restores the newest commit, has SQLite check it, and compares it with the live database, if there is one.',
    example: `tsreplicate verify ${url}`,
    exitCodes: [
      [65, 'An object is damaged or missing. The table names it, and the last commit before it.'],
    ],
  },
  version: { about: 'Prints the version.', example: 'tsreplicate version' },
}

const everyExit: readonly (readonly [number, string])[] = [
  [0, 'Done.'],
  [1, 'It failed, or its output could not be written. stderr says why.'],
  [2, 'The command line is wrong.'],
  [70, 'A bug of tsreplicate.'],
  [75, 'Another process is in the way; stderr says which.'],
  [78, 'The configuration or the URL of a replica is wrong, or Node.js is too old.'],
  [130, 'It was interrupted.'],
]

const sharedFlags = ['-config PATH', '-no-expand-env', '-replica NAME', '-json']

function sentence(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}.`
}

/** `docs/commands.md` */
export function commandsReference(): string {
  const program = createProgram(
    { interrupt: new AbortController(), owner: new Owner() },
    () => undefined,
  )
  const { commands } = program
  return `<!-- Written by \`npm run docs:reference\` from the commands themselves. -->

# Commands

${table(
  ['command', 'what it does'],
  commands.map((command) => [
    `[${code(command.name())}](#${command.name()})`,
    sentence(command.description()),
  ]),
)}

\`DB\` is the path of a database in the configuration. \`URL\` is a replica: \`file:///FOLDER\`, \`s3://BUCKET/PATH\`, \`gcs://BUCKET/PATH\` or
\`abs://ACCOUNT@CONTAINER/PATH\`. Without either, a command takes the database of the configuration, if there is only one.

\`-flag value\`, \`-flag=value\` and \`--flag value\` are the same. \`tsreplicate COMMAND -help\` prints a command’s flags. Results go to stdout, logs and errors to
stderr.

Most commands take some of these flags:

${table(
  ['flag', 'what it does'],
  [...new Map(commands.flatMap(({ options }) => options).map((flag) => [nameOf(flag), flag]))]
    .filter(([name]) => sharedFlags.includes(name))
    .map(([name, { description }]) => [code(name), sentence(description)]),
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

${exitTable(everyExit)}

With \`-exec\`, \`replicate\` ends with the exit code of the program, or with 128 and the number of the signal that ended it; 126 and 127 mean that the program
could not be started.
`
}

function sectionOf(command: Command): string {
  const page = pages[command.name()]
  if (page === undefined)
    throw new Error(`${command.name()} has no page: add it to ${import.meta.filename}`)
  const { about, example, exit = 0, exitCodes = [] } = page
  const shared = command.options.map(nameOf).filter((name) => sharedFlags.includes(name))
  const flags = command.options.filter((flag) => !sharedFlags.includes(nameOf(flag)))
  return [
    `## ${command.name()}`,
    code(synopsisOf(command)),
    about,
    `\`\`\`sh${exit === 0 ? '' : ` exit=${exit}`}\n${example}\n\`\`\``,
    ...(flags.length === 0
      ? []
      : [
          table(
            ['flag', 'what it does', 'default'],
            flags.map((flag) => [code(nameOf(flag)), sentence(flag.description), defaultOf(flag)]),
          ),
        ]),
    `${flags.length === 0 ? 'Takes' : 'Also takes'} ${codes(shared)}.`,
    ...(exitCodes.length === 0 ? [] : [exitTable(exitCodes)]),
  ].join('\n\n')
}

function synopsisOf(command: Command): string {
  const words = command.registeredArguments.map((argument: Argument) => {
    const name = argument.name().toUpperCase().replace('DATABASE-OR-URL', 'DB|URL')
    const plain = name.replace('DATABASE', 'DB').replace('URLS', 'URL')
    return `[${plain}${argument.variadic ? '...' : ''}]`
  })
  return ['tsreplicate', command.name(), '[FLAGS]', ...words].join(' ')
}

/** In Go's style, as messages write flags. */
function nameOf({ flags }: Option): string {
  return flags.replace(/^--?/, '-').replace(/<(.+)>/, (_, value: string) => value.toUpperCase())
}

function defaultOf({ defaultValue, negate }: Option): string {
  return typeof defaultValue === 'string' && !negate ? code(defaultValue) : ''
}

function exitTable(rows: readonly (readonly [number, string])[]): string {
  return table(
    ['exit code', 'meaning'],
    rows.map(([number, meaning]) => [String(number), meaning]),
  )
}
