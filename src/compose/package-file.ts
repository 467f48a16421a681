import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'
import { ConfigError } from '../domain/errors.js'

/**
 * A file of the installed package, by its path in it. Code that asks may be in an application's bundle, where nothing lies
 * beside it; the package is installed there all the same, for its addons cannot be bundled.
 */
export function packageFile(path: string): URL {
  // A bundle in the format of CommonJS knows no URL of its own.
  const places: readonly (string | undefined)[] = [import.meta.url, process.argv[1]]
  const from = places.find((place) => place !== undefined) ?? `${process.cwd()}/`
  try {
    return new URL(path, pathToFileURL(createRequire(from).resolve('tsreplicate/package.json')))
  } catch (cause) {
    throw new ConfigError(`the package tsreplicate cannot be found from ${from}`, {
      cause,
      hint: 'An application that is bundled with it needs the folder node_modules/tsreplicate beside it.',
    })
  }
}
