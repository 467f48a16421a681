/**
 * The readers that keep a WAL's frames from being overwritten: one that is in nobody's way, and for a moment a newer one on trial.
 *
 * SQLite has a few places for the marks of readers. Who copies back for a FULL, RESTART or TRUNCATE checkpoint looks at the
 * mark in each place and takes the place if its mark is old. A reader that begins in that very moment is there before it, with a
 * new mark: the checkpoint, and every writer behind it, then waits for that reader to its busy timeout. Renewing the reader
 * does not help, since the next one shares the place: its mark is the newest. (SQLite's `wal.c`: walCheckpoint,
 * walTryBeginRead. Of checkpoints that begin at random beside a reader that is renewed often, it is one in a thousand.)
 *
 * So the reader before stays until nobody can be waiting for the newer one. That is so when somebody has written since, for
 * who waits holds the writer lock; or when all is copied back. Else the newer one is let go for a moment, in which who
 * waits for its place gets it, and begins again: its place has the right mark by then. The reader before keeps every frame.
 * Who waits sleeps between two tries, and on a busy machine he sleeps longer than he wants to: so the moment is longer there,
 * and longer still while a checkpoint is seen to be under way.
 */
import { busyness } from '../../kit/busyness.js'
import { isAllCopied, type WalState } from '../../usecase/ports/managed-database.js'
import { isCheckpointWaiting } from './checkpoint-lock.js'
import { type AtWork } from './under-way.js'
import { sameHeader } from './wal-file.js'
import { waitShortly, WalReader } from './wal-reader.js'

/** Where a reader's mark is: all frames of this WAL up to there are captured. */
export interface ReaderMark {
  readonly frameCount: number
  readonly signs: WalSigns
  /** Nobody has committed between the begin of the reader and the look that gave the number. */
  readonly isExact: boolean
}

/** What of the file tells, without a connection, that somebody has written on past a mark. */
export interface WalSigns {
  /** Of the WAL; undefined: it has none. */
  readonly header: Uint8Array | undefined
  /** The header of the frame after the mark, whatever is there. */
  readonly next: Uint8Array
}

interface Trial {
  readonly reader: WalReader
  readonly mark: ReaderMark
  /** For how long it has been let go; 0: it is in its place. */
  readonly apartMs: number
}

/** How long somebody may commit, so that the newer one need not be let go. */
const trialMs = 4
/** How long it is let go on a quiet machine: SQLite's busy handler tries again after 1, 2, 5, 10 ms, and at last every 100 ms. */
const apartMs = 10
/** The same where it is let go at once, and nobody has waited for longer. */
const soonApartMs = 3
/** So many times longer at the most: a checkpoint that waits for the reader before waits so long, too. */
const maxTimesLonger = 2
/** With so many times more to run than the machine can, it begins to be longer. */
const busyFrom = 4
/**
 * From here on so many times longer at the most, while a checkpoint is under way that may wait for the reader: it may as well
 * wait for the reader before, and then takes twice as long. With half as much to run, none of 4,800 waited for its busy timeout.
 */
const veryBusyFrom = 8
const maxTimesLongerBeside = 4
/** One whose mark may be newer than the one before has two. */
const maxTrialsAtRest = 2

export class HeldReaders {
  readonly #open: () => WalReader
  readonly #read: (frameCount: number) => WalSigns
  /** In nobody's way. */
  #settled: WalReader | undefined
  #settledMark: ReaderMark | undefined
  #trial: Trial | undefined
  #spares: WalReader[] = []
  #timer: NodeJS.Timeout | undefined
  readonly #busyness: () => number
  readonly #isAwaited: () => boolean
  readonly #atWork: AtWork

  constructor(
    path: string,
    read: (frameCount: number) => WalSigns,
    {
      busynessNow = busyness,
      isAwaited = () => isCheckpointWaiting(path),
      atWork = (work) => work(),
      open = () => new WalReader(path),
    }: {
      readonly busynessNow?: () => number
      readonly isAwaited?: () => boolean
      readonly atWork?: AtWork | undefined
      /** Makes a connection. */
      readonly open?: () => WalReader
    } = {},
  ) {
    this.#open = open
    this.#read = read
    this.#busyness = busynessNow
    this.#isAwaited = isAwaited
    this.#atWork = atWork
  }

  /** Whether no trial is under way. */
  get isSettled(): boolean {
    return this.#trial === undefined
  }

  /** A connection in no transaction, to begin the next reader on or to ask; it is given to {@link replace} or back. */
  takeSpare(): WalReader {
    return this.#spares.pop() ?? this.#open()
  }

