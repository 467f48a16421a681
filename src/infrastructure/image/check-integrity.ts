import { type CheckResult } from './image-messages.js'

/**
 * Lets SQLite read the file through. A call cannot be interrupted from another thread, but cutting the file to nothing
 * ends it: SQLite stops after a hundred problems.
 */
export async function checkIntegrity(path: string, pragma: string): Promise<CheckResult> {
  const { default: Database } = await import('better-sqlite3')
  try {
    const database = new Database(path, { fileMustExist: true })
    try {
      const detail = String(database.pragma(pragma, { simple: true }))
      return { verdict: detail === 'ok' ? 'sound' : 'damaged', detail }
    } finally {
      database.close()
    }
  } catch (error) {
    if (!(error instanceof Database.SqliteError)) throw error
    // A schema that calls functions of the application can only be checked by the application.
    const verdict = error.code === 'SQLITE_ERROR' ? 'unknown' : 'damaged'
    return { verdict, detail: error.message }
  }
}
