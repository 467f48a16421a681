/**
 * Where a daemon answers the commands of this machine: a socket in a folder of its user, whatever the configuration says.
 * Nobody else can put a socket there, so that who asks knows who answers; and nobody else can ask. Its name follows from what the
 * daemon was started with: a configuration file, or a database on the command line. A daemon in another container is asked by a
 * socket file in a folder that both have, where it was told to make one.
 */
import { createHash } from 'node:crypto'
import { lstatSync, mkdirSync, readdirSync, realpathSync, rmdirSync, statSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { AddressError } from '../../domain/errors.js'

/** What a daemon was started with. */
export type StartedWith = { readonly config: string } | { readonly database: string }
export type DaemonSubject = StartedWith | { readonly socket: string }

/** Only root makes folders there: whose this one is, root has decided. */
const ofTheSystem = '/run/tsreplicate'
const othersMayWrite = 0o022

/** Where the daemon is to listen. Throws {@link AddressError} if there is no folder for it. */
export function makeStatusSocket(subject: StartedWith): string {
  const own = process.geteuid?.() ?? 0
  const folders = [...ofTheService(), ...(own === 0 ? [ofTheSystem] : []), ...foldersOf(own)]
  const folder = folders.find((each) => isMade(each, own))
  if (folder !== undefined) return join(folder, nameOf(subject))
  throw new AddressError(`there is no folder for a socket: ${folders.join(', ')}`, {
    hint: 'it must be possible to create one of them, for this user alone; or name another place by `socket`',
  })
}

/**
 * What systemd has made for a service that has the name of ours. That of any other, as of an application, is looked into by
 * nobody who asks.
 */
function ofTheService(): readonly string[] {
  const given = (process.env['RUNTIME_DIRECTORY'] ?? '').split(':')
  return given.includes(ofTheSystem) ? [ofTheSystem] : []
}

/** The folder of a socket that is gone goes, too, unless another daemon has one there, or the system takes care of it. */
export function leaveFolder(socket: string): void {
  const folder = dirname(socket)
  if (!foldersOf(process.geteuid?.() ?? 0).includes(folder)) return
  try {
    rmdirSync(folder)
  } catch {
    // There is another one, or it is gone.
  }
}

/** Where a daemon of root, of this user or, for root, of the owner of the file may listen. */
export function statusSockets(subject: DaemonSubject): readonly string[] {
  if ('socket' in subject) return [subject.socket]
  const own = process.geteuid?.() ?? 0
  const users = own === 0 ? [own, ownerOf(subject)] : [own]
  const folders = users.flatMap((user) => foldersOf(user).filter((each) => isSafe(each, user)))
  const first = isSafe(ofTheSystem, undefined) ? [ofTheSystem] : []
  return [...new Set([...first, ...folders])].map((folder) => join(folder, nameOf(subject)))
}

/** Where daemons of root or of this user listen that were started with something else. */
export function otherSockets(subject: StartedWith): readonly string[] {
  const own = statusSockets(subject)
  const folders = new Set(own.map((path) => dirname(path)))
  const all = [...folders].flatMap((folder) => namesIn(folder).map((name) => join(folder, name)))
  return all.filter((path) => path.endsWith('.sock') && !own.includes(path))
}

function namesIn(folder: string): readonly string[] {
  try {
    return readdirSync(folder)
  } catch {
    return []
  }
}

function foldersOf(user: number): readonly string[] {
  const { XDG_RUNTIME_DIR: given } = process.env
  const isOwn = user === process.geteuid?.() && given !== undefined && given !== ''
  const runtime = join(isOwn ? given : `/run/user/${user}`, 'tsreplicate')
  // The last can be written in a container whose files are read-only, too.
  return [runtime, `/tmp/tsreplicate-${user}`, `/dev/shm/tsreplicate-${user}`]
}

function isMade(folder: string, own: number): boolean {
  try {
    mkdirSync(folder, { mode: 0o700 })
  } catch {
    // It is there, or cannot be made: the look tells.
  }
  return isSafe(folder, own)
}

/** Whether only that user, or whoever it is for undefined, and root can put a socket into the folder. */
function isSafe(folder: string, user: number | undefined): boolean {
  try {
    const stats = lstatSync(folder)
    const isOf = user === undefined || stats.uid === user || stats.uid === 0
    return stats.isDirectory() && isOf && (stats.mode & othersMayWrite) === 0
  } catch {
    return false
  }
}

function ownerOf(subject: StartedWith): number {
  const path = 'config' in subject ? subject.config : subject.database
  return statSync(path, { throwIfNoEntry: false })?.uid ?? 0
}

function nameOf(subject: StartedWith): string {
  const name =
    'config' in subject ? `config:${realPath(subject.config)}` : `database:${subject.database}`
  return `${createHash('sha256').update(name).digest('hex').slice(0, 32)}.sock`
}

/** The daemon and the command may name one file in two ways. */
function realPath(path: string): string {
  try {
    return realpathSync(path)
  } catch {
    return resolve(path)
  }
}
