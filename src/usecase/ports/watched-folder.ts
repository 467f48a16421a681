/** The port to a folder in which databases come and go. */
import { type DatabaseError } from '../../domain/errors.js'
import { type FileIdentity } from './managed-database.js'

export interface FolderScan {
  /** Paths of the SQLite databases relative to the folder, with slashes, sorted. */
  readonly found: readonly string[]
  /** A file is there that is empty still: it may become one. */
  readonly hasEmpty: boolean
  /** Files of which it cannot be told, for want of permission. */
  readonly unreadable: readonly string[]
  /**
   * Folders below that cannot be read, of those in each folder that lies directly in this one the first: they are one user's, who
   * could have any number. What is replicated in them is still found.
   */
  readonly unreadableFolders: readonly UnreadableFolder[]
}

export interface UnreadableFolder {
  readonly dir: string
  readonly err: DatabaseError
}

export interface WatchedFolder extends AsyncDisposable {
  /**
   * Looks for databases: files that are meant by name and begin as SQLite's do. A file that is `replicated` is not looked
   * into: opening and closing it would drop SQLite's locks. Links are not followed. Throws a `DatabaseError` when
   * the folder itself cannot be read.
   */
  scan(
    replicated: { readonly paths: ReadonlySet<string>; has(file: FileIdentity): boolean },
    signal: AbortSignal,
  ): Promise<FolderScan>
  /** Resolves when a file or folder came or went, after `timeoutMs`, or at an abort. */
  waitForChange(timeoutMs: number, signal: AbortSignal): Promise<void>
  /** Why not all that comes and goes is announced; undefined: it is, or was not waited for yet. */
  readonly watchProblem: string | undefined
  /**
   * Removes the local state of databases that are gone and were stored to their end before this moment. Resolves with its
   * paths.
   */
  removeLeftState(beforeMs: number): Promise<readonly string[]>
}
