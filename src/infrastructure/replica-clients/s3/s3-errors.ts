/** What S3 and its compatibles answer when they refuse, and what breaks on the way, as errors for people. */
import { ObjectNotFoundError, ReplicaError } from '../../../domain/errors.js'
import { messageOf } from '../../../kit/error-text.js'

/** What was tried, for messages. */
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
  /** The bucket's region, if the answer named it. */
  readonly region: string | undefined
  /** Whether the clock was found to be wrong by the answer; the next request is signed with the right time. */
  readonly clockCorrected: boolean
}

function field(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null ? Reflect.get(value, name) : undefined
}

function text(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined
}

function numberOf(value: unknown): number | undefined {
  return typeof value === 'number' ? value : undefined
}

/** Takes apart what the vendor's client threw. */
export function describeFailure(error: unknown): RequestFailure {
  const response = field(error, '$response')
  const metadata = field(error, '$metadata')
  const status =
    numberOf(field(metadata, 'httpStatusCode')) ?? numberOf(field(response, 'statusCode'))
  const name = text(field(error, 'Code')) ?? text(field(error, 'name'))
  const systemCode = text(field(error, 'code'))
  // Without an answer, the vendor's names are the classes of Node's errors.
  const code = status === undefined ? (systemCode ?? name) : name
  return {
    code:
      code === undefined || /^(?:Error|Unknown.*|SyntaxError|TypeError|\d+)$/.test(code)
        ? undefined
        : code,
    status,
    message: messageOf(error),
    region:
      text(field(field(response, 'headers'), 'x-amz-bucket-region')) ??
      text(field(error, 'Region')),
    clockCorrected: field(metadata, 'clockSkewCorrected') === true,
  }
}

/** Whether the failure says that the object (not the bucket) is not there. */
export function isMissingObject({ code, status }: RequestFailure): boolean {
  return code === 'NoSuchKey' || (status === 404 && (code === undefined || code === 'NotFound'))
}

/** Whether the failure says that the store does not know this kind of request, or not in this form. */
export function isUnsupported({ code, status }: RequestFailure): boolean {
  if (status === 405 || status === 501) return true
  return status === 400 && (code === undefined || unsupportedCodes.has(code))
}

const unsupportedCodes = new Set([
  'BadRequest',
  'InvalidArgument',
  'InvalidDigest',
  'InvalidRequest',
  'MalformedXML',
  'MethodNotAllowed',
  'MissingContentMD5',
  'NotImplemented',
])

/** The failure as an error of ours. `redact` takes secrets out of what a store says. */
export function toReplicaError(
  { action, permission }: Attempt,
  failure: RequestFailure,
  options: {
    readonly redact: (text: string) => string
    /** Whether the credentials have been good before: then a refused signature is an accident. */
    readonly credentialsProven: boolean
  },
): ReplicaError | ObjectNotFoundError {
  const { code, status } = failure
  const facts = [code, ...(status === undefined ? [] : [`HTTP ${status}`])].filter(
    (fact) => fact !== undefined,
  )
  const suffix = facts.length === 0 ? '' : ` (${facts.join(', ')})`
  const said = options.redact(failure.message)
  // The vendor's own error is not kept: it holds the signed request, session token included.
  const cause = new Error(said)
  if (isMissingObject(failure)) {
    return new ObjectNotFoundError(`cannot ${action}: there is no such object${suffix}`, { cause })
  }
  const entry = lookUp(failure)
  const phrase = entry?.phrase ?? (said === '' ? 'the store refused' : said)
  const hint = entry?.hint?.replaceAll('{permission}', permission)
  return new ReplicaError(`cannot ${action}: ${phrase}${suffix}`, {
    cause,
    retryable:
      entry?.retryable ??
      (isTransient(failure) || (code === 'SignatureDoesNotMatch' && options.credentialsProven)),
    ...(hint === undefined ? {} : { hint }),
  })
}

function isTransient({ code, status, clockCorrected }: RequestFailure): boolean {
  if (clockCorrected) return true
  if (code !== undefined && transientCodes.has(code)) return true
  if (status === undefined)
    return code !== undefined && /^(?:E[A-Z_]+|HPE_[A-Z_]+|TimeoutError)$/.test(code)
  // A success whose answer could not be understood was damaged on the way.
  if (status < 300) return true
  return [307, 408, 409, 425, 429].includes(status) || (status >= 500 && status !== 501)
}

const transientCodes = new Set([
  'BadDigest',
  'IncompleteBody',
  'InternalError',
  'OperationAborted',
  'RequestCanceled',
  'RequestTimeTooSkewed',
  'RequestTimeout',
  'ServiceUnavailable',
  'SlowDown',
  'Throttling',
  'ThrottlingException',
  'TooManyRequests',
  'XAmzContentSHA256Mismatch',
])

