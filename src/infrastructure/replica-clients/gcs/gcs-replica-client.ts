/** A replica in a bucket of Google Cloud Storage. */
import { type IncomingMessage } from 'node:http'
import { type GcsReplicaTarget } from '../../../domain/settings/config.js'
import { ReplicaError } from '../../../domain/errors.js'
import { type Generation } from '../../../domain/wal/generation.js'
import {
  generationsIn,
  type ListedFolder,
  listedFolder,
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
import { GcsConnection, type GcsTimeouts } from './gcs-connection.js'
import { describeBreak, isMissingObject, toNotFoundError, toReplicaError } from './gcs-errors.js'
import { readBody, readText } from './gcs-http.js'
import { type ListingPage, parseListing } from './gcs-listing.js'
import { readOwnerObject, writeOwnerObject } from './gcs-owner.js'
import { GcsUpload } from './gcs-upload.js'

const mebibyte = 1024 * 1024
/** A multiple of 256 KiB, as the store wants it. */
const usualPartBytes = 8 * mebibyte
/** As many as a page has. */
const pageSize = 1000
/** Deletions in flight: each object costs a request. */
const maxConcurrentDeletions = 16

export class GcsReplicaClient implements ReplicaClient {
  readonly type = 'gcs'
  readonly isEncrypted = false
  readonly location: string
  readonly #target: GcsReplicaTarget
  readonly #connection: GcsConnection
  readonly #root: string
  /** Google's generation of each object that was read last: a broken body is read on only from the same one. */
  readonly #versions = new ObjectVersions()

  constructor(target: GcsReplicaTarget, timeouts: Partial<GcsTimeouts> = {}) {
    const prefix = target.prefix.split('/').filter(Boolean).join('/')
    this.#target = target
    this.#root = prefix === '' ? '' : `${prefix}/`
    this.#connection = new GcsConnection(target, timeouts)
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

  startUpload(
    ref: ObjectRef,
    { isNew = false }: UploadOptions,
    signal: AbortSignal,
  ): Promise<ObjectUpload> {
    return new Promise((resolve) => {
      signal.throwIfAborted()
      const name = this.#nameOf(ref)
      resolve(
        new GcsUpload({
          connection: this.#connection,
          name,
          storageClass: this.#target.storageClass,
          partSizeBytes: this.#target.partSizeBytes ?? usualPartBytes,
          isNew,
          onStored: () => this.#versions.forget(name),
          signal,
        }),
      )
    })
  }

  async *read(ref: ObjectRef, range: ByteRange, signal: AbortSignal): AsyncIterable<Uint8Array> {
    signal.throwIfAborted()
    if (range.length === 0) return
    const name = this.#nameOf(ref)
    const attempt = {
      action: `read ${this.#connection.urlOf(name)}`,
      permission: 'storage.objects.get',
    }
    const answer = await this.#open(name, range, signal)
    if (answer === 'past the end') return
    try {
      yield* readBody(answer, this.#connection.timeouts.noProgressMs)
    } catch (error) {
      signal.throwIfAborted()
      // Whatever breaks a body that had begun may be better the next time.
      throw toReplicaError(attempt, { ...describeBreak(error), code: 'EBODY' })
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
    const waiting = refs.map((ref) => this.#nameOf(ref)).reverse()
    const failures: unknown[] = []
    const work = async (): Promise<void> => {
      for (let name = waiting.pop(); name !== undefined; name = waiting.pop()) {
        if (signal.aborted) return
        this.#versions.forget(name)
        try {
          await this.#connection.attempt(
            {
              action: `delete ${this.#connection.urlOf(name)}`,
              permission: 'storage.objects.delete',
            },
            { method: 'DELETE', url: this.#connection.objectUrl(name) },
            {
              signal,
              take: readText,
              expected: (failure) => (isMissingObject(failure) ? ('absent' as const) : undefined),
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

  readOwner(signal: AbortSignal): Promise<OwnerObject | undefined> {
    return readOwnerObject(this.#connection, `${this.#root}${ownerObjectName}`, signal)
  }

  writeOwner(
    owner: { readonly content: string; readonly replaces: string | undefined },
    signal: AbortSignal,
  ): Promise<string | undefined> {
    const name = `${this.#root}${ownerObjectName}`
    return writeOwnerObject(this.#connection, { name, ...owner }, signal)
  }

  /** Nothing to do: what uploads leave is invisible, cannot be listed, and is Google's to drop. */
  sweep(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      signal.throwIfAborted()
      resolve()
    })
  }

  async #open(
    name: string,
    range: ByteRange,
    signal: AbortSignal,
  ): Promise<IncomingMessage | 'past the end'> {
    const attempt = {
      action: `read ${this.#connection.urlOf(name)}`,
      permission: 'storage.objects.get',
    }
    const expected = range.offset === 0 ? undefined : this.#versions.of(name)
    const answer = await this.#connection.attempt(
      attempt,
      {
        method: 'GET',
        url: this.#connection.objectUrl(name, {
          alt: 'media',
          ...(expected === undefined ? {} : { ifGenerationMatch: expected }),
        }),
        headers: rangeHeader(range),
      },
      {
        signal,
        take: (answer) => answer,
        expected: (failure) => {
          if (failure.status === 416) return 'past the end' as const
          if (failure.status === 412) return 'replaced' as const
          return isMissingObject(failure) ? toNotFoundError(attempt, failure) : undefined
        },
      },
    )
    if (answer instanceof Error) throw answer
    if (answer === 'past the end') return answer
    const version = answer === 'replaced' ? undefined : answer.headers['x-goog-generation']
    // A store that knows no conditions still says what it gives.
    if (answer === 'replaced' || (expected !== undefined && version !== expected)) {
      this.#versions.forget(name)
      if (answer !== 'replaced') answer.destroy()
      throw new ReplicaError(`cannot ${attempt.action}: it was replaced while it was being read`, {
        retryable: false,
      })
    }
    if (typeof version === 'string') this.#versions.remember(name, version)
    return answer
  }

  /** What lies right in a folder of the replica. */
  async *#pages(path: string, signal: AbortSignal, first?: string): AsyncIterable<ListedFolder> {
    const folder = `${this.#root}${path}/`
    let pageToken: string | undefined
    do {
      const page: ListingPage = await this.#connection.attempt(
        {
          action: `list ${this.#connection.urlOf(folder)}`,
          permission: 'storage.objects.list',
        },
        {
          method: 'GET',
          url: this.#connection.objectUrl(undefined, {
            prefix: folder,
            delimiter: '/',
            ...(first === undefined ? {} : { startOffset: `${folder}${first}` }),
            maxResults: String(pageSize),
            fields: 'items(name,size,timeCreated),prefixes,nextPageToken',
            ...(pageToken === undefined ? {} : { pageToken }),
          }),
        },
        { signal, take: async (answer) => parseListing(await readText(answer)) },
      )
      yield listedFolder(folder, page)
      pageToken = page.nextPageToken
    } while (pageToken !== undefined)
  }

  #nameOf(ref: ObjectRef): string {
    return `${this.#root}${formatObjectPath(ref)}`
  }
}

function rangeHeader({ offset, length }: ByteRange): Readonly<Record<string, string>> {
  if (length !== undefined) return { range: `bytes=${offset}-${offset + length - 1}` }
  // An empty object has no range at all.
  return offset === 0 ? {} : { range: `bytes=${offset}-` }
}
