/**
 * Which file a database is. Whoever can change a folder on its path can put a link there, to a database of somebody else: what
 * is replicated then would be that one, given to him. So a link counts only if root, we or the owner of what it leads to made
 * it; what is found is held by a descriptor; and where it really lies is compared with where the path led to.
 */
import { type Stats } from 'node:fs'
import { lstat, readlink } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { DatabaseError } from '../../domain/errors.js'
import { codeOf } from '../../kit/error-text.js'
import { formatBytes } from '../../kit/quantity.js'
import { type FileIdentity } from '../../usecase/ports/managed-database.js'
import { type FileRights } from '../files/ownership.js'
import { PinnedFile } from '../files/pinned-file.js'
import { isTrusted } from '../files/who-can-change.js'
import { refuseForeignOwner } from './beside-database.js'

export interface DatabaseFile {
  /** Where it lies, whatever links lead to it. */
  readonly path: string
  readonly identity: FileIdentity
  readonly rights: FileRights
  readonly nameCount: number
}

/**
 * SQLite leaves no holes in its files. One of more than so many bytes, of which less than so much is on the disk, was made so, and
 * would be read for hours, a hole after the other. A file system that packs what is written takes no hundredth for it.
 */
const largeBytes = 64 * 1024 ** 3
const leastPartOnDisk = 0.01

/** As many as the system follows. */
const maxLinks = 40

/**
 * The file of a database, which must be a regular one, as what lies beside it. Undefined: there is none. Throws a
 * {@link DatabaseError} where it cannot be used. `isFound`: in a folder, where no link is a database. `owner`: the user whose it
 * was; undefined: anybody's.
 */
export async function findDatabaseFile(
  path: string,
  { isFound, owner }: { readonly isFound: boolean; readonly owner?: number | undefined },
): Promise<DatabaseFile | undefined> {
  const { real, links } = await followLinks(path)
  if (isFound && links.some((link) => link.path === path)) {
    throw new DatabaseError(`it is a link, and links in a folder of databases are not followed`)
  }
  await using pinned = await PinnedFile.open(real)
  if (pinned === undefined) return undefined
  const { stats } = pinned
  if (!stats.isFile()) throw new DatabaseError(`it is not a regular file: ${real}`)
  if ((await pinned.realPath()) !== real) {
    throw new DatabaseError(`what its path leads to has changed while it was opened: ${real}`)
  }
  const foreign = links.find(({ uid }) => !isTrusted(uid) && (isFound || uid !== stats.uid))
  // Who is not root reads what its user may read anyway.
  if (foreign !== undefined && process.geteuid?.() === 0) {
    throw new DatabaseError(
      `${foreign.path} is a link of user ${foreign.uid} to a file of user ${stats.uid}: it is not followed`,
      { hint: 'name the file itself, or let its owner or root make the link' },
    )
  }
  refuseOtherOwner(stats, owner)
  refuseSparse(stats)
  for (const suffix of ['-wal', '-shm', '-journal']) await refuseStranger(`${real}${suffix}`, stats)
  return {
    path: real,
    identity: { device: stats.dev, inode: stats.ino },
    rights: stats,
    nameCount: stats.nlink,
  }
}

/** Throws the {@link DatabaseError} of a file that is almost all holes. */
export function refuseSparse({ size, blocks }: Pick<Stats, 'size' | 'blocks'>): void {
  const onDiskBytes = blocks * 512
  // There are file systems that do not say what is on the disk.
  if (size < largeBytes || onDiskBytes === 0 || onDiskBytes >= size * leastPartOnDisk) return
  throw new DatabaseError(
    `its file is ${formatBytes(size)} large, of which only ${formatBytes(onDiskBytes)} are on the disk`,
    { hint: 'find out what made it so long; VACUUM INTO writes a database anew' },
  )
}

/** A file of somebody else is not what was to be replicated, whoever has put it there. */
export function refuseOtherOwner({ uid }: FileRights, owner: number | undefined): void {
  if (owner === undefined || uid === owner) return
  throw new DatabaseError(
    `it belongs to user ${uid} now, and belonged to user ${owner} when it was first opened: it is not replicated`,
    { hint: 'restart tsreplicate if that is meant' },
  )
}

/** What lies beside a database belongs to whoever may write that. */
async function refuseStranger(path: string, database: FileRights): Promise<void> {
  const stats = await lstat(path).catch(ignoreAbsent)
  if (stats === undefined) return
  if (!stats.isFile()) throw new DatabaseError(`it is not a regular file: ${path}`)
  if (stats.nlink > 1) throw new DatabaseError(`it has another name (a hard link): ${path}`)
  refuseForeignOwner(path, stats, database)
}

interface Link {
  readonly path: string
  readonly uid: number
}

/** Where a path leads to, whether there is something or not, and the links on the way. */
async function followLinks(
  path: string,
): Promise<{ readonly real: string; readonly links: readonly Link[] }> {
  const links: Link[] = []
  const left = resolve(path).split('/').filter(Boolean)
  let real = '/'
  for (let name = left.shift(); name !== undefined; name = left.shift()) {
    const here = join(real, name)
    const stats = await lstat(here).catch(ignoreAbsent)
    if (stats?.isSymbolicLink() !== true) {
      real = here
      continue
    }
    links.push({ path: here, uid: stats.uid })
    if (links.length > maxLinks) throw new DatabaseError(`its path leads through too many links`)
    left.unshift(
      ...resolve(dirname(here), await readlink(here))
        .split('/')
        .filter(Boolean),
    )
    real = '/'
  }
  return { real, links }
}

function ignoreAbsent(error: unknown): undefined {
  if (codeOf(error) === 'ENOENT' || codeOf(error) === 'ENOTDIR') return undefined
  throw error
}
