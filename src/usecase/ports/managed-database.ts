/**
 * The port to a live database. It holds a read transaction from `open` to `close`, renews it only after everything up
 * to its mark has been captured, and never closes a writable connection last.
 */
import { type Broken, type Continuity } from '../../domain/wal/break-reason.js'
import { type FileSigns } from '../../domain/wal/file-fingerprint.js'
import { type WalPosition } from '../../domain/wal/position.js'
import { type PreviousIndexEnd, type SourceWal } from '../../domain/stored/trailer.js'
import { type Checksum, type Salts } from '../../domain/wal/wal-format.js'

/** What tells one database file from another that took its name. */
export interface FileIdentity {
  readonly device: number
  readonly inode: number
}

export interface OpenedDatabase {
  readonly identity: FileIdentity
  /** The file itself, whatever links lead to it: `-wal` lies beside it. */
  readonly file: string
  readonly pageSizeBytes: number
  /** The journal mode it was in before: anything but `wal` means that it was converted. */
  readonly formerJournalMode: string
}

/** Where capturing stands: enough to prove on a later day that the WAL goes on from here. */
export interface CaptureCursor {
  readonly position: WalPosition
  readonly pageSizeBytes: number
  readonly bigEndian: boolean
  /** Salts and running checksum of our index, at the position. */
  readonly salts: Salts
  readonly checksum: Checksum
  /** SQLite's own, where the index was rolled by us; else undefined. */
  readonly source: SourceWal | undefined
}

/** An index that we have written ourselves, and where it ends: frames that follow get its salts and continue its chain. */
export interface OwnIndex {
  readonly position: WalPosition
  readonly bigEndian: boolean
  readonly salts: Salts
  readonly checksum: Checksum
}

/** A run of committed frames, at most the asked size (a single frame may exceed it). */
export interface CapturedRun {
  /** The WAL header first if `start.offset` is 0. Owned by the receiver. */
  readonly bytes: Uint8Array
  readonly start: WalPosition
  readonly end: WalPosition
  readonly pageSizeBytes: number
  readonly bigEndian: boolean
  readonly salts: Salts
  readonly checksumBefore: Checksum
  readonly checksumAfter: Checksum
  /** Database size in pages at the end, or 0 when the run ends inside a transaction (more follows). */
  readonly databaseSizePages: number
  /** When it was seen to be committed, milliseconds since 1970, as the clock says. */
  readonly timeMs: number
  /** Where the index before ends: on a run at offset 0 that has one before it. */
  readonly previousIndexEnd: PreviousIndexEnd | undefined
  readonly source: SourceWal | undefined
}

/** What SQLite says of the WAL: frames in it, and how many of them are copied back. */
export interface WalState {
  readonly frameCount: number
  readonly copiedBackCount: number
}

/** Whether nothing is left to be copied back, as far as SQLite has said: without a reader the next write restarts the WAL. */
export function isAllCopied({ frameCount, copiedBackCount }: WalState): boolean {
  return copiedBackCount >= frameCount
}

export interface CaptureResult {
  /** `broken`: continuity is lost, nothing was captured in this call, and `begin` is to be called. */
  readonly continuity: Continuity
  readonly runs: readonly CapturedRun[]
  /** More is committed than was returned: call again at once. */
  readonly more: boolean
  readonly wal: WalState
  /** Frames that were copied back since `begin`, those of earlier WALs included. */
  readonly copiedCount: number
  /** The same of frames that some checkpoint has begun to copy back, whether it ended or not; undefined: it is not known. */
  readonly attemptedCount?: number | undefined
  /** Whether anything changed since the last call (frames, copying back, a restart). */
  readonly changed: boolean
  /** SQLite's schema cookie as the reader held now sees it. */
  readonly schemaCookie: number
  /**
   * The index that is captured begins within SQLite's WAL, and not all in front of it is copied back: the file lacks what only
   * earlier indexes have.
   */
  readonly isWithinWal: boolean
}

/** What a look at the database file says. */
export type FileLook =
  | { readonly kind: 'same'; readonly signs: FileSigns }
  | { readonly kind: 'gone' | 'replaced' }
  /** `-wal` or `-shm` is not the one any more that is open. */
  | { readonly kind: 'log replaced'; readonly detail: string }

export interface ManagedDatabase {
  readonly path: string

