/** A replica in a bucket of Amazon S3, or of a store that speaks its language. */
import { Readable } from 'node:stream'
import { GetObjectCommand, type GetObjectCommandOutput } from '@aws-sdk/client-s3'
import { type S3ReplicaTarget } from '../../../domain/settings/config.js'
import { ReplicaError } from '../../../domain/errors.js'
import { type Generation, parseGeneration } from '../../../domain/wal/generation.js'
import { onAbort } from '../../../kit/abort.js'
import {
  generationsIn,
  type ListedFolder,
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
  parseSnapshotName,
  parseWalSegmentName,
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
import { type UploadRecord } from '../../../usecase/ports/upload-record.js'
import { readBody } from './object-body.js'
import { choosePartConcurrency, choosePartSize } from './part-size.js'
import { S3Connection, type S3Timeouts } from './s3-connection.js'
import { S3Deletion } from './s3-deletion.js'
import { type Attempt, describeFailure } from './s3-errors.js'
import { listFolder, listUploads } from './s3-listing.js'
import { S3Owner } from './s3-owner.js'
import { abortUpload, type S3EncryptionParameters, S3Upload } from './s3-upload.js'
import { UnfinishedUploads } from './unfinished-uploads.js'

/** Unfinished uploads that are not ours may be another writer's, which is at work, until they are this old. */
const foreignUploadAgeMs = 24 * 60 * 60 * 1000

export class S3ReplicaClient implements ReplicaClient {
  readonly type = 's3'
  readonly isEncrypted = false
  readonly location: string
  readonly #target: S3ReplicaTarget
  readonly #connection: S3Connection
  readonly #deletion: S3Deletion
  readonly #owner: S3Owner
  readonly #root: string
  readonly #encryption: S3EncryptionParameters
  readonly #etags = new ObjectVersions()
  readonly #unfinished: UnfinishedUploads

  /** `uploads` remembers those under way for the process after this one; undefined: nobody does. */
  constructor(target: S3ReplicaTarget, timeouts: Partial<S3Timeouts> = {}, uploads?: UploadRecord) {
    this.#unfinished = new UnfinishedUploads(uploads)
    const prefix = target.prefix.split('/').filter(Boolean).join('/')
    this.#target = target
    this.#root = prefix === '' ? '' : `${prefix}/`
    this.#connection = new S3Connection(target, timeouts)
    this.location = this.#connection.urlOf(prefix)
    this.#deletion = new S3Deletion(this.#connection)
    this.#encryption = encryptionParameters(target.encryption)
    this.#owner = new S3Owner({
      connection: this.#connection,
      key: `${this.#root}${ownerObjectName}`,
      encryption: this.#encryption,
    })
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
      const key = this.#keyOf(ref)
      const partSizeBytes = choosePartSize({
        expectedBytes: options.expectedBytes,
        configuredBytes: this.#target.partSizeBytes,
      })
      resolve(
        new S3Upload({
          connection: this.#connection,
          unfinished: this.#unfinished,
          key,
          encryption: this.#encryption,
          partSizeBytes,
          maxConcurrentParts: choosePartConcurrency({
            partSizeBytes,
            wanted: this.#target.concurrency ?? this.#connection.profile.maxConcurrentParts,
          }),
          isNew: options.isNew === true,
          onStored: () => this.#etags.forget(key),
          signal,
        }),
      )
    })
  }

  /**
   * A read that begins at the start of the object takes the version that is there; one that begins further on, which is
   * how a broken body is resumed, only the version that was read of it last.
   */
  async *read(ref: ObjectRef, range: ByteRange, signal: AbortSignal): AsyncIterable<Uint8Array> {
    signal.throwIfAborted()
    if (range.length === 0) return
    const key = this.#keyOf(ref)
    const attempt: Attempt = {
      action: `read ${this.#connection.urlOf(key)}`,
      permission:
        's3:GetObject (and s3:ListBucket, without which an absent object is refused, too)',
    }
    const expectedTag = range.offset === 0 ? undefined : this.#etags.of(key)
    const answer = await this.#connection.attempt(
      attempt,
      (client, options) =>
        client.send(
          new GetObjectCommand({
            Bucket: this.#connection.bucket,
            Key: key,
            ...this.#encryption.access,
            ...(isWhole(range) ? {} : { Range: formatRange(range) }),
            ...(expectedTag === undefined ? {} : { IfMatch: expectedTag }),
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
    if (answer === 'past the end') return
    if (
      answer === 'replaced' ||
      (expectedTag !== undefined && answer.ETag !== undefined && answer.ETag !== expectedTag)
    ) {
      this.#etags.forget(key)
      discard(answer)
      throw new ReplicaError(`cannot ${attempt.action}: it was replaced while it was being read`, {
        retryable: false,
      })
    }
    if (answer.ETag !== undefined) this.#etags.remember(key, answer.ETag)
    const stream = answer.Body
    const sizeBytes = bodySizeBytes(answer, range)
    if (!(stream instanceof Readable) || sizeBytes === 'another range') {
      discard(answer)
      throw new ReplicaError(`cannot ${attempt.action}: the store answered with other bytes`, {
        hint: 'a proxy or cache in between may not know ranges',
      })
    }
    const { noProgressMs } = this.#connection.timeouts
    using _stopping = onAbort(signal, () => void stream.destroy())
    try {
      yield* readBody({ stream, sizeBytes, noProgressMs })
    } catch (error) {
      signal.throwIfAborted()
      throw this.#connection.toReplicaError(attempt, describeFailure(error))
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
    const keys = refs.map((ref) => this.#keyOf(ref))
    for (const key of keys) this.#etags.forget(key)
    await this.#deletion.delete(keys, signal)
  }

  readOwner(signal: AbortSignal): Promise<OwnerObject | undefined> {
    return this.#owner.read(signal)
  }

  writeOwner(
    owner: { readonly content: string; readonly replaces: string | undefined },
    signal: AbortSignal,
  ): Promise<string | undefined> {
    return this.#owner.write(owner, signal)
  }

  async sweep(signal: AbortSignal): Promise<void> {
    const unfinished = this.#unfinished
    await unfinished.load()
    const abort = async (key: string, uploadId: string): Promise<void> => {
      await abortUpload(this.#connection, { key, uploadId, signal })
      await unfinished.ended(uploadId)
    }
    for (const { key, uploadId } of unfinished.leftovers()) await abort(key, uploadId)
    for (const key of unfinished.uncertainKeys()) {
      for (const upload of await listUploads(this.#connection, key, signal)) {
        // A generation has one writer, so that an upload of its object that nobody here works at is a lost one.
        if (upload.key !== key || unfinished.isRunning(upload.uploadId)) continue
        await abort(key, upload.uploadId)
      }
      await unfinished.isCertain(key)
    }
    const all = `${this.#root}${generationsFolder}/`
    for (const { key, uploadId, begunAtMs } of await listUploads(this.#connection, all, signal)) {
      if (unfinished.isRunning(uploadId) || !this.#isNameOfOurs(key)) continue
      if (Date.now() - begunAtMs > foreignUploadAgeMs) await abort(key, uploadId)
    }
  }

  /** With `first` without the names before it, where the store knows how. */
  #pages(path: string, signal: AbortSignal, first?: string): AsyncIterable<ListedFolder> {
    return listFolder(this.#connection, { folder: `${this.#root}${path}/`, first }, signal)
  }

  #keyOf(ref: ObjectRef): string {
    return `${this.#root}${formatObjectPath(ref)}`
  }

  /** Whether the key is that of an object of ours, under this replica's root. */
  #isNameOfOurs(key: string): boolean {
    const [folder, generation, , name, ...others] = key.slice(this.#root.length).split('/')
    if (folder !== generationsFolder || generation === undefined || name === undefined) return false
    if (parseGeneration(generation) === undefined || others.length > 0) return false
    return parseSnapshotName(name) !== undefined || parseWalSegmentName(name) !== undefined
  }
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

/** Frees the connection of an answer whose body nobody reads. */
function discard(answer: GetObjectCommandOutput | 'replaced'): void {
  if (answer !== 'replaced' && answer.Body instanceof Readable) answer.Body.destroy()
}
