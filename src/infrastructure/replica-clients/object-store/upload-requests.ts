import assert from 'node:assert/strict'
import { type ObjectPart } from '../../../usecase/ports/replica-client.js'

/** The requests of one upload that are under way, until it is given up. */
export class UploadRequests {
  /** Of each of them. */
  readonly signal: AbortSignal
  readonly #givenUp = new AbortController()
  readonly #running = new Set<Promise<unknown>>()

  constructor(signal: AbortSignal) {
    this.signal = AbortSignal.any([signal, this.#givenUp.signal])
  }

  /** One more, which is waited for. */
  async track<T>(request: Promise<T>): Promise<T> {
    this.#running.add(request)
    try {
      return await request
    } finally {
      this.#running.delete(request)
    }
  }

  /** Ends all of them. Returns whether there were any. */
  async giveUp(): Promise<boolean> {
    this.#givenUp.abort()
    const hadRequests = this.#running.size > 0
    await Promise.allSettled(this.#running)
    return hadRequests
  }
}

/** All parts but the last have the size that the upload has asked for. */
export function assertPart({ bytes, last }: ObjectPart, partSizeBytes: number): void {
  assert(bytes.byteLength <= partSizeBytes && (last || bytes.byteLength === partSizeBytes))
}
