/** Requests to a store, each in the time that its size takes at the pace of those before it. */
import { ConfigError } from '../../../domain/errors.js'
import { orAborted } from '../../../kit/abort.js'
import { UploadPace } from './upload-pace.js'

export interface StoreTimeouts {
  /** Until an answer has begun, on top of the time for the bytes that are sent. */
  readonly requestMs: number
  /** How long a wait for bytes of a body may take. */
  readonly noProgressMs: number
}

/** A store that is there again after it had swallowed a request is used again within half a minute. */
export const usualTimeouts: StoreTimeouts = { requestMs: 20_000, noProgressMs: 20_000 }

export interface RequestTimes {
  readonly signal: AbortSignal
  /** Until the answer is there, on top of the time for the bytes. */
  readonly timeoutMs: number
  /** About how many bytes go over the wire until then. */
  readonly sizeBytes: number
}

/** What came of a request. */
export type Outcome<T, F> = { readonly answer: T } | { readonly failure: F }

export class TimedRequests<F> {
  readonly #pace = new UploadPace()
  readonly #describe: (error: unknown) => F

  /** `describe` takes apart what a request threw. */
  constructor(describe: (error: unknown) => F) {
    this.#describe = describe
  }

  /** Rejects with the signal's reason at once when it is aborted, and with a {@link ConfigError} as it is. */
  async send<T>(
    request: (signal: AbortSignal) => Promise<T>,
    { signal, timeoutMs, sizeBytes }: RequestTimes,
  ): Promise<Outcome<T, F>> {
    signal.throwIfAborted()
    const late = new AbortController()
    const allowedMs = this.#pace.allowedMs(timeoutMs, sizeBytes)
    const timer = setTimeout(() => late.abort(), allowedMs)
    const either = AbortSignal.any([signal, late.signal])
    const startedAtMs = performance.now()
    try {
      const answer = await orAborted(request(either), either)
      this.#pace.succeeded(sizeBytes, performance.now() - startedAtMs)
      return { answer }
    } catch (error) {
      signal.throwIfAborted()
      if (error instanceof ConfigError) throw error
      if (!late.signal.aborted) return { failure: this.#describe(error) }
      this.#pace.timedOut(sizeBytes)
      return { failure: this.#describe(noAnswer(allowedMs)) }
    } finally {
      clearTimeout(timer)
    }
  }
}

function noAnswer(ms: number): Error {
  const message = `no answer within ${Math.round(ms / 1000)} s`
  return Object.assign(new Error(message), { code: 'ETIMEDOUT' })
}
