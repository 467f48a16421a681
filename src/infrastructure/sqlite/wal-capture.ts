/**
 * Captures one database's WAL. Lives in a thread of its own kind, because SQLite blocks.
 *
 * The mechanism is overlapping readers. With R the read transaction held now, each round opens R2, captures all that is
 * committed, and only then closes R; there is never a moment without a reader. A WAL can restart only when every frame
 * is copied back and no reader holds a mark of 1 or more, and frames are copied back only up to the oldest mark; a
 * reader on mark 0 lets one restart pass, and no second. We drop a mark only after capturing up to it and taking the
 * next, so no frame is overwritten unread. R may stay a moment longer, see `held-readers.ts`.
 *
 * What is committed is what SQLite says (`wal_checkpoint(NOOP)`), never what the bytes look like: a writer killed in the
 * sync after its commit frame leaves a valid frame that no reader ever sees.
 *
 * Connections are read-only, so that closing one at exit never checkpoints or deletes the WAL. The database file and
 * `-shm` are never opened and closed by `fs`: with POSIX locks that would drop SQLite's.
 */
import type Database from 'better-sqlite3'
import fs from 'node:fs'
import { type SourceWal } from '../../domain/stored/trailer.js'
import { broken, type Broken, type Continuity, continuous } from '../../domain/wal/break-reason.js'
import {
  frameHeaderBytes,
  offsetAfterFrames,
  parseWalHeader,
  readSalts,
  type Salts,
  sameSalts,
} from '../../domain/wal/wal-format.js'
import {
  type CaptureCursor,
  type CapturedRun,
  type CaptureResult,
  type FileIdentity,
  isAllCopied,
  type OwnIndex,
  type WalState,
} from '../../usecase/ports/managed-database.js'
import { connect } from './connection.js'
import { HeldReaders, type ReaderMark, type WalSigns } from './held-readers.js'
import { logFilesNow, type OpenedWithLog } from './log-files.js'
import { type DatabaseFiles, Opening } from './opening.js'
import { type AtWork } from './under-way.js'
import { WalCursor } from './wal-cursor.js'
import { seeWal, type SeenWal, takeLast } from './seen-wal.js'
import { sameHeader, WalFile } from './wal-file.js'
import { WalIndex } from './wal-index.js'
import { openReaderOfWal, tryCheckpoint, waitShortly, WalReader } from './wal-reader.js'

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

interface RoundOptions {
  /** Begins one whether something has changed or not. */
  readonly force?: boolean
  readonly isEager?: boolean
  /** The reader before goes at once: nobody else can copy back meanwhile, or it would keep us from doing so. */
  readonly atOnce?: boolean
  /** The file has no name any more, by which a connection could be made. */
  readonly isDeleted?: boolean
}

/** A round under way: everything up to `targetOffset` of SQLite's WAL is to be captured before R is let go. */
interface Round {
  readonly next: WalReader
  readonly wal: WalState
  /** Undefined: nobody can be waiting for `next`. */
  readonly mark: ReaderMark | undefined
  /** Nothing was committed since the look before. */
  readonly isQuiet: boolean
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

export class WalCapture {
  readonly #path: string
  readonly #rollBytes: number
  readonly #held: HeldReaders
  /** Never in a transaction: asks SQLite what is committed. Opened only beside a busy writer. */
  #asker: WalReader | undefined
  #wal: WalFile | undefined
  #index: WalIndex | undefined
  /** The files that the held reader was opened with. */
  #files: DatabaseFiles | undefined
  #pageSizeBytes = 0
  #cursor: WalCursor | undefined
  #round: Round | undefined
  /** What the last round was told. */
  #lastLook: { readonly header: Uint8Array | undefined; readonly frameCount: number } | undefined
  #schemaCookie = 0
  /** SQLite's state read before the newest reader began. */
  #stateBeforeHeld: WalState = { frameCount: -1, copiedBackCount: -1 }
  #heldSince = Number.NEGATIVE_INFINITY
  #lastFrameCount = -1
  #lastSalts: Salts | undefined
  /** Until the first full copy has ended: the salts that it began with, and how many frames there were. */
  #firstLook: { readonly salts: Salts | undefined; readonly frameCount: number } | undefined

