import { resolve } from 'node:path'

export interface PathContext {
  readonly home: string
  readonly cwd: string
}

/** `~` and `~/…` lie in the home directory; everything else is made absolute and cleaned. */
export function expandPath(path: string, { home, cwd }: PathContext): string {
  if (path === '~') return resolve(home)
  if (path.startsWith('~/')) return resolve(home, path.slice(2))
  return resolve(cwd, path)
}
