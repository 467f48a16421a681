/**
 * Durable steps on files: what is written stays after a power cut. Others may have put something under any name here: what is
 * created is new, under a name that nobody can guess, and gets its owner by its descriptor.
 */
import { randomBytes } from 'node:crypto'
import { constants } from 'node:fs'
import { type FileHandle, mkdir, open, rename, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { codeOf } from '../../kit/error-text.js'
import { type FileOwnership } from './ownership.js'

const folderFlags = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW

/**
 * Creates a folder and those above it. Existing ones are left as they are. Not Node's own, which never ends where nothing
 * can be created, as in /proc: there the answer is ENOENT for ever. Without `isDurable` a crash may take them away again.
 */
export async function createFolder(
  path: string,
  owner: FileOwnership = {},
  { isDurable } = { isDurable: true },
): Promise<void> {
  const make = async (): Promise<void> => {
    try {
      await mkdir(path, { mode: owner.directoryMode ?? 0o700 })
    } catch (error) {
      if (codeOf(error) === 'EEXIST') return
      throw error
    }
    await giveFolder(path, owner)
    if (isDurable) await syncFolder(dirname(path))
  }
  try {
    await make()
  } catch (error) {
    if (codeOf(error) !== 'ENOENT' || dirname(path) === path) throw error
    await createFolder(dirname(path), owner, { isDurable })
    await make()
  }
}

/** Gives a folder that was just created to its owner. */
export async function giveFolder(path: string, owner: FileOwnership): Promise<void> {
  if (owner.uid === undefined) return
  await using folder = await open(path, folderFlags)
  await giveTo(folder, { ...owner, mode: owner.directoryMode })
}

/** Creates a file, which nobody has before; `path` is best one of {@link temporaryName}. */
export async function createFile(path: string, owner: FileOwnership = {}): Promise<FileHandle> {
  const file = await open(path, 'wx+', owner.fileMode ?? 0o600)
  try {
    await giveTo(file, { ...owner, mode: owner.fileMode })
    return file
  } catch (error) {
    await file.close()
    throw error
  }
}

/** Only root may give away, and only with the right to it change the mode of what is given away: that it is not had is no error. */
async function giveTo(
  made: FileHandle,
  { uid, gid, mode }: Pick<FileOwnership, 'uid' | 'gid'> & { readonly mode: number | undefined },
): Promise<void> {
  if (uid === undefined || gid === undefined) return
  try {
    await made.chown(uid, gid)
    // Whatever the umask took from it.
    if (mode !== undefined) await made.chmod(mode)
  } catch (error) {
    if (codeOf(error) !== 'EPERM') throw error
  }
}

/** A name beside `path` that is not to be guessed. */
export function temporaryName(path: string): string {
  return `${path}.${randomBytes(8).toString('hex')}.tmp`
}

/** Makes what was created, renamed or removed in a folder durable. */
export async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r')
  try {
    await folder.sync()
  } finally {
    await folder.close()
  }
}

/** Writes all of the chunks at the file's current position. */
export async function writeAll(file: FileHandle, ...chunks: readonly Uint8Array[]): Promise<void> {
  let left = chunks.filter((chunk) => chunk.byteLength > 0)
  while (left.length > 0) {
    let { bytesWritten } = await file.writev(left)
    left = left.flatMap((chunk) => {
      const written = Math.min(bytesWritten, chunk.byteLength)
      bytesWritten -= written
      return written === chunk.byteLength ? [] : [chunk.subarray(written)]
    })
  }
}

/** Puts `content` in the place of the file, so that a crash leaves the old one or the new one. */
export async function replaceFile(path: string, content: Uint8Array): Promise<void> {
  const temporary = temporaryName(path)
  try {
    const file = await createFile(temporary)
    try {
      await writeAll(file, content)
      await file.sync()
    } finally {
      await file.close()
    }
    await rename(temporary, path)
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => undefined)
    throw error
  }
  await syncFolder(dirname(path))
}
