/** What a store answered when it refused, or what broke on the way, as errors for people. Each store has its own tables. */
import { ObjectNotFoundError, ReplicaError } from '../../../domain/errors.js'

/** A request, for messages. */
export interface Attempt {
  /** Follows "cannot": `read s3://bucket/key`. */
  readonly action: string
  /** The permission it takes, as the vendor names it. */
  readonly permission: string
}

/** What is known about a request that failed. */
export interface RequestFailure {
  /** The store's word for it, `ECONNRESET` and the like, or undefined. */
  readonly code: string | undefined
  /** Undefined: there was no answer. */
  readonly status: number | undefined
  readonly message: string
}

/** What a failure means, and what to do; `{permission}` in the hint is the attempt's. */
export interface Refusal {
  readonly phrase: string
  readonly hint?: string
  /** Undefined: by status and code. */
  readonly retryable?: boolean
}

/** The field of something that may be an object. */
export function field(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null ? Reflect.get(value, name) : undefined
}

/** Such a field that is a text with something in it. */
export function textField(value: unknown, name: string): string | undefined {
  const text = field(value, name)
  return typeof text === 'string' && text !== '' ? text : undefined
}

/** Such a field that is a number. */
export function numberField(value: unknown, name: string): number | undefined {
  const number = field(value, name)
  return typeof number === 'number' ? number : undefined
}

/**
 * The failure as an error of ours. The vendor's own is not kept: it holds the request, and with it secrets. The message
 * of the failure must be free of them.
 */
export function refusedRequest(
  { action, permission }: Attempt,
  failure: RequestFailure,
  {
    refusal,
    isTransient,
  }: { readonly refusal: Refusal | undefined; readonly isTransient: boolean },
): ReplicaError {
  const said = failure.message
  const phrase = refusal?.phrase ?? (said === '' ? 'the store refused' : said)
  const hint = refusal?.hint?.replaceAll('{permission}', permission)
  return new ReplicaError(`cannot ${action}: ${phrase}${factsOf(failure)}`, {
    cause: new Error(said),
    retryable: refusal?.retryable ?? isTransient,
    ...(hint === undefined ? {} : { hint }),
  })
}

/** `what` is the vendor's word for an object. */
export function absentObject(
  { action }: Pick<Attempt, 'action'>,
  failure: RequestFailure,
  what = 'object',
): ObjectNotFoundError {
  const message = `cannot ${action}: there is no such ${what}${factsOf(failure)}`
  return new ObjectNotFoundError(message, { cause: new Error(failure.message) })
}

function factsOf({ code, status }: RequestFailure): string {
  const facts = [code, status === undefined ? undefined : `HTTP ${status}`]
  const known = facts.filter((fact) => fact !== undefined)
  return known.length === 0 ? '' : ` (${known.join(', ')})`
}

/** What it means that a connection could not be made, whatever the store is; undefined: it is not known. */
export function transportRefusal({ code, status, message }: RequestFailure): Refusal | undefined {
  if (status !== undefined) return undefined
  if (code === 'ECONNREFUSED') return nothingListens
  if (code === 'ENOTFOUND') return unknownHost
  if (code === 'EAI_AGAIN') return noNameServer
  if (/wrong version number|packet length too long/i.test(message)) return withoutTls
  const isUntrusted = code !== undefined && /CERT|SELF_SIGNED|UNABLE_TO_VERIFY|ISSUER/.test(code)
  return isUntrusted ? untrusted : undefined
}

const nothingListens: Refusal = {
  phrase: 'nothing listens at the endpoint',
  hint: 'check the endpoint, and that the store is running',
  retryable: true,
}

const unknownHost: Refusal = {
  phrase: 'the host name of the endpoint does not resolve',
  hint: 'check the endpoint, the region or account in it, and this machine’s DNS',
  retryable: true,
}

const noNameServer: Refusal = {
  phrase: 'the host name of the endpoint does not resolve now: no name server answers',
  hint: 'check this machine’s network and DNS',
  retryable: true,
}

const untrusted: Refusal = {
  phrase: 'the certificate of the server is not trusted',
  hint: 'set ca-file to the certificate of the authority that signed it, or correct the endpoint’s host name',
  retryable: false,
}

const withoutTls: Refusal = {
  phrase: 'the endpoint does not speak TLS',
  hint: 'write http:// in front of the endpoint if it is meant to be without TLS',
  retryable: false,
}
