import Database from 'better-sqlite3'
import fs from 'node:fs'
import { type FileIdentity } from '../../usecase/ports/managed-database.js'
import { Opening } from './opening.js'
import { refuseUnfitJournal } from './rollback-journal.js'

/** The database file is empty at the moment, as while another one is copied over it. */
export class EmptyFileError extends Error {
  readonly code = 'EMPTY'
}

/**
 * A connection that never waits and never checkpoints by itself: every one of ours to a live database. `thrift`:
 * statements that save it memory. `identity`: of the file that is to be opened, which is seen before anything is read. Throws
 * {@link EmptyFileError}.
 *
 * SQLite takes the `-wal` beside an empty file for the remains of another database, and deletes it when a connection first
 * reads (`pager.c`: pagerOpenWalIfPresent). `cp saved.db app.db` empties the file for a moment.
 */
export function connect(
  path: string,
  {
    readonly = false,
    thrift = '',
    identity,
  }: { readonly?: boolean; thrift?: string; identity?: FileIdentity | undefined } = {},
): Database.Database {
  // Not a descriptor: closing one would drop SQLite's locks.
  const stats = fs.statSync(path, { throwIfNoEntry: false })
  if (stats?.isFile() === false) throw new Error('it is not a regular file')
  if (stats?.size === 0) throw new EmptyFileError('the database file is empty at the moment')
  refuseUnfitJournal(path)
  const opening = identity === undefined ? undefined : new Opening()
  const connection = new Database(path, { readonly, fileMustExist: true, timeout: 0 })
  try {
    if (identity !== undefined) opening?.refuseOtherFile(identity)
    connection.exec(`PRAGMA wal_autocheckpoint = 0; ${thrift}`)
    return connection
  } catch (error) {
    // Left to the garbage collector, it keeps its descriptors and locks until then.
    connection.close()
    throw error
  }
}

/** Whether another connection was in the way. */
export function isBusy(error: unknown): boolean {
  return error instanceof Database.SqliteError && error.code.startsWith('SQLITE_BUSY')
}
