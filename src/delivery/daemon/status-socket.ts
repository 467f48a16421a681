/**
 * Where a daemon answers `tsreplicate status`: a socket in Linux's abstract namespace. It is always there, whatever the
 * configuration says, needs no folder, and is gone with its process. Its name follows from what the daemon was started
 * with: a configuration file, or a database on the command line. It is seen in the same network namespace only: a daemon in
 * another container is asked by a socket file in a folder that both have, where it was told to make one.
 */
import { createHash } from 'node:crypto'
import { realpathSync } from 'node:fs'
import { resolve } from 'node:path'

export type DaemonSubject =
  { readonly config: string } | { readonly database: string } | { readonly socket: string }

export function statusSocket(subject: DaemonSubject): { readonly path: string } {
  if ('socket' in subject) return { path: subject.socket }
  const name =
    'config' in subject ? `config:${realPath(subject.config)}` : `database:${subject.database}`
  const hash = createHash('sha256').update(name).digest('hex').slice(0, 32)
  return { path: `\0tsreplicate-${hash}` }
}

/** The daemon and the command may name one file in two ways. */
function realPath(path: string): string {
  try {
    return realpathSync(path)
  } catch {
    return resolve(path)
  }
}
