/**
 * Where in a WAL the capture is, and the chain up to there. It reads what SQLite says to be committed, checks that each
 * frame follows the one before it, and cuts what it read at commits. It knows the file's bytes and nothing of SQLite.
 */
import { type PreviousIndexEnd, type SourceWal } from '../../domain/stored/trailer.js'
import { broken, type Broken, type Continuity, continuous } from '../../domain/wal/break-reason.js'
import { maxIndex, type WalPosition } from '../../domain/wal/position.js'
import {
  type Checksum,
  frameHeaderBytes,
  formatSalts,
  formatWalHeader,
  frameBytes,
  offsetAfterFrames,
  parseWalHeader,
  readFrameChecksum,
  readFrameSalts,
  readSalts,
  resaltFrames,
  type Salts,
  sameChecksum,
  sameSalts,
  verifyFrames,
  type WalHeader,
  walHeaderBytes,
} from '../../domain/wal/wal-format.js'
import {
  type CaptureCursor,
  type CapturedRun,
  isAllCopied,
  type OwnIndex,
  type WalState,
} from '../../usecase/ports/managed-database.js'
import { type WalFile } from './wal-file.js'

/** Of a WAL that is verified to be the one that was captured, this much is read in one call. */
const verifiedBytesAtOnce = 16 * 1024 * 1024
/** And this much at once. */
const verifiedChunkBytes = 4 * 1024 * 1024

export interface WalCursorOptions {
  readonly wal: Pick<WalFile, 'read' | 'readInto'>
  readonly pageSizeBytes: number
  /** Past this offset an index of our own begins at the next commit. */
  readonly rollBytes: number
}

interface CursorState {
  position: WalPosition
  /** Of our index. */
  salts: Salts
  checksum: Checksum
  /** Of SQLite's WAL; equal to ours unless the index was rolled. */
  source: { salts: Salts; offset: number; checksum: Checksum; checkpointSequence: number }
  rolled: boolean
  bigEndian: boolean
  /** Whether the last captured frame commits. */
  atCommit: boolean
}

/** How far the chain of a WAL is verified that may be the one captured up to `cursor`. */
interface Verification {
  readonly cursor: CaptureCursor
  readonly header: WalHeader
  at: number
  running: Checksum
}

export class WalCursor {
  readonly #wal: Pick<WalFile, 'read' | 'readInto'>
  readonly #pageSizeBytes: number
  readonly #rollBytes: number
  /** Undefined: nothing was read yet. */
  #place: CursorState | undefined
  #verification: Verification | undefined
  #pendingPrevious: PreviousIndexEnd | undefined
  #formerFrameCount = 0

  constructor({ wal, pageSizeBytes, rollBytes }: WalCursorOptions) {
    this.#wal = wal
    this.#pageSizeBytes = pageSizeBytes
    this.#rollBytes = rollBytes
  }

  /** In SQLite's WAL; undefined: nothing was read yet. */
  get offset(): number | undefined {
    return this.#place?.source.offset
  }

  /** Whether everything captured ends in a commit. */
  get isAtCommit(): boolean {
    return this.#place?.atCommit ?? true
  }

