/**
 * Asks a store again when it failed for a moment. Of an upload each part is retried by itself, so that a snapshot of
 * hours survives a store that is away for minutes.
 */
import { ReplicaError } from '../../../domain/errors.js'
import { type ObjectRef } from '../../../domain/stored/replica-layout.js'
import { pauseAfter } from '../../../kit/pause.js'
import { type Clock } from '../../../usecase/ports/clock.js'
import {
  type ByteRange,
  type ObjectUpload,
  type ReplicaClient,
} from '../../../usecase/ports/replica-client.js'
import { around, aroundUpload } from './around-client.js'

export interface RetryOptions {
  /** How often a request is made at most, the first time included. */
  readonly attempts: number
  /** The pause after the first failure; it doubles from one to the next. */
  readonly baseDelayMs: number
  readonly maxDelayMs: number
  readonly clock: Pick<Clock, 'sleep'>
  /** A number from 0 up to 1, to keep clients from coming back all at once. */
  readonly random: () => number
  /**
   * With it, the parts and the end of an object of several parts are tried for ever, since all that was sent would be
   * lost otherwise: `report` hears of each failure that would have been the last, `recovered` when it works again.
   */
  readonly patience?: {
    report(error: ReplicaError): void
    recovered(): void
  }
}

export function retryOperations(client: ReplicaClient, options: RetryOptions): ReplicaClient {
  const retries = new Retries(options)
  return {
    ...around(client, {
      call: (action, _, signal) => retries.run(action, signal),
      stream: (start, _, signal) => retries.list(start, signal),
    }),
    startUpload(ref, offer, signal) {
      const start = async (): Promise<ObjectUpload> => {
        const givenUp = new AbortController()
        const either = AbortSignal.any([signal, givenUp.signal])
        const upload = await client.startUpload(ref, offer, either)
        let isLarge = false
        return aroundUpload(upload, {
          sendPart: (part) => {
            isLarge ||= !part.last || part.number > 0
            return retries.run(() => upload.sendPart(part), either, isLarge)
          },
          finish: () => retries.run(() => upload.finish(), either, isLarge),
          [Symbol.asyncDispose]: async () => {
            // A part that waits for its next attempt, or hangs, must not keep the upload from being given up.
            givenUp.abort()
            await upload[Symbol.asyncDispose]()
          },
        })
      }
      return retries.run(start, signal)
    },
    read: (ref, range, signal) => retries.read(client, { ref, range }, signal),
    // Not again: whether what failed was written, only a look can tell, and what to do then is the caller's to say.
    writeOwner: (owner, signal) => client.writeOwner(owner, signal),
  }
}

class Retries {
  readonly #options: RetryOptions

  constructor(options: RetryOptions) {
    this.#options = options
  }

  /** Goes on from the byte that was reached; attempts are counted anew when bytes have come. */
  async *read(
    client: ReplicaClient,
    { ref, range }: { readonly ref: ObjectRef; readonly range: ByteRange },
    signal: AbortSignal,
  ): AsyncIterable<Uint8Array> {
    let readBytes = 0
    let failures = 0
    for (;;) {
      const rest: ByteRange = {
        offset: range.offset + readBytes,
        length: range.length === undefined ? undefined : range.length - readBytes,
      }
      try {
        for await (const chunk of client.read(ref, rest, signal)) {
          readBytes += chunk.byteLength
          failures = 0
          yield chunk
        }
        return
      } catch (error) {
        failures += 1
        await this.#pauseOrThrow(error, failures, signal)
        if (range.length !== undefined && readBytes >= range.length) return
      }
    }
  }

  /** Begins a listing anew as long as it has shown nothing: in the middle, entries would come twice. */
  async *list<T>(start: () => AsyncIterable<T>, signal: AbortSignal): AsyncIterable<T> {
    let failures = 0
    for (;;) {
      let begun = false
      try {
        for await (const entry of start()) {
          begun = true
          yield entry
        }
        return
      } catch (error) {
        if (begun) throw error
        failures += 1
        await this.#pauseOrThrow(error, failures, signal)
      }
    }
  }

  async run<T>(action: () => Promise<T>, signal: AbortSignal, isPatient = false): Promise<T> {
    const { attempts } = this.#options
    const patience = isPatient ? this.#options.patience : undefined
    for (let failures = 0; ;) {
      try {
        const result = await action()
        if (failures >= attempts) patience?.recovered()
        return result
      } catch (error) {
        failures += 1
        const isLast = failures >= attempts
        if (!isRetryable(error) || (isLast && patience === undefined)) throw error
        if (isLast) patience?.report(error)
        await this.#pause(failures, signal)
      }
    }
  }

  /** Throws `error` on if another attempt is not allowed or cannot help; else waits for its time to come. */
  async #pauseOrThrow(error: unknown, failures: number, signal: AbortSignal): Promise<void> {
    if (!isRetryable(error) || failures >= this.#options.attempts) throw error
    await this.#pause(failures, signal)
  }

  async #pause(failures: number, signal: AbortSignal): Promise<void> {
    const { baseDelayMs, maxDelayMs, clock, random } = this.#options
    const fullMs = pauseAfter(failures, { firstMs: baseDelayMs, mostMs: maxDelayMs })
    await clock.sleep(fullMs * (0.5 + random() / 2), signal)
  }
}

function isRetryable(error: unknown): error is ReplicaError {
  return error instanceof ReplicaError && error.retryable
}
