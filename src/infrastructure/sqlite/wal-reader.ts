/**
 * SQLite's own word on a database's WAL: the read transactions that keep its frames, what is committed, and copying back.
 * Nothing waits in here: whoever has to wait sleeps elsewhere, as other databases share the thread.
 */
import type Database from 'better-sqlite3'
import { type FileIdentity, type WalState } from '../../usecase/ports/managed-database.js'
import { connect, EmptyFileError, isBusy } from './connection.js'
import { type DatabaseFiles, Opening } from './opening.js'

/**
 * How often SQLite is asked what is committed when it does not tell: it says busy, and no number, when a writer publishes a
 * commit in that very moment, which takes it microseconds. Some 10 ms: other databases wait meanwhile.
 */
const maxAsked = 60

/** SQLite did not say what is committed. */
class UntoldError extends Error {
  readonly code = 'UNTOLD'
}

interface WalCheckpointRow {
  readonly busy: number
  readonly log: number
  readonly checkpointed: number
}

/**
 * Of a `raw` statement: for one that gives objects, as `pragma` does, better-sqlite3 compiles a function each time. Where
 * connections come and go, they gather in the old part of the heap, which a thread with little to do hardly ever collects.
 */
function parseCheckpointRow(row: unknown): WalCheckpointRow {
  if (!Array.isArray(row) || row.length !== 3) {
    throw new TypeError('SQLite answered wal_checkpoint without its three columns')
  }
  const [busy = 0, log = 0, checkpointed = 0] = row.map(Number)
  return { busy, log, checkpointed: Math.max(checkpointed, 0) }
}

/** A read-only connection that holds at most one read transaction. */
export class WalReader {
  readonly #database: Database.Database
  // Prepared when needed: of a thousand databases at rest, each statement of each is some three megabytes.
  #cookie: Database.Statement | undefined
  #noop: Database.Statement | undefined
  #version: Database.Statement | undefined

  /** `identity`: of the file that is to be opened. */
  constructor(path: string, identity?: FileIdentity) {
    // It reads page 1 and no other. Of a thousand databases, a cache of 20 pages that is taken in one piece and a parsed
    // schema in each connection are most of the memory.
    const thrift = 'PRAGMA cache_size = 1; PRAGMA writable_schema = RESET; PRAGMA shrink_memory'
    this.#database = connect(path, { readonly: true, thrift, identity })
  }

  /** Takes a mark (`BEGIN` alone takes none) and returns the schema cookie. */
  begin(): number {
    this.#database.exec('BEGIN')
    try {
      this.#cookie ??= this.#database.prepare('PRAGMA schema_version').pluck()
      return Number(this.#cookie.get())
    } catch (error) {
      this.#database.exec('ROLLBACK')
      throw error
    }
  }

  end(): void {
    if (this.#database.inTransaction) this.#database.exec('COMMIT')
  }

  /** Another number, on this connection, once somebody has committed since it was last asked for. */
  version(): number {
    this.#version ??= this.#database.prepare('PRAGMA data_version').pluck()
    return Number(this.#version.get())
  }

  /** Frames that SQLite has published, and how many are copied back. Only outside a transaction. */
  state(): WalState {
    this.#noop ??= this.#database.prepare('PRAGMA wal_checkpoint(NOOP)').raw()
    for (let asked = 0; asked < maxAsked; asked += 1) {
      const { busy, log, checkpointed } = parseCheckpointRow(this.#noop.get())
      if (busy === 0 && log >= 0) return { frameCount: log, copiedBackCount: checkpointed }
      if (asked > 10) waitShortly(0.2)
    }
    throw new UntoldError('SQLite cannot tell what is committed: its wal-index cannot be read')
  }

  journalMode(): string {
    return String(this.#database.pragma('journal_mode', { simple: true }))
  }

  pageSizeBytes(): number {
    return Number(this.#database.pragma('page_size', { simple: true }))
  }

  /** Goes on as it is with the least memory. The garbage collector finalizes its statements. */
  rest(): void {
    this.#cookie = this.#noop = this.#version = undefined
  }

  close(): void {
    this.#database.close()
  }
}

/**
 * A reader of a database that is in WAL mode: it makes `-wal` and `-shm` where they are missing. Undefined: it is in another
 * mode, or cannot be read without being written to first; a writable connection finds out.
 */
export function openReaderOfWal(path: string, identity: FileIdentity): WalReader | undefined {
  let reader: WalReader | undefined
  try {
    reader = new WalReader(path, identity)
    if (reader.journalMode() === 'wal') return reader
  } catch (error) {
    reader?.close()
    // Whatever else it is, a writable connection is told it, too.
    if (error instanceof EmptyFileError || isBusy(error)) throw error
    return undefined
  }
  reader.close()
  return undefined
}

/** Copies back what it can, into and from these files alone. `busy`: somebody else does so now. */
export function checkpoint(
  path: string,
  files?: DatabaseFiles,
): WalState & { readonly busy: boolean } {
  const opening = new Opening()
  // Opened for this call alone: a writable connection that is closed last, at exit, would delete the WAL.
  const connection = connect(path, { identity: files?.identity })
  try {
    if (files !== undefined) {
      connection.prepare('PRAGMA schema_version').get()
      opening.refuseOtherLogs(files)
    }
    const row = connection.prepare('PRAGMA wal_checkpoint(PASSIVE)').raw().get()
    const { busy, log, checkpointed } = parseCheckpointRow(row)
    return { busy: busy === 1, frameCount: log, copiedBackCount: checkpointed }
  } finally {
    connection.close()
  }
}

/** The same, but for what it fails with. `failed`: it could not even be tried. */
export function tryCheckpoint(path: string, files?: DatabaseFiles): 'done' | 'busy' | 'failed' {
  try {
    return checkpoint(path, files).busy ? 'busy' : 'done'
  } catch {
    return 'failed'
  }
}

/** Waits that long, a moment in which no other database of the thread is served. */
export function waitShortly(ms: number): void {
  Atomics.wait(sleeper, 0, 0, ms)
}

const sleeper = new Int32Array(new SharedArrayBuffer(4))
