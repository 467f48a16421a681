/**
 * Folders that several read from at the same time, each of which is found once for all of them: as root, that is a call for
 * every part of its path, and whoever reads 60,000 small objects would do little else.
 */
import { HeldFolder } from '../../files/held-folder.js'

interface Shared {
  readonly found: Promise<HeldFolder | undefined>
  users: number
}

/** Is let go by its disposal; the last who does closes the folder. */
interface Hold extends AsyncDisposable {
  readonly folder: HeldFolder
}

export class SharedFolders {
  readonly #shared = new Map<string, Shared>()

  /** The folder that has this name now. Undefined: there is none. */
  async hold(path: string): Promise<Hold | undefined> {
    const known = this.#shared.get(path)
    if (known !== undefined) {
      const held = await this.#join(path, known).catch(() => undefined)
      if (held !== undefined && (await held.folder.isStillAt(path))) return held
      await held?.[Symbol.asyncDispose]()
    }
    const shared = { found: HeldFolder.find(path), users: 0 }
    this.#shared.set(path, shared)
    return this.#join(path, shared)
  }

  async #join(path: string, shared: Shared): Promise<Hold | undefined> {
    shared.users += 1
    let folder: HeldFolder | undefined
    const leave = async (): Promise<void> => {
      shared.users -= 1
      if (shared.users > 0) return
      if (this.#shared.get(path) === shared) this.#shared.delete(path)
      await folder?.[Symbol.asyncDispose]()
    }
    try {
      folder = await shared.found
    } finally {
      if (folder === undefined) await leave()
    }
    return folder && { folder, [Symbol.asyncDispose]: leave }
  }
}