  constructor(path: string, options: { rollBytes?: number | undefined; atWork?: AtWork } = {}) {
    this.#path = path
    this.#rollBytes = options.rollBytes ?? defaultRollBytes
    const signs = (count: number): WalSigns => this.#signs(count, this.#walNow.header())
    const open = (): WalReader => new WalReader(path, this.#files?.identity)
    this.#held = new HeldReaders(path, signs, { atWork: options.atWork, open })
  }

  /** Opens that file, or whatever has its name, and takes the first reader. Undefined while there is no file, or an empty one that its owner is still making. */
  open(expected?: FileIdentity): OpenedWithLog | undefined {
    const stat = fs.statSync(this.#path, { throwIfNoEntry: false })
    if (stat === undefined) return undefined
    if (!stat.isFile()) throw new Error('it is not a regular file')
    if (stat.size === 0) return undefined
    const identity = expected ?? { device: stat.dev, inode: stat.ino }
    const opening = new Opening()
    let files: DatabaseFiles
    let writable: Database.Database | undefined
    let formerJournalMode = 'wal'
    let reader: WalReader | undefined
    try {
      reader = openReaderOfWal(this.#path, identity)
      if (reader === undefined) {
        // A writable connection sets the mode; it is closed again while the reader is held. SQLite keeps its descriptor as
        // long, which is why a database that is in WAL mode has none opened.
        writable = connect(this.#path, { identity })
        formerJournalMode = String(writable.pragma('journal_mode', { simple: true }))
        if (formerJournalMode !== 'wal') {
          const mode = String(writable.pragma('journal_mode = wal', { simple: true }))
          if (mode !== 'wal') throw new Error(`it stays in journal mode ${mode}`)
        }
        writable.pragma('schema_version')
        reader = new WalReader(this.#path, identity)
      }
      this.#stateBeforeHeld = reader.state()
      this.#schemaCookie = reader.begin()
      this.#pageSizeBytes = reader.pageSizeBytes()
      this.#files = files = { identity, log: opening.logsBeside(identity, this.#path) }
      this.#held.take(reader)
      this.#wal = new WalFile(this.#path, files.log.wal)
      this.#index = new WalIndex(opening.descriptorOf(files.log.shm), files.log.shm)
    } catch (error) {
      reader?.close()
      throw error
    } finally {
      writable?.close()
    }
    return {
      identity,
      file: this.#path,
      pageSizeBytes: this.#pageSizeBytes,
      formerJournalMode,
      log: files.log,
    }
  }

  /** The first look. See the port. Undefined: more is to be read for it, see {@link verifyMore}. */
  begin(cursor: CaptureCursor | undefined): Continuity | undefined {
    this.#abandonRound()
    this.#cursor = this.#lastLook = undefined
    // A fresh reader: what it sees is what the first look begins with.
    this.#renew()
    const { header, state } = this.#held.ask((asker) => seeWal(this.#walNow, asker))
    this.#lastSalts = undefined
    this.#firstLook = {
      salts: header === undefined ? undefined : readSalts(header),
      frameCount: state.frameCount,
    }
    return cursor === undefined
      ? this.#readable(header, state)
      : this.#cursorNow.resume(cursor, header, state)
  }

  /** Whether what a snapshot would lack can be captured. */
  #readable(header: Uint8Array | undefined, state: WalState): Continuity {
    if (isAllCopied(state)) return continuous
    const parsed = header === undefined ? undefined : parseWalHeader(header)
    if (parsed?.ok === true) return continuous
    const lost = this.#walNow.firstLostFrame(state, this.#pageSizeBytes)
    return lost === undefined && parsed !== undefined
      ? broken('wal overwritten by another process', parsed.problem)
      : broken('wal truncated by another process', `it lacks frame ${lost ?? 1}`)
  }

  /** Goes on with the first look. See {@link WalCursor.verifyMore}. */
  verifyMore(): Continuity | undefined {
    return this.#cursorNow.verifyMore()
  }

  /** Behind a round that has captured everything. See the port. */
  continueAs(index: OwnIndex): SourceWal | Broken {
    if (this.#round !== undefined || this.#lastLook === undefined) {
      throw new Error('what is committed was not captured')
    }
    return this.#cursorNow.continueAs(index, this.#lastLook)
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
    const cursor = this.#cursorNow
    const isLeft = (): boolean => (cursor.offset ?? round.targetOffset) < round.targetOffset
    let left = maxBytes
    while (left > 0 && isLeft()) {
      const run = cursor.readRun(round, left)
      if ('kind' in run) return this.#broken(run, round.wal)
      runs.push(run)
      left -= run.bytes.length
    }
    const more = isLeft()
    if (!more) {
      const verdict = this.#endRound(round)
      if (verdict.kind === 'broken') return this.#broken(verdict, round.wal)
    }
    return { ...this.#nothing(round.wal, round.changed), runs, more }
  }

  /** Frames that were copied back since the first look, or were going to be. Of a WAL that was let go, all were. */
  #copied(wal: WalState): Pick<CaptureResult, 'copiedCount' | 'attemptedCount'> {
    const { frameCount, copiedBackCount } = wal
    const cursor = this.#cursor
    const isOver = frameCount === 0
    const formerCount = cursor?.formerFrameCount ?? 0
    const copiedCount = formerCount + (isOver ? (cursor?.frameCount ?? 0) : copiedBackCount)
    const attempted = isOver ? undefined : this.#index?.attemptedCount()
    const attemptedCount = attempted === undefined ? undefined : formerCount + attempted
    return { copiedCount, attemptedCount }
  }

  /** Whether of what only earlier indexes have, something is not copied back. */
  #isWithinWal(wal: WalState): boolean {
    const before = this.#cursor?.frameCountBeforeIndex ?? 0
    return !isAllCopied(wal) && wal.copiedBackCount < before
  }

  /**
   * Captures the tail and copies it back while somebody holds the writer lock, so that the next write restarts the WAL.
   * Once `tryMs` are over, no other try begins.
   */
  finishWal({ maxBytes, tryMs }: { maxBytes: number; tryMs: number }): CaptureResult {
    const deadline = performance.now() + tryMs
    const options = { force: true, atOnce: true }
    let capture = this.capture(maxBytes, options)
    let isBusy = true
    while (isBusy && capture.continuity.kind === 'continuous' && !capture.more) {
      if (logFilesNow(this.#path).wal !== this.#files?.log.wal) break
      const copied = tryCheckpoint(this.#path, this.#files)
      // Whatever it fails with, as on a full disk: what was captured before it is to be kept.
      if (copied === 'failed') break
      const renewed = this.capture(maxBytes, options)
      capture = { ...renewed, runs: [...capture.runs, ...renewed.runs] }
      // The application's own checkpoint, which needs no writer lock, is under way.
      isBusy = copied === 'busy' && performance.now() < deadline
      if (isBusy) waitShortly(1)
    }
    return capture
  }

  /** Closes all but the held reader. */
  rest(): void {
    if (this.#round !== undefined) return
    this.#held.rest()
    this.#asker?.close()
    this.#asker = undefined
    this.#wal?.close()
  }

  close(): void {
    this.#abandonRound()
    this.#held.close()
    this.#asker?.close()
    this.#asker = undefined
    this.#wal?.close()
    this.#cursor = undefined
  }

  /** Opens R2 and finds out how far is committed. Returns a result if there is nothing to do. */
  #beginRound(options: RoundOptions): CaptureResult | undefined {
    const next =
      options.isDeleted === true
        ? takeLast(this.#held, this.#walNow, this.#lastLook?.frameCount ?? 0)
        : this.#held.takeSpare()
    try {
      const begun = this.#roundWith(next, options)
      if (!('continuity' in begun)) {
        this.#round = begun
        return undefined
      }
      this.#held.giveBack(next)
      return begun
    } catch (error) {
      this.#held.giveBack(next)
      throw error
    }
  }

  #roundWith(
    next: WalReader,
    { force = false, isEager = false, atOnce = false }: RoundOptions,
  ): Round | CaptureResult {
    const stateBefore = next.state()
    const isGrowing = stateBefore.frameCount !== this.#lastFrameCount
    this.#lastFrameCount = stateBefore.frameCount
    const heldMs = performance.now() - this.#heldSince
    if (isEager && isGrowing && heldMs < eagerRenewAfterMs && this.#firstLook === undefined) {
      return this.#nothing(stateBefore, true)
    }
    const headerBefore = this.#walNow.header()
    this.#held.look(stateBefore)
    const unchanged =
      !force &&
      this.#firstLook === undefined &&
      sameState(stateBefore, this.#stateBeforeHeld) &&
      (headerBefore === undefined
        ? this.#lastSalts === undefined
        : this.#lastSalts !== undefined && sameSalts(readSalts(headerBefore), this.#lastSalts))
    if (unchanged && heldMs < renewAfterMs) return this.#nothing(stateBefore, false)
    const undisturbed = this.#asker === undefined ? this.#beginUndisturbed(next) : undefined
    const { header, state, schemaCookie } = undisturbed ?? this.#beginBeside(next)
    const timeMs = Date.now()
    this.#lastSalts = header === undefined ? undefined : readSalts(header)
    const cursor = this.#cursorNow
    const target = cursor.advanceTo(header, state, {
      firstFrameCount: this.#firstLook?.frameCount ?? 0,
    })
    if (typeof target !== 'number') return this.#broken(target, state)
    this.#lastLook = { header, frameCount: state.frameCount }
    const isSure = atOnce || this.#firstLook !== undefined || isAllCopied(state)
    const isExact = undisturbed !== undefined
    const { frameCount } = state
    return {
      next,
      wal: state,
      mark: isSure ? undefined : { frameCount, signs: this.#signs(frameCount, header), isExact },
      isQuiet: !isGrowing,
      targetOffset: target,
      timeMs,
      schemaCookie,
      stateBefore,
      changed: (!unchanged && this.#firstLook === undefined) || (cursor.offset ?? 0) < target,
    }
  }

  #signs(frameCount: number, header: Uint8Array | undefined): WalSigns {
    const offset = offsetAfterFrames(frameCount, this.#pageSizeBytes)
    return { header, next: this.#walNow.read(offset, frameHeaderBytes) }
  }

  /** Everything up to R2's mark is captured: R may go. */
  #endRound(round: Round): Continuity {
    const cursor = this.#cursorNow
    if (!cursor.isAtCommit) {
      return broken(
        'wal overwritten by another process',
        `the last published frame before offset ${cursor.offset ?? 0} does not commit`,
      )
    }
    const header = this.#walNow.header()
    const salts = header === undefined ? undefined : readSalts(header)
    if (this.#firstLook !== undefined) {
      const before = this.#firstLook.salts
      const same =
        before === undefined || salts === undefined ? before === salts : sameSalts(before, salts)
      // The reader of a first look may be on mark 0: what was restarted meanwhile had a tail that was not read.
      if (!same) return broken('wal restarted during the first look', 'its salts changed meanwhile')
      this.#firstLook = undefined
    } else if (
      cursor.isOf(header) &&
      !cursor.isLastFrameThere() &&
      // Somebody may restart or truncate the WAL between the two looks, when all of it is copied back.
      cursor.isOf(this.#walNow.header())
    ) {
      return broken(
        'wal overwritten by another process',
        `the frame at ${cursor.lastFrameOffset} has changed`,
      )
    }
    this.#held.replace(round.next, round.mark, round)
    this.#began(round)
    this.#round = undefined
    return continuous
  }

  /** The newest reader has begun, and what it sees is captured or is to be looked at first. */
  #began({ schemaCookie, stateBefore }: Pick<Round, 'schemaCookie' | 'stateBefore'>): void {
    this.#schemaCookie = schemaCookie
    this.#stateBeforeHeld = stateBefore
    this.#heldSince = performance.now()
  }

  /** A fresh reader without capturing anything: only before a first look. */
  #renew(): void {
    const next = this.#held.takeSpare()
    try {
      const stateBefore = next.state()
      const schemaCookie = next.begin()
      this.#held.replace(next, undefined)
      this.#began({ schemaCookie, stateBefore })
    } catch (error) {
      this.#held.giveBack(next)
      throw error
    }
  }

  /**
   * Begins R2 with what its own connection was told before: without the descriptor and the memory of a third one. It
   * holds if nobody has committed meanwhile, which the connection itself knows; a restart of the WAL is a commit, too.
   * Undefined, and R2 has not begun: somebody commits all the time.
   */
  #beginUndisturbed(next: WalReader): (SeenWal & { schemaCookie: number }) | undefined {
    for (let tries = 0; tries < maxUndisturbedTries; tries += 1) {
      const version = next.version()
      const look = seeWal(this.#walNow, next)
      const schemaCookie = next.begin()
      const header = this.#walNow.header()
      if (next.version() === version && sameHeader(header, look.header)) {
        return { ...look, schemaCookie }
      }
      next.end()
    }
    return undefined
  }

  /** Begins R2, and asks a third connection meanwhile what is committed. */
  #beginBeside(next: WalReader): SeenWal & { schemaCookie: number } {
    const schemaCookie = next.begin()
    return { ...seeWal(this.#walNow, this.#askerNow()), schemaCookie }
  }

  /** Where the capture is; a new one until a first look has found it. */
  get #cursorNow(): WalCursor {
    this.#cursor ??= new WalCursor({
      wal: this.#walNow,
      pageSizeBytes: this.#pageSizeBytes,
      rollBytes: this.#rollBytes,
    })
    return this.#cursor
  }

  get #walNow(): WalFile {
    if (this.#wal === undefined) throw new Error('the database is not open')
    return this.#wal
  }

  #askerNow(): WalReader {
    this.#asker ??= new WalReader(this.#path, this.#files?.identity)
    return this.#asker
  }

  #nothing(wal: WalState, changed: boolean): CaptureResult {
    return {
      continuity: continuous,
      runs: [],
      more: false,
      wal,
      ...this.#copied(wal),
      changed,
      schemaCookie: this.#schemaCookie,
      isWithinWal: this.#isWithinWal(wal),
    }
  }

  #broken(continuity: Continuity, wal: WalState): CaptureResult {
    this.#abandonRound()
    return { ...this.#nothing(wal, true), continuity }
  }

  #abandonRound(): void {
    if (this.#round !== undefined) this.#held.giveBack(this.#round.next)
    this.#round = undefined
  }
}
