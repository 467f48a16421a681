import { ObjectNotFoundError, ReplicaError } from '../domain/errors.js'
import { formatObjectPath, type ObjectRef } from '../domain/replica-layout.js'
import { type Clock } from './ports/clock.js'
import { type ReplicaClient } from './ports/replica-client.js'

/**
 * Reads back what a store has acknowledged: now and then the last byte of the newest segment, and of each snapshot a byte.
 * A store that answers "stored" and stores nothing would else look healthy for ever.
 */
export class ReadBack {
  readonly #client: ReplicaClient
  readonly #clock: Pick<Clock, 'monotonic'>
  readonly #intervalMs: number
  #newest: { readonly ref: ObjectRef; readonly sizeBytes: number } | undefined
  #sinceMs: number | undefined
  #lastAt = Number.NEGATIVE_INFINITY

  constructor(options: {
    client: ReplicaClient
    clock: Pick<Clock, 'monotonic'>
    intervalMs: number
  }) {
    this.#client = options.client
    this.#clock = options.clock
    this.#intervalMs = options.intervalMs
  }

  /** The commit time of the oldest segment that was acknowledged and not read back. */
  get sinceMs(): number | undefined {
    return this.#sinceMs
  }

  /** The store acknowledged a segment, whose first commit has this time. */
  acknowledged(ref: ObjectRef, sizeBytes: number, commitTimeMs: number): void {
    if (this.#newest === undefined) this.#lastAt = this.#clock.monotonic()
    this.#newest = { ref, sizeBytes }
    this.#sinceMs ??= commitTimeMs
  }

  /** How long until the newest segment is to be read back; undefined: it was. */
  get dueInMs(): number | undefined {
    if (this.#newest === undefined) return undefined
    return Math.max(0, this.#lastAt + this.#intervalMs - this.#clock.monotonic())
  }

  /** Throws {@link ReplicaError} when the newest segment is not there. */
  async check(signal: AbortSignal): Promise<void> {
    const newest = this.#newest
    if (newest === undefined) return
    this.#lastAt = this.#clock.monotonic()
    try {
      await this.checkObject(newest.ref, newest.sizeBytes - 1, signal)
    } catch (error) {
      // It is not asked for again: the replica is listed anew.
      if (error instanceof ReplicaError && !error.retryable) this.#newest = undefined
      throw error
    }
    this.#newest = undefined
    this.#sinceMs = undefined
  }

  /** Throws {@link ReplicaError} when an object that was acknowledged has no byte at `offset`. */
  async checkObject(ref: ObjectRef, offset: number, signal: AbortSignal): Promise<void> {
    let readBytes = 0
    try {
      for await (const chunk of this.#client.read(ref, { offset, length: 1 }, signal)) {
        readBytes += chunk.length
      }
    } catch (error) {
      if (!(error instanceof ObjectNotFoundError)) throw error
    }
    if (readBytes > 0) return
    throw new ReplicaError(
      `${formatObjectPath(ref)} on ${this.#client.location} was acknowledged by the store and is not there`,
      {
        retryable: false,
        hint: 'look at what the store does with what it is sent: until this is over, nothing there is to be relied on',
      },
    )
  }
}
