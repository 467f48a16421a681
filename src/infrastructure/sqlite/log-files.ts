/**
 * Which files `-wal` and `-shm` are. Nobody removes them while a connection is open. When somebody does it nevertheless,
 * that one goes on with the removed file, and whoever opens the database then makes another: two logs of one database.
 * They are looked at by name and `-shm` is never opened, which would drop SQLite's locks when it is closed.
 */
import fs, { type Stats } from 'node:fs'
import { lstat } from 'node:fs/promises'
import { codeOf } from '../../kit/error-text.js'
import { type OpenedDatabase } from '../../usecase/ports/managed-database.js'

/** Undefined: there is none. */
export interface LogFiles {
  readonly wal: string | undefined
  readonly shm: string | undefined
}

/** What was opened, and with which files beside it. */
export interface OpenedWithLog extends OpenedDatabase {
  readonly log: LogFiles
}

export function identifyLogFile(stats: Pick<Stats, 'dev' | 'ino'> | undefined): string | undefined {
  return stats === undefined ? undefined : `${stats.dev}:${stats.ino}`
}

/** Opens one for reading. No link is followed, as SQLite follows none, and no FIFO waited for. */
export function openLog(path: string): number {
  const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK } = fs.constants
  return fs.openSync(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK)
}

export function logFilesNow(database: string): LogFiles {
  const identify = (suffix: string): string | undefined =>
    identifyLogFile(fs.lstatSync(`${database}${suffix}`, { throwIfNoEntry: false }))
  return { wal: identify('-wal'), shm: identify('-shm') }
}

/** What became of the files that were there when the database was opened; undefined: nothing. */
export async function findLogChange(
  database: string,
  opened: LogFiles,
): Promise<string | undefined> {
  for (const [suffix, before] of [
    ['-wal', opened.wal],
    ['-shm', opened.shm],
  ] as const) {
    const now = identifyLogFile(await statOf(`${database}${suffix}`))
    if (now === before || before === undefined) continue
    return now === undefined
      ? `its ${suffix} was removed`
      : `its ${suffix} was removed, and another one made`
  }
  return undefined
}

async function statOf(path: string): Promise<Stats | undefined> {
  try {
    return await lstat(path)
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined
    throw error
  }
}
