/** A configuration for a program: read from a file, or made of a path and URLs. */
import {
  configFromUrls as makeConfig,
  loadConfig as readConfig,
  type LoadOptions,
} from '../../compose/commands.js'
import { type Config, type DatabaseConfig } from '../../domain/settings/config.js'
import { UsageError } from '../../domain/errors.js'
import { isFields } from '../../kit/forms.js'
import { checkOptions, flag, isConfig, isDatabaseConfig, path, type RulesOf } from './options.js'

const rules: RulesOf<LoadOptions> = {
  path,
  expandEnv: flag,
  env: { allows: isFields, wants: 'an object' },
}

/**
 * Reads and validates a configuration file. Rejects with `ConfigError`, which names all problems, one a line, and with `UsageError`
 * for options that are wrong.
 */
export async function loadConfig(options: LoadOptions = {}): Promise<Config> {
  return readConfig(checkOptions(options, { of: 'loadConfig', rules }))
}

/**
 * The configuration of a database and the URL of its replica, or the URLs of several, with defaults. Rejects with `ConfigError` for
 * a path or a URL that is wrong, for two that are one place, and for none, and with `UsageError` for what is no text.
 */
export async function configFromUrls(
  databasePath: string,
  urls: string | readonly string[],
): Promise<Config> {
  return fromUrls('configFromUrls', databasePath, urls)
}

/** What a function is called with that is about a configuration: that one, or a path and URLs; and its options. */
export type ConfigArguments<Options> = readonly [
  config: Config | string,
  urlsOrOptions: string | readonly string[] | Options | undefined,
  options: Options | undefined,
]

/** The configuration, and the options as they were passed. Rejects as {@link configFromUrls} does. */
export async function takeConfig<Options extends object>(
  of: string,
  [first, second, third]: ConfigArguments<Options>,
): Promise<{ readonly config: Config; readonly options: Options | undefined }> {
  if (typeof first === 'string') {
    return { config: await fromUrls(of, first, second), options: third }
  }
  if (!isConfig(first)) {
    throw new UsageError(`${of} takes a path and URLs, or a configuration`, { hint: makingHint })
  }
  if (isUrls(second)) throw new UsageError(`${of}: a configuration has its URLs already`)
  if (third !== undefined) {
    throw new UsageError(`${of} takes the options of a configuration as the second argument`)
  }
  return { config: first, options: second }
}

/** The same of what is about one database. */
export async function takeDatabase<Options extends object>([first, second, third]: readonly [
  database: DatabaseConfig | string,
  urlsOrOptions: string | readonly string[] | Options | undefined,
  options: Options | undefined,
]): Promise<{ readonly database: DatabaseConfig; readonly options: Options | undefined }> {
  const of = 'addDatabase'
  const isPath = typeof first === 'string'
  const database = isPath ? (await fromUrls(of, first, second)).databases[0] : first
  if (!isDatabaseConfig(database) || (!isPath && (isUrls(second) || third !== undefined))) {
    const text = `${of} takes a path and URLs, or a database of a configuration`
    throw new UsageError(text, { hint: makingHint })
  }
  return { database, options: isPath || isUrls(second) ? third : second }
}

/** How somebody gets what is of a configuration. */
const makingHint =
  'loadConfig reads a configuration from a file, and configFromUrls makes one of a path and URLs'

async function fromUrls(of: string, databasePath: unknown, urls: unknown): Promise<Config> {
  if (urls === undefined) throw new UsageError(`${of}: the URL of a replica is missing`)
  if (typeof databasePath !== 'string') throw new UsageError(`${of} takes the path of a database`)
  const list: readonly unknown[] = [urls].flat()
  const known = list.filter((url) => typeof url === 'string')
  if (known.length < list.length) throw new UsageError(`${of}: the URL of a replica must be text`)
  return makeConfig(databasePath, known)
}

function isUrls(value: unknown): value is string | readonly string[] {
  return typeof value === 'string' || Array.isArray(value)
}
