/**
 * Files of the installed package. Code that asks may be in an application's bundle, where nothing lies beside it; the package is
 * installed there all the same, for its addons cannot be bundled.
 */
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { ConfigError } from '../domain/errors.js'

/** By its path in the package. Throws {@link ConfigError} where that is not installed. */
export function packageFile(path: string): URL {
  return new URL(path, installed('tsreplicate/package.json'))
}

/** What the process of the library's engine runs. Throws {@link ConfigError} where the package is not installed. */
export function engineFile(): URL {
  return installed('tsreplicate/engine')
}

/** One of the packages that are installed with this one. Throws {@link ConfigError} where that is not installed. */
export function loadAddon(name: string): unknown {
  return createRequire(packageFile('package.json'))(name)
}

const hint = [
  'Install tsreplicate where the application runs, and mark tsreplicate as external where it is bundled',
  'esbuild: --external:tsreplicate',
  `webpack: externals: { tsreplicate: 'commonjs tsreplicate' }`,
  `Next.js: serverExternalPackages: ['tsreplicate'] in next.config.ts`,
].join('; ')

function installed(name: string): URL {
  // A bundle may know no URL of its own, or that of the source it was made from, on another machine.
  const places: readonly (string | undefined)[] = [import.meta.url, process.argv[1]]
  const known = [...places.filter((place) => place !== undefined), join(process.cwd(), 'here')]
  let cause: unknown
  for (const place of known) {
    try {
      return pathToFileURL(createRequire(place).resolve(name))
    } catch (error) {
      cause ??= error
    }
  }
  throw new ConfigError(`the package tsreplicate is not found from ${known.join(' or ')}`, {
    cause,
    hint,
  })
}
