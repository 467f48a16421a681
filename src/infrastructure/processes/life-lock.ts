/**
 * A lock of the kernel's that a process has for as long as it lives, by which it is told from any other of its number. Lock files
 * and owner objects name their process and its lock, and count while the kernel lists that lock as that process's: what somebody
 * writes there who names a process that is always there, as number 1, counts for nothing.
 *
 * The list shows it to everybody, whoever runs which process, and whoever's folders are seen by whom. So its file has a name for
 * a moment only.
 */
import { rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ConfigError } from '../../domain/errors.js'
import { createFile, temporaryName } from '../files/durable-files.js'
import { type FileLocks, listLocks, pendingByte } from '../files/kernel-locks.js'
import { type KernelLock, tryKernelLock } from '../sqlite-library/kernel-lock.js'

interface LifeLock extends Disposable {
  /** As the kernel lists it; empty: it cannot be had, or is not listed. */
  readonly name: string
}

/** Where everybody may make a file: the first is in memory. */
const folders = ['/dev/shm', tmpdir()]

export async function takeLifeLock(): Promise<LifeLock> {
  const before = await listLocks()
  if (before !== undefined) {
    for (const folder of folders) {
      const lock = await lockNewFile(folder)
      if (lock === undefined) continue
      const name = newLockOf(process.pid, { before, now: (await listLocks()) ?? before })
      if (name !== undefined) return { name, [Symbol.dispose]: () => lock.release() }
      lock.release()
    }
  }
  return { name: '', [Symbol.dispose]: () => undefined }
}

/** Whether the kernel lists a lock of that name as that process's. */
export function isListed(
  { name, pid }: { readonly name: string; readonly pid: number },
  locks: FileLocks,
): boolean {
  return lifeLocksOf(pid, locks).includes(name)
}

function newLockOf(
  pid: number,
  { before, now }: { readonly before: FileLocks; readonly now: FileLocks },
): string | undefined {
  const old = lifeLocksOf(pid, before)
  return lifeLocksOf(pid, now).find((name) => !old.includes(name))
}

/** A reader of a database has no such lock: it is for writing, from where SQLite's begin. */
function lifeLocksOf(pid: number, locks: FileLocks): readonly string[] {
  return [...locks.values()]
    .flat()
    .filter((lock) => lock.pid === pid && lock.isWrite && lock.startByte === pendingByte)
    .map(({ file }) => file)
}

/** Undefined: none can be made there. */
async function lockNewFile(folder: string): Promise<KernelLock | undefined> {
  const path = temporaryName(join(folder, 'tsreplicate-lock'))
  try {
    await (await createFile(path)).close()
    return await tryKernelLock(path)
  } catch (error) {
    if (error instanceof ConfigError) throw error
    return undefined
  } finally {
    await rm(path, { force: true }).catch(() => undefined)
  }
}
