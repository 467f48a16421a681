/** A replica in a container of Azure Blob Storage. */
import assert from 'node:assert/strict'
import {
  type AccessTier,
  type BlobItem,
  type ContainerListBlobHierarchySegmentResponse,
} from '@azure/storage-blob'
import { type AbsReplicaTarget } from '../../../domain/settings/config.js'
import { ReplicaError } from '../../../domain/errors.js'
import { type Generation } from '../../../domain/wal/generation.js'
import { onAbort } from '../../../kit/abort.js'
import {
  generationsIn,
  type ListedFolder,
  listedFolder,
  type ListedObject,
  snapshotsIn,
  walSegmentsIn,
} from '../object-store/listed-folder.js'
import { ObjectVersions } from '../object-store/object-versions.js'
import {
  formatObjectPath,
  formatWalSegmentPlace,
  generationsFolder,
  objectFolder,
  type ObjectRef,
  ownerObjectName,
} from '../../../domain/stored/replica-layout.js'
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
import { readBody } from './abs-body.js'
import { AbsConnection, type AbsTimeouts } from './abs-connection.js'
import { describeFailure, toReplicaError } from './abs-errors.js'
import { AbsUpload } from './abs-upload.js'

const mebibyte = 1024 * 1024
/** A blob has no more blocks than this. */
const maxBlockCount = 50_000
const maxBlockBytes = 4000 * mebibyte
const usualBlockBytes = 8 * mebibyte
/** What the blocks in flight of one upload may take of our memory. */
const maxBytesInFlight = 256 * mebibyte
const defaultConcurrency = 4
/** Deletions in flight: Azure has no deletion of many blobs that every account allows. */
const maxConcurrentDeletions = 16

export class AbsReplicaClient implements ReplicaClient {
  readonly type = 'abs'
  readonly isEncrypted = false
  readonly location: string
  readonly #target: AbsReplicaTarget
  readonly #connection: AbsConnection
  readonly #root: string
  /** The version of each blob that was read last: a broken body is read on only from the same one. */
  readonly #etags = new ObjectVersions()

  constructor(target: AbsReplicaTarget, timeouts: Partial<AbsTimeouts> = {}) {
    const prefix = target.prefix.split('/').filter(Boolean).join('/')
    this.#target = target
    this.#root = prefix === '' ? '' : `${prefix}/`
    this.#connection = new AbsConnection(target, timeouts)
    this.location = this.#connection.urlOf(prefix)
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
      const partSizeBytes = chooseBlockSize(options.expectedBytes, this.#target.partSizeBytes)
      const fitting = Math.floor(maxBytesInFlight / partSizeBytes)
      const wanted = this.#target.concurrency ?? defaultConcurrency
      resolve(
        new AbsUpload({
          connection: this.#connection,
          name,
          // The vendor's list of tiers is open: Azure refuses what it does not know.
          tier: toTier(this.#target.storageClass),
          partSizeBytes,
          maxConcurrentParts: Math.max(1, Math.min(wanted, fitting)),
          isNew: options.isNew === true,
          onStored: () => this.#etags.forget(name),
          signal,
        }),
      )
    })
  }

  async *read(ref: ObjectRef, range: ByteRange, signal: AbortSignal): AsyncIterable<Uint8Array> {
    signal.throwIfAborted()
    if (range.length === 0) return
    const name = this.#nameOf(ref)
    const action = `read ${this.#connection.urlOf(name)}`
    const expectedTag = range.offset === 0 ? undefined : this.#etags.of(name)
    const body = new AbortController()
    using _stopping = onAbort(signal, () => body.abort())
    try {
      const answer = await this.#connection.attempt(
        action,
        (container, abortSignal) =>
          container.getBlobClient(name).download(range.offset, range.length, {
            abortSignal: AbortSignal.any([body.signal, abortSignal]),
            ...(expectedTag === undefined ? {} : { conditions: { ifMatch: expectedTag } }),
          }),
        {
          signal,
          expected: ({ code, status }) => {
            if (code === 'InvalidRange' || status === 416) return 'past the end' as const
            if (code === 'ConditionNotMet' || status === 412) return 'replaced' as const
            return undefined
          },
        },
      )
      if (answer === 'past the end') return
      if (answer === 'replaced') {
        this.#etags.forget(name)
        throw new ReplicaError(`cannot ${action}: it was replaced while it was being read`, {
          retryable: false,
        })
      }
      if (answer.etag !== undefined) this.#etags.remember(name, answer.etag)
      const stream = answer.readableStreamBody
      const sizeBytes = answer.contentLength
      assert(stream !== undefined && sizeBytes !== undefined && 'destroy' in stream)
      assert(typeof stream.destroy === 'function')
      const { noProgressMs } = this.#connection.timeouts
      try {
        yield* readBody(stream, {
          sizeBytes,
          noProgressMs,
        })
      } catch (error) {
        signal.throwIfAborted()
        // Whatever breaks a body that had begun may be better the next time.
        const failure = { ...describeFailure(error), code: 'EBODY' }
        throw toReplicaError(action, failure, this.#connection.redact)
      }
      signal.throwIfAborted()
    } finally {
      body.abort()
    }
  }

  contentBytes({ sizeBytes }: { readonly sizeBytes: number }): Promise<number> {
    return Promise.resolve(sizeBytes)
  }

  isMarked(): Promise<undefined> {
    return Promise.resolve(undefined)
  }

