/** Prints `docs/configuration.md` and `config/tsreplicate.yml` from the table of keys. */
import { ConfigError } from '../../../src/domain/errors.ts'
import { parseConfig } from '../../../src/infrastructure/config/config-file.ts'
import {
  type KeyInfo,
  keys,
  objectStoreTypes,
  type Section,
  type StoreType,
} from '../../../src/infrastructure/config/keys.ts'
import {
  comment,
  entries,
  meaningOf,
  type Named,
} from '../../../src/infrastructure/config/sample-lines.ts'
import { code, codes, table } from './markdown.ts'

const isOfFolder = (name: string): boolean =>
  ['dir', 'pattern', 'recursive', 'watch'].includes(name)

function keysOf(section: Section, wanted: (info: Named) => boolean = () => true): Named[] {
  return Object.entries(keys[section])
    .map(([name, info]) => ({ name, ...info }))
    .filter((info) => info.state === undefined && wanted(info))
}

const isGeneral = ({ stores }: KeyInfo): boolean => stores === undefined
const isOfEvery = ({ stores }: KeyInfo): boolean => stores?.length === objectStoreTypes.length
const isOfOnly =
  (store: StoreType) =>
  (info: KeyInfo): boolean =>
    !isOfEvery(info) && info.stores?.includes(store) === true

const unsupported = Object.entries(keys.replica)
  .filter(([, { state }]) => state === 'unsupported')
  .map(([name]) => name)

/** What may stand behind a key. */
function kindOf({ type, choices = [], name }: Named): string {
  switch (type) {
    case 'duration':
      return 'duration'
    case 'duration-or-none':
      return 'duration, or `none`'
    case 'integer':
      return name.endsWith('page-count') ? 'number of pages' : 'number'
    case 'size':
      return 'size'
    case 'boolean':
      return '`true` or `false`'
    case 'choice':
      return codes(choices)
    case 'section':
      return 'keys, see below'
    case 'list':
      return 'list'
    case 'string':
      return 'text'
  }
}

function defaultOf(info: Named): string {
  return info.default === undefined ? (info.otherwise ?? '') : code(info.default)
}

function exampleOf(info: Named): string {
  if (info.type === 'list') return info.example === undefined ? '' : code(`[${info.example}]`)
  return info.example === undefined ? '' : code(info.example)
}

function keyTable(infos: readonly Named[], { withUrl = false } = {}): string {
  return table(
    ['key', 'what it does', 'value', 'default', 'example', ...(withUrl ? ['in a URL'] : []), '0.3'],
    infos.map((info) => [
      code(info.name),
      meaningOf(info),
      kindOf(info),
      defaultOf(info),
      exampleOf(info),
      ...(withUrl ? [info.inUrl === true ? 'yes' : ''] : []),
      info.litestream === true ? 'yes' : '',
    ]),
  )
}

/** Every variable that the program reads, or sets. */
export const variables: readonly (readonly [names: readonly string[], meaning: string])[] = [
  [['LITESTREAM_CONFIG'], 'The configuration file, when there is no `-config`.'],
  [
    ['AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY', 'AWS_SESSION_TOKEN'],
    'Credentials of `s3` replicas that have none in the file. `AWS_PROFILE` and everything else in which the AWS SDK finds credentials works, too, but the region is not taken from there.',
  ],
  [
    ['LITESTREAM_ACCESS_KEY_ID', 'LITESTREAM_SECRET_ACCESS_KEY'],
    'The same under the names of Litestream. Each is used where its `AWS_` counterpart is not set.',
  ],
  [
    ['LITESTREAM_AZURE_ACCOUNT_KEY'],
    'The key of `abs` replicas that have neither `account-key` nor `sas-token`.',
  ],
  [
    ['GOOGLE_APPLICATION_CREDENTIALS'],
    'The file with the credentials of `gcs` replicas, as for Google’s own programs.',
  ],
  [
    ['STORAGE_EMULATOR_HOST'],
    'An emulator to use for `gcs` replicas without `endpoint`; no credentials are sent to it.',
  ],
  [['HTTP_PROXY', 'HTTPS_PROXY', 'NO_PROXY'], 'A proxy for `s3` replicas. Lower case works, too.'],
  [
    ['NOTIFY_SOCKET', 'WATCHDOG_USEC'],
    'Set by systemd: where to report the state of the service, and how often.',
  ],
  [
    ['RUNTIME_DIRECTORY', 'XDG_RUNTIME_DIR'],
    'Set by systemd: where the socket is that `tsreplicate status` asks, if it is `/run/tsreplicate` for the first, and `tsreplicate` in the second. Elsewhere, as in a service with a `RuntimeDirectory` of another name, it is in `/run/tsreplicate` for root, else in `/tmp/tsreplicate-UID`.',
  ],
  [
    ['TSREPLICATE_DB_PATH'],
    'Not read but set, for the program of `exec`: the path of the database, when there is only one.',
  ],
]

