/**
 * A blob on its way: blocks, and the list of them that makes the blob. A body of one part is put whole at the end.
 *
 * Blocks that are never committed are not visible; Azure drops them when the blob is written, or after a week. Nothing
 * of ours can drop them sooner without showing an empty blob for a moment, which a restore might meet.
 */
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { type AccessTier, type BlockBlobClient } from '@azure/storage-blob'
import { ObjectExistsError } from '../../../domain/errors.js'
import { type ObjectPart, type ObjectUpload } from '../../../usecase/ports/replica-client.js'
import { type AbsConnection } from './abs-connection.js'

/** All ids of one blob's blocks must be equally long; those of Litestream, which may have left some, have 64 bytes. */
const blockIdBytes = 64

export class AbsUpload implements ObjectUpload {
  readonly partSizeBytes: number
  readonly maxConcurrentParts: number
  readonly isWhole = false
  readonly #connection: AbsConnection
  readonly #name: string
  readonly #tier: AccessTier | undefined
  readonly #isNew: boolean
  readonly #onStored: () => void
  readonly #id = randomUUID()
  readonly #givenUp = new AbortController()
  readonly #signal: AbortSignal
  readonly #inFlight = new Set<Promise<unknown>>()
  #finished = false
  #onlyPart: Uint8Array | undefined
  #partCount = 0

  constructor(options: {
    readonly connection: AbsConnection
    readonly name: string
    readonly tier: AccessTier | undefined
    readonly partSizeBytes: number
    readonly maxConcurrentParts: number
    readonly isNew: boolean
    readonly onStored: () => void
    readonly signal: AbortSignal
  }) {
    this.partSizeBytes = options.partSizeBytes
    this.maxConcurrentParts = options.maxConcurrentParts
    this.#connection = options.connection
    this.#name = options.name
    this.#tier = options.tier
    this.#isNew = options.isNew
    this.#onStored = options.onStored
    this.#signal = AbortSignal.any([options.signal, this.#givenUp.signal])
  }

  storedBytes(contentBytes: number): number {
    return contentBytes
  }

  async sendPart({ number, bytes, last }: ObjectPart): Promise<void> {
    this.#signal.throwIfAborted()
    assert(
      bytes.byteLength <= this.partSizeBytes && (last || bytes.byteLength === this.partSizeBytes),
    )
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
    this.#signal.throwIfAborted()
    if (this.#finished) return
    const options = {
      blobHTTPHeaders: { blobContentType: 'application/octet-stream' },
      ...(this.#tier === undefined ? {} : { tier: this.#tier }),
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
            ...(this.#isNew ? { conditions: { ifNoneMatch: '*' } } : {}),
            abortSignal,
          }),
        ))
    if (isThere === 'there already') {
      throw new ObjectExistsError(
        `cannot write ${this.#connection.urlOf(this.#name)}: it is there already`,
      )
    }
    this.#finished = true
    this.#onStored()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#givenUp.abort()
    await Promise.allSettled(this.#inFlight)
  }

  async #request(
    action: string,
    sentBytes: number,
    send: (blob: BlockBlobClient, abortSignal: AbortSignal) => Promise<unknown>,
  ): Promise<unknown> {
    const request = this.#connection.attempt(
      `${action} ${this.#connection.urlOf(this.#name)}`,
      (container, abortSignal) => send(container.getBlockBlobClient(this.#name), abortSignal),
      {
        signal: this.#signal,
        sentBytes,
        expected: ({ code, status }) =>
          this.#isNew && (code === 'BlobAlreadyExists' || status === 412)
            ? ('there already' as const)
            : undefined,
      },
    )
    this.#inFlight.add(request)
    try {
      return await request
    } finally {
      this.#inFlight.delete(request)
    }
  }

  #blockId(number: number): string {
    return Buffer.from(`${this.#id}-${number}`.padEnd(blockIdBytes, '.')).toString('base64')
  }
}
