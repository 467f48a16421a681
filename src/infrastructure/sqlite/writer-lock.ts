import type Database from 'better-sqlite3'
import { connect, isBusy } from './connection.js'
import { type DatabaseFiles, Opening } from './opening.js'
import { type AtWork } from './under-way.js'
import { waitShortly } from './wal-reader.js'

interface HoldOptions {
  readonly holdMs: number
  readonly atWork?: AtWork
}

/** A database's writer lock, while it is ours: nobody commits. */
export class WriterLock {
  readonly #connection: Database.Database
  readonly #timer: NodeJS.Timeout

  private constructor(
    connection: Database.Database,
    { holdMs, atWork = (work) => work() }: HoldOptions,
  ) {
    this.#connection = connection
    this.#timer = setTimeout(() => atWork(() => this.release()), holdMs)
  }

  /** It goes by itself after `holdMs`. Undefined: in `spinMs` it was not to be had. */
  static take(
    path: string,
    {
      spinMs,
      files,
      ...hold
    }: HoldOptions & { readonly spinMs: number; readonly files?: DatabaseFiles | undefined },
  ): WriterLock | undefined {
    const opening = new Opening()
    const connection = connect(path, { identity: files?.identity })
    try {
      const deadline = performance.now() + spinMs
      // Not a busy timeout: SQLite's sleeps are longer than the gaps that a busy writer leaves.
      while (!tryBeginImmediate(connection)) {
        if (performance.now() > deadline) {
          connection.close()
          return undefined
        }
        waitShortly(0.2)
      }
      if (files !== undefined) opening.refuseOtherLogs(files)
      return new WriterLock(connection, hold)
    } catch (error) {
      connection.close()
      throw error
    }
  }

  /** Doing so twice is harmless. */
  release(): void {
    clearTimeout(this.#timer)
    this.#connection.close()
  }
}

function tryBeginImmediate(connection: Database.Database): boolean {
  try {
    connection.exec('BEGIN IMMEDIATE')
    return true
  } catch (error) {
    if (isBusy(error)) return false
    throw error
  }
}
