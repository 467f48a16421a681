/**
 * A lock of the kernel's on a file. It ends with its holder, and holds between containers, which do not see each other's
 * processes. Node has no call for it: SQLite has, and takes one when it begins to write to a database. The file is an
 * empty database, apart from every other, so that no lock on a real one is touched.
 */
import type Database from 'better-sqlite3'
import { codeOf } from '../../kit/error-text.js'
import { unlessUnloadable } from './unless-unloadable.js'

/** A lock that this process holds. */
export interface KernelLock {
  release(): void
}

/** The lock; undefined while another process has it. */
export async function tryKernelLock(path: string): Promise<KernelLock | undefined> {
  const { default: Sqlite } = await import('better-sqlite3')
  let file: Database.Database | undefined
  try {
    file = unlessUnloadable(() => new Sqlite(path, { timeout: 0 }))
    file.exec('BEGIN EXCLUSIVE')
    const held = file
    return { release: () => held.close() }
  } catch (error) {
    file?.close()
    const code = codeOf(error)
    if (code === 'SQLITE_BUSY') return undefined
    throw error
  }
}
