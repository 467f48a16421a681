/**
 * Takes over local state from a folder that others can change. What is taken is what local state consists of: regular files
 * of one name, that the owner of the database or we have written, as much as fits into a spool. The state is whole in its
 * new place before anything is removed from the former one.
 */
import { rename, rmdir } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { parseWalSegmentName } from '../../domain/stored/replica-layout.js'
import { parseGeneration } from '../../domain/wal/generation.js'
import { codeOf } from '../../kit/error-text.js'
import {
  createFile,
  createFolder,
  syncFolder,
  temporaryName,
  writeAll,
} from '../files/durable-files.js'
import { HeldFolder, isTaken, removeWhole } from '../files/held-folder.js'
import { openRegularFile, readAt, UnfitFileError } from '../files/regular-files.js'
import { isTrusted } from '../files/who-can-change.js'
import { type Processes } from '../../usecase/ports/processes.js'
import { refuseHeldFolder } from './folder-lock.js'

const record = /^(?:state|(?:owner|stored|retention|clock|uploads|validation|database)-.+)\.json$/
const chunkBytes = 1024 * 1024

export interface AdoptOptions {
  /** The user whose files may be among it; undefined: nobody. */
  readonly owner: number | undefined
  /** What all of it may take. */
  readonly maxBytes: number
  /** One of them may use it. */
  readonly processes: Processes
}

/**
 * Moves the state of one folder to another place, or makes it ours in its own. False: there was none. Throws
 * {@link InUseError} while a living process uses it.
 */
export async function adoptState(
  { from, to }: { readonly from: string; readonly to: string },
  options: AdoptOptions,
): Promise<boolean> {
  await using former = await HeldFolder.open(from)
  const { processes } = options
  if (former !== undefined) await refuseHeldFolder(former.at('lock'), { folder: from, processes })
  const copy = temporaryName(to)
  try {
    const isCopied = former !== undefined && (await new Adoption(options).copy(former, copy))
    if (from === to) await moveAside(to)
    if (!isCopied) return false
    await rename(copy, to)
    await syncFolder(dirname(to))
  } catch (error) {
    await removeWhole(copy)
    throw error
  }
  if (from === to) return true
  for (const name of await former.names()) await former.remove(name)
  // Gone is what we hold; what has its name by now is no concern of ours unless it is empty.
  await rmdir(from).catch(() => undefined)
  return true
}

/** Whatever is there: nothing of it stays. */
async function moveAside(path: string): Promise<void> {
  const aside = temporaryName(path)
  await rename(path, aside)
  await removeWhole(aside)
}

class Adoption {
  readonly #owner: number | undefined
  #leftBytes: number

  constructor({ owner, maxBytes }: AdoptOptions) {
    this.#owner = owner
    this.#leftBytes = maxBytes
  }

  /** False: that is no local state. */
  async copy(former: HeldFolder, to: string): Promise<boolean> {
    const { uid } = await former.handle.stat()
    if (!this.#isKnown(uid) || !(await isTaken(former.at('state.json')))) return false
    await createFolder(to)
    for (const name of (await former.names()).filter((each) => record.test(each))) {
      await this.#copyFile(former.at(name), join(to, name))
    }
    await using spool = await HeldFolder.open(former.at('spool'))
    for (const generation of (await spool?.names()) ?? []) {
      if (parseGeneration(generation) === undefined) continue
      await using folder = await HeldFolder.open(spool?.at(generation) ?? '')
      if (folder === undefined) continue
      const copied = join(to, 'spool', generation)
      await createFolder(copied)
      for (const name of (await folder.names()).toSorted()) {
        if (parseWalSegmentName(name) === undefined) continue
        await this.#copyFile(folder.at(name), join(copied, name))
      }
      await syncFolder(copied)
    }
    await syncFolder(to)
    return true
  }

  /**
   * What is not what it should be is left out: a segment that is missing costs a generation. Of a file that was linked there
   * nobody sees more than before: the copy is ours, and nothing of it is stored but segments with the right trailer.
   */
  async #copyFile(from: string, to: string): Promise<void> {
    try {
      await using file = await openRegularFile(from)
      const { uid, size } = await file.stat()
      if (!this.#isKnown(uid) || size > this.#leftBytes) return
      this.#leftBytes -= size
      await using made = await createFile(to)
      for (let at = 0; at < size;) {
        const chunk = await readAt(file, at, Math.min(chunkBytes, size - at))
        if (chunk.length === 0) break
        await writeAll(made, chunk)
        at += chunk.length
      }
      await made.sync()
    } catch (error) {
      if (!(error instanceof UnfitFileError) && codeOf(error) !== 'ENOENT') throw error
    }
  }

  #isKnown(uid: number): boolean {
    return isTrusted(uid) || uid === this.#owner
  }
}
