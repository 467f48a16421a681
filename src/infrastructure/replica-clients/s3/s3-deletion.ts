/** Deletes objects: many by one request where the store takes that, else one by one. */
import { DeleteObjectCommand, DeleteObjectsCommand } from '@aws-sdk/client-s3'
import { deleteEach } from '../object-store/delete-each.js'
import { type Attempt } from '../object-store/refused-request.js'
import { type S3Connection } from './s3-connection.js'
import { isMissingObject, isUnsupported } from './s3-errors.js'

/** As many as a request takes. */
const maxKeysPerRequest = 1000
const singleRequestsAtOnce = 8

export class S3Deletion {
  readonly #connection: S3Connection
  #many: boolean

  constructor(connection: S3Connection) {
    this.#connection = connection
    this.#many = connection.profile.deletion !== 'single'
  }

  /** Tries all; returns what failed. Absent objects are no failure. */
  async delete(keys: readonly string[], signal: AbortSignal): Promise<readonly unknown[]> {
    const failures: unknown[] = []
    for (let at = 0; at < keys.length; at += maxKeysPerRequest) {
      signal.throwIfAborted()
      try {
        failures.push(...(await this.#deleteSome(keys.slice(at, at + maxKeysPerRequest), signal)))
      } catch (error) {
        signal.throwIfAborted()
        failures.push(error)
      }
    }
    return failures
  }

  /** Returns what failed with some of them. */
  async #deleteSome(keys: readonly string[], signal: AbortSignal): Promise<unknown[]> {
    if (!this.#many) return this.#deleteSingly(keys, signal)
    const answer = await this.#connection.attempt(
      this.#attempt(keys[0] ?? '', keys.length),
      (client, options) =>
        client.send(
          new DeleteObjectsCommand({
            Bucket: this.#connection.bucket,
            Delete: { Objects: keys.map((key) => ({ Key: key })), Quiet: true },
          }),
          options,
        ),
      {
        signal,
        expected: (failure) => (isUnsupported(failure) ? ('unsupported' as const) : undefined),
      },
    )
    if (answer === 'unsupported') {
      this.#many = false
      return this.#deleteSingly(keys, signal)
    }
    const errors = (answer.Errors ?? []).filter(({ Code: code }) => code !== 'NoSuchKey')
    return errors.map(({ Key: key, Code: code, Message: message }) =>
      this.#connection.toReplicaError(this.#attempt(key ?? 'an object', errors.length), {
        code,
        message: message ?? '',
        status: undefined,
      }),
    )
  }

  #deleteSingly(keys: readonly string[], signal: AbortSignal): Promise<unknown[]> {
    const options = { atOnce: singleRequestsAtOnce, signal }
    return deleteEach(keys, options, (key) => this.#deleteOne(key, signal))
  }

  async #deleteOne(key: string, signal: AbortSignal): Promise<void> {
    await this.#connection.attempt(
      this.#attempt(key, 1),
      (client, options) =>
        client.send(
          new DeleteObjectCommand({ Bucket: this.#connection.bucket, Key: key }),
          options,
        ),
      {
        signal,
        expected: (failure) => (isMissingObject(failure) ? ('missing' as const) : undefined),
      },
    )
  }

  #attempt(key: string, count: number): Attempt {
    const others = count === 1 ? '' : ` and ${count - 1} others`
    return {
      action: `delete ${this.#connection.urlOf(key)}${others}`,
      permission: 's3:DeleteObject',
    }
  }
}
