import { type Generation } from '../../../domain/wal/generation.js'
import { type ObjectRef } from '../../../domain/stored/replica-layout.js'
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

/** Gives out permits; one is given back by disposing of it. */
export interface PermitSource {
  take(signal: AbortSignal): Promise<Disposable>
}

/**
 * Lets no more operations at a store run at once than there are permits; the others wait for their turn. Stands inside the
 * retries, so that nothing holds a permit while it waits for its next attempt. A reader holds its permit until it has
 * read to the end or given up, so whoever reads must not wait for another read meanwhile.
 */
export class LimitingReplicaClient implements ReplicaClient {
  readonly type: string
  readonly location: string
  readonly #client: ReplicaClient
  readonly #permits: PermitSource

  constructor(client: ReplicaClient, permits: PermitSource) {
    this.type = client.type
    this.location = client.location
    this.#client = client
    this.#permits = permits
  }

  listGenerations(signal: AbortSignal): AsyncIterable<Generation> {
    return this.#iterate(() => this.#client.listGenerations(signal), signal)
  }

  listSnapshots(generation: Generation, signal: AbortSignal): AsyncIterable<SnapshotInfo> {
    return this.#iterate(() => this.#client.listSnapshots(generation, signal), signal)
  }

  listWalSegments(
    generation: Generation,
    signal: AbortSignal,
    options?: ListOptions,
  ): AsyncIterable<WalSegmentInfo> {
    return this.#iterate(() => this.#client.listWalSegments(generation, signal, options), signal)
  }

  async startUpload(
    ref: ObjectRef,
    options: UploadOptions,
    signal: AbortSignal,
  ): Promise<ObjectUpload> {
    const upload = await this.#run(() => this.#client.startUpload(ref, options, signal), signal)
    return {
      partSizeBytes: upload.partSizeBytes,
      maxConcurrentParts: upload.maxConcurrentParts,
      isWhole: upload.isWhole === true,
      sendPart: (part) => this.#run(() => upload.sendPart(part), signal),
      finish: () => this.#run(() => upload.finish(), signal),
      [Symbol.asyncDispose]: () => upload[Symbol.asyncDispose](),
    }
  }

  read(ref: ObjectRef, range: ByteRange, signal: AbortSignal): AsyncIterable<Uint8Array> {
    return this.#iterate(() => this.#client.read(ref, range, signal), signal)
  }

  delete(refs: readonly ObjectRef[], signal: AbortSignal): Promise<void> {
    return this.#run(() => this.#client.delete(refs, signal), signal)
  }

  readOwner(signal: AbortSignal): Promise<OwnerObject | undefined> {
    return this.#run(() => this.#client.readOwner(signal), signal)
  }

  writeOwner(
    owner: { readonly content: string; readonly replaces: string | undefined },
    signal: AbortSignal,
  ): Promise<string | undefined> {
    return this.#run(() => this.#client.writeOwner(owner, signal), signal)
  }

  sweep(signal: AbortSignal): Promise<void> {
    return this.#run(() => this.#client.sweep(signal), signal)
  }

  async #run<T>(action: () => Promise<T>, signal: AbortSignal): Promise<T> {
    const permit = await this.#permits.take(signal)
    try {
      return await action()
    } finally {
      permit[Symbol.dispose]()
    }
  }

  async *#iterate<T>(start: () => AsyncIterable<T>, signal: AbortSignal): AsyncIterable<T> {
    const permit = await this.#permits.take(signal)
    try {
      yield* start()
    } finally {
      permit[Symbol.dispose]()
    }
  }
}
