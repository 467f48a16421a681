/**
 * One bucket: how requests reach it, how long they may take, and what their failures mean.
 *
 * Credentials are found and renewed by the vendor's client. The requests are made here, since that client has no way to
 * call one back, and goes on sending for those who have gone.
 */
import { type IncomingMessage } from 'node:http'
import { type GcsReplicaTarget } from '../../../domain/settings/config.js'
import { ConfigError } from '../../../domain/errors.js'
import { agentsOf } from '../object-store/agents.js'
import { type Attempt, type RequestFailure } from '../object-store/refused-request.js'
import { type StoreTimeouts, TimedRequests, usualTimeouts } from '../object-store/timed-requests.js'
import {
  describeBreak,
  describeCredentialsFailure,
  describeRefusal,
  toReplicaError,
} from './gcs-errors.js'
import { type GcsRequest, readText, sendRequest } from './gcs-http.js'

const usualEndpoint = 'https://storage.googleapis.com'

/** The part of the vendor's client that is used. */
interface Credentials {
  getRequestHeaders(url: string): Promise<Headers>
}

/** A request that failed, and what is known about it. */
class FailedRequest extends Error {
  readonly failure: RequestFailure

  constructor(failure: RequestFailure) {
    super(failure.message)
    this.failure = failure
  }
}

export class GcsConnection {
  readonly timeouts: StoreTimeouts
  readonly #target: GcsReplicaTarget
  readonly #requests = new TimedRequests((error) =>
    error instanceof FailedRequest ? error.failure : describeBreak(error),
  )
  #credentials: Promise<Credentials> | undefined

  constructor(target: GcsReplicaTarget, timeouts: Partial<StoreTimeouts>) {
    this.#target = target
    this.timeouts = { ...usualTimeouts, ...timeouts }
  }

  /** An object for people. */
  urlOf(name: string): string {
    return `gcs://${this.#target.bucket}/${name}`
  }

  /** The address of an object of the bucket; without a name, of all of them. */
  objectUrl(name: string | undefined, query: Readonly<Record<string, string>> = {}): URL {
    const object = name === undefined ? '' : `/${encodeURIComponent(name)}`
    return this.#url(`/storage/v1/b/${encodeURIComponent(this.#target.bucket)}/o${object}`, query)
  }

  /** Where objects of the bucket are uploaded to. */
  uploadUrl(query: Readonly<Record<string, string>>): URL {
    return this.#url(`/upload/storage/v1/b/${encodeURIComponent(this.#target.bucket)}/o`, query)
  }

  /**
   * Makes one request, and lets `take` take its answer in, in the same time. `expected` picks failures that are
   * answers: what it returns is returned. Everything else becomes an error of ours; an abort passes through.
   */
  async attempt<T, E = never>(
    attempt: Attempt,
    request: GcsRequest,
    options: {
      readonly signal: AbortSignal
      readonly take: (answer: IncomingMessage) => T | Promise<T>
      readonly expected?: (failure: RequestFailure) => E | undefined
    },
  ): Promise<T | E> {
    const { signal, take, expected } = options
    const outcome = await this.#requests.send(
      async (abortSignal) => take(await this.#send(request, abortSignal)),
      {
        signal,
        timeoutMs: this.timeouts.requestMs,
        sizeBytes: (request.body ?? []).reduce((sum, { byteLength }) => sum + byteLength, 0),
      },
    )
    if ('answer' in outcome) return outcome.answer
    const answer = expected?.(outcome.failure)
    if (answer !== undefined) return answer
    throw toReplicaError(attempt, outcome.failure)
  }

  /** An answer that is no success is thrown. */
  async #send(request: GcsRequest, signal: AbortSignal): Promise<IncomingMessage> {
    const authorization = await this.#authorize(request.url)
    const headers = { 'user-agent': 'tsreplicate', ...authorization, ...request.headers }
    const answer = await sendRequest(agentsOf(this.#target), { ...request, headers }, signal)
    const status = answer.statusCode ?? 0
    // 308 says how far an upload has got.
    if ((status >= 200 && status < 300) || status === 308) return answer
    // Whatever is wrong with the credentials may have been put right in the meantime.
    if (status === 401) this.#credentials = undefined
    throw new FailedRequest(describeRefusal(status, await readText(answer)))
  }

  async #authorize(url: URL): Promise<Readonly<Record<string, string>>> {
    if (this.#target.anonymous) return {}
    try {
      const credentials = await (this.#credentials ??= findCredentials())
      return Object.fromEntries(await credentials.getRequestHeaders(url.href))
    } catch (error) {
      this.#credentials = undefined
      throw new FailedRequest(describeCredentialsFailure(error))
    }
  }

  #url(path: string, query: Readonly<Record<string, string>>): URL {
    const endpoint = this.#target.endpoint ?? usualEndpoint
    if (!URL.canParse(endpoint)) {
      throw new ConfigError(`the endpoint of gcs://${this.#target.bucket} is not a URL`, {
        hint: 'write it as https://host, with the port if there is one',
      })
    }
    return new URL(`${endpoint}${path}?${new URLSearchParams(query).toString()}`)
  }
}

/** Loaded only where credentials are wanted: an emulator wants none. */
async function findCredentials(): Promise<Credentials> {
  const { Storage } = await import('@google-cloud/storage')
  // No request of ours names a project, and to look for one takes a program and seconds.
  return new Storage({ projectId: 'none', retryOptions: { autoRetry: false } }).authClient
}
