/**
 * Captures one database's WAL. Lives in a thread of its own kind, because SQLite blocks.
 *
 * The mechanism is overlapping readers. With R the read transaction held now, each round opens R2, captures all that is
 * committed, and only then closes R; there is never a moment without a reader. A WAL can restart only when every frame
 * is copied back and no reader holds a mark of 1 or more, and frames are copied back only up to the oldest mark; a
 * reader on mark 0 lets one restart pass, and no second. We drop a mark only after capturing up to it and taking the
 * next, so no frame is overwritten unread.
 *
 * What is committed is what SQLite says (`wal_checkpoint(NOOP)`), never what the bytes look like: a writer killed in the
 * sync behind its commit frame leaves a valid frame that no reader ever sees.
 *
 * Connections are read-only, so that closing one at exit never checkpoints or deletes the WAL. The database file and
 * `-shm` are never opened and closed by `fs`: with POSIX locks that would drop SQLite's.
 */
import Database from 'better-sqlite3'
import fs from 'node:fs'
import { broken, type Continuity, continuous } from '../../domain/wal/continuity.js'
import { maxIndex, type WalPosition } from '../../domain/wal/position.js'
import { type PreviousIndexEnd, type SourceWal } from '../../domain/stored/trailer.js'
import {
  type Checksum,
  formatSalts,
  formatWalHeader,
  frameBytes,
  offsetAfterFrames,
  parseWalHeader,
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
  type CaptureResult,
  type OpenedDatabase,
  type WalState,
} from '../../usecase/ports/managed-database.js'
import { identifyLogFile, type LogFiles, logFilesNow } from './log-files.js'

/** Past this offset an index is rolled at the next commit: far below the 4 GiB that names can hold. */
const defaultRollBytes = 1024 * 1024 * 1024

/**
 * A reader is renewed after this long though nothing seems to have changed. One that begins in the moment between the end
 * of somebody's copying back and the release of its lock gets a mark of 1 or more where it should get 0, and no state
 * that could be asked for tells: the RESTART or TRUNCATE that goes on from there would wait for it.
 */
const renewAfterMs = 50

/**
 * Who looks often renews the reader when nothing was committed since the last look, or after this long: a commit that comes
 * no more is how a waiting RESTART or TRUNCATE looks, behind whose back no reader's mark moves any more. One that just
 * begins may look up a mark in the very moment in which a reader takes it, and then wait for that one to its busy timeout.
 */
const eagerRenewAfterMs = 25

/** How often R2 begins again because somebody has committed in that moment. Beside 200 transactions a second it is one in 50. */
const maxUndisturbedTries = 3

/**
 * How often SQLite is asked what is committed when it does not tell: it says busy, and no number, when a writer publishes a
 * commit in that very moment, which takes it microseconds. Some 10 ms: other databases wait meanwhile.
 */
const maxAsked = 60

/** Of a WAL that is proven to be the one that was captured, this much is read in one call. */
const proofBytes = 16 * 1024 * 1024

/** What it has was not captured, and what was captured is not in it. */
export const anotherWal = 'another -wal has taken the place of the one that is open'

/** SQLite did not say what is committed. */
export class UntoldError extends Error {
  readonly code = 'UNTOLD'
}

/** How often a header is read again when it changes between two looks; a restart takes microseconds. */
const maxHeaderLooks = 1000

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
class Reader {
  readonly #database: Database.Database
  // Prepared when needed: of a thousand databases at rest, each statement of each is some three megabytes.
  #cookie: Database.Statement | undefined
  #noop: Database.Statement | undefined
  #version: Database.Statement | undefined

  constructor(path: string) {
    // Whoever has to wait sleeps in the main thread: here, other databases would wait with him.
    this.#database = new Database(path, { readonly: true, fileMustExist: true, timeout: 0 })
    try {
      this.#configure()
    } catch (error) {
      // Left to the garbage collector, it keeps its descriptors and locks until then.
      this.#database.close()
      throw error
    }
  }

  #configure(): void {
    // It reads page 1 and no other. Of a thousand databases, a cache of 20 pages that is taken in one piece and a parsed
    // schema in each connection are most of the memory.
    this.#database.exec(
      'PRAGMA wal_autocheckpoint = 0; PRAGMA cache_size = 1; PRAGMA writable_schema = RESET; PRAGMA shrink_memory',
    )
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
      if (asked > 10) Atomics.wait(sleeper, 0, 0, 0.2)
    }
    throw new UntoldError('SQLite does not tell what is committed: its wal-index cannot be read')
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