/** What is said of two mistakes. */
const mistakes = mistakesIn(`dbs:
  - path: /var/lib/app/app.db
    retention: 72h
    replicas:
      - path: /mnt/backup/app
        sync-interval: 5
`)

function mistakesIn(text: string): string[] {
  try {
    parseConfig(text, '/etc/tsreplicate.yml', { home: '/root', cwd: '/', env: {} })
  } catch (error) {
    if (error instanceof ConfigError) return error.message.split('\n')
    throw error
  }
  return []
}

/** `docs/configuration.md` */
export function configurationReference(): string {
  return `<!-- Written by \`npm run docs:reference\` from src/infrastructure/config/keys.ts. -->

# Configuration

\`\`\`yaml
addr: 127.0.0.1:9090 # metrics and health
dbs:
  - path: /var/lib/app/app.db
    replicas:
      - url: file:///mnt/backup/app
      - url: s3://my-bucket/app?region=eu-west-1
        name: offsite
        retention: 720h # restore any commit of the last 30 days
        snapshot-interval: 24h
\`\`\`

This is all that many need: two copies of one database, one on another disk and one in a bucket. Everything else has a
default. [\`config/tsreplicate.yml\`](../config/tsreplicate.yml) shows every key in its place.

tsreplicate reads the file that \`-config\` names, else the one that \`LITESTREAM_CONFIG\` names, else \`/etc/tsreplicate.yml\`, else
\`/etc/litestream.yml\`. It checks the whole file before it does anything and lists all mistakes at once, each with its line:

\`\`\`text
${mistakes.join('\n')}
\`\`\`

## Values

- A **duration** is a number with a unit: \`ms\`, \`s\`, \`m\` or \`h\`, as in \`500ms\`, \`1m30s\`, \`1.5h\`. There is no unit for days: write \`24h\`.
- A **size** has a unit as well: \`MB\`, \`GB\` (powers of 1000), \`MiB\`, \`GiB\` (powers of 1024). Without one, it is bytes.
- \`yes\`, \`no\`, \`on\` and \`off\` also mean \`true\` and \`false\`.
- A **path** that starts with \`~/\` is in your home directory. Other relative paths start at the working directory. \`meta-path\` knows no \`~\`.
- **Variables**: \`$NAME\` and \`\${NAME}\` are replaced everywhere in the file, comments included, before it is read. A variable that is
  not set becomes empty, and a warning says so. There is no \`\${NAME:-default}\` and no way to write a literal \`$\`; \`-no-expand-env\` turns all
  of this off.
- YAML anchors (\`&name\`), aliases (\`*name\`) and merged mappings (\`<<: *name\`) work: say once what many databases share.

In the tables, “0.3” marks the keys that Litestream 0.3 has as well.

## Top level

${keyTable(keysOf('global'))}

### \`socket\`

${keyTable(keysOf('socket'))}

### \`logging\`

${keyTable(keysOf('logging'))}

## Databases: \`dbs[]\`

${keyTable(keysOf('database', ({ name }) => !isOfFolder(name)))}

### Folders of databases

An entry with \`dir\` instead of \`path\` replicates every SQLite database in a folder:

\`\`\`yaml
dbs:
  - dir: /var/lib/tenants
    recursive: true
    replicas:
      - url: s3://my-bucket/tenants
\`\`\`

\`/var/lib/tenants/eu/7.db\` is then stored in \`s3://my-bucket/tenants/eu/7.db\`. Databases that are created later are replicated within about a second.
If one is deleted, the commits it had left are stored and its replica stays. The entry takes all keys of a database but \`path\` and
\`restore-if-db-not-exists\`, and these:

${keyTable(keysOf('database', ({ name }) => isOfFolder(name)))}

When two entries match a database, one with \`path\` wins; among folders, the last one.

## Replicas: \`dbs[].replicas[]\`

Say where the replica is with \`url\`, or with \`type\`, \`bucket\` and \`path\`. Each place can belong to one database only.

${keyTable(keysOf('replica', isGeneral))}

### A folder: \`file\`

${keyTable(keysOf('replica', isOfOnly('file')))}

### Every object store

Keys marked “in a URL” may also be written there: \`s3://my-bucket/app?region=eu-west-1&part-size=16MiB\`. The key wins if both are given. Secrets are
refused in URLs, where other users and log files would see them.

${keyTable(keysOf('replica', isOfEvery), { withUrl: true })}

### Amazon S3 and compatible stores: \`s3\`

${keyTable(keysOf('replica', isOfOnly('s3')), { withUrl: true })}

### Google Cloud Storage: \`gcs\`

Nothing besides the keys of every object store. Credentials are found as Google’s own programs find them.

### Azure Blob Storage: \`abs\`

${keyTable(keysOf('replica', isOfOnly('abs')), { withUrl: true })}

### Encryption: \`age\`

${keyTable(keysOf('age'))}

Make a key pair with \`age-keygen\`. A replica that is encrypted can be restored only with a configuration file, as a URL cannot hold the secret key.

## Environment variables

${table(
  ['variable', 'what it is for'],
  variables.map(([names, meaning]) => [codes(names), meaning]),
)}

## What wins

1. Flags: \`-exec\`, \`-first-sync-timeout\`, \`-shutdown-timeout\` and \`-restore-if-db-not-exists\` win over the keys of the same name.
2. A key of the replica wins over the same setting in the query of its \`url\`, and this over what the host name in the URL implies.
3. For credentials, the replica’s own keys come first, then \`access-key-id\` and \`secret-access-key\` at the top level, then environment variables,
   then what the vendor’s SDK finds in its files or from the machine.
4. Then the default.

\`replicate DB URL…\` and other commands with a URL read no file: everything but the URL has its default.

A reload (SIGHUP) reads \`dbs\` again. The other keys and the environment variables are read at the start only.

## Files of Litestream 0.3

They work as they are, with these differences:

- An unknown key, a key that is given twice and a key without a value are errors. Litestream lets them pass, and typing errors with them.
- A duration needs its unit. Litestream takes \`5\` for 5 nanoseconds.
- \`addr: :9090\` listens on 127.0.0.1 only.
- The local state is in \`.NAME-tsreplicate\`, not in \`.NAME-litestream\`, unless \`meta-path\` is set.
- \`path\` in a bucket may start with a slash.
- A replica of type \`sftp\`, with ${codes(unsupported)}, is refused.
`
}