  /**
   * Opens the database and takes the first reader; converts it to WAL mode if it is not. Returns undefined while the
   * file does not exist. Throws {@link DatabaseError} when it cannot be used.
   */
  open(signal: AbortSignal): Promise<OpenedDatabase | undefined>

  /**
   * The first look: from `cursor` on, if the WAL still proves to continue there, else nothing is done and the reason is
   * returned. Without a cursor, index 0 begins with the WAL as it is, from offset 0; the reason is then why it cannot be
   * read, and it can again once all of it is copied back. In any case the reader is renewed.
   */
  begin(cursor: CaptureCursor | undefined, signal: AbortSignal): Promise<Continuity>

  /**
   * Captures what is committed and new, up to `maxBytes`, and renews the reader once nothing more is waiting.
   * A run is handed out once: after an error from the caller's side, call `begin` with the cursor that is still good.
   * `isEager`: the caller comes every few milliseconds, and writers that go on committing can wait. `atOnce`: the reader before
   * goes at once, so that a checkpoint can copy back all that is captured; else it may stay a few milliseconds. `isDeleted`: the
   * file has no name any more, and this is the last that is captured of it; throws where it cannot be known to be all.
   */
  capture(
    options: { maxBytes: number; isEager?: boolean; atOnce?: boolean; isDeleted?: boolean },
    signal: AbortSignal,
  ): Promise<CaptureResult>

  /**
   * What was captured since the first look, up to now, is stored in an index of ours, which goes on with what is captured
   * next. Returns where SQLite's own WAL is, or why that cannot be.
   */
  continueAs(index: OwnIndex, signal: AbortSignal): Promise<SourceWal | Broken>

  /** Copies back what readers allow, on a connection and thread apart. Fails when `-wal` is another file than was opened. */
  checkpoint(signal: AbortSignal): Promise<WalState & { readonly busy: boolean }>

  /** Writes what the database file has in memory to the disk, on the long-lived descriptor. */
  syncFile(signal: AbortSignal): Promise<void>

  /**
   * While writers are held off: captures what is left, up to `maxBytes`, and copies it back, so that the next write restarts
   * the WAL. Once `tryMs` are over, no other try begins.
   */
  finishWal(
    options: { maxBytes: number; tryMs: number },
    signal: AbortSignal,
  ): Promise<CaptureResult>

  /**
   * Takes the writer lock, and lets it go by itself after `holdMs`. Other calls may be made meanwhile, and this one
   * during them. False: it was not to be had.
   */
  holdWriters(options: { holdMs: number }, signal: AbortSignal): Promise<boolean>

  /** Lets the writer lock go at once. */
  letWritersGo(signal: AbortSignal): Promise<void>

  /** Closes what only an active database needs. Capturing again opens it. */
  rest(signal: AbortSignal): Promise<void>

  /** Whether the folder exists in which the file lies, or is to lie. */
  hasFolder(signal: AbortSignal): Promise<boolean>

  /** Whether the path still names the file that was opened, also through links, and what is to be seen of it from outside. */
  look(signal: AbortSignal): Promise<FileLook>

  /**
   * Processes, for people, that have the file open beside another log, as through a mount of the single file: what they commit
   * is not seen here. One that is just opening the database may be among them. Cheap to ask once in ten seconds.
   */
  openedElsewhere(signal: AbortSignal): Promise<readonly string[]>

  /** Sizes and times of database and WAL, to see from outside whether anything happened. Absent: zeros. */
  fingerprint(signal: AbortSignal): Promise<string>

  /**
   * Reads the raw database file from page 1 to its end while it lives, in chunks of at most 4 MiB, through a descriptor
   * that stays open: the body of a fuzzy snapshot. Not consistent by itself. A chunk is good until the next is asked for.
   */
  readFile(signal: AbortSignal): AsyncIterable<Uint8Array>

  /** A part of the raw database file as it is now; shorter where the file ends. */
  readPart(
    part: { readonly offset: number; readonly length: number },
    signal: AbortSignal,
  ): Promise<Uint8Array>

  /** Size of the database file now. Throws {@link DatabaseError} for one that is almost all holes, which would take for ever to read. */
  fileSizeBytes(signal: AbortSignal): Promise<number>

  /**
   * Rejects when the reader is lost though nothing was called, as the thread or process that has it has died: open it again.
   * Resolves at an abort.
   */
  waitForLoss(signal: AbortSignal): Promise<void>

  /** Lets the reader and all descriptors go, e.g. because the file was replaced. The WAL stays as it is. */
  close(): Promise<void>
}
