/** A replica in a bucket of an object store: what all such stores have in common. A vendor's own is an {@link ObjectStore}. */
import { ReplicaError } from '../../../domain/errors.js'
import { type Generation } from '../../../domain/wal/generation.js'
import {
  formatObjectPath,
  formatWalSegmentPlace,
  generationsFolder,
  objectFolder,
  type ObjectRef,
  ownerObjectName,
} from '../../../domain/stored/replica-layout.js'
import { onAbort } from '../../../kit/abort.js'
import { NewestEntries } from '../../../kit/newest-entries.js'
import {
  type ByteRange,
  type ListOptions,
  type ObjectUpload,
  type OwnerObject,
  type ReplicaClient,
  type SnapshotInfo,
  type UploadOptions,
  type WalSegmentInfo,
} from '../../../usecase/ports/replica-client.js'
import {
  generationsIn,
  type ListedFolder,
  listedFolder,
  type ListedPage,
  snapshotsIn,
  walSegmentsIn,
} from './listed-folder.js'
import { type BodyStream, watchedBody } from './watched-body.js'

/** What of a folder, whose name ends in a slash, is wanted: with `first` only from such a name on. */
export interface WantedFolder {
  readonly folder: string
  readonly first: string | undefined
}

/** What of an object is wanted; with `version` only if it is still that one. */
export interface WantedObject {
  readonly name: string
  readonly range: ByteRange
  readonly version: string | undefined
}

/** The owner object to be, if the one that is there is of the version `replaces`. */
export interface NewOwner {
  readonly name: string
  readonly content: string
  readonly replaces: string | undefined
}

/** An answer that gives an object's bytes. */
export interface OpenedObject {
  readonly stream: BodyStream
  /** Bytes that have to come; undefined: the answer did not say. */
  readonly sizeBytes: number | undefined
  /** As the store tells versions of an object apart; undefined: the answer did not say. */
  readonly version: string | undefined
}

/** What is known of an object before it is sent, and who wants to know that it is stored. */
export interface StoredUpload extends UploadOptions {
  readonly name: string
  readonly onStored: () => void
}

/** One vendor's store. Names of objects are whole: from the start of the bucket, with the replica's path. */
export interface ObjectStore {
  readonly type: string
  readonly connection: {
    /** `noProgressMs`: how long a wait for bytes of a body may take. */
    readonly timeouts: { readonly noProgressMs: number }
    /** An object, or a path in the bucket, for people. */
    urlOf(name: string): string
  }
  /** What lies right in a folder, page by page; with `first` without the names before it, where the store knows how. */
  list(folder: WantedFolder, signal: AbortSignal): AsyncIterable<ListedPage>
  startUpload(upload: StoredUpload, signal: AbortSignal): ObjectUpload
  /** With `version` only if the object is still that one. Throws {@link ObjectNotFoundError} if there is none. */
  open(
    object: WantedObject,
    signal: AbortSignal,
  ): Promise<OpenedObject | 'past the end' | 'replaced'>
  /** What broke a body, as an error of ours. */
  toBodyError(name: string, error: unknown): Error
  /** All are tried; returns what failed. Absent ones are no failure. */
  delete(names: readonly string[], signal: AbortSignal): Promise<readonly unknown[]>
  readOwner(name: string, signal: AbortSignal): Promise<OwnerObject | undefined>
  writeOwner(owner: NewOwner, signal: AbortSignal): Promise<string | undefined>
  /** Removes what interrupted uploads have left of names that begin with `root`. */
  sweep(root: string, signal: AbortSignal): Promise<void>
}

/** So many that all running reads find theirs. */
const maxVersionCount = 1024

export class ObjectStoreClient implements ReplicaClient {
  readonly type: string
  readonly location: string
  readonly isEncrypted = false
  readonly #store: ObjectStore
  readonly #root: string
  /** The version of each object that was read last: all the requests of a read must give the same one. */
  readonly #versions = new NewestEntries<string, string>(maxVersionCount)

  /** `prefix` is the replica's path in the bucket. */
  constructor(store: ObjectStore, prefix: string) {
    const path = prefix.split('/').filter(Boolean).join('/')
    this.type = store.type
    this.location = store.connection.urlOf(path)
    this.#store = store
    this.#root = path === '' ? '' : `${path}/`
  }

