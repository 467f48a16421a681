import Database from 'better-sqlite3'
import { unlessUnloadable } from '../sqlite-library/unless-unloadable.js'

/** Before it, two connections that checkpoint at the wrong moment can corrupt a database: the WAL-reset bug. */
const least = [3, 51, 3] as const

/** Whether a version such as `3.54.1` is safe to checkpoint with. */
export function isSafeSqliteVersion(version: string): boolean {
  const numbers = version.split('.').map(Number)
  for (const [i, wanted] of least.entries()) {
    const number = numbers[i] ?? 0
    if (number !== wanted) return number > wanted
  }
  return true
}

/** Throws if the library that better-sqlite3 brings is too old. */
export function requireSafeSqlite(): void {
  const database = unlessUnloadable(() => new Database(':memory:'))
  try {
    const version = String(database.prepare('select sqlite_version()').pluck().get())
    if (!isSafeSqliteVersion(version)) {
      throw new Error(
        `SQLite ${version} can corrupt a database: better-sqlite3 has to bring ${least.join('.')} or later`,
      )
    }
  } finally {
    database.close()
  }
}
