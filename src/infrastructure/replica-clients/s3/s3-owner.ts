/** The owner object in a bucket, and what S3-compatible stores make of a condition on a write. */
import { Readable } from 'node:stream'
import { GetObjectCommand, PutObjectCommand } from '@aws-sdk/client-s3'
import { ReplicaError } from '../../../domain/errors.js'
import { type OwnerObject } from '../../../usecase/ports/replica-client.js'
import { type NewOwner } from '../object-store/object-store-client.js'
import { watchedBody } from '../object-store/watched-body.js'
import { type S3Connection } from './s3-connection.js'
import { isMissingObject, isUnsupported } from './s3-errors.js'
import { type S3EncryptionParameters } from './s3-upload.js'

/** How the version is written that an object is to have. */
type Condition = 'quoted' | 'unquoted' | 'none'

export class S3Owner {
  readonly #connection: S3Connection
  readonly #encryption: S3EncryptionParameters
  #condition: Condition = 'quoted'

  constructor(options: {
    readonly connection: S3Connection
    readonly encryption: S3EncryptionParameters
  }) {
    this.#connection = options.connection
    this.#encryption = options.encryption
  }

  async read(key: string, signal: AbortSignal): Promise<OwnerObject | undefined> {
    const action = `read ${this.#connection.urlOf(key)}`
    const answer = await this.#connection.attempt(
      { action, permission: 's3:GetObject and s3:ListBucket' },
      (client, options) =>
        client.send(
          new GetObjectCommand({
            Bucket: this.#connection.bucket,
            Key: key,
            ...this.#encryption.access,
          }),
          options,
        ),
      {
        signal,
        expected: (failure) => (isMissingObject(failure) ? ('missing' as const) : undefined),
      },
    )
    if (answer === 'missing') return undefined
    const { Body: stream, ETag: version, ContentLength: sizeBytes } = answer
    if (!(stream instanceof Readable) || version === undefined) {
      throw new ReplicaError(`cannot ${action}: the answer has no body or no ETag`)
    }
    const { noProgressMs } = this.#connection.timeouts
    const chunks: Uint8Array[] = []
    try {
      for await (const chunk of watchedBody(stream, { sizeBytes, noProgressMs })) chunks.push(chunk)
    } catch (error) {
      signal.throwIfAborted()
      throw new ReplicaError(`cannot ${action}: its body broke`, { cause: error })
    }
    return { content: Buffer.concat(chunks).toString(), version }
  }

  async write(owner: NewOwner, signal: AbortSignal): Promise<string | undefined> {
    const answer = await this.#put(owner, signal)
    if (answer === 'unsupported') {
      this.#condition = 'none'
      return this.write(owner, signal)
    }
    if (answer !== 'changed') return answer.version
    if (this.#condition !== 'quoted' || owner.replaces === undefined) return undefined
    // Ceph compares what it is told, quotes and all, with the bare tag.
    if ((await this.read(owner.name, signal))?.version !== owner.replaces) return undefined
    this.#condition = 'unquoted'
    return this.write(owner, signal)
  }

  async #put(
    owner: NewOwner,
    signal: AbortSignal,
  ): Promise<{ readonly version: string } | 'changed' | 'unsupported'> {
    const action = `write ${this.#connection.urlOf(owner.name)}`
    const bytes = Buffer.from(owner.content)
    const answer = await this.#connection.attempt(
      { action, permission: 's3:PutObject' },
      (client, options) =>
        client.send(
          new PutObjectCommand({
            Bucket: this.#connection.bucket,
            Key: owner.name,
            ...this.#encryption.create,
            ContentType: 'application/json',
            Body: bytes,
            ...this.#conditionOn(owner.replaces),
          }),
          options,
        ),
      {
        signal,
        sizeBytes: bytes.length,
        expected: (failure) => {
          const { code, status } = failure
          if (code === 'PreconditionFailed' || status === 412) return 'changed' as const
          if (code === 'ConditionalRequestConflict') return 'changed' as const
          if (owner.replaces !== undefined && isMissingObject(failure)) return 'changed' as const
          if (this.#condition !== 'none' && isUnsupported(failure)) return 'unsupported' as const
          return undefined
        },
      },
    )
    if (answer === 'changed' || answer === 'unsupported') return answer
    if (answer.ETag === undefined) {
      throw new ReplicaError(`cannot ${action}: the answer has no ETag`)
    }
    return { version: answer.ETag }
  }

  #conditionOn(version: string | undefined): { IfMatch?: string; IfNoneMatch?: string } {
    if (this.#condition === 'none') return {}
    if (version === undefined) return { IfNoneMatch: '*' }
    return { IfMatch: this.#condition === 'quoted' ? version : version.replaceAll('"', '') }
  }
}
