/**
 * A blob on its way: blocks, and the list of them that makes the blob. A body of one part is put whole at the end.
 *
 * Blocks that are never committed are not visible; Azure drops them when the blob is written, or after a week. Nothing
 * of ours can drop them sooner without showing an empty blob for a moment, which a restore might meet.
 */
import { randomUUID } from 'node:crypto'
import { type AccessTier, type BlockBlobClient } from '@azure/storage-blob'
import { ObjectExistsError } from '../../../domain/errors.js'
import { type ObjectPart, type ObjectUpload } from '../../../usecase/ports/replica-client.js'
import { type AbsConnection } from './abs-connection.js'
import { assertPart, UploadRequests } from '../object-store/upload-requests.js'

/** All ids of one blob's blocks must be equally long; those of Litestream, which may have left some, have 64 bytes. */
const blockIdBytes = 64

export interface AbsUploadOptions {
  readonly connection: AbsConnection
  readonly name: string
  readonly tier: AccessTier | undefined
  readonly partSizeBytes: number
  readonly maxConcurrentParts: number
  readonly isNew: boolean
  readonly onStored: () => void
}

export class AbsUpload implements ObjectUpload {
  readonly partSizeBytes: number
  readonly maxConcurrentParts: number
  readonly isWhole = false
  readonly #id = randomUUID()
  readonly #requests: UploadRequests
  readonly #options: AbsUploadOptions
  #finished = false
  #onlyPart: Uint8Array | undefined
  #partCount = 0

  constructor(options: AbsUploadOptions, signal: AbortSignal) {
    this.#options = options
    this.partSizeBytes = options.partSizeBytes
    this.maxConcurrentParts = options.maxConcurrentParts
    this.#requests = new UploadRequests(signal)
  }

  storedBytes(contentBytes: number): number {
    return contentBytes
  }

  async sendPart(part: ObjectPart): Promise<void> {
    const { number, bytes, last } = part
    this.#requests.signal.throwIfAborted()
    assertPart(part, this.partSizeBytes)
    this.#partCount = Math.max(this.#partCount, number + 1)
    if (number === 0 && last) {
      this.#onlyPart = bytes
      return
    }
    await this.#request(`send block ${number + 1} of`, bytes.byteLength, (blob, abortSignal) =>
      blob.stageBlock(this.#blockId(number), bytes, bytes.byteLength, { abortSignal }),
    )
  }

  /** Again after a lost answer is harmless: the blocks are then those of the blob itself. */
  async finish(): Promise<void> {
    this.#requests.signal.throwIfAborted()
    if (this.#finished) return
    const options = {
      blobHTTPHeaders: { blobContentType: 'application/octet-stream' },
      ...(this.#options.tier === undefined ? {} : { tier: this.#options.tier }),
    }
    const whole = this.#onlyPart
    const isThere = await (whole === undefined
      ? this.#request('finish', this.#partCount * 100, (blob, abortSignal) => {
          const ids = Array.from({ length: this.#partCount }, (_, number) => this.#blockId(number))
          return blob.commitBlockList(ids, { ...options, abortSignal })
        })
      : this.#request('write', whole.byteLength, (blob, abortSignal) =>
          blob.upload(whole, whole.byteLength, {
            ...options,
            ...(this.#options.isNew ? { conditions: { ifNoneMatch: '*' } } : {}),
            abortSignal,
          }),
        ))
    if (isThere === 'there already') {
      throw new ObjectExistsError(
        `cannot write ${this.#options.connection.urlOf(this.#options.name)}: it already exists`,
      )
    }
    this.#finished = true
    this.#options.onStored()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#requests.giveUp()
  }

  async #request(
    action: string,
    sentBytes: number,
    send: (blob: BlockBlobClient, abortSignal: AbortSignal) => Promise<unknown>,
  ): Promise<unknown> {
    const { connection, name, isNew } = this.#options
    const request = connection.attempt(
      `${action} ${connection.urlOf(name)}`,
      (container, abortSignal) => send(container.getBlockBlobClient(name), abortSignal),
      {
        signal: this.#requests.signal,
        sentBytes,
        expected: ({ code, status }) =>
          isNew && (code === 'BlobAlreadyExists' || status === 412)
            ? ('there already' as const)
            : undefined,
      },
    )
    return await this.#requests.track(request)
  }

  #blockId(number: number): string {
    return Buffer.from(`${this.#id}-${number}`.padEnd(blockIdBytes, '.')).toString('base64')
  }
}