  /** Captured frames of the present WAL. */
  get frameCount(): number {
    return ((this.offset ?? walHeaderBytes) - walHeaderBytes) / frameBytes(this.#pageSizeBytes)
  }

  /** Frames of the present WAL in front of the index that is captured: another index, if any, has them. */
  get frameCountBeforeIndex(): number {
    const place = this.#place
    if (place === undefined) return 0
    const indexBytes = Math.max(place.position.offset, walHeaderBytes)
    return Math.max(0, (place.source.offset - indexBytes) / frameBytes(this.#pageSizeBytes))
  }

  /** Frames of the WALs that were restarted since: all of them were copied back before. */
  get formerFrameCount(): number {
    return this.#formerFrameCount
  }

  /**
   * Goes on where `cursor` ends, if this is the WAL that was captured up to there. Undefined: more is to be read to know,
   * see {@link verifyMore}.
   */
  resume(
    cursor: CaptureCursor,
    header: Uint8Array | undefined,
    state: WalState,
  ): Continuity | undefined {
    if (cursor.position.index >= maxIndex) {
      return broken('max index exceeded', `index ${cursor.position.index}`)
    }
    if (cursor.pageSizeBytes !== this.#pageSizeBytes) {
      return broken('page size changed', `${cursor.pageSizeBytes} to ${this.#pageSizeBytes} bytes`)
    }
    if (header === undefined) return broken('no wal', 'the -wal file is missing or empty')
    const parsed = parseWalHeader(header)
    if (!parsed.ok) return broken('wal overwritten by another process', parsed.problem)
    const { salts, offset } = sourceOf(cursor)
    if (!sameSalts(parsed.header.salts, salts)) {
      return broken(
        'wal restarted while it was not watched',
        `salts ${formatSalts(salts)} are now ${formatSalts(parsed.header.salts)}`,
      )
    }
    if (state.frameCount === 0) {
      return broken('wal restarted while it was not watched', 'SQLite has already discarded it')
    }
    const end = offsetAfterFrames(state.frameCount, this.#pageSizeBytes)
    if (end < offset) {
      return broken('wal truncated by another process', `it ends at ${end}, captured to ${offset}`)
    }
    this.#verification = {
      cursor,
      header: parsed.header,
      at: walHeaderBytes,
      running: parsed.header.checksum,
    }
    return this.verifyMore()
  }

  /**
   * Goes on verifying that the WAL is the one that was captured: power loss can shorten or change it under equal salts, so
   * the chain is read from its start, a part in each call. Undefined: there is more to read.
   */
  verifyMore(): Continuity | undefined {
    const verification = this.#verification
    if (verification === undefined) throw new Error('there is nothing to verify')
    const { cursor, header } = verification
    const { salts, offset, checksum } = sourceOf(cursor)
    const until = Math.min(offset, verification.at + verifiedBytesAtOnce)
    while (verification.at < until) {
      const length = Math.min(this.#chunkBytes(verifiedChunkBytes), offset - verification.at)
      const bytes = this.#wal.read(verification.at, length)
      const verified = verifyFrames(bytes, {
        pageSizeBytes: this.#pageSizeBytes,
        bigEndian: header.bigEndian,
        salts,
        checksum: verification.running,
      })
      const isWhole = verified.frameCount * frameBytes(this.#pageSizeBytes) === bytes.length
      if (!isWhole || bytes.length === 0) {
        return broken(
          'wal overwritten by another process',
          `the chain breaks after offset ${verification.at}`,
        )
      }
      verification.running = verified.checksum
      verification.at += bytes.length
    }
    if (verification.at < offset) return undefined
    this.#verification = undefined
    if (!sameChecksum(verification.running, checksum)) {
      return broken('wal overwritten by another process', `other frames end at offset ${offset}`)
    }
    this.#place = {
      position: cursor.position,
      salts: cursor.salts,
      checksum: cursor.checksum,
      source: { salts, offset, checksum, checkpointSequence: header.checkpointSequence },
      rolled: cursor.source !== undefined,
      bigEndian: header.bigEndian,
      atCommit: true,
    }
    return continuous
  }

  /**
   * Up to where SQLite's WAL is to be captured, after moving to a new index if the WAL was restarted. `firstFrameCount`:
   * until the first full copy has ended, how many frames there were when it began.
   */
  advanceTo(
    header: Uint8Array | undefined,
    state: WalState,
    { firstFrameCount }: { readonly firstFrameCount: number },
  ): number | Broken {
    const place = this.#place
    const nothing = place?.source.offset ?? 0
    if (place === undefined && state.frameCount > 0) {
      // What it has is in the database file, and SQLite does not look at it any more: the index begins when it is restarted.
      if (isAllCopied(state)) return nothing
    }
    if (header === undefined) {
      return state.frameCount === 0
        ? nothing
        : broken('wal truncated by another process', 'the -wal file is missing or empty')
    }
    const end = offsetAfterFrames(state.frameCount, this.#pageSizeBytes)
    if (place !== undefined && sameSalts(readSalts(header), place.source.salts)) {
      // Everything may have been copied back before we came: what is let go now was not read.
      if (state.frameCount < firstFrameCount) {
        return broken('wal restarted during the first look', 'SQLite has just discarded it')
      }
      // No frames under the old salts is a restart under way: the wal-index is reset before the header is rewritten.
      if (state.frameCount === 0) return nothing
      if (end < place.source.offset) {
        return broken(
          'wal truncated by another process',
          `SQLite knows ${state.frameCount} frames, captured to offset ${place.source.offset}`,
        )
      }
      return end
    }
    // An incarnation gets its index at its first commit: a rolled-back first transaction salts it again.
    if (state.frameCount === 0) return nothing
    const parsed = parseWalHeader(header)
    if (!parsed.ok) return broken('wal overwritten by another process', parsed.problem)
    return this.#beginIndex(parsed.header) ?? end
  }

  #beginIndex({
    pageSizeBytes,
    salts,
    checksum,
    checkpointSequence,
    bigEndian,
  }: WalHeader): Broken | undefined {
    if (pageSizeBytes !== this.#pageSizeBytes) {
      return broken('page size changed', `${this.#pageSizeBytes} to ${pageSizeBytes} bytes`)
    }
    const place = this.#place
    const hasCaptured = place !== undefined && place.position.offset > 0
    const index = hasCaptured ? place.position.index + 1 : (place?.position.index ?? 0)
    if (index >= maxIndex) return broken('max index exceeded', `index ${index}`)
    if (hasCaptured) {
      this.#pendingPrevious = { offset: place.position.offset, checksum: place.checksum }
    }
    this.#formerFrameCount += this.frameCount
    this.#place = {
      position: { index, offset: 0 },
      salts,
      checksum,
      source: { salts, offset: walHeaderBytes, checksum, checkpointSequence },
      rolled: false,
      bigEndian,
      atCommit: true,
    }
    return undefined
  }

  /** Reads, verifies and, in a rolled index, re-salts the next frames. */
  readRun(
    { targetOffset, timeMs }: { readonly targetOffset: number; readonly timeMs: number },
    maxBytes: number,
  ): CapturedRun | Broken {
    const place = this.#place
    if (place === undefined) throw new Error('there is no place to read from')
    const pageSizeBytes = this.#pageSizeBytes
    const stepBytes = frameBytes(pageSizeBytes)
    if (place.position.offset >= this.#rollBytes && place.atCommit) this.#roll(place)

    const atStart = place.position.offset === 0
    const headBytes = atStart ? walHeaderBytes : 0
    const wanted = Math.min(this.#chunkBytes(maxBytes), targetOffset - place.source.offset)
    let bytes = new Uint8Array(headBytes + wanted)
    let frames = bytes.subarray(headBytes)
    if (this.#wal.readInto(frames, place.source.offset) < wanted) {
      return broken(
        'wal truncated by another process',
        `it ends before offset ${place.source.offset + wanted}`,
      )
    }
    const verified = verifyFrames(frames, {
      pageSizeBytes,
      bigEndian: place.bigEndian,
      salts: place.source.salts,
      checksum: place.source.checksum,
    })
    if (verified.frameCount * stepBytes !== wanted) {
      return broken(
        'wal overwritten by another process',
        `the frame at offset ${place.source.offset + verified.frameCount * stepBytes} breaks the chain`,
      )
    }
    let frameCount = verified.frameCount
    let walChecksum = verified.checksum
    // What is cut by size stops at a commit, where there is one: there a segment can end, and an index of our own begin.
    if (verified.committedFrameCount > 0) {
      frameCount = verified.committedFrameCount
      walChecksum = verified.committedChecksum
      bytes = bytes.subarray(0, headBytes + frameCount * stepBytes)
      frames = bytes.subarray(headBytes)
    }
    const endsInCommit = frameCount === verified.committedFrameCount
    const { salts, bigEndian, position: start, checksum: checksumBefore } = place
    const checksumAfter = place.rolled
      ? resaltFrames(frames, { pageSizeBytes, bigEndian, salts, checksum: checksumBefore })
      : walChecksum
    const { checkpointSequence } = place.source
    if (atStart) {
      bytes.set(formatWalHeader({ pageSizeBytes, checkpointSequence, salts, bigEndian }))
    }
    const end = {
      index: start.index,
      offset: start.offset + headBytes + frameCount * stepBytes,
    }
    place.position = end
    place.checksum = checksumAfter
    place.source = {
      ...place.source,
      offset: place.source.offset + frameCount * stepBytes,
      checksum: walChecksum,
    }
    place.atCommit = endsInCommit
    const previousIndexEnd = atStart ? this.#pendingPrevious : undefined
    if (atStart) this.#pendingPrevious = undefined
    const source: SourceWal | undefined = place.rolled
      ? {
          salts: place.source.salts,
          endOffset: place.source.offset,
          checksum: place.source.checksum,
        }
      : undefined
    return {
      bytes,
      start,
      end,
      pageSizeBytes,
      bigEndian,
      salts,
      checksumBefore,
      checksumAfter,
      databaseSizePages: endsInCommit ? verified.databaseSizePages : 0,
      timeMs,
      previousIndexEnd,
      source,
    }
  }

  /**
   * All that was captured so far is in an index of ours, which goes on from here. `look` is what the last round was told, for
   * a WAL of which nothing was captured, as all of it was copied back.
   */
  continueAs(
    { position, salts, checksum, bigEndian }: OwnIndex,
    look: { readonly header: Uint8Array | undefined; readonly frameCount: number },
  ): SourceWal | Broken {
    const place = this.#place
    const sequence = place?.source.checkpointSequence ?? 0
    const source = place?.source ?? this.#copiedBack(look) ?? unlike()
    if (place !== undefined && place.bigEndian !== bigEndian) {
      return broken('wal overwritten by another process', 'its byte order has changed')
    }
    this.#pendingPrevious = undefined
    this.#place = {
      ...{ position, salts, checksum, bigEndian, rolled: true, atCommit: true },
      source: { checkpointSequence: sequence, ...source },
    }
    return { salts: source.salts, endOffset: source.offset, checksum: source.checksum }
  }

  /** The end of a WAL that was copied back whole: frames that are appended to it follow. Undefined: there is none any more. */
  #copiedBack({
    header,
    frameCount,
  }: {
    readonly header: Uint8Array | undefined
    readonly frameCount: number
  }): Omit<CursorState['source'], 'checkpointSequence'> | undefined {
    const parsed = header === undefined ? undefined : parseWalHeader(header)
    if (parsed?.ok !== true || frameCount === 0) return undefined
    const { salts } = parsed.header
    const offset = offsetAfterFrames(frameCount, this.#pageSizeBytes)
    const last = new Uint8Array(frameHeaderBytes)
    const readBytes = this.#wal.readInto(last, offset - frameBytes(this.#pageSizeBytes))
    // It was restarted, or cut, meanwhile.
    if (readBytes < last.length || !sameSalts(readFrameSalts(last), salts)) return undefined
    return { salts, offset, checksum: readFrameChecksum(last) }
  }

  /** Whether this is the header of the WAL of which the last frame was captured. */
  isOf(header: Uint8Array | undefined): boolean {
    const source = this.#place?.source
    return (
      source !== undefined &&
      header !== undefined &&
      source.offset > walHeaderBytes &&
      sameSalts(readSalts(header), source.salts)
    )
  }

  /** Whether the last captured frame is in the file as it was read. */
  isLastFrameThere(): boolean {
    const place = this.#place
    if (place === undefined) return true
    const stored = new DataView(new ArrayBuffer(8))
    this.#wal.readInto(new Uint8Array(stored.buffer), this.lastFrameOffset + 16)
    return sameChecksum({ s0: stored.getUint32(0), s1: stored.getUint32(4) }, place.source.checksum)
  }

  /** In SQLite's WAL, of the last captured frame. */
  get lastFrameOffset(): number {
    return (this.offset ?? 0) - frameBytes(this.#pageSizeBytes)
  }

  /** Begins an index of our own within SQLite's WAL: a valid WAL to whoever restores it. */
  #roll(place: CursorState): void {
    const salts = {
      salt1: (place.salts.salt1 + 1) >>> 0,
      salt2: Math.floor(Math.random() * 0x1_0000_0000),
    }
    const checkpointSequence = (place.source.checkpointSequence + 1) >>> 0
    this.#pendingPrevious = { offset: place.position.offset, checksum: place.checksum }
    const { bigEndian } = place
    const header = parseWalHeader(
      formatWalHeader({ pageSizeBytes: this.#pageSizeBytes, checkpointSequence, salts, bigEndian }),
    )
    if (!header.ok) throw new Error(`a header of our own is not valid: ${header.problem}`)
    place.position = { index: place.position.index + 1, offset: 0 }
    place.salts = salts
    place.checksum = header.header.checksum
    place.source = { ...place.source, checkpointSequence }
    place.rolled = true
  }

  /** The largest whole number of frames in `maxBytes`, at least one, in bytes. */
  #chunkBytes(maxBytes: number): number {
    const stepBytes = frameBytes(this.#pageSizeBytes)
    return Math.max(1, Math.floor((maxBytes - walHeaderBytes) / stepBytes)) * stepBytes
  }
}

/** A WAL that SQLite will never write: whatever it writes next is another one, to be captured from its beginning. */
function unlike(): Omit<CursorState['source'], 'checkpointSequence'> {
  const word = (): number => Math.floor(Math.random() * 0x1_0000_0000)
  const salts = { salt1: word(), salt2: word() }
  return { salts, offset: walHeaderBytes, checksum: { s0: word(), s1: word() } }
}

/** Where SQLite's WAL was captured to: the index may be one that we rolled. */
function sourceOf(cursor: CaptureCursor): { salts: Salts; offset: number; checksum: Checksum } {
  const { source, position, salts, checksum } = cursor
  return source === undefined
    ? { salts, offset: position.offset, checksum }
    : { salts: source.salts, offset: source.endOffset, checksum: source.checksum }
}
