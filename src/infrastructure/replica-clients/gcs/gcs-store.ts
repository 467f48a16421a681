/** A bucket of Google Cloud Storage. */
import { type GcsReplicaTarget } from '../../../domain/settings/config.js'
import {
  type ByteRange,
  type ObjectUpload,
  type OwnerObject,
  type ReplicaClient,
} from '../../../usecase/ports/replica-client.js'
import { deleteEach } from '../object-store/delete-each.js'
import { type ListedPage } from '../object-store/listed-folder.js'
import {
  type NewOwner,
  type ObjectStore,
  ObjectStoreClient,
  type OpenedObject,
  type StoredUpload,
  type WantedFolder,
  type WantedObject,
} from '../object-store/object-store-client.js'
import { type Attempt } from '../object-store/refused-request.js'
import { type StoreTimeouts } from '../object-store/timed-requests.js'
import { GcsConnection } from './gcs-connection.js'
import { describeBreak, isMissingObject, toNotFoundError, toReplicaError } from './gcs-errors.js'
import { readText } from './gcs-http.js'
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

/** A replica in a bucket. */
export function openGcsReplica(
  target: GcsReplicaTarget,
  timeouts: Partial<StoreTimeouts> = {},
): ReplicaClient {
  return new ObjectStoreClient(new GcsStore(target, timeouts), target.prefix)
}

/** Google numbers the versions of an object, by what it calls generations. */
class GcsStore implements ObjectStore {
  readonly type = 'gcs'
  readonly #target: GcsReplicaTarget
  readonly connection: GcsConnection

  constructor(target: GcsReplicaTarget, timeouts: Partial<StoreTimeouts>) {
    this.#target = target
    this.connection = new GcsConnection(target, timeouts)
  }

  async *list({ folder, first }: WantedFolder, signal: AbortSignal): AsyncIterable<ListedPage> {
    let pageToken: string | undefined
    do {
      const page: ListingPage = await this.connection.attempt(
        {
          action: `list ${this.connection.urlOf(folder)}`,
          permission: 'storage.objects.list',
        },
        {
          method: 'GET',
          url: this.connection.objectUrl(undefined, {
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
      yield page
      pageToken = page.nextPageToken
    } while (pageToken !== undefined)
  }

  startUpload({ name, isNew = false, onStored }: StoredUpload, signal: AbortSignal): ObjectUpload {
    const { storageClass, partSizeBytes = usualPartBytes } = this.#target
    const connection = this.connection
    return new GcsUpload({ connection, name, storageClass, partSizeBytes, isNew, onStored }, signal)
  }

  async open(
    { name, range, version: expected }: WantedObject,
    signal: AbortSignal,
  ): Promise<OpenedObject | 'past the end' | 'replaced'> {
    const attempt = this.#readingOf(name)
    const answer = await this.connection.attempt(
      attempt,
      {
        method: 'GET',
        url: this.connection.objectUrl(name, {
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
    if (answer === 'past the end' || answer === 'replaced') return answer
    const { 'x-goog-generation': version, 'content-length': length } = answer.headers
    return {
      stream: answer,
      sizeBytes: length === undefined ? undefined : Number(length),
      version: typeof version === 'string' ? version : undefined,
    }
  }

  /** Whatever breaks a body that had begun may be better the next time. */
  toBodyError(name: string, error: unknown): Error {
    return toReplicaError(this.#readingOf(name), { ...describeBreak(error), code: 'EBODY' })
  }

  delete(names: readonly string[], signal: AbortSignal): Promise<readonly unknown[]> {
    return deleteEach(names, { atOnce: maxConcurrentDeletions, signal }, (name) =>
      this.connection.attempt(
        {
          action: `delete ${this.connection.urlOf(name)}`,
          permission: 'storage.objects.delete',
        },
        { method: 'DELETE', url: this.connection.objectUrl(name) },
        {
          signal,
          take: readText,
          expected: (failure) => (isMissingObject(failure) ? ('absent' as const) : undefined),
        },
      ),
    )
  }

  readOwner(name: string, signal: AbortSignal): Promise<OwnerObject | undefined> {
    return readOwnerObject(this.connection, name, signal)
  }

  writeOwner(owner: NewOwner, signal: AbortSignal): Promise<string | undefined> {
    return writeOwnerObject(this.connection, owner, signal)
  }

  /** Nothing to do: what uploads leave is invisible, cannot be listed, and is Google's to drop. */
  sweep(): Promise<void> {
    return Promise.resolve()
  }

  #readingOf(name: string): Attempt {
    return { action: `read ${this.connection.urlOf(name)}`, permission: 'storage.objects.get' }
  }
}

function rangeHeader({ offset, length }: ByteRange): Readonly<Record<string, string>> {
  if (length !== undefined) return { range: `bytes=${offset}-${offset + length - 1}` }
  // An empty object has no range at all.
  return offset === 0 ? {} : { range: `bytes=${offset}-` }
}
