/**
 * Compares a live database with a restored image, page by page, by reading files alone. Whoever runs this must not have
 * the database open in SQLite: closing a descriptor of the file would drop SQLite's locks.
 */
import { closeSync, constants, fstatSync, openSync, readSync, realpathSync } from 'node:fs'
import { databasePageSize, type Salts, sameSalts } from '../../domain/wal/wal-format.js'
import { codeOf } from '../../kit/error-text.js'
import {
  type ComparisonRequest,
  type ComparisonResult,
} from '../../usecase/ports/live-comparison.js'
import { type LiveWal, readLiveWal } from './live-wal.js'

const chunkBytes = 1024 * 1024
const maxDiffering = 1_000_000
/** Tries when the WAL restarts while its frames are read. */
const maxAttempts = 3
/** SQLite locks the bytes here and stores nothing in their page. */
const lockByteOffset = 0x4000_0000

/** Undefined if there is no database. */
export function compareFiles(request: ComparisonRequest): ComparisonResult | undefined {
  const files = new OpenedFiles()
  try {
    const image = files.open(request.imagePath)
    if (image === undefined) throw new Error(`${request.imagePath} is gone`)
    const databasePath = realPathOf(request.databasePath)
    const database = databasePath === undefined ? undefined : files.open(databasePath)
    if (database === undefined) return undefined
    const wal = files.open(`${databasePath}-wal`)
    return new Comparison({ image, database, wal, request }).run()
  } finally {
    files.close()
  }
}

/** Where it lies, whatever links lead to it. Undefined: nowhere. */
function realPathOf(path: string): string | undefined {
  return unlessAbsent(() => realpathSync(path))
}

function unlessAbsent<T>(act: () => T): T | undefined {
  try {
    return act()
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined
    throw error
  }
}

class OpenedFiles {
  readonly #descriptors: number[] = []

  /** Undefined: there is no such file. A link is not followed, and nothing is waited for: the folder may be somebody else's. */
  open(path: string): number | undefined {
    const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK } = constants
    const fd = unlessAbsent(() => openSync(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK))
    if (fd === undefined) return undefined
    this.#descriptors.push(fd)
    if (!fstatSync(fd).isFile()) throw new Error(`it is not a regular file: ${path}`)
    return fd
  }

  close(): void {
    for (const fd of this.#descriptors) closeSync(fd)
  }
}

class Comparison {
  readonly #image: number
  readonly #database: number
  readonly #wal: number | undefined
  readonly #request: ComparisonRequest
  readonly #imageBytes: number
  readonly #pageSizeBytes: number

  constructor(parts: {
    image: number
    database: number
    wal: number | undefined
    request: ComparisonRequest
  }) {
    this.#image = parts.image
    this.#database = parts.database
    this.#wal = parts.wal
    this.#request = parts.request
    this.#imageBytes = fstatSync(parts.image).size
    this.#pageSizeBytes = pageSizeOf(parts.image)
  }

  run(): ComparisonResult {
    const { end } = this.#request
    for (let attempt = 1; ; attempt += 1) {
      const wal = readLiveWal(this.#wal, end)
      const differing = this.#comparePages(wal)
      const after = readLiveWal(this.#wal, end)
      const isSteady = sameOrNone(wal.salts, after.salts)
      if (!isSteady && attempt < maxAttempts) continue
      return this.#result(differing, { after, atSameCommit: isSteady && wal.holdsEnd })
    }
  }

  #result(
    found: readonly number[],
    { after, atSameCommit }: { after: LiveWal; atSameCommit: boolean },
  ): ComparisonResult {
    const pageCount = this.#imageBytes / this.#pageSizeBytes
    const isChanged = (page: number): boolean =>
      after.changedLater.has(page) || (!atSameCommit && after.contentOffsets.has(page))
    const open = found.filter((page) => !isChanged(page))
    const unused = open.length === 0 ? new Set<number>() : this.#freeLeaves()
    const differing = open.filter(
      (page) => !unused.has(page) && !(after.contentOffsets.has(page) ? false : this.#isSame(page)),
    )
    return {
      pageCount,
      comparedCount: pageCount - (found.length - open.length),
      differing,
      atSameCommit,
    }
  }

  /** The pages of the image that the live database has otherwise. */
  #comparePages({ contentOffsets }: LiveWal): number[] {
    const size = this.#pageSizeBytes
    const lockPage = Math.floor(lockByteOffset / size) + 1
    const differing: number[] = []
    const image = Buffer.alloc(Math.max(chunkBytes, size))
    const live = Buffer.alloc(image.length)
    for (let offset = 0; offset < this.#imageBytes; offset += image.length) {
      const count = readAt(this.#image, image, offset)
      const liveCount = readAt(this.#database, live, offset)
      live.fill(0, liveCount)
      for (let at = 0; at < count; at += size) {
        const page = (offset + at) / size + 1
        const inWal = contentOffsets.get(page)
        if (inWal !== undefined && this.#wal !== undefined) {
          readAt(this.#wal, live.subarray(at, at + size), inWal)
        }
        const isThere = inWal !== undefined || at + size <= liveCount
        if (isThere && image.compare(live, at, at + size, at, at + size) === 0) continue
        if (page !== lockPage && differing.length < maxDiffering) differing.push(page)
      }
    }
    return differing
  }

  /** Reads a page again: it may have been met while SQLite wrote it. */
  #isSame(page: number): boolean {
    const size = this.#pageSizeBytes
    const image = Buffer.alloc(size)
    const live = Buffer.alloc(size)
    const offset = (page - 1) * size
    const counts = [readAt(this.#image, image, offset), readAt(this.#database, live, offset)]
    return counts.every((count) => count === size) && image.equals(live)
  }

  /** The leaves of the free list, whose content means nothing: SQLite need not write it. */
  #freeLeaves(): ReadonlySet<number> {
    const leaves = new Set<number>()
    const seen = new Set<number>()
    const page = Buffer.alloc(this.#pageSizeBytes)
    readAt(this.#image, page, 0)
    let trunk = page.readUInt32BE(32)
    while (trunk !== 0 && !seen.has(trunk)) {
      seen.add(trunk)
      if (readAt(this.#image, page, (trunk - 1) * page.length) < page.length) break
      const count = Math.min(page.readUInt32BE(4), page.length / 4 - 2)
      for (let leaf = 0; leaf < count; leaf += 1) leaves.add(page.readUInt32BE(8 + leaf * 4))
      trunk = page.readUInt32BE(0)
    }
    return leaves
  }
}

function pageSizeOf(fd: number): number {
  const head = Buffer.alloc(100)
  const count = readAt(fd, head, 0)
  // Nothing is in it, so any size will do.
  if (count === 0) return 4096
  const size = databasePageSize(head)
  if (size === undefined) throw new Error('the restored file is not a SQLite database')
  return size
}

/** Returns how many bytes there were. */
function readAt(fd: number, into: Uint8Array, offset: number): number {
  let done = 0
  while (done < into.length) {
    const count = readSync(fd, into, done, into.length - done, offset + done)
    if (count === 0) break
    done += count
  }
  return done
}

function sameOrNone(a: Salts | undefined, b: Salts | undefined): boolean {
  return a === undefined || b === undefined ? a === b : sameSalts(a, b)
}
