/**
 * An object on its way to S3. A body of one part is kept and put at the end; a larger one is a multipart upload, which
 * is marked with an id of ours, so that an object can be told to be this very upload when the answer to its completion
 * was lost.
 */
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  HeadObjectCommand,
  PutObjectCommand,
  UploadPartCommand,
} from '@aws-sdk/client-s3'
import { ObjectExistsError, ReplicaError } from '../../../domain/errors.js'
import { type ObjectPart, type ObjectUpload } from '../../../usecase/ports/replica-client.js'
import { type Attempt } from '../object-store/refused-request.js'
import { isMissingObject, isUnsupported } from './s3-errors.js'
import { type S3Connection } from './s3-connection.js'
import { type UnfinishedUploads } from './unfinished-uploads.js'
import { assertPart, UploadRequests } from '../object-store/upload-requests.js'

/** Parameters of requests that encryption adds. */
export interface S3EncryptionParameters {
  /** Where an object begins. */
  readonly create: {
    readonly ServerSideEncryption?: 'aws:kms'
    readonly SSEKMSKeyId?: string
  } & S3EncryptionParameters['access']
  /** Wherever bytes are sent or read. */
  readonly access: {
    readonly SSECustomerAlgorithm?: string
    readonly SSECustomerKey?: string
  }
}

const uploadIdMetadata = 'tsreplicate-upload'
/** How long giving an upload up may take; after that, it is left to a sweep. */
const abortTimeoutMs = 10_000

export interface S3UploadOptions {
  readonly connection: S3Connection
  readonly unfinished: UnfinishedUploads
  readonly key: string
  readonly encryption: S3EncryptionParameters
  readonly partSizeBytes: number
  readonly maxConcurrentParts: number
  readonly isNew: boolean
  readonly onStored: () => void
}

export class S3Upload implements ObjectUpload {
  readonly partSizeBytes: number
  readonly maxConcurrentParts: number
  readonly isWhole = false
  #isNew: boolean
  readonly #id = randomUUID()
  readonly #requests: UploadRequests
  readonly #options: S3UploadOptions
  readonly #connection: S3Connection
  readonly #key: string
  readonly #etags: string[] = []
  #state: 'open' | 'finished' | 'given-up' = 'open'
  #onlyPart: Uint8Array | undefined
  #partCount: number | undefined
  #uploadId: Promise<string> | undefined

  constructor(options: S3UploadOptions, signal: AbortSignal) {
    this.#options = options
    this.#connection = options.connection
    this.#key = options.key
    this.partSizeBytes = options.partSizeBytes
    this.maxConcurrentParts = options.maxConcurrentParts
    this.#isNew = options.isNew
    this.#requests = new UploadRequests(signal)
  }

  storedBytes(contentBytes: number): number {
    return contentBytes
  }

  async sendPart(part: ObjectPart): Promise<void> {
    const { number, bytes, last } = part
    this.#requests.signal.throwIfAborted()
    assertPart(part, this.partSizeBytes)
    if (last) this.#partCount = number + 1
    if (number === 0 && last) {
      this.#onlyPart = bytes
      return
    }
    await this.#requests.track(this.#sendPart(number, bytes))
  }