interface RoundOptions {
  /** Begins one whether something has changed or not. */
  readonly force?: boolean
  readonly isEager?: boolean
}

interface Cursor {
  position: WalPosition
  /** Of our index. */
  salts: Salts
  checksum: Checksum
  /** Of SQLite's WAL; equal to ours unless the index was rolled. */
  wal: { salts: Salts; offset: number; checksum: Checksum; checkpointSequence: number }
  rolled: boolean
  bigEndian: boolean
  /** Whether the last captured frame commits. */
  atCommit: boolean
}

/** A round under way: everything up to `targetOffset` of SQLite's WAL is to be captured before R is let go. */
interface Round {
  readonly next: Reader
  readonly wal: WalState
  readonly targetOffset: number
  readonly timeMs: number
  readonly schemaCookie: number
  /** Read before `next` began. */
  readonly stateBefore: WalState
  /** Whether there was a reason to begin it but the age of the reader, or that it is the first look. */
  readonly changed: boolean
}

const sameState = (a: WalState, b: WalState): boolean =>
  a.frameCount === b.frameCount && a.copiedBackCount === b.copiedBackCount

/** What SQLite says of the WAL, and the header that this is about; undefined: the file has none. */
interface Look {
  readonly header: Uint8Array | undefined
  readonly state: WalState
}

const sameHeader = (a: Uint8Array | undefined, b: Uint8Array | undefined): boolean =>
  a === undefined || b === undefined ? a === b : Buffer.compare(a, b) === 0

/** What was opened, and with which files beside it. */
export interface OpenedWithLog extends OpenedDatabase {
  readonly log: LogFiles
}

/** How far the chain of a WAL is proven that may be the one captured up to `cursor`. */
interface Proof {
  readonly cursor: CaptureCursor
  readonly header: WalHeader
  at: number
  running: Checksum
}

export class WalCapture {
  readonly #path: string
  readonly #rollBytes: number
  /** The reader held now. */
  #held: Reader | undefined
  #spare: Reader | undefined
  /** Never in a transaction: asks SQLite what is committed. Opened only beside a busy writer. */
  #asker: Reader | undefined
  #walDescriptor: number | undefined
  /** The files that the held reader was opened with. */
  #log: LogFiles = { wal: undefined, shm: undefined }
  #pageSizeBytes = 0
  #cursor: Cursor | undefined
  #startIndex = 0
  #round: Round | undefined
  #schemaCookie = 0
  /** SQLite's state read before the held reader began. */
  #stateBeforeHeld: WalState = { frameCount: -1, copiedBackCount: -1 }
  #heldSince = Number.NEGATIVE_INFINITY
  #lastFrameCount = -1
  #lastSalts: Salts | undefined
  /** Until the first full copy has ended: the salts that it began with, and how many frames there were. */
  #firstLook: { readonly salts: Salts | undefined; readonly frameCount: number } | undefined
  #pendingPrevious: PreviousIndexEnd | undefined
  #proof: Proof | undefined
  /** Frames of the WALs that were restarted since the first look: all of them were copied back before. */
  #formerFrameCount = 0

  constructor(path: string, options: { rollBytes?: number } = {}) {
    this.#path = path
    this.#rollBytes = options.rollBytes ?? defaultRollBytes
  }

