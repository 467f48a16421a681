/** A container of Azure Blob Storage. */
import assert from 'node:assert/strict'
import { Readable } from 'node:stream'
import {
  type AccessTier,
  type BlobItem,
  type ContainerListBlobHierarchySegmentResponse,
} from '@azure/storage-blob'
import { type AbsReplicaTarget } from '../../../domain/settings/config.js'
import { ReplicaError } from '../../../domain/errors.js'
import {
  type ObjectUpload,
  type OwnerObject,
  type ReplicaClient,
} from '../../../usecase/ports/replica-client.js'
import { deleteEach } from '../object-store/delete-each.js'
import { type ListedObject, type ListedPage } from '../object-store/listed-folder.js'
import {
  type NewOwner,
  type ObjectStore,
  ObjectStoreClient,
  type OpenedObject,
  type StoredUpload,
  type WantedFolder,
  type WantedObject,
} from '../object-store/object-store-client.js'
import { type StoreTimeouts } from '../object-store/timed-requests.js'
import { AbsConnection } from './abs-connection.js'
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

/** A replica in a container. */
export function openAbsReplica(
  target: AbsReplicaTarget,
  timeouts: Partial<StoreTimeouts> = {},
): ReplicaClient {
  return new ObjectStoreClient(new AbsStore(target, timeouts), target.prefix)
}

class AbsStore implements ObjectStore {
  readonly type = 'abs'
  readonly #target: AbsReplicaTarget
  readonly connection: AbsConnection

  constructor(target: AbsReplicaTarget, timeouts: Partial<StoreTimeouts>) {
    this.#target = target
    this.connection = new AbsConnection(target, timeouts)
  }

  async *list({ folder, first }: WantedFolder, signal: AbortSignal): AsyncIterable<ListedPage> {
    let marker: string | undefined
    do {
      const page: ContainerListBlobHierarchySegmentResponse | undefined =
        await this.connection.attempt(
          `list ${this.connection.urlOf(folder)}`,
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
      yield {
        objects: (page?.segment.blobItems ?? []).map((blob) => this.#toListed(blob)),
        folders: (page?.segment.blobPrefixes ?? []).map(({ name }) => name),
      }
      marker = page?.continuationToken
    } while (marker !== undefined && marker !== '')
  }

  startUpload(
    { name, expectedBytes, isNew = false, onStored }: StoredUpload,
    signal: AbortSignal,
  ): ObjectUpload {
    const { storageClass, concurrency: wanted = defaultConcurrency } = this.#target
    const partSizeBytes = chooseBlockSize(expectedBytes, this.#target.partSizeBytes)
    const fitting = Math.floor(maxBytesInFlight / partSizeBytes)
    return new AbsUpload(
      {
        connection: this.connection,
        name,
        // The vendor's list of tiers is open: Azure refuses what it does not know.
        tier: toTier(storageClass),
        partSizeBytes,
        maxConcurrentParts: Math.max(1, Math.min(wanted, fitting)),
        isNew,
        onStored,
      },
      signal,
    )
  }

  async open(
    { name, range, version }: WantedObject,
    signal: AbortSignal,
  ): Promise<OpenedObject | 'past the end' | 'replaced'> {
    // What the vendor's stream is read from goes on until it is told to stop.
    const body = new AbortController()
    const answer = await this.connection.attempt(
      `read ${this.connection.urlOf(name)}`,
      (container, abortSignal) =>
        container.getBlobClient(name).download(range.offset, range.length, {
          abortSignal: AbortSignal.any([body.signal, abortSignal]),
          ...(version === undefined ? {} : { conditions: { ifMatch: version } }),
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
    if (answer === 'past the end' || answer === 'replaced') return answer
    const { readableStreamBody: stream, contentLength: sizeBytes, etag } = answer
    assert(stream instanceof Readable && sizeBytes !== undefined)
    return {
      stream: {
        [Symbol.asyncIterator]: () => stream[Symbol.asyncIterator](),
        destroy: (error) => {
          stream.destroy(error)
          body.abort()
        },
      },
      sizeBytes,
      version: etag,
    }
  }

  /** Whatever breaks a body that had begun may be better the next time. */
  toBodyError(name: string, error: unknown): Error {
    const failure = { ...describeFailure(error), code: 'EBODY' }
    return toReplicaError(`read ${this.connection.urlOf(name)}`, failure, this.connection.redact)
  }

  delete(names: readonly string[], signal: AbortSignal): Promise<readonly unknown[]> {
    return deleteEach(names, { atOnce: maxConcurrentDeletions, signal }, (name) =>
      this.connection.attempt(
        `delete ${this.connection.urlOf(name)}`,
        (container, abortSignal) =>
          container.deleteBlob(name, { abortSignal, deleteSnapshots: 'include' }),
        {
          signal,
          expected: ({ code }) => (code === 'BlobNotFound' ? ('absent' as const) : undefined),
        },
      ),
    )
  }

  async readOwner(blob: string, signal: AbortSignal): Promise<OwnerObject | undefined> {
    const answer = await this.connection.attempt(
      `read ${this.connection.urlOf(blob)}`,
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
    { name: blob, content, replaces }: NewOwner,
    signal: AbortSignal,
  ): Promise<string | undefined> {
    const bytes = Buffer.from(content)
    const answer = await this.connection.attempt(
      `write ${this.connection.urlOf(blob)}`,
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
  sweep(): Promise<void> {
    return Promise.resolve()
  }

  #toListed({ name, properties }: BlobItem): ListedObject {
    const { contentLength: sizeBytes, createdOn, lastModified } = properties
    if (sizeBytes === undefined) {
      throw new ReplicaError(`cannot list ${this.connection.urlOf(name)}: its size is missing`)
    }
    return { name, sizeBytes, createdAtMs: (createdOn ?? lastModified).getTime() }
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
