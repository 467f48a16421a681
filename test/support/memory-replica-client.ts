/** A replica in memory, for tests: objects appear on finish and never before. */
import assert from 'node:assert/strict'
import { ObjectExistsError, ObjectNotFoundError } from '../../src/domain/errors.js'
import { type Generation, parseGeneration } from '../../src/domain/wal/generation.js'
import { isBefore } from '../../src/domain/wal/position.js'
import {
  formatObjectPath,
  generationsFolder,
  objectFolder,
  type ObjectRef,
  ownerObjectName,
  parseSnapshotName,
  parseWalSegmentName,
} from '../../src/domain/stored/replica-layout.js'
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
} from '../../src/usecase/ports/replica-client.js'

interface StoredObject {
  readonly bytes: Uint8Array
  readonly createdAtMs: number
}

const chunkBytes = 64 * 1024

export class MemoryReplicaClient implements ReplicaClient {
  readonly type = 'memory'
  readonly isEncrypted = false
  readonly location = 'memory'
  /** By path. Tests may add foreign names, damage objects and take them away. */
  readonly objects = new Map<string, StoredObject>()
  /** Uploads that are neither finished nor given up. */
  readonly openUploads = new Set<string>()
  /** Whether the owner object is only written if it is what the writer takes it for. */
  honoursConditions = true
  /** Called before every operation; what it throws is thrown to the caller. */
  beforeOperation: ((operation: string, path: string) => void | Promise<void>) | undefined
  readonly #now: () => number
  readonly #parts: { readonly partSizeBytes: number; readonly maxConcurrentParts: number }
  #uploadCount = 0
  #ownerVersion = 0

  constructor(
    options: { now?: () => number; partSizeBytes?: number; maxConcurrentParts?: number } = {},
  ) {
    this.#now = options.now ?? Date.now
    const { partSizeBytes = 1024 * 1024, maxConcurrentParts = 3 } = options
    this.#parts = { partSizeBytes, maxConcurrentParts }
  }

  /** Holds what another one does, as if its clients had been taken back to an earlier state, and the store had not. */
  become(other: MemoryReplicaClient): void {
    this.objects.clear()
    for (const [path, object] of other.objects) this.objects.set(path, object)
    this.#ownerVersion = other.#ownerVersion
  }

  async *listGenerations(signal: AbortSignal): AsyncIterable<Generation> {
    await this.#begin('list', generationsFolder, signal)
    const found = new Set<Generation>()
    for (const path of this.objects.keys()) {
      const parts = path.split('/')
      if (parts[0] !== generationsFolder || parts[1] === undefined || parts.length < 3) continue
      const generation = parseGeneration(parts[1])
      if (generation !== undefined) found.add(generation)
    }
    for (const generation of found) {
      signal.throwIfAborted()
      yield generation
    }
  }

  async *listSnapshots(generation: Generation, signal: AbortSignal): AsyncIterable<SnapshotInfo> {
    for await (const { name, object } of this.#list(objectFolder(generation, 'snapshot'), signal)) {
      const index = parseSnapshotName(name)
      if (index === undefined) continue
      const { createdAtMs, bytes } = object
      yield { kind: 'snapshot', generation, index, sizeBytes: bytes.byteLength, createdAtMs }
    }
  }

  async *listWalSegments(
    generation: Generation,
    signal: AbortSignal,
    { from }: ListOptions = {},
  ): AsyncIterable<WalSegmentInfo> {
    const folder = objectFolder(generation, 'wal-segment')
    for await (const { name, object } of this.#list(folder, signal)) {
      const position = parseWalSegmentName(name)
      if (position === undefined || isBefore(position, from)) continue
      const { createdAtMs, bytes } = object
      const sizeBytes = bytes.byteLength
      yield { kind: 'wal-segment', generation, ...position, sizeBytes, createdAtMs }
    }
  }

