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

/** Says whether this process may still write to the replica: throws if not. */
export interface WriteGuard {
  /** Knowledge of this age is good enough. */
  check(options: { readonly maxAgeMs: number }, signal: AbortSignal): Promise<void>
}

/** What is stored in this time after a look is in a generation of ours in any case. */
const writeMaxAgeMs = 10_000
/** What is deleted may be another's. */
const deleteMaxAgeMs = 1000

/**
 * Lets nothing be stored or deleted on a replica without asking. Stands inside the retries, so that what is tried again
 * after hours asks again.
 */
export class GuardingReplicaClient implements ReplicaClient {
  readonly type: string
  readonly location: string
  readonly #client: ReplicaClient
  readonly #guard: WriteGuard

  constructor(client: ReplicaClient, guard: WriteGuard) {
    this.type = client.type
    this.location = client.location
    this.#client = client
    this.#guard = guard
  }

  listGenerations(signal: AbortSignal): AsyncIterable<Generation> {
    return this.#client.listGenerations(signal)
  }

  listSnapshots(generation: Generation, signal: AbortSignal): AsyncIterable<SnapshotInfo> {
    return this.#client.listSnapshots(generation, signal)
  }

  listWalSegments(
    generation: Generation,
    signal: AbortSignal,
    options?: ListOptions,
  ): AsyncIterable<WalSegmentInfo> {
    return this.#client.listWalSegments(generation, signal, options)
  }

  async startUpload(
    ref: ObjectRef,
    options: UploadOptions,
    signal: AbortSignal,
  ): Promise<ObjectUpload> {
    await this.#guard.check({ maxAgeMs: writeMaxAgeMs }, signal)
    const upload = await this.#client.startUpload(ref, options, signal)
    return {
      partSizeBytes: upload.partSizeBytes,
      maxConcurrentParts: upload.maxConcurrentParts,
      isWhole: upload.isWhole === true,
      sendPart: (part) => upload.sendPart(part),
      finish: async () => {
        await this.#guard.check({ maxAgeMs: writeMaxAgeMs }, signal)
        await upload.finish()
      },
      [Symbol.asyncDispose]: () => upload[Symbol.asyncDispose](),
    }
  }

  read(ref: ObjectRef, range: ByteRange, signal: AbortSignal): AsyncIterable<Uint8Array> {
    return this.#client.read(ref, range, signal)
  }

  async delete(refs: readonly ObjectRef[], signal: AbortSignal): Promise<void> {
    if (refs.length === 0) return
    await this.#guard.check({ maxAgeMs: deleteMaxAgeMs }, signal)
    await this.#client.delete(refs, signal)
  }

  readOwner(signal: AbortSignal): Promise<OwnerObject | undefined> {
    return this.#client.readOwner(signal)
  }

  writeOwner(
    owner: { readonly content: string; readonly replaces: string | undefined },
    signal: AbortSignal,
  ): Promise<string | undefined> {
    return this.#client.writeOwner(owner, signal)
  }

  async sweep(signal: AbortSignal): Promise<void> {
    await this.#guard.check({ maxAgeMs: deleteMaxAgeMs }, signal)
    await this.#client.sweep(signal)
  }
}
