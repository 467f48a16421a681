import { readFileSync, statSync } from 'node:fs'

/** SQLite's `os_unix.c`: the locks of a wal-index begin at byte 120 of `-shm`. `wal.c`: the writer's is first, that of a checkpoint second. */
const writerByte = 120
const checkpointByte = 121

/**
 * Whether somebody runs a FULL, RESTART or TRUNCATE checkpoint, who holds both locks and may wait for a reader. Linux lists
 * the locks of all processes that this one may see (`proc_locks(5)`); no file of the database is opened. False: nobody does,
 * or it is not known.
 */
export function isCheckpointWaiting(databasePath: string): boolean {
  try {
    const { ino } = statSync(`${databasePath}-shm`)
    // The kernel lists neighbours as one range.
    const ranges = readFileSync('/proc/locks', 'utf8').matchAll(
      new RegExp(` WRITE .*:${ino} (\\d+) (\\d+)$`, 'gm'),
    )
    return [...ranges].some(
      ([, first, last]) => Number(first) <= writerByte && Number(last) >= checkpointByte,
    )
  } catch {
    return false
  }
}
