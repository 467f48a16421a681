/** Which client stands behind which kind of store. Loaded only when configured. */
import { stat } from 'node:fs/promises'
import path from 'node:path'
import { type ReplicaTarget } from './domain/config.js'
import { type ReplicaClient } from './usecase/ports/replica-client.js'

/**
 * The client of a replica. `ownerOf` is the database whose mode and owner the files of a folder replica get.
 */
export async function openReplicaClient(
  target: ReplicaTarget,
  options: { ownerOf?: string } = {},
): Promise<ReplicaClient> {
  const { FileReplicaClient } =
    await import('./infrastructure/replica-clients/file/file-replica-client.js')
  const owner = options.ownerOf === undefined ? undefined : await ownerOf(options.ownerOf)
  return new FileReplicaClient({ path: target.path, owner })
}

/** Modes and owner that files beside a database get: its own, and its folder's. */
export async function ownerOf(databasePath: string): Promise<{
  fileMode?: number
  directoryMode?: number
  uid?: number
  gid?: number
}> {
  try {
    const folder = await stat(path.dirname(databasePath))
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
