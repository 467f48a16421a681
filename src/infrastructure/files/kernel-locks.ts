/**
 * The locks that the kernel holds, as it lists them in `/proc/locks`: to everybody, and those of all users' processes.
 * (Lines: `Documentation/filesystems/proc.rst`.)
 */
import { readFile } from 'node:fs/promises'

interface FileLock {
  /** 0: of a process that is not seen from here. */
  readonly pid: number
  readonly isWrite: boolean
  /** Device and inode, as the kernel writes them, which may not be what a look at the file tells. */
  readonly file: string
  readonly startByte: number
}

/** By inode. */
export type FileLocks = ReadonlyMap<number, readonly FileLock[]>

/** Where the locks of SQLite on a database begin (`os.h`, PENDING_BYTE). */
export const pendingByte = 0x4000_0000

/** Undefined where the kernel does not tell: only Linux does. It lets nobody take a lock while it lists them. */
export async function listLocks(): Promise<FileLocks | undefined> {
  try {
    return parseLocks(await readFile('/proc/locks', 'utf8'))
  } catch {
    return undefined
  }
}

export function parseLocks(text: string): FileLocks {
  const locks = new Map<number, FileLock[]>()
  for (const line of text.split('\n')) {
    // 1: POSIX  ADVISORY  READ 18357 fe:00:9986141 1073741826 1073742335
    const fields = /^\d+:\s+POSIX\s+\S+\s+(\S+)\s+(\d+)\s+(\S+:(\d+))\s+(\d+)\s/.exec(line)
    if (fields === null) continue
    const [, kind, pid, file = '', inode, startByte] = fields
    const lock = {
      pid: Number(pid),
      isWrite: kind === 'WRITE',
      file,
      startByte: Number(startByte),
    }
    const known = locks.get(Number(inode))
    if (known === undefined) locks.set(Number(inode), [lock])
    else known.push(lock)
  }
  return locks
}
