import { lstat, mkdir, mkdtemp, readdir, realpath, statfs } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { OutputError } from '../../domain/errors.js'
import { codeOf, messageOf } from '../../kit/error-text.js'
import { formatBytes } from '../../kit/quantity.js'
import { type ScratchFolder, type ScratchSpace } from '../../usecase/ports/scratch.js'
import { removeWhole } from '../files/held-folder.js'
import { isAlive } from '../files/process-lives.js'

/** More than the database itself is left free, for whoever else writes to that disk. */
const reserveFactor = 1.1
const reserveBytes = 64 * 1024 * 1024

/**
 * Folders `<path>-<pid>-<random letters>`, which only their own user can enter, and whose names nobody can take before. Those
 * of ours whose processes are no more are removed whenever one is opened, and by `sweep`.
 */
export class FolderScratch implements ScratchSpace {
  readonly #path: string
  #isOpen = false

  constructor(path: string) {
    this.#path = path
  }

  async open(neededBytes: number): Promise<ScratchFolder> {
    await this.sweep()
    let path: string
    try {
      await mkdir(dirname(this.#path)).catch(ignoreExisting)
      await this.#refuseFullDisk(neededBytes)
      path = await mkdtemp(`${this.#path}-${process.pid}-`)
    } catch (error) {
      if (error instanceof OutputError) throw error
      const where = dirname(this.#path)
      throw new OutputError(`cannot create a folder in ${where}: ${messageOf(error)}`, {
        cause: error,
        hint,
      })
    }
    this.#isOpen = true
    return {
      path,
      [Symbol.asyncDispose]: async () => {
        this.#isOpen = false
        await removeScratch(path)
      },
    }
  }

  /** Removes what processes have left that ended before they could. */
  async sweep(): Promise<void> {
    const folder = dirname(this.#path)
    const prefix = `${basename(this.#path)}-`
    const names = await readdir(folder).catch(() => [])
    for (const name of names) {
      const pid = /^(\d+)(?:-\w+)?$/.exec(name.slice(prefix.length))?.[1]
      if (!name.startsWith(prefix) || pid === undefined || this.#isInUse(Number(pid))) continue
      const path = join(folder, name)
      const found = await lstat(path).catch(() => undefined)
      const isOurs = found?.isDirectory() === true && found.uid === process.geteuid?.()
      if (isOurs) await removeScratch(path)
    }
  }

  /** In a container a process often has the number of its predecessor. */
  #isInUse(pid: number): boolean {
    return pid === process.pid ? this.#isOpen : isAlive(pid)
  }

  async #refuseFullDisk(neededBytes: number): Promise<void> {
    const folder = dirname(this.#path)
    const { bavail, bsize } = await statfs(folder)
    const freeBytes = bavail * bsize
    const wantedBytes = Math.ceil(neededBytes * reserveFactor) + reserveBytes
    if (freeBytes >= wantedBytes) return
    throw new OutputError(
      `not enough space for a restored copy in ${folder}: ${formatBytes(wantedBytes)} are needed, ${formatBytes(freeBytes)} are free`,
      { hint },
    )
  }
}

const hint = 'Free some space there, or name another folder with validation-path or -temp-path.'

function ignoreExisting(error: unknown): void {
  if (codeOf(error) !== 'EEXIST') throw error
}

/**
 * Who may write to the folder that it is in could else lead what removes it out of it. He can also keep it from being removed:
 * what stays is removed another time, and is not what the work in it came to.
 */
async function removeScratch(path: string): Promise<void> {
  try {
    await removeWhole(join(await realpath(dirname(path)), basename(path)))
  } catch {
    // The next one that is opened tries again.
  }
}
