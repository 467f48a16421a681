/**
 * The local state of databases that have gone from a folder. Whoever has stored all of one leaves a mark in its state, which
 * goes when the database is replicated again: state with an old mark, whose database is not there, is of no use to anybody.
 */
import { lstat, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { databaseOfState, isStateFolder } from '../../domain/settings/database-folder.js'
import { replaceFile } from '../files/durable-files.js'
import { isTaken, removeWhole } from '../files/held-folder.js'
import { whoCanChange } from '../files/who-can-change.js'

const markName = 'left'

/** All of a database is stored, and it is gone. */
export async function markLeft(metaPath: string): Promise<void> {
  try {
    await replaceFile(join(metaPath, markName), new Uint8Array())
  } catch {
    // The state is gone with its folder, or stays.
  }
}

/** A database is replicated, again. */
export async function clearLeft(metaPath: string): Promise<void> {
  await rm(join(metaPath, markName), { force: true })
}

/** Removes what was marked before this moment. `base` holds the state of the databases in `folder`. */
export async function removeLeft(
  { folder, base, recursive }: { folder: string; base: string; recursive: boolean },
  markedBeforeMs: number,
): Promise<readonly string[]> {
  const removed: string[] = []
  const look = async (below: string): Promise<void> => {
    const entries = await readdir(join(base, below), { withFileTypes: true }).catch(() => [])
    for (const entry of entries.filter((one) => one.isDirectory())) {
      const path = join(base, below, entry.name)
      const name = databaseOfState(entry.name)
      if (name === undefined) {
        if (recursive && !isStateFolder(entry.name)) await look(join(below, entry.name))
        continue
      }
      const mark = await lstat(join(path, markName)).catch(() => undefined)
      if (mark === undefined || mark.mtimeMs >= markedBeforeMs) continue
      if (await isTaken(join(folder, below, name))) continue
      // Theirs as well as ours: as root nothing is removed by a path that leads through it.
      if (process.geteuid?.() === 0 && (await whoCanChange(path)) !== undefined) continue
      await removeWhole(path)
      removed.push(path)
    }
  }
  await look('')
  return removed
}
