import { codeOf, messageOf } from '../../kit/error-text.js'
import { ConfigError } from '../../domain/errors.js'

/**
 * Makes a connection: with the first one, better-sqlite3 loads the library of SQLite. Throws a {@link ConfigError} where
 * this machine cannot load it.
 */
export function unlessUnloadable<T>(connect: () => T): T {
  try {
    return connect()
  } catch (error) {
    if (codeOf(error) !== 'ERR_DLOPEN_FAILED') throw error
    throw new ConfigError(`cannot load the library of SQLite: ${messageOf(error)}`, {
      cause: error,
      hint: 'If a shared library is missing, install it (on Alpine: apk add libstdc++). Otherwise install tsreplicate again.',
    })
  }
}
