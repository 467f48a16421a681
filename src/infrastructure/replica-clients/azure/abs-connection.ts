/** One container of an account: how requests reach it, how long they may take, and what their failures mean. */
import { readFileSync } from 'node:fs'
import { Agent } from 'node:https'
import { rootCertificates } from 'node:tls'
import {
  AnonymousCredential,
  ContainerClient,
  newPipeline,
  type RequestPolicyFactory,
  StorageSharedKeyCredential,
} from '@azure/storage-blob'
import { type AbsReplicaTarget } from '../../../domain/settings/config.js'
import { ConfigError } from '../../../domain/errors.js'
import { UploadPace } from '../object-store/upload-pace.js'
import { describeFailure, type RequestFailure, toReplicaError } from './abs-errors.js'

export interface AbsTimeouts {
  /** Until an answer has begun, on top of the time for the bytes that are sent. */
  readonly requestMs: number
  /** How long a wait for bytes of a body may take. */
  readonly noProgressMs: number
}

/** A store that is there again after it had swallowed a request is used again within half a minute. */
const defaultTimeouts: AbsTimeouts = { requestMs: 20_000, noProgressMs: 20_000 }

export class AbsConnection {
  readonly timeouts: AbsTimeouts
  readonly #target: AbsReplicaTarget
  readonly #pace = new UploadPace()
  #container: Promise<ContainerClient> | undefined

  constructor(target: AbsReplicaTarget, timeouts: Partial<AbsTimeouts>) {
    this.#target = target
    this.timeouts = { ...defaultTimeouts, ...timeouts }
  }

  /** A blob for people. */
  urlOf(name: string): string {
    const { accountName, bucket } = this.#target
    return `abs://${accountName}@${bucket}/${name}`
  }

  /**
   * Makes one request. `expected` picks failures that are answers: what it returns is returned. Everything else becomes
   * an error of ours; an abort passes through.
   */
  async attempt<T, E = never>(
    action: string,
    request: (container: ContainerClient, abortSignal: AbortSignal) => Promise<T>,
    options: {
      readonly signal: AbortSignal
      readonly sentBytes?: number
      readonly expected?: (failure: RequestFailure) => E | undefined
    },
  ): Promise<T | E> {
    const { signal, sentBytes = 0, expected } = options
    signal.throwIfAborted()
    const late = new AbortController()
    const timeoutMs = this.#pace.allowedMs(this.timeouts.requestMs, sentBytes)
    const startedAtMs = performance.now()
    const timer = setTimeout(() => late.abort(), timeoutMs)
    try {
      const container = await (this.#container ??= this.#open())
      const answer = await request(container, AbortSignal.any([signal, late.signal]))
      this.#pace.succeeded(sentBytes, performance.now() - startedAtMs)
      return answer
    } catch (error) {
      signal.throwIfAborted()
      if (error instanceof ConfigError) throw error
      if (late.signal.aborted) this.#pace.timedOut(sentBytes)
      const failure = late.signal.aborted ? timeout(timeoutMs) : describeFailure(error)
      const answer = expected?.(failure)
      if (answer !== undefined) return answer
      throw toReplicaError(action, { ...failure, tokenExpired: this.#tokenExpired() }, this.redact)
    } finally {
      clearTimeout(timer)
    }
  }

  /** Takes the secrets of this connection out of a text. */
  readonly redact = (text: string): string => {
    const { accountKey, sasToken } = this.#target
    const signature = new URLSearchParams(sasToken?.reveal()).get('sig')
    return [accountKey?.reveal(), sasToken?.reveal(), signature ?? undefined]
      .filter((secret) => secret !== undefined && secret !== '')
      .reduce<string>((redacted, secret) => redacted.replaceAll(secret ?? '', '***'), text)
  }

  #tokenExpired(): boolean {
    const end = new URLSearchParams(this.#target.sasToken?.reveal()).get('se')
    return end !== null && Date.parse(end) < Date.now()
  }

  /** Asynchronous because the vendor's chain of credentials is loaded only where neither key nor token is given. */
  async #open(): Promise<ContainerClient> {
    const { accountName, accountKey, sasToken, bucket, endpoint } = this.#target
    const base = endpoint ?? `https://${accountName}.blob.core.windows.net`
    const url = `${base.replace(/\/+$/, '')}/${encodeURIComponent(bucket)}`
    // Ours are retried by a wrapper that knows which requests may be.
    const options = { retryOptions: { maxTries: 1 } }
    const withAgent = (pipeline: ReturnType<typeof newPipeline>): typeof pipeline => {
      const agent = this.#agent()
      if (agent !== undefined) pipeline.factories.push(agentPolicy(agent))
      return pipeline
    }
    if (sasToken !== undefined) {
      const pipeline = newPipeline(new AnonymousCredential(), options)
      return new ContainerClient(`${url}?${sasToken.reveal()}`, withAgent(pipeline))
    }
    if (accountKey !== undefined) {
      const key = accountKey.reveal()
      if (!/^[A-Za-z0-9+/]+={0,2}$/.test(key) || key.length % 4 !== 0) {
        throw new ConfigError(`the account-key of ${this.urlOf('')} is not base64`, {
          hint: 'copy one of the two keys of the storage account as the portal shows it',
        })
      }
      const credential = new StorageSharedKeyCredential(accountName, key)
      return new ContainerClient(url, withAgent(newPipeline(credential, options)))
    }
    const { DefaultAzureCredential } = await import('@azure/identity')
    return new ContainerClient(url, withAgent(newPipeline(new DefaultAzureCredential(), options)))
  }

  #agent(): Agent | undefined {
    const { caFile, skipVerify } = this.#target
    if (caFile === undefined && !skipVerify) return undefined
    try {
      return sharedAgent(
        caFile === undefined ? undefined : readFileSync(caFile, 'utf8'),
        skipVerify,
      )
    } catch (error) {
      throw new ConfigError(`the ca-file cannot be read: ${caFile ?? ''}`, { cause: error })
    }
  }
}

function timeout(ms: number): RequestFailure {
  const message = `no answer within ${Math.round(ms / 1000)} s`
  return { code: 'ETIMEDOUT', status: undefined, message }
}

/** Connections that all replicas share that make them in the same way; the vendor's client shares the others. */
const agents = new Map<string, Agent>()

function sharedAgent(ca: string | undefined, skipVerify: boolean): Agent {
  const key = JSON.stringify([ca, skipVerify])
  const agent =
    agents.get(key) ??
    new Agent({
      keepAlive: true,
      rejectUnauthorized: !skipVerify,
      ...(ca === undefined ? {} : { ca: [...rootCertificates, ca] }),
    })
  agents.set(key, agent)
  return agent
}

function agentPolicy(agent: Agent): RequestPolicyFactory {
  return {
    create: (next) => ({
      sendRequest: (request) => {
        request.agent = agent
        return next.sendRequest(request)
      },
    }),
  }
}
