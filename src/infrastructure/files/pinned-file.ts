/**
 * A file by a descriptor that can neither read nor write it. It opens anything at once, a FIFO, too; closing it drops none of
 * the locks that SQLite has on the file, as closing any other descriptor does; and whatever takes the file's name, what is
 * opened by it is this file. Only Linux has it: elsewhere all of this is by name.
 */
import { constants, existsSync, type Stats } from 'node:fs'
import { type FileHandle, lstat, open, readlink, realpath } from 'node:fs/promises'
import { codeOf } from '../../kit/error-text.js'

/** Node has no name for it. */
export const O_PATH = 0o10000000
/** Whether a descriptor can be opened by a name of its own. */
export const hasDescriptors = existsSync('/proc/self/fd')

export class PinnedFile implements AsyncDisposable {
  readonly stats: Stats
  readonly #handle: FileHandle | undefined
  readonly #path: string

  private constructor(path: string, handle: FileHandle | undefined, stats: Stats) {
    this.#path = path
    this.#handle = handle
    this.stats = stats
  }

  /** Undefined: there is nothing under this name. A link is not followed: it is what is pinned. */
  static async open(path: string): Promise<PinnedFile | undefined> {
    try {
      if (!hasDescriptors) return new PinnedFile(path, undefined, await lstat(path))
      const handle = await open(path, O_PATH | constants.O_NOFOLLOW)
      return new PinnedFile(path, handle, await handle.stat())
    } catch (error) {
      if (codeOf(error) === 'ENOENT' || codeOf(error) === 'ENOTDIR') return undefined
      throw error
    }
  }

  /** Its path, without any link. */
  async realPath(): Promise<string> {
    return this.#handle === undefined ? realpath(this.#path) : readlink(this.#descriptor)
  }

  /**
   * Opens it for reading, with these flags beside. Whatever is no regular file has to be left alone. Nobody is waited for who
   * has a lease of it: then it fails with EAGAIN.
   */
  async reopen(flags = 0): Promise<FileHandle> {
    const path = this.#handle === undefined ? this.#path : this.#descriptor
    return open(path, constants.O_RDONLY | constants.O_NONBLOCK | flags)
  }

  get #descriptor(): string {
    return `/proc/self/fd/${this.#handle?.fd ?? ''}`
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#handle?.close()
  }
}