  async *listGenerations(signal: AbortSignal): AsyncIterable<Generation> {
    const seen = new Set<Generation>()
    for await (const page of this.#pages(generationsFolder, signal))
      yield* generationsIn(page, seen)
  }

  async *listSnapshots(generation: Generation, signal: AbortSignal): AsyncIterable<SnapshotInfo> {
    const folder = objectFolder(generation, 'snapshot')
    for await (const page of this.#pages(folder, signal)) yield* snapshotsIn(page, generation)
  }

  async *listWalSegments(
    generation: Generation,
    signal: AbortSignal,
    { from }: ListOptions = {},
  ): AsyncIterable<WalSegmentInfo> {
    const folder = objectFolder(generation, 'wal-segment')
    const first = from === undefined ? undefined : formatWalSegmentPlace(from)
    for await (const page of this.#pages(folder, signal, first)) {
      yield* walSegmentsIn(page, generation, from)
    }
  }

  startUpload(ref: ObjectRef, options: UploadOptions, signal: AbortSignal): Promise<ObjectUpload> {
    return new Promise((resolve) => {
      signal.throwIfAborted()
      const name = this.#nameOf(ref)
      const onStored = (): void => this.#versions.delete(name)
      resolve(this.#store.startUpload({ ...options, name, onStored }, signal))
    })
  }

  /**
   * A read that begins at the start of the object takes the version that is there; one that begins further on, which is
   * how a broken body is resumed, only the version that was read of it last.
   */
  async *read(ref: ObjectRef, range: ByteRange, signal: AbortSignal): AsyncIterable<Uint8Array> {
    signal.throwIfAborted()
    if (range.length === 0) return
    const name = this.#nameOf(ref)
    const expected = range.offset === 0 ? undefined : this.#versions.get(name)
    const opened = await this.#store.open({ name, range, version: expected }, signal)
    if (opened === 'past the end') return
    // A store that knows no conditions still says what it gives.
    const version = opened === 'replaced' ? 'another one' : opened.version
    if (opened === 'replaced' || (expected !== undefined && (version ?? expected) !== expected)) {
      this.#versions.delete(name)
      if (opened !== 'replaced') opened.stream.destroy()
      throw new ReplicaError(
        `cannot read ${this.#store.connection.urlOf(name)}: it was replaced while it was being read`,
        { retryable: false },
      )
    }
    if (version !== undefined) this.#versions.set(name, version)
    const { stream, sizeBytes } = opened
    const { noProgressMs } = this.#store.connection.timeouts
    using _stopping = onAbort(signal, () => void stream.destroy())
    try {
      yield* watchedBody(stream, { sizeBytes, noProgressMs })
    } catch (error) {
      signal.throwIfAborted()
      throw this.#store.toBodyError(name, error)
    }
    signal.throwIfAborted()
  }

  contentBytes({ sizeBytes }: { readonly sizeBytes: number }): Promise<number> {
    return Promise.resolve(sizeBytes)
  }

  isMarked(): Promise<undefined> {
    return Promise.resolve(undefined)
  }

  async delete(refs: readonly ObjectRef[], signal: AbortSignal): Promise<void> {
    signal.throwIfAborted()
    const names = refs.map((ref) => this.#nameOf(ref))
    for (const name of names) this.#versions.delete(name)
    const failures = await this.#store.delete(names, signal)
    if (failures.length > 0) throw failures[0]
  }

  readOwner(signal: AbortSignal): Promise<OwnerObject | undefined> {
    return this.#store.readOwner(`${this.#root}${ownerObjectName}`, signal)
  }

  writeOwner(
    owner: { readonly content: string; readonly replaces: string | undefined },
    signal: AbortSignal,
  ): Promise<string | undefined> {
    return this.#store.writeOwner({ ...owner, name: `${this.#root}${ownerObjectName}` }, signal)
  }

  async sweep(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted()
    await this.#store.sweep(this.#root, signal)
  }

  async *#pages(path: string, signal: AbortSignal, first?: string): AsyncIterable<ListedFolder> {
    const folder = `${this.#root}${path}/`
    for await (const page of this.#store.list({ folder, first }, signal)) {
      yield listedFolder(folder, page)
    }
  }

  #nameOf(ref: ObjectRef): string {
    return `${this.#root}${formatObjectPath(ref)}`
  }
}