  /** Opens and takes the first reader. Undefined while there is no file, or an empty one that its owner is still making. */
  open(): OpenedWithLog | undefined {
    const stat = fs.statSync(this.#path, { throwIfNoEntry: false })
    if (stat === undefined) return undefined
    if (!stat.isFile()) throw new Error('it is not a regular file')
    if (stat.size === 0) return undefined
    let writable: Database.Database | undefined
    let formerJournalMode = 'wal'
    try {
      this.#held = openReaderOfWal(this.#path)
      if (this.#held === undefined) {
        // A writable connection sets the mode; it is closed again while the reader is held. SQLite keeps its descriptor as
        // long, which is why a database that is in WAL mode has none opened.
        writable = new Database(this.#path, { fileMustExist: true, timeout: 0 })
        writable.exec('PRAGMA wal_autocheckpoint = 0')
        formerJournalMode = String(writable.pragma('journal_mode', { simple: true }))
        if (formerJournalMode !== 'wal') {
          const mode = String(writable.pragma('journal_mode = wal', { simple: true }))
          if (mode !== 'wal') throw new Error(`it stays in journal mode ${mode}`)
        }
        writable.pragma('schema_version')
        this.#held = new Reader(this.#path)
      }
      this.#stateBeforeHeld = this.#held.state()
      this.#schemaCookie = this.#held.begin()
      this.#pageSizeBytes = this.#held.pageSizeBytes()
      this.#log = logFilesNow(this.#path)
    } catch (error) {
      this.#closeReaders()
      throw error
    } finally {
      writable?.close()
    }
    return {
      identity: { device: stat.dev, inode: stat.ino },
      file: this.#path,
      pageSizeBytes: this.#pageSizeBytes,
      formerJournalMode,
      log: this.#log,
    }
  }

  /** The first look. See the port. Undefined: more is to be read for it, see {@link prove}. */
  begin(cursor: CaptureCursor | undefined): Continuity | undefined {
    this.#abandonRound()
    this.#cursor = undefined
    this.#proof = undefined
    this.#pendingPrevious = undefined
    this.#formerFrameCount = 0
    this.#startIndex = 0
    // A fresh reader: what it sees is what the first look begins with.
    const former = this.#renew()
    const { header, state } = this.#look(former ?? this.#askerNow())
    this.#lastSalts = undefined
    this.#firstLook = {
      salts: header === undefined ? undefined : readSalts(header),
      frameCount: state.frameCount,
    }
    return cursor === undefined
      ? this.#readable(header, state)
      : this.#resume(cursor, header, state)
  }

  /** Whether what a snapshot would lack can be captured. */
  #readable(header: Uint8Array | undefined, state: WalState): Continuity {
    if (state.copiedBackCount >= state.frameCount) return continuous
    const parsed = header === undefined ? undefined : parseWalHeader(header)
    if (parsed?.ok === true) return continuous
    const lost = this.#firstLostFrame(state)
    return lost === undefined && parsed !== undefined
      ? broken('wal overwritten by another process', parsed.problem)
      : broken('wal truncated by another process', `it lacks frame ${lost ?? 1}`)
  }

  /** Of the frames that are to be copied back, the first that is not as the last one; undefined: all seem to be there. */
  #firstLostFrame({ frameCount, copiedBackCount }: WalState): number | undefined {
    const saltsOf = (frame: number): Uint8Array => {
      const offset = offsetAfterFrames(frame - 1, this.#pageSizeBytes) + 8
      return this.#readWal(offset, 8)
    }
    const wanted = saltsOf(frameCount)
    const isLost = (salts: Uint8Array): boolean =>
      salts.length < 8 || salts.every((byte) => byte === 0) || !sameHeader(salts, wanted)
    for (let frame = copiedBackCount + 1; frame <= frameCount; frame += 1) {
      if (isLost(saltsOf(frame))) return frame
    }
    return undefined
  }

