/** What Google Cloud Storage answers when it refuses, and what breaks on the way, as errors for people. */
import { ObjectNotFoundError, ReplicaError } from '../../../domain/errors.js'
import { messageOf } from '../../../kit/error-text.js'

/** A request, for messages. */
export interface Attempt {
  /** Follows "cannot". */
  readonly action: string
  /** What the account must be allowed to do. */
  readonly permission: string
}

/** What is known about a request that failed. */
export interface RequestFailure {
  /** Google's word for it, one of {@link CredentialsTrouble}, `ECONNRESET` and the like, or undefined. */
  readonly code: string | undefined
  /** Undefined: there was no answer. */
  readonly status: number | undefined
  readonly message: string
}

/** What can be wrong with credentials before the store is asked at all. */
type CredentialsTrouble =
  'NoCredentials' | 'CredentialsFile' | 'InvalidCredentials' | 'ExpiredCredentials' | 'WrongClock'

/** The field of something that may be an object. */
export function field(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null ? Reflect.get(value, name) : undefined
}

function textField(value: unknown, name: string): string | undefined {
  const text = field(value, name)
  return typeof text === 'string' && text !== '' ? text : undefined
}

/** The value of a JSON text; undefined where it is none. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** An answer that refuses. */
export function describeRefusal(status: number, body: string): RequestFailure {
  const error = field(parseJson(body), 'error')
  const errors = field(error, 'errors')
  const first: unknown = Array.isArray(errors) ? errors[0] : undefined
  const code = textField(first, 'reason') ?? /<Code>([^<]*)<\/Code>/.exec(body)?.[1]
  const said = textField(error, 'message') ?? /<Message>([^<]*)<\/Message>/.exec(body)?.[1]
  // A proxy in between answers in HTML, which nobody wants to read.
  const message = said ?? (body.trimStart().startsWith('<') ? '' : body.trim().slice(0, 500))
  return { code: code === '' ? undefined : code, status, message }
}

/** A connection that broke, or could not be made. */
export function describeBreak(error: unknown): RequestFailure {
  return {
    code: textField(error, 'code'),
    status: undefined,
    message: messageOf(error),
  }
}

/** What the vendor's client threw when it was asked for credentials. */
export function describeCredentialsFailure(error: unknown): RequestFailure {
  const answer = field(error, 'response')
  const said = field(answer, 'data')
  const [message = ''] = messageOf(error).split('\n', 1)
  const oauth = textField(said, 'error') ?? /\b(?:invalid|unauthorized)_\w+/.exec(message)?.[0]
  const description = textField(said, 'error_description') ?? message
  const status = field(answer, 'status')
  const trouble = credentialsTrouble(oauth, description)
  return {
    code: trouble ?? textField(error, 'code'),
    status: typeof status === 'number' ? status : undefined,
    message: description,
  }
}

function credentialsTrouble(
  oauth: string | undefined,
  description: string,
): CredentialsTrouble | undefined {
  if (/could not load the default credentials/i.test(description)) return 'NoCredentials'
  if (
    /does not exist, or it is not a file|credential file|not valid JSON|Unexpected (?:token|end)|does not contain|must be|PEM|DECODER/.test(
      description,
    )
  ) {
    return 'CredentialsFile'
  }
  if (/\biat\b.*\bexp\b|reasonable timeframe/i.test(description)) return 'WrongClock'
  if (/expired|revoked|invalid_rapt|reauth/i.test(description)) return 'ExpiredCredentials'
  return oauth === undefined ? undefined : 'InvalidCredentials'
}

