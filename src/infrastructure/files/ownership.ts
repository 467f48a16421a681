/** Mode and owner of the files that are created: those of the database that they belong to. */
import { stat } from 'node:fs/promises'
import { dirname } from 'node:path'

/** What is missing is this process's own, and nobody else may read it. */
export interface FileOwnership {
  readonly fileMode?: number
  readonly directoryMode?: number
  readonly uid?: number
  readonly gid?: number
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
