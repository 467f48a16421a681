/** Mode and owner of the files that are created: those of the database that they belong to. */
import { chown, stat } from 'node:fs/promises'
import { dirname } from 'node:path'

/** What is missing is this process's own, and nobody else may read it. */
export interface FileOwnership {
  readonly fileMode?: number
  readonly directoryMode?: number
  readonly uid?: number
  readonly gid?: number
}

/** Gives a created file or folder its owner; that only root may do so is no error. */
export async function giveTo(path: string, owner: FileOwnership): Promise<void> {
  if (owner.uid === undefined || owner.gid === undefined) return
  await chown(path, owner.uid, owner.gid).catch(() => undefined)
}

/** What files beside a database get: its own modes and owner, and its folder's. */
export async function ownershipOf(databasePath: string): Promise<FileOwnership> {
  try {
    const folder = await stat(dirname(databasePath))
    const directoryMode = folder.mode & 0o777
    try {
      const file = await stat(databasePath)
      return { fileMode: file.mode & 0o777, directoryMode, uid: file.uid, gid: file.gid }
    } catch {
      return { directoryMode }
    }
  } catch {
    return {}
  }
}