/** The failure as an error of ours. */
export function toReplicaError(
  { action, permission }: Attempt,
  failure: RequestFailure,
): ReplicaError {
  const { code, status } = failure
  const facts = [code, ...(status === undefined ? [] : [`HTTP ${status}`])].filter(
    (fact) => fact !== undefined,
  )
  const suffix = facts.length === 0 ? '' : ` (${facts.join(', ')})`
  // The address of an upload's session opens it to whoever has it.
  const said = failure.message.replace(/upload_id=[^&\s"']+/g, 'upload_id=***')
  const entry = lookUp(failure)
  const phrase = entry?.phrase ?? (said === '' ? 'the store refused' : said)
  const hint = entry?.hint.replaceAll('{permission}', permission)
  return new ReplicaError(`cannot ${action}: ${phrase}${suffix}`, {
    // Not the vendor's own error: that holds the request, and with it the token.
    cause: new Error(said),
    retryable: entry?.retryable ?? isTransient(failure),
    ...(hint === undefined ? {} : { hint }),
  })
}

export function toNotFoundError(
  { action }: Attempt,
  { message, status }: RequestFailure,
): ObjectNotFoundError {
  return new ObjectNotFoundError(
    `cannot ${action}: there is no such object (HTTP ${String(status)})`,
    { cause: new Error(message) },
  )
}

/** Whether it is an object that is missing: of a missing bucket, too, the status is 404. */
export function isMissingObject({ status, message }: RequestFailure): boolean {
  return status === 404 && !/bucket does not exist/i.test(message)
}

function isTransient({ code, status }: RequestFailure): boolean {
  if (status === undefined) {
    // `ECONNRESET`, `HPE_…`, `ERR_SSL_…`: the connection broke.
    return code !== undefined && /^[A-Z][A-Z0-9_]+$/.test(code)
  }
  // A success whose answer could not be understood was damaged on the way.
  if (status < 300) return true
  return [408, 409, 425, 429].includes(status) || status >= 500
}

interface Entry {
  readonly phrase: string
  readonly hint: string
  /** Undefined: by status and code. */
  readonly retryable?: boolean
}

function lookUp({ code, status, message }: RequestFailure): Entry | undefined {
  const entry = code === undefined ? undefined : known.get(code)
  if (entry !== undefined) return entry
  if (status === 401) return rejected
  if (status === 403) return /retention|hold/i.test(message) ? retained : notAllowed
  if (status === 404) return noBucket
  if (status === undefined && /wrong version number|packet length too long/i.test(message)) {
    return withoutTls
  }
  if (code !== undefined && /CERT|SELF_SIGNED|UNABLE_TO_VERIFY|ISSUER/.test(code)) return untrusted
  return undefined
}

const notAllowed: Entry = {
  phrase: 'permission denied: the credentials are accepted, but may not do this',
  hint: 'allow {permission} on the bucket for this account: the role Storage Object User (roles/storage.objectUser) has what is needed',
  retryable: false,
}

const rejected: Entry = {
  phrase: 'the credentials are not accepted',
  hint: 'check that the key or account of the credentials still exists and is enabled; make a new key if not',
  retryable: false,
}

const retained: Entry = {
  phrase: 'a retention policy or hold protects the object',
  hint: 'use retention: none where a policy does the retention',
  retryable: false,
}

const noBucket: Entry = {
  phrase: 'there is no such bucket',
  hint: 'create the bucket, or fix its name or the endpoint',
  retryable: false,
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

const rateLimited: Entry = {
  phrase: 'too many requests',
  hint: 'it goes on by itself; if it stays, raise sync-interval or the quota',
  retryable: true,
}

const credentialsTroubles: Readonly<Record<CredentialsTrouble, Entry>> = {
  NoCredentials: {
    phrase: 'no credentials were found',
    hint: 'set GOOGLE_APPLICATION_CREDENTIALS to the file of a service account’s key, or log in with gcloud auth application-default login, or give this machine a service account',
    retryable: false,
  },
  CredentialsFile: {
    phrase: 'the file with the credentials cannot be used',
    hint: 'GOOGLE_APPLICATION_CREDENTIALS must name a readable file as Google makes it for a service account’s key',
    retryable: false,
  },
  InvalidCredentials: rejected,
  ExpiredCredentials: {
    phrase: 'the credentials have expired, or were revoked',
    hint: 'log in again with gcloud auth application-default login; the key of a service account does not expire',
    retryable: false,
  },
  WrongClock: {
    phrase: 'the clock of this machine differs too much from Google’s',
    hint: 'set the clock, and keep it right with NTP',
    retryable: true,
  },
}

const known: ReadonlyMap<string, Entry> = new Map<string, Entry>([
  ...Object.entries(credentialsTroubles),
  ['retentionPolicyNotMet', retained],
  ['objectUnderActiveHold', retained],
  ['rateLimitExceeded', rateLimited],
  ['userRateLimitExceeded', rateLimited],
  [
    'quotaExceeded',
    {
      phrase: 'a quota is exhausted',
      hint: 'raise the quota of the project, or wait until it is counted anew',
    },
  ],
  [
    'accountDisabled',
    {
      phrase: 'the account is disabled, or nobody pays for the project',
      hint: 'enable the account or the billing of the project in the Google Cloud console',
      retryable: false,
    },
  ],
  [
    'userProjectMissing',
    {
      phrase: 'the bucket wants the requester to pay',
      hint: 'use a bucket without requester pays',
      retryable: false,
    },
  ],
  [
    'ENOTFOUND',
    {
      phrase: 'the host name of the endpoint does not resolve',
      hint: 'check the endpoint and this machine’s DNS',
      retryable: true,
    },
  ],
  [
    'ECONNREFUSED',
    {
      phrase: 'nothing listens at the endpoint',
      hint: 'check the endpoint, and whether the store runs',
      retryable: true,
    },
  ],
])