  async finish(): Promise<void> {
    this.#requests.signal.throwIfAborted()
    if (this.#state === 'finished') return
    await this.#requests.track(
      this.#onlyPart === undefined ? this.#complete() : this.#putWhole(this.#onlyPart),
    )
    this.#state = 'finished'
    this.#options.onStored()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#state !== 'open') return
    this.#state = 'given-up'
    const hadRequests = await this.#requests.giveUp()
    const uploadId = await this.#uploadId?.catch(() => undefined)
    if (uploadId === undefined) return
    this.#options.unfinished.left(uploadId)
    try {
      await abortUpload(this.#connection, {
        key: this.#key,
        uploadId,
        signal: AbortSignal.timeout(abortTimeoutMs),
      })
      // A part that was cut off on the way may arrive after this, and is then left to a sweep.
      if (!hadRequests) await this.#options.unfinished.ended(uploadId)
    } catch {
      // It is remembered, and the next sweep tries again.
    }
  }

  async #sendPart(number: number, bytes: Uint8Array): Promise<void> {
    this.#uploadId ??= this.#begin()
    const begun = this.#uploadId
    const uploadId = await begun.catch((error: unknown) => {
      // The same part again begins anew.
      if (this.#uploadId === begun) this.#uploadId = undefined
      throw error
    })
    const attempt = this.#attempt(`send part ${number + 1} of`)
    const { ETag: etag } = await this.#connection.attempt(
      attempt,
      (client, options) =>
        client.send(
          new UploadPartCommand({
            ...this.#address(),
            ...this.#options.encryption.access,
            UploadId: uploadId,
            PartNumber: number + 1,
            Body: bytes,
          }),
          options,
        ),
      { signal: this.#requests.signal, sizeBytes: bytes.byteLength },
    )
    if (etag === undefined) {
      throw new ReplicaError(`cannot ${attempt.action}: the answer has no ETag`)
    }
    this.#etags[number] = etag
  }

  async #begin(): Promise<string> {
    const attempt = this.#attempt('begin')
    await this.#options.unfinished.begins(this.#key)
    try {
      const { UploadId: uploadId } = await this.#connection.attempt(
        attempt,
        (client, options) =>
          client.send(
            new CreateMultipartUploadCommand({
              ...this.#address(),
              ...this.#options.encryption.create,
              Metadata: { [uploadIdMetadata]: this.#id },
            }),
            options,
          ),
        { signal: this.#requests.signal },
      )
      if (uploadId === undefined) {
        throw new ReplicaError(`cannot ${attempt.action}: the answer has no upload id`)
      }
      this.#options.unfinished.began(uploadId, this.#key)
      return uploadId
    } catch (error) {
      this.#options.unfinished.mayHaveBegun(this.#key)
      throw error
    }
  }

  async #putWhole(bytes: Uint8Array): Promise<void> {
    const attempt = this.#attempt('write')
    const answer = await this.#connection.attempt(
      attempt,
      (client, options) =>
        client.send(
          new PutObjectCommand({
            ...this.#address(),
            ...this.#options.encryption.create,
            ...(this.#isNew ? { IfNoneMatch: '*' } : {}),
            Body: bytes,
          }),
          options,
        ),
      {
        signal: this.#requests.signal,
        sizeBytes: bytes.byteLength,
        expected: (failure) => {
          if (!this.#isNew) return undefined
          const { code, status } = failure
          if (code === 'PreconditionFailed' || status === 412) return 'there already' as const
          if (code === 'ConditionalRequestConflict') return 'there already' as const
          return isUnsupported(failure) ? ('unsupported' as const) : undefined
        },
      },
    )
    if (answer === 'there already') {
      throw new ObjectExistsError(`cannot ${attempt.action}: it already exists`)
    }
    if (answer !== 'unsupported') return
    this.#isNew = false
    await this.#putWhole(bytes)
  }

  async #complete(): Promise<void> {
    const uploadId = await this.#uploadId
    assert(uploadId !== undefined && this.#partCount !== undefined, 'finished before the last part')
    const parts = Array.from({ length: this.#partCount }, (_, number) => {
      const etag = this.#etags[number]
      assert(etag !== undefined, 'finished before all parts were sent')
      return { PartNumber: number + 1, ETag: etag }
    })
    const attempt = this.#attempt('finish')
    const answer = await this.#connection.attempt(
      attempt,
      (client, options) =>
        client.send(
          new CompleteMultipartUploadCommand({
            ...this.#address(),
            UploadId: uploadId,
            MultipartUpload: { Parts: parts },
          }),
          options,
        ),
      {
        signal: this.#requests.signal,
        timeoutMs: this.#connection.timeouts.assemblyMs,
        expected: ({ code, status }) =>
          code === 'NoSuchUpload' || status === 404 ? ('unknown upload' as const) : undefined,
      },
    )
    if (answer === 'unknown upload') {
      if (!(await this.#isStored())) {
        throw new ReplicaError(`cannot ${attempt.action}: the store no longer knows its parts`, {
          retryable: false,
        })
      }
    } else if (answer.Key === undefined && answer.Location === undefined) {
      // A failure can come under the status of a success, when it happens after the answer has begun.
      throw new ReplicaError(`cannot ${attempt.action}: the answer does not say that it is stored`)
    }
    await this.#options.unfinished.ended(uploadId)
  }

  /** Whether the object that is there was made by this very upload. */
  async #isStored(): Promise<boolean> {
    const found = await this.#connection.attempt(
      this.#attempt('look for'),
      (client, options) =>
        client.send(
          new HeadObjectCommand({ ...this.#address(), ...this.#options.encryption.access }),
          options,
        ),
      {
        signal: this.#requests.signal,
        expected: (failure) => (isMissingObject(failure) ? ('missing' as const) : undefined),
      },
    )
    return found !== 'missing' && found.Metadata?.[uploadIdMetadata] === this.#id
  }

  #address(): { readonly Bucket: string; readonly Key: string } {
    return { Bucket: this.#connection.bucket, Key: this.#key }
  }

  #attempt(verb: string): Attempt {
    return {
      action: `${verb} ${this.#connection.urlOf(this.#key)}`,
      permission: 's3:PutObject',
    }
  }
}

/** Removes the parts of an upload. One that is not there is no error. */
export async function abortUpload(
  connection: S3Connection,
  upload: { readonly key: string; readonly uploadId: string; readonly signal: AbortSignal },
): Promise<void> {
  await connection.attempt(
    {
      action: `give up the upload of ${connection.urlOf(upload.key)}`,
      permission: 's3:AbortMultipartUpload',
    },
    (client, options) =>
      client.send(
        new AbortMultipartUploadCommand({
          Bucket: connection.bucket,
          Key: upload.key,
          UploadId: upload.uploadId,
        }),
        options,
      ),
    {
      signal: upload.signal,
      expected: ({ code, status }) =>
        code === 'NoSuchUpload' || status === 404 ? ('gone' as const) : undefined,
    },
  )
}