interface Entry {
  readonly phrase: string
  readonly hint?: string
  /** Undefined: by status and code. */
  readonly retryable?: boolean
}

function lookUp({ code, status, message }: RequestFailure): Entry | undefined {
  const entry = code === undefined ? undefined : known.get(code)
  if (entry !== undefined) return entry
  if (status === 401 || status === 403) return notAllowed
  if (status === undefined && /wrong version number|packet length too long/i.test(message)) {
    return withoutTls
  }
  if (status === undefined && code !== undefined && /CERT|SIGNATURE|ISSUER|SIGNED/.test(code)) {
    return untrusted
  }
  return undefined
}

const notAllowed: Entry = {
  phrase: 'permission denied: the credentials are accepted, but may not do this',
  hint: 'allow {permission} on the bucket for these credentials; a retention lock on the object refuses deletion, too',
}

const wrongRegion: Entry = {
  phrase: 'the bucket is in another region',
  hint: 'set the replica’s region to the bucket’s',
}

const noCredentials: Entry = {
  phrase: 'no credentials were found',
  hint: 'set access-key-id and secret-access-key of the replica, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give this machine a role',
}

const unknownKey: Entry = {
  phrase: 'the access key id is not known there',
  hint: 'check access-key-id for typing errors, whether the key was deleted, and whether the endpoint is the one it belongs to',
}

const wrongSecret: Entry = {
  phrase:
    'the secret access key does not belong to the access key id: the signature does not match',
  hint: 'check secret-access-key for typing errors, and that no proxy changes the request or its Host header',
}

const expired: Entry = {
  phrase: 'the session token has expired, or is not valid',
  hint: 'get new temporary credentials, token included, and restart; a role or profile renews them by itself',
}

const untrusted: Entry = {
  phrase: 'the certificate of the server is not trusted',
  hint: 'set ca-file to the certificate of the authority that signed it, or fix the endpoint’s host name',
  retryable: false,
}

const withoutTls: Entry = {
  phrase: 'the endpoint does not speak TLS',
  hint: 'write http:// in front of the endpoint if it is meant to be without TLS',
  retryable: false,
}

const known: ReadonlyMap<string, Entry> = new Map([
  ['CredentialsProviderError', noCredentials],
  ['InvalidAccessKeyId', unknownKey],
  ['InvalidClientTokenId', unknownKey],
  ['SignatureDoesNotMatch', wrongSecret],
  ['AccessDenied', notAllowed],
  ['AllAccessDisabled', notAllowed],
  ['Forbidden', notAllowed],
  ['ExpiredToken', expired],
  ['ExpiredTokenException', expired],
  ['InvalidToken', expired],
  ['InvalidTokenId', expired],
  ['TokenRefreshRequired', expired],
  [
    'RequestTimeTooSkewed',
    {
      phrase: 'the clock of this machine differs too much from the store’s',
      hint: 'set the clock, and keep it right with NTP',
    },
  ],
  [
    'NoSuchBucket',
    {
      phrase: 'there is no such bucket',
      hint: 'create the bucket, or fix its name, the endpoint or the region',
    },
  ],
  [
    'InvalidBucketName',
    { phrase: 'this is no valid name of a bucket', hint: 'fix the bucket’s name' },
  ],
  ['PermanentRedirect', wrongRegion],
  ['AuthorizationHeaderMalformed', wrongRegion],
  [
    'NoSuchUpload',
    {
      phrase: 'the store no longer knows the upload, because somebody or a lifecycle rule ended it',
    },
  ],
  [
    'UserSuspended',
    { phrase: 'the account is suspended', hint: 'ask the store’s administrator to enable it' },
  ],
  [
    'QuotaExceeded',
    {
      phrase: 'the quota is exhausted',
      hint: 'raise the quota of the bucket or user, or shorten the retention',
    },
  ],
  [
    'InvalidObjectState',
    {
      phrase: 'the object lies in an archive class and cannot be read at once',
      hint: 'restore it from the archive first, and use a storage-class that can be read at once',
    },
  ],
  [
    'ENOTFOUND',
    {
      phrase: 'the host name of the endpoint does not resolve',
      hint: 'check the endpoint, the region and this machine’s DNS',
    },
  ],
  [
    'ECONNREFUSED',
    {
      phrase: 'nothing listens at the endpoint',
      hint: 'check the endpoint, and whether the store runs',
    },
  ],
  ['ERR_TLS_CERT_ALTNAME_INVALID', untrusted],
])
