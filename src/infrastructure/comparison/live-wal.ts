import { readSync } from 'node:fs'
import {
  frameBytes,
  frameHeaderBytes,
  framePageNumber,
  parseWalHeader,
  sameChecksum,
  sameSalts,
  type Salts,
  verifyFrames,
  walHeaderBytes,
} from '../../domain/wal/wal-format.js'
import { type WalEnd } from '../../usecase/ports/live-comparison.js'

/** What the live WAL says of the pages of a database. */
export interface LiveWal {
  /** Undefined: there is no WAL, or nothing in it. */
  readonly salts: Salts | undefined
  /** Whether it holds the commit that was asked for. */
  readonly holdsEnd: boolean
  /** Where the content of pages at that commit begins: the last frame of each. Other pages are in the database file. */
  readonly contentOffsets: ReadonlyMap<number, number>
  /** Pages of later frames: what the database file has of them may be newer. */
  readonly changedLater: ReadonlySet<number>
}

const chunkFrames = 256

/** Reads the WAL as far as its chain of checksums reaches, without a lock: what SQLite appends meanwhile is later. */
export function readLiveWal(fd: number | undefined, end: WalEnd | undefined): LiveWal {
  const contentOffsets = new Map<number, number>()
  const changedLater = new Set<number>()
  const head = new Uint8Array(walHeaderBytes)
  const none = { salts: undefined, holdsEnd: false, contentOffsets, changedLater }
  if (fd === undefined || readSync(fd, head, 0, walHeaderBytes, 0) < walHeaderBytes) return none
  const parsed = parseWalHeader(head)
  if (!parsed.ok) return none
  const { salts, pageSizeBytes, bigEndian } = parsed.header
  const stepBytes = frameBytes(pageSizeBytes)
  const wantedEnd = end !== undefined && sameSalts(end.salts, salts) ? end : undefined
  let { checksum } = parsed.header
  let holdsEnd = false
  for (let offset = walHeaderBytes; ;) {
    const frames = new Uint8Array(
      readableFrames(offset, stepBytes, holdsEnd ? undefined : wantedEnd),
    )
    const readBytes = readSync(fd, frames, 0, frames.length, offset)
    const whole = frames.subarray(0, readBytes - (readBytes % stepBytes))
    const verified = verifyFrames(whole, { pageSizeBytes, bigEndian, salts, checksum })
    const data = new DataView(whole.buffer, whole.byteOffset, whole.byteLength)
    for (let frame = 0; frame < verified.frameCount; frame += 1) {
      const page = framePageNumber(data, frame * stepBytes)
      if (wantedEnd === undefined || holdsEnd) changedLater.add(page)
      else contentOffsets.set(page, offset + frame * stepBytes + frameHeaderBytes)
    }
    offset += verified.frameCount * stepBytes
    checksum = verified.checksum
    if (wantedEnd?.endOffset === offset) holdsEnd ||= sameChecksum(wantedEnd.checksum, checksum)
    const isOver = whole.length < frames.length || verified.frameCount * stepBytes < whole.length
    if (isOver || (wantedEnd?.endOffset === offset && !holdsEnd)) break
  }
  if (holdsEnd || wantedEnd === undefined) {
    return { salts, holdsEnd, contentOffsets, changedLater }
  }
  // Another history under the same salts, or a WAL that was cut: nothing in it is known.
  for (const page of contentOffsets.keys()) changedLater.add(page)
  contentOffsets.clear()
  return { salts, holdsEnd, contentOffsets, changedLater }
}

/** Some frames, and none past the wanted end, so that the checksum there is seen. */
function readableFrames(offset: number, stepBytes: number, end: WalEnd | undefined): number {
  const most = chunkFrames * stepBytes
  return end === undefined || end.endOffset <= offset
    ? most
    : Math.min(most, end.endOffset - offset)
}