  #resume(
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
      return broken('wal restarted while it was not watched', 'SQLite has already let it go')
    }
    const end = offsetAfterFrames(state.frameCount, this.#pageSizeBytes)
    if (end < offset) {
      return broken('wal truncated by another process', `it ends at ${end}, captured to ${offset}`)
    }
    this.#proof = {
      cursor,
      header: parsed.header,
      at: walHeaderBytes,
      running: parsed.header.checksum,
    }
    return this.prove()
  }

  /**
   * Goes on proving that the WAL is the one that was captured: power loss can shorten or change it under equal salts, so
   * the chain is read from its start, a part in each call. Undefined: there is more to read.
   */
  prove(): Continuity | undefined {
    const proof = this.#proof
    if (proof === undefined) throw new Error('there is nothing to prove')
    const { cursor, header } = proof
    const { salts, offset, checksum } = sourceOf(cursor)
    const until = Math.min(offset, proof.at + proofBytes)
    while (proof.at < until) {
      const bytes = this.#readWal(
        proof.at,
        Math.min(this.#chunkBytes(4 * 1024 * 1024), offset - proof.at),
      )
      const verified = verifyFrames(bytes, {
        pageSizeBytes: this.#pageSizeBytes,
        bigEndian: header.bigEndian,
        salts,
        checksum: proof.running,
      })
      if (
        verified.frameCount * frameBytes(this.#pageSizeBytes) !== bytes.length ||
        bytes.length === 0
      ) {
        return broken(
          'wal overwritten by another process',
          `the chain breaks behind offset ${proof.at}`,
        )
      }
      proof.running = verified.checksum
      proof.at += bytes.length
    }
    if (proof.at < offset) return undefined
    this.#proof = undefined
    if (!sameChecksum(proof.running, checksum)) {
      return broken('wal overwritten by another process', `other frames end at offset ${offset}`)
    }
    this.#cursor = {
      position: cursor.position,
      salts: cursor.salts,
      checksum: cursor.checksum,
      wal: { salts, offset, checksum, checkpointSequence: header.checkpointSequence },
      rolled: cursor.source !== undefined,
      bigEndian: header.bigEndian,
      atCommit: true,
    }
    return continuous
  }

  /** Captures what is new. See the port. */
  capture(maxBytes: number, options: RoundOptions = {}): CaptureResult {
    if (this.#round === undefined) {
      const begun = this.#beginRound(options)
      if (begun !== undefined) return begun
    }
    const round = this.#round
    if (round === undefined) throw new Error('a round was begun and is gone')
    const runs: CapturedRun[] = []
    let left = maxBytes
    while (left > 0 && this.#cursor !== undefined && this.#cursor.wal.offset < round.targetOffset) {
      const run = this.#readRun(round, left)
      if ('kind' in run) return this.#broken(run, round.wal)
      runs.push(run)
      left -= run.bytes.length
    }
    const more = this.#cursor !== undefined && this.#cursor.wal.offset < round.targetOffset
    if (!more) {
      const verdict = this.#endRound(round)
      if (verdict.kind === 'broken') return this.#broken(verdict, round.wal)
    }
    return {
      continuity: continuous,
      runs,
      more,
      wal: round.wal,
      copiedCount: this.#copiedCount(round.wal),
      changed: round.changed,
      schemaCookie: this.#schemaCookie,
    }
  }

  /** Frames that were copied back since the first look. Of a WAL that was let go, all were. */
  #copiedCount({ frameCount, copiedBackCount }: WalState): number {
    return this.#formerFrameCount + (frameCount === 0 ? this.#capturedFrameCount : copiedBackCount)
  }

  /** Of the present WAL. */
  get #capturedFrameCount(): number {
    const offset = this.#cursor?.wal.offset ?? walHeaderBytes
    return (offset - walHeaderBytes) / frameBytes(this.#pageSizeBytes)
  }

  /**
   * Captures the tail and copies it back while somebody holds the writer lock, so that the next write restarts the WAL.
   * Once `tryMs` are over, no other try begins.
   */
  finishWal({ maxBytes, tryMs }: { maxBytes: number; tryMs: number }): CaptureResult {
    const deadline = performance.now() + tryMs
    let capture = this.capture(maxBytes, { force: true })
    let isBusy = true
    while (isBusy && capture.continuity.kind === 'continuous' && !capture.more) {
      if (logFilesNow(this.#path).wal !== this.#log.wal) break
      const copied = tryCheckpoint(this.#path)
      // Whatever it fails with, as on a full disk: what was captured before it is to be kept.
      if (copied === 'failed') break
      const renewed = this.capture(maxBytes, { force: true })
      capture = { ...renewed, runs: [...capture.runs, ...renewed.runs] }
      // The application's own checkpoint, which needs no writer lock, is under way.
      isBusy = copied === 'busy' && performance.now() < deadline
      if (isBusy) Atomics.wait(sleeper, 0, 0, 1)
    }
    return capture
  }

  /** Closes all but the held reader. */
  rest(): void {
    if (this.#round !== undefined) return
    this.#held?.rest()
    this.#spare?.close()
    this.#spare = undefined
    this.#asker?.close()
    this.#asker = undefined
    this.#closeWal()
  }

  close(): void {
    this.#abandonRound()
    this.#closeReaders()
    this.#closeWal()
    this.#cursor = undefined
  }

  /** Opens R2 and finds out how far is committed. Returns a result if there is nothing to do. */
  #beginRound({ force = false, isEager = false }: RoundOptions): CaptureResult | undefined {
    const next = this.#spareNow()
    const stateBefore = next.state()
    const isGrowing = stateBefore.frameCount !== this.#lastFrameCount
    this.#lastFrameCount = stateBefore.frameCount
    const heldMs = performance.now() - this.#heldSince
    if (isEager && isGrowing && heldMs < eagerRenewAfterMs && this.#firstLook === undefined) {
      return this.#nothing(stateBefore, true)
    }
    const saltsBefore = this.#readHeader()
    const unchanged =
      !force &&
      this.#firstLook === undefined &&
      sameState(stateBefore, this.#stateBeforeHeld) &&
      (saltsBefore === undefined
        ? this.#lastSalts === undefined
        : this.#lastSalts !== undefined && sameSalts(readSalts(saltsBefore), this.#lastSalts))
    if (unchanged && heldMs < renewAfterMs) return this.#nothing(stateBefore, false)
    const { header, state, schemaCookie } =
      (this.#asker === undefined ? this.#beginUndisturbed(next) : undefined) ??
      this.#beginBeside(next)
    const timeMs = Date.now()
    this.#lastSalts = header === undefined ? undefined : readSalts(header)
    const target = this.#target(header, state)
    if (typeof target !== 'number') {
      next.end()
      return this.#broken(target, state)
    }
    this.#round = {
      next,
      wal: state,
      targetOffset: target,
      timeMs,
      schemaCookie,
      stateBefore,
      changed:
        (!unchanged && this.#firstLook === undefined) || (this.#cursor?.wal.offset ?? 0) < target,
    }
    return undefined
  }

  /** Up to where SQLite's WAL is to be captured, after moving the cursor to a new index if the WAL was restarted. */
  #target(
    header: Uint8Array | undefined,
    state: WalState,
  ): number | Extract<Continuity, { kind: 'broken' }> {
    const cursor = this.#cursor
    const nothing = cursor?.wal.offset ?? 0
    if (cursor === undefined && state.frameCount > 0) {
      // What a damaged WAL had is in the database file: the index begins when SQLite restarts it.
      const isGone = header === undefined || !parseWalHeader(header).ok
      if (isGone && state.copiedBackCount >= state.frameCount) return nothing
    }
    if (header === undefined) {
      return state.frameCount === 0
        ? nothing
        : brokenNow('wal truncated by another process', 'the -wal file is missing or empty')
    }
    const end = offsetAfterFrames(state.frameCount, this.#pageSizeBytes)
    if (cursor !== undefined && sameSalts(readSalts(header), cursor.wal.salts)) {
      // Everything may have been copied back before we came: what is let go now was not read.
      if (state.frameCount < (this.#firstLook?.frameCount ?? 0)) {
        return brokenNow('wal restarted during the first look', 'SQLite has just let it go')
      }
      // No frames under the old salts is a restart under way: the wal-index is reset before the header is rewritten.
      if (state.frameCount === 0) return nothing
      if (end < cursor.wal.offset) {
        return brokenNow(
          'wal truncated by another process',
          `SQLite knows ${state.frameCount} frames, captured to offset ${cursor.wal.offset}`,
        )
      }
      return end
    }
    // An incarnation gets its index at its first commit: a rolled-back first transaction salts it again.
    if (state.frameCount === 0) return nothing
    const parsed = parseWalHeader(header)
    if (!parsed.ok) return brokenNow('wal overwritten by another process', parsed.problem)
    if (parsed.header.pageSizeBytes !== this.#pageSizeBytes) {
      return brokenNow(
        'page size changed',
        `${this.#pageSizeBytes} to ${parsed.header.pageSizeBytes} bytes`,
      )
    }
    const captured = cursor !== undefined && cursor.position.offset > 0
    const index = captured
      ? cursor.position.index + 1
      : (cursor?.position.index ?? this.#startIndex)
    if (index >= maxIndex) return brokenNow('max index exceeded', `index ${index}`)
    if (captured) {
      this.#pendingPrevious = { offset: cursor.position.offset, checksum: cursor.checksum }
    }
    this.#formerFrameCount += this.#capturedFrameCount
    this.#cursor = {
      position: { index, offset: 0 },
      salts: parsed.header.salts,
      checksum: parsed.header.checksum,
      wal: {
        salts: parsed.header.salts,
        offset: walHeaderBytes,
        checksum: parsed.header.checksum,
        checkpointSequence: parsed.header.checkpointSequence,
      },
      rolled: false,
      bigEndian: parsed.header.bigEndian,
      atCommit: true,
    }
    return end
  }

  /** Reads, verifies and, in a rolled index, re-salts the next frames. */
  #readRun(round: Round, maxBytes: number): CapturedRun | Extract<Continuity, { kind: 'broken' }> {
    const cursor = this.#cursor
    if (cursor === undefined) throw new Error('there is no cursor to read from')
    const pageSizeBytes = this.#pageSizeBytes
    const stepBytes = frameBytes(pageSizeBytes)
    if (cursor.position.offset >= this.#rollBytes && cursor.atCommit) this.#roll(cursor)

    const atStart = cursor.position.offset === 0
    const headBytes = atStart ? walHeaderBytes : 0
    const wanted = Math.min(this.#chunkBytes(maxBytes), round.targetOffset - cursor.wal.offset)
    let bytes = new Uint8Array(headBytes + wanted)
    let frames = bytes.subarray(headBytes)
    if (this.#readWalInto(frames, cursor.wal.offset) < wanted) {
      return brokenNow(
        'wal truncated by another process',
        `it ends before offset ${cursor.wal.offset + wanted}`,
      )
    }
    const verified = verifyFrames(frames, {
      pageSizeBytes,
      bigEndian: cursor.bigEndian,
      salts: cursor.wal.salts,
      checksum: cursor.wal.checksum,
    })
    if (verified.frameCount * stepBytes !== wanted) {
      return brokenNow(
        'wal overwritten by another process',
        `the frame at offset ${cursor.wal.offset + verified.frameCount * stepBytes} breaks the chain`,
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
    const checksumBefore = cursor.checksum
    const checksumAfter = cursor.rolled
      ? resaltFrames(frames, {
          pageSizeBytes,
          bigEndian: cursor.bigEndian,
          salts: cursor.salts,
          checksum: cursor.checksum,
        })
      : walChecksum
    if (atStart) {
      bytes.set(
        formatWalHeader({
          pageSizeBytes,
          checkpointSequence: cursor.wal.checkpointSequence,
          salts: cursor.salts,
          bigEndian: cursor.bigEndian,
        }),
      )
    }
    const start = cursor.position
    const end = {
      index: start.index,
      offset: start.offset + headBytes + frameCount * stepBytes,
    }
    cursor.position = end
    cursor.checksum = checksumAfter
    cursor.wal = {
      ...cursor.wal,
      offset: cursor.wal.offset + frameCount * stepBytes,
      checksum: walChecksum,
    }
    cursor.atCommit = endsInCommit
    const previousIndexEnd = atStart ? this.#pendingPrevious : undefined
    if (atStart) this.#pendingPrevious = undefined
    const source: SourceWal | undefined = cursor.rolled
      ? { salts: cursor.wal.salts, endOffset: cursor.wal.offset, checksum: cursor.wal.checksum }
      : undefined
    return {
      bytes,
      start,
      end,
      pageSizeBytes,
      bigEndian: cursor.bigEndian,
      salts: cursor.salts,
      checksumBefore,
      checksumAfter,
      databaseSizePages: endsInCommit ? verified.databaseSizePages : 0,
      timeMs: round.timeMs,
      previousIndexEnd,
      source,
    }
  }

  /** Begins an index of our own within SQLite's WAL: a valid WAL to whoever restores it. */
  #roll(cursor: Cursor): void {
    const salts = {
      salt1: (cursor.salts.salt1 + 1) >>> 0,
      salt2: Math.floor(Math.random() * 0x1_0000_0000),
    }
    const checkpointSequence = (cursor.wal.checkpointSequence + 1) >>> 0
    this.#pendingPrevious = { offset: cursor.position.offset, checksum: cursor.checksum }
    const header = parseWalHeader(
      formatWalHeader({
        pageSizeBytes: this.#pageSizeBytes,
        checkpointSequence,
        salts,
        bigEndian: cursor.bigEndian,
      }),
    )
    if (!header.ok) throw new Error(`a header of our own is not valid: ${header.problem}`)
    cursor.position = { index: cursor.position.index + 1, offset: 0 }
    cursor.salts = salts
    cursor.checksum = header.header.checksum
    cursor.wal = { ...cursor.wal, checkpointSequence }
    cursor.rolled = true
  }

  /** Everything up to R2's mark is captured: R may go. */
  #endRound(round: Round): Continuity {
    const cursor = this.#cursor
    if (cursor !== undefined && !cursor.atCommit) {
      return broken(
        'wal overwritten by another process',
        `the last published frame before offset ${cursor.wal.offset} does not commit`,
      )
    }
    const header = this.#readHeader()
    const salts = header === undefined ? undefined : readSalts(header)
    if (this.#firstLook !== undefined) {
      const before = this.#firstLook.salts
      const same =
        before === undefined || salts === undefined ? before === salts : sameSalts(before, salts)
      // The reader of a first look may be on mark 0: what was restarted meanwhile had a tail that was not read.
      if (!same) return broken('wal restarted during the first look', 'its salts changed meanwhile')
      this.#firstLook = undefined
    } else if (
      cursor !== undefined &&
      salts !== undefined &&
      cursor.wal.offset > walHeaderBytes &&
      sameSalts(salts, cursor.wal.salts)
    ) {
      const at = cursor.wal.offset - frameBytes(this.#pageSizeBytes) + 16
      const stored = new DataView(new ArrayBuffer(8))
      this.#readWalInto(new Uint8Array(stored.buffer), at)
      const isSame =
        stored.getUint32(0) === cursor.wal.checksum.s0 &&
        stored.getUint32(4) === cursor.wal.checksum.s1
      // Somebody may restart or truncate the WAL between the two looks, when all of it is copied back.
      const headerNow = isSame ? header : this.#readHeader()
      if (!isSame && headerNow !== undefined && sameSalts(readSalts(headerNow), cursor.wal.salts)) {
        return broken('wal overwritten by another process', `the frame at ${at - 16} has changed`)
      }
    }
    this.#swap(round.next, round.schemaCookie, round.stateBefore)
    this.#round = undefined
    return continuous
  }

  #swap(next: Reader, schemaCookie: number, stateBefore: WalState): void {
    const former = this.#held
    this.#held = next
    this.#spare = former
    former?.end()
    this.#schemaCookie = schemaCookie
    this.#stateBeforeHeld = stateBefore
    this.#heldSince = performance.now()
  }

  /** A fresh reader without capturing anything: only before a first look. Returns the former one, which has ended. */
  #renew(): Reader | undefined {
    const next = this.#spareNow()
    const stateBefore = next.state()
    const schemaCookie = next.begin()
    this.#swap(next, schemaCookie, stateBefore)
    return this.#spare
  }

  /**
   * Begins R2 with what its own connection was told before: without the descriptor and the memory of a third one. It
   * holds if nobody has committed meanwhile, which the connection itself knows; a restart of the WAL is a commit, too.
   * Undefined, and R2 has not begun: somebody commits all the time.
   */
  #beginUndisturbed(next: Reader): (Look & { schemaCookie: number }) | undefined {
    for (let tries = 0; tries < maxUndisturbedTries; tries += 1) {
      const version = next.version()
      const look = this.#look(next)
      const schemaCookie = next.begin()
      const header = this.#readHeader()
      if (next.version() === version && sameHeader(header, look.header)) {
        return { ...look, schemaCookie }
      }
      next.end()
    }
    return undefined
  }

  /** Begins R2, and asks a third connection meanwhile what is committed. */
  #beginBeside(next: Reader): Look & { schemaCookie: number } {
    const schemaCookie = next.begin()
    return { ...this.#look(this.#askerNow()), schemaCookie }
  }

  /** Header and state that belong together. The connection that is asked is in no transaction. */
  #look(asker: Reader): Look {
    for (let look = 0; look < maxHeaderLooks; look += 1) {
      const before = this.#readHeader()
      const state = asker.state()
      const after = this.#readHeader()
      if (sameHeader(before, after)) return { header: after, state }
    }
    throw new Error('the WAL header kept changing while it was read')
  }

  #spareNow(): Reader {
    this.#spare ??= new Reader(this.#path)
    // An error may have left it in a transaction.
    this.#spare.end()
    return this.#spare
  }

  #askerNow(): Reader {
    this.#asker ??= new Reader(this.#path)
    return this.#asker
  }

  #nothing(wal: WalState, changed: boolean): CaptureResult {
    return {
      continuity: continuous,
      runs: [],
      more: false,
      wal,
      copiedCount: this.#copiedCount(wal),
      changed,
      schemaCookie: this.#schemaCookie,
    }
  }

  #broken(continuity: Continuity, wal: WalState): CaptureResult {
    this.#abandonRound()
    return {
      continuity,
      runs: [],
      more: false,
      wal,
      copiedCount: this.#copiedCount(wal),
      changed: true,
      schemaCookie: this.#schemaCookie,
    }
  }

  #abandonRound(): void {
    this.#round?.next.end()
    this.#round = undefined
  }

  /** The largest whole number of frames in `maxBytes`, at least one, in bytes. */
  #chunkBytes(maxBytes: number): number {
    const stepBytes = frameBytes(this.#pageSizeBytes)
    return Math.max(1, Math.floor((maxBytes - walHeaderBytes) / stepBytes)) * stepBytes
  }

  #readHeader(): Uint8Array | undefined {
    const bytes = new Uint8Array(walHeaderBytes)
    return this.#readWalInto(bytes, 0) === walHeaderBytes ? bytes : undefined
  }

  #readWal(offset: number, length: number): Uint8Array {
    const bytes = new Uint8Array(length)
    return bytes.subarray(0, this.#readWalInto(bytes, offset))
  }

  #readWalInto(bytes: Uint8Array, offset: number): number {
    this.#walDescriptor ??= this.#openWal()
    let done = 0
    while (done < bytes.length) {
      const count = fs.readSync(
        this.#walDescriptor,
        bytes,
        done,
        bytes.length - done,
        offset + done,
      )
      if (count === 0) break
      done += count
    }
    return done
  }

  /** While a reader is held no connection unlinks the WAL, so the descriptor stays the file's. */
  #openWal(): number {
    const descriptor = fs.openSync(`${this.#path}-wal`, 'r')
    if (identifyLogFile(fs.fstatSync(descriptor)) === this.#log.wal) return descriptor
    fs.closeSync(descriptor)
    throw new Error(anotherWal)
  }

  #closeReaders(): void {
    for (const reader of [this.#spare, this.#asker, this.#held]) reader?.close()
    this.#spare = this.#asker = this.#held = undefined
  }

  #closeWal(): void {
    if (this.#walDescriptor !== undefined) fs.closeSync(this.#walDescriptor)
    this.#walDescriptor = undefined
  }
}

