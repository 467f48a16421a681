/** Prints a configuration for somebody who has none: what is needed, and commented out what is often wanted next. */
import { type DatabaseConfig, type ReplicaTarget } from '../../domain/settings/config.js'
import { ConfigError } from '../../domain/errors.js'
import { sameSettings } from '../../domain/settings/same-settings.js'
import { parseConfig } from './config-file.js'
import { expandEnvironment } from './environment.js'
import { type KeyOf, keys, type StoreType } from './keys.js'
import { type ConfigContext } from './read-context.js'
import { comment, entries } from './sample-lines.js'

export interface NewDatabase {
  /** Absolute. */
  readonly path: string
  readonly replicas: readonly NewReplica[]
}

interface NewReplica {
  readonly url: string
  /** Where the URL points. */
  readonly target: ReplicaTarget
}

/** With which values the optional keys are shown. */
const shown: Readonly<Record<'global' | 'replica', Readonly<Record<string, string>>>> = {
  global: { addr: '127.0.0.1:9090' },
  replica: { retention: '720h', 'snapshot-interval': '24h', 'validation-interval': '24h' },
} as const satisfies { readonly [S in 'global' | 'replica']: Partial<Record<KeyOf<S>, string>> }

/** The text of a configuration, which has been read back. Throws {@link ConfigError} where that finds something wrong. */
export function newConfig(
  databases: readonly NewDatabase[],
  { path, context }: { readonly path: string; readonly context: ConfigContext },
): string {
  const text = print(databases)
  const read = parseConfig(expandEnvironment(text, context.env), path, context)
  refuseOther(databases, read.databases)
  return text
}

function print(databases: readonly NewDatabase[]): string {
  const types = new Set(
    databases.flatMap(({ replicas }) => replicas.map(({ target }) => target.type)),
  )
  const lines = [
    ...comment(
      'Written by tsreplicate init. tsreplicate reads it at the start, and again at SIGHUP. docs/configuration.md has all keys.',
      '# ',
    ),
    ...[...types].flatMap((type) =>
      variablesOf(type).length === 0
        ? []
        : comment(
            `Credentials of ${type} replicas do not belong in this file. They are taken from the environment (${variablesOf(type).join(', ')}), or from the role of the machine.`,
            '# ',
          ),
    ),
    '',
    ...optional('global', ''),
    '',
    'dbs:',
    ...databases.flatMap(({ path, replicas }, database) => [
      `  - path: ${quoted(path)}`,
      '    replicas:',
      ...replicas.flatMap(({ url }, replica) => [
        `      - url: ${quoted(url)}`,
        ...nameOf(replica, replicas),
        // Once is enough.
        ...(database + replica === 0 ? optional('replica', '        ') : []),
      ]),
    ]),
  ]
  return `${lines.join('\n')}\n`
}

/** Where the credentials of a kind of store come from, where they are not in the configuration. */
export function variablesOf(type: StoreType): readonly string[] {
  // Google's own library reads it, and no key names it.
  if (type === 'gcs') return ['GOOGLE_APPLICATION_CREDENTIALS']
  return Object.entries(keys.replica).flatMap(([name, { stores, variables }]) =>
    // Few credentials have a token.
    stores?.includes(type) === true && name !== 'session-token'
      ? (variables?.slice(0, 1) ?? [])
      : [],
  )
}

/** What was read back is not what was meant, as with a `$` in a path. */
function refuseOther(wanted: readonly NewDatabase[], read: readonly DatabaseConfig[]): void {
  const targets = (replicas: readonly { readonly target: ReplicaTarget }[]): ReplicaTarget[] =>
    replicas.map(({ target }) => target)
  const lost = wanted.find(
    ({ path, replicas }, i) =>
      read[i]?.path !== path || !sameSettings(targets(read[i].replicas), targets(replicas)),
  )
  if (lost === undefined) return
  throw new ConfigError(`cannot be written in a configuration: ${lost.path} or its replica`, {
    hint: 'A $ is taken for a variable there: choose a place without it, or write the configuration by hand and use it with -no-expand-env.',
  })
}

/** Replicas of a database need names of their own, and have that of their kind by default. */
function nameOf(index: number, all: readonly NewReplica[]): string[] {
  const type = all[index]?.target.type
  const before = all.slice(0, index).filter(({ target }) => target.type === type).length
  return type === undefined || before === 0 ? [] : [`        name: ${type}-${before + 1}`]
}

function optional(section: keyof typeof shown, indent: string): string[] {
  const infos = Object.entries(shown[section]).flatMap(([name, example]) => {
    const info = keys[section][name]
    if (info === undefined) return []
    const { default: standard, ...rest } = info
    return [{ ...rest, ...(standard === undefined ? {} : { otherwise: standard }), name, example }]
  })
  return entries(infos, indent)
}

function quoted(text: string): string {
  return /^[\w./:@?=&%+,~-]+$/.test(text) ? text : JSON.stringify(text)
}
