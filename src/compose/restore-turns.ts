/**
 * Of processes that restore to one path at once, one has its turn: it holds a lock beside what is restored. Folders that are made
 * for that go with it, as far as they are empty then.
 */
import { existsSync } from 'node:fs'
import { rmdir } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { InUseError } from '../domain/errors.js'
import { followLinks } from '../infrastructure/config/paths.js'
import { createFolder } from '../infrastructure/files/durable-files.js'
import { openSystemProcesses } from '../infrastructure/processes/system-processes.js'
import { takeLockFile } from '../infrastructure/spool/folder-lock.js'

export class RestoreTurns implements Disposable {
  /** This process, as the locks name it. Whoever waits looks at one of them again and again. */
  #processes: Awaited<ReturnType<typeof openSystemProcesses>> | undefined

  /** See `RestoreMissingOptions`. */
  async tryTurn(path: string): Promise<AsyncDisposable | undefined> {
    const processes = (this.#processes ??= await openSystemProcesses())
    const output = followLinks(path)
    const folder = dirname(output)
    const made = missingFolders(folder)
    const lockPath = join(folder, `.${basename(output)}.tsreplicate-restoring`)
    try {
      await createFolder(folder, {}, { isDurable: false })
      const lock = await takeLockFile(lockPath, { folder: path, processes })
      return {
        async [Symbol.asyncDispose]() {
          await lock.release()
          await removeEmpty(made)
        },
      }
    } catch (error) {
      await removeEmpty(made)
      if (error instanceof InUseError) throw error
      return undefined
    }
  }

  [Symbol.dispose](): void {
    this.#processes?.[Symbol.dispose]()
  }
}

/** The folders on the way to this one, itself included, that do not exist: the innermost first. */
function missingFolders(folder: string): readonly string[] {
  return existsSync(folder) ? [] : [folder, ...missingFolders(dirname(folder))]
}

async function removeEmpty(folders: readonly string[]): Promise<void> {
  try {
    for (const folder of folders) await rmdir(folder)
  } catch {
    // Something is in it, or it is gone.
  }
}
