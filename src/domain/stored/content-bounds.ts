/**
 * How much may come of stored objects. Who can write to a store could else fill disks and memory with little: a few bytes of
 * LZ4 become many, and two commits can state a database of terabytes.
 */
import { CorruptionError } from '../errors.js'
import { databasePageSize } from '../wal/wal-format.js'
import { greatestLz4Ratio } from './lz4-ratio.js'
import { type Trailer } from './trailer.js'

/** A stored page can name a free one in each four of its bytes, and of those no frame may ever have been written. */
const bytesPerNamedPage = 4
/** Fewer are never refused, whatever their objects hold: as a file with holes they take no room. */
const alwaysPages = 2 ** 20
/** SQLite has no more. */
const mostOfSqlite = 0xffff_fffe

/** The pages that a database can have at most whose objects have so many bytes. */
export function mostPages(storedBytes: number): number {
  const held = Math.ceil((storedBytes * greatestLz4Ratio) / bytesPerNamedPage)
  return Math.min(mostOfSqlite, Math.max(alwaysPages, held))
}

/** Throws when there is a page, or a size, of more than a database can have. */
export function refusePages(pageCount: number, maxPageCount: number): void {
  if (pageCount <= maxPageCount) return
  throw new CorruptionError(
    `it makes the database ${pageCount} pages large, and all that is stored of it cannot hold more than ${maxPageCount}`,
  )
}

/** What the content of a snapshot comes to at most, by its trailer; without one nothing is promised. */
export function mostSnapshotBytes(trailer: Trailer | undefined): number {
  // The file may have ended within a page.
  return trailer?.kind === 'snapshot' ? (trailer.pageCount + 1) * trailer.pageSizeBytes : Infinity
}

/** The page size of a snapshot by its first block, in which every writer has a page at least. */
export function snapshotPageSize(start: Uint8Array): number {
  const pageSizeBytes = databasePageSize(start)
  if (pageSizeBytes === undefined) throw new CorruptionError('it is not a SQLite database')
  return pageSizeBytes
}

/**
 * The pages of a database by its first 100 bytes, as SQLite counts them when it opens the file. Undefined: they do not say, as
 * where a version of SQLite before 3.7 wrote last.
 */
export function statedPageCount(start: Uint8Array): number | undefined {
  if (start.length < 100) return undefined
  const data = new DataView(start.buffer, start.byteOffset, start.byteLength)
  const count = data.getUint32(28)
  return count === 0 || data.getUint32(24) !== data.getUint32(92) ? undefined : count
}