  /**
   * Of a file that was deleted no connection can be made any more: where there is none to spare, the reader that is held is
   * let go and given. Nothing keeps the WAL from being restarted from then on until it begins again.
   */
  takeLast(): WalReader {
    this.#endTrial()
    const last = this.#spares.pop() ?? this.#settled
    if (last === undefined) throw new Error('no reader is held')
    if (last === this.#settled) this.#settled = this.#settledMark = undefined
    last.end()
    return last
  }

  giveBack(reader: WalReader): void {
    reader.end()
    // SQLite keeps the descriptor of each that is closed, for as long as another one holds a lock: there are as few as may be.
    this.#spares.push(reader)
  }

  /** On a connection in no transaction. */
  ask<T>(question: (asker: WalReader) => T): T {
    const asker = this.takeSpare()
    try {
      return question(asker)
    } finally {
      this.giveBack(asker)
    }
  }

  /** The first one. */
  take(reader: WalReader): void {
    this.#settle(reader, undefined)
  }

  /**
   * `next` has begun, and everything up to its mark is captured: the one before goes, at once or when the trial is over.
   * `mark` undefined: nobody can be waiting for it, or may. `isQuiet`: nothing was committed lately, so nothing will tell.
   */
  replace(next: WalReader, mark: ReaderMark | undefined, { isQuiet } = { isQuiet: false }): void {
    this.#endTrial()
    const former = this.#settledMark
    const isShared = former !== undefined && mark?.isExact === true && isSameMark(former, mark)
    if (mark === undefined || isShared) this.#settle(next, mark)
    else if (isQuiet) this.#letGo({ reader: next, mark, apartMs: 0 }, soonApartMs)
    else this.#wait({ reader: next, mark, apartMs: 0 }, trialMs)
  }

  /** What SQLite says of the WAL now may end the trial. */
  look(state: WalState): void {
    const trial = this.#trial
    if (trial === undefined || trial.apartMs > 0) return
    const { reader, mark } = trial
    const isOver = isAllCopied(state) || state.frameCount !== mark.frameCount
    if (isOver || this.#isWrittenBehind(mark)) this.#settle(reader, mark)
  }

  /** Goes on with as little as may be, when nothing has happened for long: a trial is ended first, which takes a moment. */
  rest(): void {
    for (let tries = 0; tries < maxTrialsAtRest && this.#trial !== undefined; tries += 1) {
      clearTimeout(this.#timer)
      this.#trial.reader.end()
      waitShortly(this.#longEnough(soonApartMs))
      this.#goOn({ ...this.#trial, apartMs: Number.POSITIVE_INFINITY })
    }
    // Else somebody has committed, and it does not rest.
    if (this.#trial !== undefined) return
    this.#settled?.rest()
    this.#closeSpares()
  }

  close(): void {
    this.#endTrial()
    this.#closeSpares()
    this.#settled?.close()
    this.#settled = this.#settledMark = undefined
  }

  #wait(trial: Trial, waitMs: number): void {
    this.#trial = trial
    this.#timer = setTimeout(() => {
      try {
        this.#atWork(() => this.#goOn(trial))
      } catch {
        // Such as a WAL that cannot be read: whoever captures meets it, too, and says so. The reader before is held.
        if (this.#trial === trial) this.#wait(trial, waitMs)
      }
    }, waitMs).unref()
  }

  #letGo({ reader, mark }: Trial, quietMs: number): void {
    reader.end()
    const waitMs = this.#longEnough(quietMs)
    this.#wait({ reader, mark, apartMs: waitMs }, waitMs)
  }

  /** For whoever waits to have tried again. */
  #longEnough(quietMs: number): number {
    const timesLonger = Math.max(1, this.#busyness() / busyFrom)
    return quietMs * Math.min(maxTimesLonger, timesLonger)
  }

  #goOn(trial: Trial): void {
    const { reader, mark } = trial
    if (trial.apartMs === 0) {
      if (this.#isWrittenBehind(mark)) this.#settle(reader, mark)
      else this.#letGo(trial, apartMs)
    } else if (this.#mayBeWaitedFor(trial)) {
      this.#wait({ ...trial, apartMs: trial.apartMs + apartMs }, apartMs)
    } else if (!this.#beginAgain(reader, mark)) {
      // Its mark may be past what is captured: the next capture brings another one.
      reader.end()
    } else if (mark.isExact) {
      this.#settle(reader, mark)
    } else {
      // Its mark may be newer than the one before, and its place was not free meanwhile.
      this.#letGo({ ...trial, mark: { ...mark, isExact: true } }, soonApartMs)
    }
  }

  /** Whether who waits may not have tried again yet. A machine that is not busy has let him. */
  #mayBeWaitedFor(trial: Trial): boolean {
    if (this.#busyness() < veryBusyFrom || trial.apartMs >= apartMs * maxTimesLongerBeside)
      return false
    return !this.#isWrittenBehind(trial.mark) && this.#isAwaited()
  }

  /** Whether it has begun where it was before: nobody has committed meanwhile. */
  #beginAgain(reader: WalReader, mark: ReaderMark): boolean {
    // An error may have left it in a transaction.
    reader.end()
    const version = reader.version()
    const { frameCount } = reader.state()
    reader.begin()
    return (
      reader.version() === version &&
      frameCount === mark.frameCount &&
      sameHeader(this.#read(frameCount).header, mark.signs.header)
    )
  }

  /** Who writes holds the writer lock, and so does who waits for a reader: nobody does. */
  #isWrittenBehind({ frameCount, signs }: ReaderMark): boolean {
    const now = this.#read(frameCount)
    return !sameHeader(now.header, signs.header) || !sameHeader(now.next, signs.next)
  }

  #settle(reader: WalReader, mark: ReaderMark | undefined): void {
    clearTimeout(this.#timer)
    this.#trial = undefined
    const former = this.#settled
    this.#settled = reader
    this.#settledMark = mark?.isExact === true ? mark : undefined
    if (former !== undefined) this.giveBack(former)
  }

  #endTrial(): void {
    clearTimeout(this.#timer)
    if (this.#trial !== undefined) this.giveBack(this.#trial.reader)
    this.#trial = undefined
  }

  #closeSpares(): void {
    for (const spare of this.#spares) spare.close()
    this.#spares = []
  }
}

function isSameMark(a: ReaderMark, b: ReaderMark): boolean {
  return a.frameCount === b.frameCount && sameHeader(a.signs.header, b.signs.header)
}
