/** A bucket of Amazon S3, or of a store that speaks its language. */
import { Readable } from 'node:stream'
import { GetObjectCommand, type GetObjectCommandOutput } from '@aws-sdk/client-s3'
import { type S3ReplicaTarget } from '../../../domain/settings/config.js'
import { ReplicaError } from '../../../domain/errors.js'
import { parseGeneration } from '../../../domain/wal/generation.js'
import {
  generationsFolder,
  parseSnapshotName,
  parseWalSegmentName,
} from '../../../domain/stored/replica-layout.js'
import {
  type ByteRange,
  type ObjectUpload,
  type OwnerObject,
  type ReplicaClient,
} from '../../../usecase/ports/replica-client.js'
import { type UploadRecord } from '../../../usecase/ports/upload-record.js'
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
import { choosePartConcurrency, choosePartSize } from './part-size.js'
import { S3Connection, type S3Timeouts } from './s3-connection.js'
import { S3Deletion } from './s3-deletion.js'
import { describeFailure } from './s3-errors.js'
import { listFolder, listUploads } from './s3-listing.js'
import { S3Owner } from './s3-owner.js'
import { abortUpload, type S3EncryptionParameters, S3Upload } from './s3-upload.js'
import { UnfinishedUploads } from './unfinished-uploads.js'

/** Unfinished uploads that are not ours may be another writer's, which is at work, until they are this old. */
const foreignUploadAgeMs = 24 * 60 * 60 * 1000

/** A replica in a bucket. `uploads` remembers those under way for the process after this one; undefined: nobody does. */
export function openS3Replica(
  target: S3ReplicaTarget,
  timeouts: Partial<S3Timeouts> = {},
  uploads?: UploadRecord,
): ReplicaClient {
  return new ObjectStoreClient(new S3Store(target, timeouts, uploads), target.prefix)
}

class S3Store implements ObjectStore {
  readonly type = 's3'
  readonly #target: S3ReplicaTarget
  readonly connection: S3Connection
  readonly #deletion: S3Deletion
  readonly #owner: S3Owner
  readonly #encryption: S3EncryptionParameters
  readonly #unfinished: UnfinishedUploads

  constructor(
    target: S3ReplicaTarget,
    timeouts: Partial<S3Timeouts>,
    uploads: UploadRecord | undefined,
  ) {
    this.#target = target
    this.#unfinished = new UnfinishedUploads(uploads)
    this.connection = new S3Connection(target, timeouts)
    this.#deletion = new S3Deletion(this.connection)
    this.#encryption = encryptionParameters(target.encryption)
    this.#owner = new S3Owner({ connection: this.connection, encryption: this.#encryption })
  }

  list(folder: WantedFolder, signal: AbortSignal): AsyncIterable<ListedPage> {
    return listFolder(this.connection, folder, signal)
  }