/**
 * A reader of a database that is in WAL mode: it makes `-wal` and `-shm` where they are missing. Undefined: it is in another
 * mode, or cannot be read without being written to first; a writable connection finds out.
 */
function openReaderOfWal(path: string): Reader | undefined {
  let reader: Reader | undefined
  try {
    reader = new Reader(path)
    if (reader.journalMode() === 'wal') return reader
  } catch (error) {
    reader?.close()
    // Whatever else it is, a writable connection is told it, too.
    if (error instanceof Database.SqliteError && error.code.startsWith('SQLITE_BUSY')) throw error
    return undefined
  }
  reader.close()
  return undefined
}

/** Copies back what it can. `busy`: somebody else does so now. `failed`: it could not even be tried. */
function tryCheckpoint(path: string): 'done' | 'busy' | 'failed' {
  let connection: Database.Database | undefined
  try {
    connection = new Database(path, { fileMustExist: true, timeout: 0 })
    connection.exec('PRAGMA wal_autocheckpoint = 0')
    const row = connection.prepare('PRAGMA wal_checkpoint(PASSIVE)').raw().get()
    return parseCheckpointRow(row).busy === 0 ? 'done' : 'busy'
  } catch {
    return 'failed'
  } finally {
    connection?.close()
  }
}

const sleeper = new Int32Array(new SharedArrayBuffer(4))

/** Where SQLite's WAL was captured to: the index may be one that we rolled. */
function sourceOf(cursor: CaptureCursor): { salts: Salts; offset: number; checksum: Checksum } {
  const { source, position, salts, checksum } = cursor
  return source === undefined
    ? { salts, offset: position.offset, checksum }
    : { salts: source.salts, offset: source.endOffset, checksum: source.checksum }
}

function brokenNow(...args: Parameters<typeof broken>): Extract<Continuity, { kind: 'broken' }> {
  return { kind: 'broken', reason: args[0], detail: args[1] }
}
