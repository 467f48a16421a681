/**
 * Claims a folder for one process by a file that names its holder. A lock is left behind when its holder dies; it is
 * taken over when the process it names is gone, or has not the lock of the kernel's that it is said to have.
 *
 * Containers do not see each other's processes. Whoever is in one, or has no such lock, therefore holds one on a file
 * beside it. For all that would be one more open file for each of many databases.
 */
import { link, rename, rm } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { InUseError, LocalStateError } from '../../domain/errors.js'
import {
  describeProcess,
  parseProcessIdentity,
  type ProcessIdentity,
} from '../../domain/process-identity.js'
import { codeOf } from '../../kit/error-text.js'
import { type Processes } from '../../usecase/ports/processes.js'
import { createFile, temporaryName } from '../files/durable-files.js'
import { readSmallFileIfThere, UnfitFileError } from '../files/regular-files.js'
import { type KernelLock, tryKernelLock } from '../sqlite-library/kernel-lock.js'

/** A lock that this process holds. */
export interface FolderLock {
  /** Whether its file is still there: somebody may have removed it, and another process taken it. */
  isHeld(): Promise<boolean>
  release(): Promise<void>
}

/** Takes the lock whose file is `path`. Throws {@link InUseError} while another living process has it. */
export async function takeFolderLock(
  path: string,
  { folder, processes }: { readonly folder: string; readonly processes: Processes },
): Promise<FolderLock> {
  const kernelPath = `${path}.kernel`
  const isToldByFile = processes.self.isContained || processes.self.lock === ''
  const kernel = isToldByFile ? await tryKernelLock(kernelPath) : undefined
  if (isToldByFile && kernel === undefined) {
    throw inUse(folder, path, parseHolder((await readSmallFileIfThere(path)) ?? ''))
  }
  try {
    const lock = await takeFile(path, { folder, processes, kernelPath })
    return {
      isHeld: () => lock.isHeld(),
      release: async () => {
        await lock.release()
        kernel?.release()
      },
    }
  } catch (error) {
    kernel?.release()
    throw error
  }
}

/** The same by the file alone: who cannot be told to live, as in another container, counts as gone. */
export function takeLockFile(
  path: string,
  options: { readonly folder: string; readonly processes: Processes },
): Promise<FolderLock> {
  return takeFile(path, { ...options, kernelPath: undefined })
}

/** Throws {@link InUseError} while a living process has the lock. Nothing is written: others can change the folder. */
export async function refuseHeldFolder(
  path: string,
  { folder, processes }: { readonly folder: string; readonly processes: Processes },
): Promise<void> {
  const found = await readSmallFileIfThere(path).catch(ignoreUnfit)
  const holder = parseHolder(found ?? '')
  if (holder !== undefined && (await processes.stateOf(holder)) === 'alive') {
    throw inUse(folder, join(folder, basename(path)), holder)
  }
}

async function takeFile(
  path: string,
  options: {
    readonly folder: string
    readonly processes: Processes
    readonly kernelPath: string | undefined
  },
): Promise<FolderLock> {
  const { folder, processes, kernelPath } = options
  const mine = `${JSON.stringify(processes.self)}\n`
  for (let attempt = 0; attempt < 20; attempt += 1) {
    if (await tryCreate(path, mine)) {
      return {
        isHeld: () => isMine(path, mine),
        release: () => release(path, mine),
      }
    }
    const found = await readSmallFileIfThere(path)
    if (found === undefined) continue
    const holder = parseHolder(found)
    if (holder !== undefined && (await isAlive(holder, processes, kernelPath))) {
      throw inUse(folder, path, holder)
    }
    await removeStale(path, found)
  }
  throw new LocalStateError(`cannot take the lock ${path}: other processes keep taking it`)
}

function inUse(folder: string, path: string, holder: ProcessIdentity | undefined): InUseError {
  const who = holder === undefined ? 'another process' : describeProcess(holder)
  return new InUseError(`${folder} is in use by ${who}`, {
    hint: `stop it first: only one process may replicate a database; if you are certain that no other tsreplicate is running, remove ${path}`,
  })
}

/** Whether the holder lives, or may live. */
async function isAlive(
  holder: ProcessIdentity,
  processes: Processes,
  kernelPath: string | undefined,
): Promise<boolean> {
  const state = await processes.stateOf(holder)
  if (state !== 'unknown') return state === 'alive'
  if (kernelPath === undefined) return false
  const { self } = processes
  // What ran before the machine was started anew is gone.
  if (holder.boot !== self.boot) return false
  // From a container nothing is seen of what runs outside all containers, and it has no lock of the kernel's.
  if (self.isContained) return !holder.isContained
  const probe: KernelLock | undefined = await tryKernelLock(kernelPath)
  probe?.release()
  return probe === undefined
}

/** Creates the lock with its content in one step, so that nobody ever reads half of it. */
async function tryCreate(path: string, content: string): Promise<boolean> {
  const temporary = temporaryName(path)
  try {
    const file = await createFile(temporary)
    try {
      await file.writeFile(content)
    } finally {
      await file.close()
    }
    await link(temporary, path)
    return true
  } catch (error) {
    // Missing: the holder has just tidied up, temporary files and all.
    if (codeOf(error) === 'EEXIST' || codeOf(error) === 'ENOENT') return false
    throw error
  } finally {
    await rm(temporary, { force: true })
  }
}

/** Removes a lock whose content is still `content`; one that somebody else has taken meanwhile is put back. */
async function removeStale(path: string, content: string): Promise<void> {
  const aside = temporaryName(path)
  try {
    await rename(path, aside)
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return
    throw error
  }
  try {
    if ((await readSmallFileIfThere(aside)) !== content) await link(aside, path)
  } catch (error) {
    if (codeOf(error) !== 'EEXIST' && codeOf(error) !== 'ENOENT') throw error
  } finally {
    await rm(aside, { force: true })
  }
}

async function release(path: string, mine: string): Promise<void> {
  if (await isMine(path, mine)) await rm(path, { force: true })
}

/** What has taken its place and is no lock at all is not ours either. */
async function isMine(path: string, mine: string): Promise<boolean> {
  try {
    return (await readSmallFileIfThere(path)) === mine
  } catch (error) {
    if (error instanceof UnfitFileError) return false
    throw error
  }
}

/** What is no lock at all is held by nobody. */
function ignoreUnfit(error: unknown): undefined {
  if (!(error instanceof UnfitFileError)) throw error
}

function parseHolder(text: string): ProcessIdentity | undefined {
  try {
    return parseProcessIdentity(JSON.parse(text))
  } catch {
    return undefined
  }
}