  startUpload(
    { name, expectedBytes, isNew = false, onStored }: StoredUpload,
    signal: AbortSignal,
  ): ObjectUpload {
    const { partSizeBytes: configuredBytes, concurrency } = this.#target
    const partSizeBytes = choosePartSize({ expectedBytes, configuredBytes })
    return new S3Upload(
      {
        connection: this.connection,
        unfinished: this.#unfinished,
        key: name,
        encryption: this.#encryption,
        partSizeBytes,
        maxConcurrentParts: choosePartConcurrency({
          partSizeBytes,
          wanted: concurrency ?? this.connection.profile.maxConcurrentParts,
        }),
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
    const attempt = this.#readingOf(name)
    const answer = await this.connection.attempt(
      attempt,
      (client, options) =>
        client.send(
          new GetObjectCommand({
            Bucket: this.connection.bucket,
            Key: name,
            ...this.#encryption.access,
            ...(isWhole(range) ? {} : { Range: formatRange(range) }),
            ...(version === undefined ? {} : { IfMatch: version }),
          }),
          options,
        ),
      {
        signal,
        expected: ({ code, status }) => {
          if (code === 'InvalidRange' || status === 416) return 'past the end' as const
          if (code === 'PreconditionFailed' || status === 412) return 'replaced' as const
          return undefined
        },
      },
    )
    if (answer === 'past the end' || answer === 'replaced') return answer
    const stream = answer.Body
    const sizeBytes = bodySizeBytes(answer, range)
    if (stream instanceof Readable && sizeBytes !== 'another range') {
      return { stream, sizeBytes, version: answer.ETag }
    }
    // Nobody reads it: this frees its connection.
    if (stream instanceof Readable) stream.destroy()
    throw new ReplicaError(`cannot ${attempt.action}: the store answered with other bytes`, {
      hint: 'a proxy or cache in between may not know ranges',
    })
  }

  toBodyError(name: string, error: unknown): Error {
    return this.connection.toReplicaError(this.#readingOf(name), describeFailure(error))
  }

  delete(names: readonly string[], signal: AbortSignal): Promise<readonly unknown[]> {
    return this.#deletion.delete(names, signal)
  }

  readOwner(name: string, signal: AbortSignal): Promise<OwnerObject | undefined> {
    return this.#owner.read(name, signal)
  }

  writeOwner(owner: NewOwner, signal: AbortSignal): Promise<string | undefined> {
    return this.#owner.write(owner, signal)
  }

  async sweep(root: string, signal: AbortSignal): Promise<void> {
    const unfinished = this.#unfinished
    await unfinished.load()
    const abort = async (key: string, uploadId: string): Promise<void> => {
      await abortUpload(this.connection, { key, uploadId, signal })
      await unfinished.ended(uploadId)
    }
    for (const { key, uploadId } of unfinished.leftovers()) await abort(key, uploadId)
    for (const key of unfinished.uncertainKeys()) {
      for (const upload of await listUploads(this.connection, key, signal)) {
        // A generation has one writer, so that an upload of its object that nobody here works at is a lost one.
        if (upload.key !== key || unfinished.isRunning(upload.uploadId)) continue
        await abort(key, upload.uploadId)
      }
      await unfinished.settleKey(key)
    }
    const all = `${root}${generationsFolder}/`
    for (const { key, uploadId, begunAtMs } of await listUploads(this.connection, all, signal)) {
      if (unfinished.isRunning(uploadId) || !isNameOfOurs(key.slice(root.length))) continue
      if (Date.now() - begunAtMs > foreignUploadAgeMs) await abort(key, uploadId)
    }
  }

  #readingOf(name: string): Attempt {
    return {
      action: `read ${this.connection.urlOf(name)}`,
      permission:
        's3:GetObject (and s3:ListBucket, without which an absent object is refused, too)',
    }
  }
}

/** Whether it is the path of an object of ours in a replica. */
function isNameOfOurs(path: string): boolean {
  const [folder, generation, , name, ...others] = path.split('/')
  if (folder !== generationsFolder || generation === undefined || name === undefined) return false
  if (parseGeneration(generation) === undefined || others.length > 0) return false
  return parseSnapshotName(name) !== undefined || parseWalSegmentName(name) !== undefined
}

function encryptionParameters(encryption: S3ReplicaTarget['encryption']): S3EncryptionParameters {
  switch (encryption?.kind) {
    case undefined:
      return { create: {}, access: {} }
    case 'kms':
      return {
        create: {
          ServerSideEncryption: 'aws:kms',
          ...(encryption.keyId === undefined ? {} : { SSEKMSKeyId: encryption.keyId }),
        },
        access: {},
      }
    case 'customer': {
      const access = {
        SSECustomerAlgorithm: 'AES256',
        SSECustomerKey: encryption.key.reveal(),
      }
      return { create: access, access }
    }
  }
}

function isWhole({ offset, length }: ByteRange): boolean {
  return offset === 0 && length === undefined
}

function formatRange({ offset, length }: ByteRange): string {
  return `bytes=${offset}-${length === undefined ? '' : offset + length - 1}`
}

/** The bytes that have to come for a range; undefined where the answer does not tell. */
function bodySizeBytes(
  answer: GetObjectCommandOutput,
  range: ByteRange,
): number | 'another range' | undefined {
  if (isWhole(range)) return answer.ContentLength
  const match = /^bytes (\d+)-(\d+)\/(\d+|\*)$/.exec(answer.ContentRange ?? '')
  if (match?.[1] === undefined || match[2] === undefined) return 'another range'
  const firstByte = Number(match[1])
  const lastByte = Number(match[2])
  const totalBytes = match[3] === '*' ? Infinity : Number(match[3])
  const wantedEnd = Math.min(totalBytes, range.offset + (range.length ?? Infinity))
  const isWanted =
    firstByte === range.offset && (lastByte + 1 === wantedEnd || wantedEnd === Infinity)
  return isWanted ? lastByte + 1 - firstByte : 'another range'
}
