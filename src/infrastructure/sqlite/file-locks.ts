/**
 * Who has a database open beside another log. A connection in WAL mode holds SQLite's shared lock on the database file and
 * one on the `-shm` beside it, and the kernel lists both in `/proc/locks`. Who holds the first and not the second on our
 * `-shm` reached the file by another path, as through a mount of the single file: his `-wal` is elsewhere, too.
 * (Lock bytes: SQLite's `os.h`, PENDING_BYTE and SHARED_FIRST.)
 */
import { readFile } from 'node:fs/promises'
import { type FileLocks, listLocks, pendingByte } from '../files/kernel-locks.js'

const lastSharedByte = pendingByte + 2 + 509

/** How long a list is good: the kernel lets nobody take a lock while it makes one. */
const listedForMs = 5000

let listed: { readonly atMs: number; readonly locks: Promise<FileLocks | undefined> } | undefined

/** Process ids, in order; none where the kernel does not tell. A process that is just opening the database may be among them. */
export async function processesBesideAnotherLog(
  { inode, shmInode }: { readonly inode: number; readonly shmInode: number },
  own: number = process.pid,
): Promise<readonly number[]> {
  const nowMs = performance.now()
  if (listed === undefined || nowMs - listed.atMs >= listedForMs) {
    listed = { atMs: nowMs, locks: listLocks() }
  }
  const locks = await listed.locks
  return locks === undefined ? [] : besideAnotherLog(locks, { inode, shmInode, own })
}

export function besideAnotherLog(
  locks: FileLocks,
  {
    inode,
    shmInode,
    own,
  }: { readonly inode: number; readonly shmInode: number; readonly own: number },
): readonly number[] {
  const onDatabase = (locks.get(inode) ?? []).filter(
    ({ startByte }) => startByte >= pendingByte && startByte <= lastSharedByte,
  )
  // What the kernel calls the device may not be what a look at the file tells: ours is on the same one.
  const file = onDatabase.find(({ pid }) => pid === own)?.file
  const besideOurs = new Set((locks.get(shmInode) ?? []).map(({ pid }) => pid))
  const others = onDatabase.filter(
    (lock) => lock.file === file && lock.pid !== own && lock.pid > 0 && !besideOurs.has(lock.pid),
  )
  return [...new Set(others.map(({ pid }) => pid))].toSorted((a, b) => a - b)
}

/** For people. */
export async function nameOfProcess(pid: number): Promise<string> {
  const name = await readFile(`/proc/${pid}/comm`, 'utf8').catch(() => '')
  return name === '' ? `process ${pid}` : `process ${pid} (${name.trim()})`
}