  async startUpload(
    ref: ObjectRef,
    { isNew = false }: UploadOptions,
    signal: AbortSignal,
  ): Promise<ObjectUpload> {
    const path = formatObjectPath(ref)
    await this.#begin('upload', path, signal)
    this.#uploadCount += 1
    const id = `${path}#${this.#uploadCount}`
    this.openUploads.add(id)
    const parts: ObjectPart[] = []
    const { partSizeBytes, maxConcurrentParts } = this.#parts
    const check = async (operation: string): Promise<void> => {
      if (!this.openUploads.has(id)) throw new Error('the upload has ended')
      await this.#begin(operation, path, signal)
      if (!this.openUploads.has(id)) throw new Error('the upload was given up meanwhile')
    }
    let inFlight = 0
    return {
      partSizeBytes,
      maxConcurrentParts,
      isWhole: false,
      storedBytes: (contentBytes) => contentBytes,
      sendPart: async (part) => {
        const size = part.bytes.byteLength
        assert(
          part.last ? size <= partSizeBytes : size === partSizeBytes,
          `a part of ${size} bytes`,
        )
        inFlight += 1
        try {
          assert(inFlight <= maxConcurrentParts, 'too many parts at once')
          await check('sendPart')
          parts[part.number] = { ...part, bytes: new Uint8Array(part.bytes) }
        } finally {
          inFlight -= 1
        }
      },
      finish: async () => {
        await check('finish')
        assert(inFlight === 0, 'finished with parts in flight')
        const ends = Array.from(parts, (part) => part.last)
        assert(ends.indexOf(true) === parts.length - 1, 'finished without all parts')
        if (isNew && this.honoursConditions && this.objects.has(path)) {
          throw new ObjectExistsError(`cannot write ${path}: it already exists`)
        }
        this.openUploads.delete(id)
        const bytes = Buffer.concat(parts.map((part) => part.bytes))
        this.objects.set(path, { bytes, createdAtMs: this.#now() })
      },
      [Symbol.asyncDispose]: () => {
        this.openUploads.delete(id)
        return Promise.resolve()
      },
    }
  }

  async *read(ref: ObjectRef, range: ByteRange, signal: AbortSignal): AsyncIterable<Uint8Array> {
    const path = formatObjectPath(ref)
    await this.#begin('read', path, signal)
    const object = this.objects.get(path)
    if (object === undefined) throw new ObjectNotFoundError(`${path} does not exist`)
    const size = object.bytes.byteLength
    const end = range.length === undefined ? size : Math.min(size, range.offset + range.length)
    for (let at = range.offset; at < end; at += chunkBytes) {
      signal.throwIfAborted()
      // Not `slice`, which shares memory if it is a Buffer's.
      yield new Uint8Array(object.bytes.subarray(at, Math.min(end, at + chunkBytes)))
    }
  }

  contentBytes({ sizeBytes }: { readonly sizeBytes: number }): Promise<number> {
    return Promise.resolve(sizeBytes)
  }

  isMarked(): Promise<undefined> {
    return Promise.resolve(undefined)
  }

  async delete(refs: readonly ObjectRef[], signal: AbortSignal): Promise<void> {
    let failure: { error: unknown } | undefined
    for (const ref of refs) {
      signal.throwIfAborted()
      const path = formatObjectPath(ref)
      try {
        await this.#begin('delete', path, signal)
        this.objects.delete(path)
      } catch (error) {
        failure ??= { error }
      }
    }
    if (failure !== undefined) throw failure.error
  }

  async readOwner(signal: AbortSignal): Promise<OwnerObject | undefined> {
    await this.#begin('readOwner', ownerObjectName, signal)
    const object = this.objects.get(ownerObjectName)
    if (object === undefined) return undefined
    return { content: Buffer.from(object.bytes).toString(), version: String(this.#ownerVersion) }
  }

  async writeOwner(
    owner: { readonly content: string; readonly replaces: string | undefined },
    signal: AbortSignal,
  ): Promise<string | undefined> {
    await this.#begin('writeOwner', ownerObjectName, signal)
    const isThere = this.objects.has(ownerObjectName)
    const version = isThere ? String(this.#ownerVersion) : undefined
    if (this.honoursConditions && owner.replaces !== version) return undefined
    this.#ownerVersion += 1
    const bytes = Buffer.from(owner.content)
    this.objects.set(ownerObjectName, { bytes, createdAtMs: this.#now() })
    return String(this.#ownerVersion)
  }

  async sweep(signal: AbortSignal): Promise<void> {
    await this.#begin('sweep', '', signal)
  }

  async *#list(
    folder: string,
    signal: AbortSignal,
  ): AsyncIterable<{ name: string; object: StoredObject }> {
    await this.#begin('list', folder, signal)
    const prefix = `${folder}/`
    const found = [...this.objects].filter(([path]) => path.startsWith(prefix))
    for (const [path, object] of found) {
      signal.throwIfAborted()
      yield { name: path.slice(prefix.length), object }
    }
  }

  async #begin(operation: string, path: string, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted()
    await this.beforeOperation?.(operation, path)
    signal.throwIfAborted()
  }
}
