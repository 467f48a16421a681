/**
 * The port to one place that objects are stored in. Every method takes an AbortSignal; an aborted call rejects with the
 * signal's reason and leaves nothing visible behind.
 *
 * Errors: {@link ObjectNotFoundError} when an object is not there, {@link ReplicaError} for everything else the store
 * does to us. Adapters don't retry: that is a wrapper's work.
 */
import { type Generation } from '../../domain/wal/generation.js'
import { type WalPosition } from '../../domain/wal/position.js'
import {
  type ObjectRef,
  type SnapshotRef,
  type WalSegmentRef,
} from '../../domain/stored/replica-layout.js'

/** A stored snapshot, as a listing shows it. */
export interface SnapshotInfo extends SnapshotRef {
  readonly sizeBytes: number
  /** When the store says the object was created. */
  readonly createdAtMs: number
}

/** A stored WAL segment, as a listing shows it. */
export interface WalSegmentInfo extends WalSegmentRef {
  readonly sizeBytes: number
  readonly createdAtMs: number
}

/** A run of an object's bytes. */
export interface ObjectPart {
  /** Counted from 0. */
  readonly number: number
  /** An upload may keep those of the last part. Those of another are gone once it is sent: their memory is freed. */
  readonly bytes: Uint8Array
  /** Whether nothing comes after it. */
  readonly last: boolean
}

/**
 * An object on its way, in parts; nothing is visible until it is finished. An empty object is one part of 0 bytes. What
 * `sendPart` and `finish` threw can be tried again, so that a lost part does not cost the whole object.
 */
export interface ObjectUpload extends AsyncDisposable {
  /** Every part but the last has exactly this many bytes, and the last has no more. */
  readonly partSizeBytes: number
  /** Parts that may be in flight at once; 1: strictly in order. */
  readonly maxConcurrentParts: number
  /** The store has taken the offered file as it is: no part is to be sent, only `finish` to be called. */
  readonly isWhole: boolean
  /** The size that a listing shows of so many bytes, once a part was sent: another one where they are encrypted. */
  storedBytes(contentBytes: number): number
  /** Sends a part, whose bytes are not changed afterwards. The same part again, with the same bytes, is harmless. */
  sendPart(part: ObjectPart): Promise<void>
  /**
   * Makes the object visible, whole and durable, after all parts were sent. Again after a failure is harmless: an
   * answer that was lost on the way is found out.
   */
  finish(): Promise<void>
  /**
   * Without a finish before it, gives the upload up, parts in flight included: nothing stays visible or billed. Twice
   * is harmless.
   */
  [Symbol.asyncDispose](): Promise<void>
}

/** What is known of an object before it is sent. */
export interface UploadOptions {
  /** A guess at its size, for stores that choose part sizes by it; the body may be longer or shorter. */
  readonly expectedBytes: number
  /**
   * A durable local file of exactly `expectedBytes` that is the whole object and never changes: a store on the same file
   * system may take it without copying, and says so by `isWhole`.
   */
  readonly file?: string
  /**
   * There is none of that name. If there is one all the same it is not replaced, and `finish` throws
   * {@link ObjectExistsError}, by a request of ours before, too, whose answer was lost. An object of several parts, and
   * one on a store that knows no such condition, is replaced in any case.
   */
  readonly isNew?: boolean
  /** What the object is known by, see `isMarked`. */
  readonly mark?: string
}

/** Bytes of a stored object. */
export interface ByteRange {
  /** From the start of the object. */
  readonly offset: number
  /** Undefined: to the end. */
  readonly length: number | undefined
}

/** Which part of a listing is wanted. */
export interface ListOptions {
  /** Where the first segment begins that is wanted; undefined: all are. */
  readonly from?: WalPosition | undefined
}

/** The object that names a replica's writer. */
export interface OwnerObject {
  readonly content: string
  /** Tells the object from what was there before it and comes after it, as the store tells them apart. */
  readonly version: string
}

/** No member is optional, so that no wrapper can drop one. */
export interface ReplicaClient {
  /** The kind of store, as in the configuration: `file`, `s3`… */
  readonly type: string
  /** Where it is, for people: a path or URL without secrets. */
  readonly location: string
  /** Whether objects are encrypted on their way: they are then stored with other bytes, and of another size. */
  readonly isEncrypted: boolean

  /** The generations that have a folder. An absent root lists as empty. Order is the store's. */
  listGenerations(signal: AbortSignal): AsyncIterable<Generation>
  /** A generation's finished snapshots. Absent: empty. Order is the store's. Foreign names are passed over. */
  listSnapshots(generation: Generation, signal: AbortSignal): AsyncIterable<SnapshotInfo>
  /**
   * A generation's WAL segments. Absent: empty. Order is the store's. Foreign names are passed over. With `from` only
   * those whose names, as we write them, do not come before it: the store is not asked for the others, if it can be.
   */
  listWalSegments(
    generation: Generation,
    signal: AbortSignal,
    options?: ListOptions,
  ): AsyncIterable<WalSegmentInfo>

  /**
   * Begins an object. One of the same name is replaced on finish. The signal covers the whole upload.
   */
  startUpload(ref: ObjectRef, options: UploadOptions, signal: AbortSignal): Promise<ObjectUpload>

  /**
   * Reads an object or a part of it. A range that begins past the end yields nothing; one that reaches past it is cut.
   * A body that ends early is an error, never a short read.
   * A chunk is given away: nobody else may use its memory afterwards, for it may move to another thread.
   */
  read(ref: ObjectRef, range: ByteRange, signal: AbortSignal): AsyncIterable<Uint8Array>

  /** Bytes of an object's content: its stored size, or fewer because it is encrypted. */
  contentBytes(
    object: { readonly ref: ObjectRef; readonly sizeBytes: number },
    signal: AbortSignal,
  ): Promise<number>

  /**
   * Whether an object that may not be readable here is the one that was stored with this mark, which it does not give away.
   * Undefined: objects bear no marks, and are told by what they contain.
   */
  isMarked(
    object: { readonly ref: ObjectRef; readonly mark: string },
    signal: AbortSignal,
  ): Promise<boolean | undefined>

  /** Deletes objects; absent ones are no error. All are tried, then the first failure is thrown. */
  delete(refs: readonly ObjectRef[], signal: AbortSignal): Promise<void>

  /** The owner object, which no listing shows and no deletion reaches; undefined: there is none. */
  readOwner(signal: AbortSignal): Promise<OwnerObject | undefined>

  /**
   * Writes the owner object if it is still of the version `replaces` (undefined: if there is none), at most once. Resolves
   * with the new version, or with undefined when the object is another one by now. After a failure it may be written or
   * not. There are stores that know no such condition, and write in any case.
   */
  writeOwner(
    owner: { readonly content: string; readonly replaces: string | undefined },
    signal: AbortSignal,
  ): Promise<string | undefined>

  /** Removes what interrupted uploads of this program have left (temporary files, unfinished multipart uploads). */
  sweep(signal: AbortSignal): Promise<void>
}
