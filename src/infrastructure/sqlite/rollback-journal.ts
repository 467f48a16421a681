/**
 * The rollback journal beside a database. Every connection looks for one before it knows of the WAL, and rolls back what it
 * finds, as after a crash. SQLite opens it by name, then the super-journal that it names, of a transaction in several
 * databases, and what that one lists: a FIFO among them would be waited for without end.
 */
import fs from 'node:fs'
import { codeOf } from '../../kit/error-text.js'

/** What ends one that names a super-journal: the length of the name, its checksum, and this. */
const magic = Buffer.from('d9d505f920a163d7', 'hex')
const tailBytes = 16

/** SQLite would open by name what nobody should. */
class UnfitJournalError extends Error {
  readonly code = 'JOURNAL'
}

/** Throws where SQLite is not to look for a journal of this database. */
export function refuseUnfitJournal(database: string): void {
  const path = `${database}-journal`
  const stats = fs.lstatSync(path, { throwIfNoEntry: false })
  if (stats === undefined) return
  if (!stats.isFile()) throw new UnfitJournalError(`it is not a regular file: ${path}`)
  if (stats.size < tailBytes || !namesAnother(path)) return
  throw new UnfitJournalError(`${path} is of a transaction in several databases that has not ended`)
}

function namesAnother(path: string): boolean {
  const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK } = fs.constants
  let descriptor: number
  try {
    descriptor = fs.openSync(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK)
  } catch (error) {
    // The transaction of an application that writes in rollback mode has just ended.
    if (codeOf(error) === 'ENOENT') return false
    throw error
  }
  try {
    const tail = Buffer.alloc(tailBytes)
    const offset = fs.fstatSync(descriptor).size - tailBytes
    if (offset < 0 || fs.readSync(descriptor, tail, 0, tailBytes, offset) < tailBytes) return false
    return magic.equals(tail.subarray(8)) && tail.readUInt32BE(0) > 0
  } finally {
    fs.closeSync(descriptor)
  }
}
