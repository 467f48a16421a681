/**
 * A folder by its descriptor: what is done in it is done in that one, whatever takes its name meanwhile. Node has no calls
 * that begin at a descriptor; Linux shows each under /proc, and a path from there begins at the folder itself.
 */
import { constants } from 'node:fs'
import {
  type FileHandle,
  lstat,
  mkdir,
  open,
  opendir,
  readdir,
  readlink,
  rmdir,
  stat,
  unlink,
} from 'node:fs/promises'
import { basename, dirname, join, resolve, sep } from 'node:path'
import { codeOf } from '../../kit/error-text.js'
import { createFolder, giveFolder, syncFolder } from './durable-files.js'
import { type FileOwnership } from './ownership.js'
import { hasDescriptors, O_PATH } from './pinned-file.js'
import { UnfitFileError } from './regular-files.js'
import { isTrusted } from './who-can-change.js'

const flags = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW | constants.O_NOCTTY
/** Of a folder on the way, which whoever walks through it may not have the right to list. */
const passFlags = O_PATH | constants.O_DIRECTORY | constants.O_NOFOLLOW
const maxLinks = 40
/** Node asks for 32 in one call. */
const namesAtOnce = 512

export class HeldFolder implements AsyncDisposable {
  readonly handle: FileHandle
  readonly #path: string

  private constructor(handle: FileHandle, path: string) {
    this.handle = handle
    this.#path = hasDescriptors ? `/proc/self/fd/${handle.fd}` : path
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

  /**
   * Opens a folder by its whole path. As root, no link on it is followed that somebody else has made, who could lead us
   * anywhere: that is an {@link UnfitFileError}. Undefined: there is none.
   */
  static async find(path: string): Promise<HeldFolder | undefined> {
    try {
      return await HeldFolder.#openWhole(path, undefined)
    } catch (error) {
      if (codeOf(error) === 'ENOENT') return undefined
      throw error
    }
  }

  /** The same; what is not there of it is created, durably. */
  static async make(path: string, owner: FileOwnership): Promise<HeldFolder> {
    return HeldFolder.#openWhole(path, owner)
  }

  static async #openWhole(path: string, create: FileOwnership | undefined): Promise<HeldFolder> {
    if (process.geteuid?.() === 0 && hasDescriptors) return HeldFolder.#walk(path, create)
    if (create !== undefined) await createFolder(path, create)
    return new HeldFolder(await open(path, constants.O_RDONLY | constants.O_DIRECTORY), path)
  }

  static async #walk(path: string, create: FileOwnership | undefined): Promise<HeldFolder> {
    const left = partsOf(resolve(path))
    let linkCount = 0
    let here = await HeldFolder.#root()
    try {
      for (let name = left.shift(); name !== undefined; name = left.shift()) {
        const found = await here.#enter(name, create)
        if (typeof found === 'string') {
          linkCount += 1
          if (linkCount > maxLinks) throw new UnfitFileError(path, 'LINK')
          left.unshift(...partsOf(found))
          if (!found.startsWith(sep)) continue
        }
        const former = here
        here = typeof found === 'string' ? await HeldFolder.#root() : found
        await former[Symbol.asyncDispose]()
      }
      return here
    } catch (error) {
      await here[Symbol.asyncDispose]()
      throw error
    }
  }

  static async #root(): Promise<HeldFolder> {
    return new HeldFolder(await open(sep, passFlags), sep)
  }

  /** The folder of this name in it, which is created if there is none; or where a link leads that we trust. */
  async #enter(name: string, create: FileOwnership | undefined): Promise<HeldFolder | string> {
    const path = `${this.#path}/${name}`
    const enter = async (): Promise<HeldFolder> => new HeldFolder(await open(path, passFlags), path)
    try {
      return await enter()
    } catch (error) {
      const code = codeOf(error)
      if (code === 'ENOENT' && create !== undefined) {
        await this.#make(path, create)
        return await enter()
      }
      if (code !== 'ENOTDIR') throw error
      const stats = await lstat(path)
      if (!stats.isSymbolicLink()) throw error
      if (!isTrusted(stats.uid)) throw new UnfitFileError(path, 'LINK')
      return await readlink(path)
    }
  }

  async #make(path: string, owner: FileOwnership): Promise<void> {
    try {
      await mkdir(path, { mode: owner.directoryMode ?? 0o700 })
    } catch (error) {
      if (codeOf(error) === 'EEXIST') return
      throw error
    }
    await giveFolder(path, owner)
    await this.sync()
  }

  /** Makes what was created, renamed or removed in it durable. */
  sync(): Promise<void> {
    return syncFolder(this.#path)
  }

  /** Whether this path, whoever leads it there, is this folder's now. */
  async isStillAt(path: string): Promise<boolean> {
    try {
      const [there, here] = await Promise.all([stat(path), this.handle.stat()])
      return there.dev === here.dev && there.ino === here.ino
    } catch {
      return false
    }
  }

  /** The path of what is under this name in it. */
  at(name: string): string {
    return join(this.#path, name)
  }

  async names(): Promise<readonly string[]> {
    return readdir(this.#path)
  }

  /** The same as it is asked for, where there can be any number. What is removed meanwhile may hide another from it. */
  async *list(): AsyncIterable<string> {
    for await (const { name } of await opendir(this.#path, { bufferSize: namesAtOnce })) yield name
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

function partsOf(path: string): string[] {
  return path.split(sep).filter(Boolean)
}

function ignoreAbsent(error: unknown): void {
  if (codeOf(error) !== 'ENOENT') throw error
}
