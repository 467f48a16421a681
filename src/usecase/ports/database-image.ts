/**
 * The port to a database file that is being restored: nothing is seen under its name before it is whole. Decoding,
 * verifying and writing are done elsewhere than in the caller's thread, for several objects at once; pages are written
 * in the order in which the objects were started.
 */
import { type SegmentContent, type SegmentStart } from '../../domain/wal/segment-verifier.js'
import { type Verified } from '../../domain/stored/chain-verifier.js'
import { type TrailerTail } from '../../domain/stored/trailer.js'
import { type WalHeader } from '../../domain/wal/wal-format.js'

export type IntegrityCheck = 'none' | 'quick' | 'full'

export interface DatabaseImageFactory {
  /** Of that path and its `-wal`, `-shm` and `-journal`, those that exist: nothing can be created there. */
  inTheWay(outputPath: string): Promise<readonly string[]>
  /**
   * Begins the file beside `outputPath`. Throws {@link OutputExistsError} when something is in the way. What would make it have
   * more than `maxPageCount` pages is a problem of its object, and not written.
   */
  create(outputPath: string, options: { readonly maxPageCount: number }): Promise<DatabaseImage>
}

/** What an object's body came to. `problem` says why it cannot be trusted; what was read before it is given anyway. */
export interface DecodedObject {
  readonly trailer: TrailerTail
  readonly problem: string | undefined
}

export interface DecodedSnapshot extends DecodedObject {
  /** Undefined for an empty database. */
  readonly pageSizeBytes: number | undefined
  readonly sizeBytes: number
}

export interface DecodedSegment extends DecodedObject {
  readonly content: SegmentContent
}

/** One object on its way into the image. */
export interface ImageInput<Decoded> {
  /**
   * Hands over the next bytes of the body; resolves when more are welcome. The chunks are given away: nobody else may
   * use their memory afterwards.
   */
  push(chunks: readonly Uint8Array[], isLast: boolean): Promise<void>
  /** Resolves when everything is written, or with a problem. Rejects with {@link OutputError}. */
  readonly decoded: Promise<Decoded>
}

export interface SegmentInput extends ImageInput<DecodedSegment> {
  /** The header in a segment at offset 0, long before all of it is decoded; undefined if there is none. */
  readonly header: Promise<WalHeader | undefined>
}

export interface DatabaseImage extends AsyncDisposable {
  /** The snapshot comes first. More than `mostBytes` of content is a problem of it, and not written. */
  startSnapshot(options: { readonly mostBytes: number }): ImageInput<DecodedSnapshot>
  /**
   * A segment behind all that were started; resolves when there is room for it. With `endsIndex`, the index before it
   * has ended, and the file is first brought to the size that its last commit states.
   */
  startSegment(start: SegmentStart, options: { endsIndex: boolean }): Promise<SegmentInput>
  /**
   * Brings the file to its size, makes it durable, lets SQLite check it and gives it its name. Throws
   * {@link CorruptionError}, and {@link CheckTimeoutError} when the check does not end in time; to be checked also means that the
   * size of a commit is the one that the database states. Returns what SQLite remarks on what is stored in it, and what it
   * could not check. An abort ends the check at once.
   */
  finish(
    size: Pick<Verified, 'sizeBytes' | 'isCommitted'>,
    integrityCheck: IntegrityCheck,
    signal: AbortSignal,
  ): Promise<readonly string[]>
  /** Stops everything. Without a finish before it, nothing stays. */
  [Symbol.asyncDispose](): Promise<void>
}
