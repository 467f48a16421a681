/**
 * A folder by its descriptor: what is done in it is done in that one, whatever takes its name meanwhile. Node has no calls
 * that begin at a descriptor; Linux shows each under /proc, and a path from there begins at the folder itself.
 */
import { constants, existsSync } from 'node:fs'
import { type FileHandle, lstat, open, readdir, rmdir, unlink } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { codeOf } from '../../kit/error-text.js'

const flags = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW | constants.O_NOCTTY

export class HeldFolder implements AsyncDisposable {
  readonly handle: FileHandle
  readonly #path: string

  private constructor(handle: FileHandle, path: string) {
    this.handle = handle
    const held = `/proc/self/fd/${handle.fd}`
    this.#path = existsSync(held) ? held : path
  }

  /** Opens a folder that is no link. Undefined: there is none under this name. */
  static async open(path: string): Promise<HeldFolder | undefined> {
    try {
      return new HeldFolder(await open(path, flags), path)
    } catch (error) {
      if (['ENOENT', 'ENOTDIR', 'ELOOP'].includes(codeOf(error) ?? '')) return undefined
      throw error
    }
  }

  /** The path of what is under this name in it. */
  at(name: string): string {
    return join(this.#path, name)
  }

  async names(): Promise<readonly string[]> {
    return readdir(this.#path)
  }

  /** Removes what is under this name in it, folders with all that is in them; no link is followed. */
  async remove(name: string): Promise<void> {
    const folder = await HeldFolder.open(this.at(name))
    if (folder === undefined) {
      await unlink(this.at(name)).catch(ignoreAbsent)
      return
    }
    try {
      for (const child of await folder.names()) await folder.remove(child)
    } finally {
      await folder[Symbol.asyncDispose]()
    }
    await rmdir(this.at(name)).catch(ignoreAbsent)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.handle.close()
  }
}

/** Removes a folder with all that is in it, or a file; no link is followed. */
export async function removeWhole(path: string): Promise<void> {
  await using folder = await HeldFolder.open(dirname(path))
  await folder?.remove(basename(path))
}

/** Whether something has this name, a link included. */
export async function isTaken(path: string): Promise<boolean> {
  return lstat(path).then(
    () => true,
    (error: unknown) => codeOf(error) !== 'ENOENT' && codeOf(error) !== 'ENOTDIR',
  )
}

function ignoreAbsent(error: unknown): void {
  if (codeOf(error) !== 'ENOENT') throw error
}