  async delete(refs: readonly ObjectRef[], signal: AbortSignal): Promise<void> {
    signal.throwIfAborted()
    const waiting = refs.map((ref) => this.#nameOf(ref)).reverse()
    const failures: unknown[] = []
    const work = async (): Promise<void> => {
      for (let name = waiting.pop(); name !== undefined; name = waiting.pop()) {
        if (signal.aborted) return
        const blob = name
        this.#etags.forget(blob)
        try {
          await this.#connection.attempt(
            `delete ${this.#connection.urlOf(blob)}`,
            (container, abortSignal) =>
              container.deleteBlob(blob, { abortSignal, deleteSnapshots: 'include' }),
            {
              signal,
              expected: ({ code }) => (code === 'BlobNotFound' ? ('absent' as const) : undefined),
            },
          )
        } catch (error) {
          failures.push(error)
        }
      }
    }
    await Promise.all(Array.from({ length: maxConcurrentDeletions }, work))
    signal.throwIfAborted()
    if (failures.length > 0) throw failures[0]
  }

  async readOwner(signal: AbortSignal): Promise<OwnerObject | undefined> {
    const blob = `${this.#root}${ownerObjectName}`
    const answer = await this.#connection.attempt(
      `read ${this.#connection.urlOf(blob)}`,
      async (container, abortSignal) => {
        const found = await container.getBlobClient(blob).download(0, undefined, { abortSignal })
        const chunks: Uint8Array[] = []
        for await (const chunk of found.readableStreamBody ?? []) chunks.push(Buffer.from(chunk))
        return { content: Buffer.concat(chunks).toString(), version: found.etag }
      },
      {
        signal,
        expected: ({ code }) => (code === 'BlobNotFound' ? ('absent' as const) : undefined),
      },
    )
    if (answer === 'absent') return undefined
    const { content, version } = answer
    assert(version !== undefined, 'a blob without an ETag')
    return { content, version }
  }

  async writeOwner(
    { content, replaces }: { readonly content: string; readonly replaces: string | undefined },
    signal: AbortSignal,
  ): Promise<string | undefined> {
    const blob = `${this.#root}${ownerObjectName}`
    const bytes = Buffer.from(content)
    const answer = await this.#connection.attempt(
      `write ${this.#connection.urlOf(blob)}`,
      (container, abortSignal) =>
        container.getBlockBlobClient(blob).upload(bytes, bytes.length, {
          abortSignal,
          blobHTTPHeaders: { blobContentType: 'application/json' },
          conditions: replaces === undefined ? { ifNoneMatch: '*' } : { ifMatch: replaces },
        }),
      {
        signal,
        sentBytes: bytes.length,
        expected: ({ code, status }) =>
          code === 'BlobAlreadyExists' || code === 'BlobNotFound' || status === 412
            ? ('changed' as const)
            : undefined,
      },
    )
    if (answer === 'changed') return undefined
    assert(answer.etag !== undefined, 'a blob without an ETag')
    return answer.etag
  }

  /** Nothing to do: what uploads leave is invisible, and Azure's to drop. */
  sweep(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      signal.throwIfAborted()
      resolve()
    })
  }

  /** What lies right in a folder of the replica. */
  async *#pages(path: string, signal: AbortSignal, first?: string): AsyncIterable<ListedFolder> {
    const folder = `${this.#root}${path}/`
    let marker: string | undefined
    do {
      const page: ContainerListBlobHierarchySegmentResponse | undefined =
        await this.#connection.attempt(
          `list ${this.#connection.urlOf(folder)}`,
          async (container, abortSignal) => {
            const pages = container
              .listBlobsByHierarchy('/', {
                prefix: folder,
                abortSignal,
                // A whole name, as the prefix is; what does not know it lists everything.
                ...(first === undefined ? {} : { startFrom: `${folder}${first}` }),
              })
              .byPage(marker === undefined ? {} : { continuationToken: marker })
            for await (const page of pages) return page
            return undefined
          },
          { signal },
        )
      yield listedFolder(folder, {
        objects: (page?.segment.blobItems ?? []).map((blob) => this.#toListed(blob)),
        folders: (page?.segment.blobPrefixes ?? []).map(({ name }) => name),
      })
      marker = page?.continuationToken
    } while (marker !== undefined && marker !== '')
  }

  #toListed({ name, properties }: BlobItem): ListedObject {
    const { contentLength: sizeBytes, createdOn, lastModified } = properties
    if (sizeBytes === undefined) {
      throw new ReplicaError(`cannot list ${this.#connection.urlOf(name)}: its size is missing`)
    }
    return { name, sizeBytes, createdAtMs: (createdOn ?? lastModified).getTime() }
  }

  #nameOf(ref: ObjectRef): string {
    return `${this.#root}${formatObjectPath(ref)}`
  }
}

/** The size of all blocks of a blob, which cannot change once it has begun, with room for a larger body than expected. */
export function chooseBlockSize(
  expectedBytes: number,
  configuredBytes: number | undefined,
): number {
  const roomBytes = expectedBytes * 1.1 + 64 * mebibyte
  const neededBytes = Math.ceil(roomBytes / maxBlockCount / mebibyte) * mebibyte
  return Math.min(maxBlockBytes, Math.max(configuredBytes ?? usualBlockBytes, neededBytes))
}

function toTier(storageClass: string | undefined): AccessTier | undefined {
  return storageClass as AccessTier | undefined
}
