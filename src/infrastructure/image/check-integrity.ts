import { type ImageReply } from './image-messages.js'

/**
 * Lets SQLite read the file through. A call cannot be interrupted from another thread, but cutting the file to nothing
 * ends it: SQLite stops after a hundred problems.
 */
export async function checkIntegrity(path: string, pragma: string): Promise<ImageReply> {
  try {
    const { default: Database } = await import('better-sqlite3')
    const database = new Database(path, { fileMustExist: true })
    try {
      const result = String(database.pragma(pragma, { simple: true }))
      return { kind: 'checked', result, isReadable: true }
    } finally {
      database.close()
    }
  } catch (error) {
    return { kind: 'checked', result: String(error), isReadable: false }
  }
}