/** `config/tsreplicate.yml` */
export function sampleConfiguration(): string {
  const general = keysOf(
    'replica',
    ({ stores, type }) => stores === undefined && type !== 'section',
  )
  const ofStores = keysOf('replica', ({ stores }) => stores !== undefined)
  const database = keysOf('database', ({ name, type }) => !isOfFolder(name) && type !== 'list')
  return [
    ...comment(
      'Every key of tsreplicate, in its place. A key behind # shows its default, or if it has none, an example. How values are written, and more: docs/configuration.md. This file is written by npm run docs:reference.',
      '# ',
    ),
    '',
    ...entries(keysOf('global', isSingle), ''),
    '',
    ...optionalSection('socket'),
    '',
    ...optionalSection('logging'),
    '',
    'dbs:',
    '  - path: /var/lib/app/app.db',
    ...entries(without(database, 'path'), '    '),
    '    replicas:',
    '      # In a folder: on another disk, or mounted from another machine.',
    '      - path: /mnt/backup/app',
    ...entries(without(general, 'path'), '        '),
    ...comment(keys.replica['age']?.description ?? '', '        # '),
    '        #age:',
    ...keysOf('age').flatMap(({ name, description, example = '' }) => [
      ...comment(description, '        #  # '),
      `        #  ${name}:`,
      `        #    - ${example}`,
    ]),
    '',
    '      # In an object store. What is marked with ? may also be written in the URL.',
    '      - url: s3://my-bucket/app',
    '        name: offsite',
    ...entries(ofStores, '        '),
    '',
    ...comment(`Not supported: ${unsupported.join(', ')} (sftp).`, '        # '),
    '',
    '  # A folder of databases.',
    '  #- dir: /var/lib/tenants',
    ...entries(
      without(
        keysOf('database', ({ name }) => isOfFolder(name)),
        'dir',
      ),
      '  ',
      '  ',
    ),
    '  #  replicas:',
    '  #    - url: s3://my-bucket/tenants',
    '',
  ].join('\n')
}

function optionalSection(name: 'socket' | 'logging'): string[] {
  return [
    ...comment(keys.global[name]?.description ?? '', '# '),
    `#${name}:`,
    ...entries(keysOf(name), '', '  '),
  ]
}

const isSingle = ({ type }: KeyInfo): boolean => type !== 'section' && type !== 'list'

function without(infos: readonly Named[], name: string): Named[] {
  return infos.filter((info) => info.name !== name)
}
