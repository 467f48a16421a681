import { lstatSync, readlinkSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { ConfigError } from '../../domain/errors.js'

export interface PathContext {
  /** Undefined: the system knows of none. */
  readonly home: string | undefined
  readonly cwd: string
}

/** `~` and `~/…` lie in the home directory; everything else is made absolute and cleaned. */
export function expandPath(path: string, { home, cwd }: PathContext): string {
  if (path === '~' || path.startsWith('~/')) {
    if (home !== undefined) return resolve(home, path.slice(2))
    throw new ConfigError(`there is no home directory for ~: ${path}`, {
      hint: 'The system does not know this user, and HOME is not set: write an absolute path.',
    })
  }
  return resolve(cwd, path)
}

/** As many links as the system follows. */
const maxLinks = 40

/**
 * The file that a path leads to where it is a link, whether it exists or not; else the path. SQLite follows it, too, and has
 * `-wal` beside that file. Links among the folders above change nothing in what lies beside what.
 */
export function followLinks(path: string): string {
  let file = path
  for (let links = 0; links < maxLinks && isLink(file); links += 1) {
    file = resolve(dirname(file), readlinkSync(file))
  }
  return file
}

function isLink(path: string): boolean {
  try {
    return lstatSync(path).isSymbolicLink()
  } catch {
    return false
  }
}
