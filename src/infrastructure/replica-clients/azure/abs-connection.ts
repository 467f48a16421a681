/** One container of an account: how requests reach it, how long they may take, and what their failures mean. */
import { type Agent } from 'node:https'
import {
  AnonymousCredential,
  ContainerClient,
  newPipeline,
  type RequestPolicyFactory,
  StorageSharedKeyCredential,
} from '@azure/storage-blob'
import { type AbsReplicaTarget } from '../../../domain/settings/config.js'
import { ConfigError } from '../../../domain/errors.js'
import { agentsOf } from '../object-store/agents.js'
import { refusePlainSecret } from '../object-store/plain-secrets.js'
import { type StoreTimeouts, TimedRequests, usualTimeouts } from '../object-store/timed-requests.js'
import { type AbsFailure, describeFailure, toReplicaError } from './abs-errors.js'

export class AbsConnection {
  readonly timeouts: StoreTimeouts
  readonly #target: AbsReplicaTarget
  readonly #requests = new TimedRequests(describeFailure)
  #container: Promise<ContainerClient> | undefined

  constructor(target: AbsReplicaTarget, timeouts: Partial<StoreTimeouts>) {
    const { endpoint = '', sasToken, plainSecrets } = target
    if (sasToken !== undefined && !plainSecrets && URL.canParse(endpoint)) {
      refusePlainSecret('sas-token', new URL(endpoint))
    }
    this.#target = target
    this.timeouts = { ...usualTimeouts, ...timeouts }
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
      readonly expected?: (failure: AbsFailure) => E | undefined
    },
  ): Promise<T | E> {
    const { signal, sentBytes: sizeBytes = 0, expected } = options
    const outcome = await this.#requests.send(
      async (abortSignal) => request(await (this.#container ??= this.#open()), abortSignal),
      { signal, timeoutMs: this.timeouts.requestMs, sizeBytes },
    )
    if ('answer' in outcome) return outcome.answer
    const { failure } = outcome
    const answer = expected?.(failure)
    if (answer !== undefined) return answer
    throw toReplicaError(action, { ...failure, tokenExpired: this.#tokenExpired() }, this.redact)
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
    return agentsOf({ caFile, skipVerify }).httpsAgent
  }
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
