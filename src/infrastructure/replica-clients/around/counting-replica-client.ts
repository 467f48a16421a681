import { type Generation } from '../../../domain/wal/generation.js'
import { type ObjectRef } from '../../../domain/stored/replica-layout.js'
import {
  type ByteRange,
  type ListOptions,
  type ObjectPart,
  type ObjectUpload,
  type OwnerObject,
  type ReplicaClient,
  type SnapshotInfo,
  type UploadOptions,
  type WalSegmentInfo,
} from '../../../usecase/ports/replica-client.js'
import { type ReplicaMetrics } from '../../../usecase/ports/replica-metrics.js'

/** Counts what is asked of a store. Stands inside the retries, so that each attempt is seen. */
export class CountingReplicaClient implements ReplicaClient {
  readonly type: string
  readonly location: string
  readonly #client: ReplicaClient
  readonly #metrics: ReplicaMetrics

  constructor(client: ReplicaClient, metrics: ReplicaMetrics) {
    this.type = client.type
    this.location = client.location
    this.#client = client
    this.#metrics = metrics
  }

  async *listGenerations(signal: AbortSignal): AsyncIterable<Generation> {
    this.#metrics.countOperation('LIST', 0)
    yield* this.#client.listGenerations(signal)
  }

  async *listSnapshots(generation: Generation, signal: AbortSignal): AsyncIterable<SnapshotInfo> {
    this.#metrics.countOperation('LIST', 0)
    yield* this.#client.listSnapshots(generation, signal)
  }

  async *listWalSegments(
    generation: Generation,
    signal: AbortSignal,
    options?: ListOptions,
  ): AsyncIterable<WalSegmentInfo> {
    this.#metrics.countOperation('LIST', 0)
    yield* this.#client.listWalSegments(generation, signal, options)
  }

  async startUpload(
    ref: ObjectRef,
    options: UploadOptions,
    signal: AbortSignal,
  ): Promise<ObjectUpload> {
    const upload = await this.#client.startUpload(ref, options, signal)
    // The body of an object of one part goes up when it is finished.
    let onlyPartBytes = upload.isWhole === true ? options.expectedBytes : 0
    return {
      partSizeBytes: upload.partSizeBytes,
      maxConcurrentParts: upload.maxConcurrentParts,
      isWhole: upload.isWhole === true,
      sendPart: (part: ObjectPart) => {
        if (part.last && part.number === 0) onlyPartBytes = part.bytes.byteLength
        else this.#metrics.countOperation('PUT', part.bytes.byteLength)
        return upload.sendPart(part)
      },
      finish: () => {
        this.#metrics.countOperation('PUT', onlyPartBytes)
        return upload.finish()
      },
      [Symbol.asyncDispose]: () => upload[Symbol.asyncDispose](),
    }
  }

  async *read(ref: ObjectRef, range: ByteRange, signal: AbortSignal): AsyncIterable<Uint8Array> {
    this.#metrics.countOperation('GET', 0)
    for await (const chunk of this.#client.read(ref, range, signal)) {
      this.#metrics.countReadBytes(chunk.byteLength)
      yield chunk
    }
  }

  delete(refs: readonly ObjectRef[], signal: AbortSignal): Promise<void> {
    for (let i = 0; i < refs.length; i += 1) this.#metrics.countOperation('DELETE', 0)
    return this.#client.delete(refs, signal)
  }

  async readOwner(signal: AbortSignal): Promise<OwnerObject | undefined> {
    this.#metrics.countOperation('GET', 0)
    const owner = await this.#client.readOwner(signal)
    if (owner !== undefined) this.#metrics.countReadBytes(Buffer.byteLength(owner.content))
    return owner
  }

  writeOwner(
    owner: { readonly content: string; readonly replaces: string | undefined },
    signal: AbortSignal,
  ): Promise<string | undefined> {
    this.#metrics.countOperation('PUT', Buffer.byteLength(owner.content))
    return this.#client.writeOwner(owner, signal)
  }

  sweep(signal: AbortSignal): Promise<void> {
    this.#metrics.countOperation('LIST', 0)
    return this.#client.sweep(signal)
  }
}
