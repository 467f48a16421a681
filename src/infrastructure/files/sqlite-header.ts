import { type Stats } from 'node:fs'
import { codeOf } from '../../kit/error-text.js'
import { PinnedFile } from './pinned-file.js'
import { readAt } from './regular-files.js'

const magic = Buffer.from('SQLite format 3\0', 'latin1')

/**
 * What a file is by its first bytes. A database that `isInUse` by this process is not looked into: closing it would drop the
 * locks that SQLite has on it.
 */
export async function kindByContent(
  path: string,
  isInUse: (file: Stats) => boolean = () => false,
): Promise<'database' | 'in use' | 'other' | 'unreadable'> {
  try {
    await using pinned = await PinnedFile.open(path)
    if (pinned?.stats.isFile() !== true) return 'other'
    if (isInUse(pinned.stats)) return 'in use'
    await using file = await pinned.reopen()
    return magic.equals(await readAt(file, 0, magic.length)) ? 'database' : 'other'
  } catch (error) {
    const code = codeOf(error)
    // Somebody has a lease of it, and is asked to give that back.
    if (code === 'EAGAIN') return 'in use'
    return code === 'EACCES' || code === 'EPERM' ? 'unreadable' : 'other'
  }
}
