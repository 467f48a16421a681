/** Looks at a database and its local state from outside, and says whether capturing can go on where it stood. */
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { comparePositions } from '../../src/domain/wal/position.ts'
import { parseWalSegmentName } from '../../src/domain/stored/replica-layout.ts'
import { parseTrailer, type WalSegmentTrailer } from '../../src/domain/stored/trailer.ts'
import {
  frameBytes,
  readSalts,
  type Salts,
  sameSalts,
  walHeaderBytes,
} from '../../src/domain/wal/wal-format.ts'

export interface Captured {
  /** Undefined: nothing was captured. */
  readonly last: WalSegmentTrailer | undefined
  /** Whether the WAL still has what was captured last, and where it was. */
  readonly goesOn: boolean
}

const metaPathOf = (db: string): string =>
  join(db, '..', `.${db.slice(db.lastIndexOf('/') + 1)}-tsreplicate`)

/** The folder of the spooled segments; undefined: there is no generation. */
export function spoolFolderOf(db: string): string | undefined {
  const state = join(metaPathOf(db), 'state.json')
  if (!existsSync(state)) return undefined
  const { generation } = JSON.parse(readFileSync(state, 'utf8')) as { generation: string }
  return join(metaPathOf(db), 'spool', generation)
}

/** Paths of the spooled segments, in order. */
export function spooledSegments(db: string): string[] {
  const folder = spoolFolderOf(db)
  if (folder === undefined || !existsSync(folder)) return []
  return readdirSync(folder)
    .flatMap((name) => {
      const position = parseWalSegmentName(name)
      return position === undefined ? [] : [{ name, position }]
    })
    .sort((a, b) => comparePositions(a.position, b.position))
    .map(({ name }) => join(folder, name))
}

export function walSalts(db: string): Salts | undefined {
  if (!existsSync(`${db}-wal`)) return undefined
  const wal = readFileSync(`${db}-wal`)
  return wal.length < walHeaderBytes ? undefined : readSalts(wal)
}

export function lookAtCaptured(db: string): Captured {
  const path = spooledSegments(db).at(-1)
  if (path === undefined) return { last: undefined, goesOn: false }
  const found = parseTrailer(readFileSync(path), statSync(path).size)
  if (found.kind !== 'trailer' || found.trailer.kind !== 'wal-segment') {
    throw new Error(`${path} has no trailer`)
  }
  const last = found.trailer
  if (!existsSync(`${db}-wal`)) return { last, goesOn: false }
  const wal = readFileSync(`${db}-wal`)
  const endOffset = last.source?.endOffset ?? last.endOffset
  const salts = walSalts(db)
  if (salts === undefined || !sameSalts(salts, saltsOf(last)) || wal.length < endOffset) {
    return { last, goesOn: false }
  }
  const at = endOffset - frameBytes(last.pageSizeBytes) + 16
  const checksum = last.source?.checksum ?? last.checksumAfter
  const goesOn = wal.readUInt32BE(at) === checksum.s0 && wal.readUInt32BE(at + 4) === checksum.s1
  return { last, goesOn }
}

/** Salts of SQLite's own WAL. */
export function saltsOf(trailer: WalSegmentTrailer): Salts {
  return trailer.source?.salts ?? trailer.salts
}
