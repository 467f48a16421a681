/** What Google Cloud Storage answers when it refuses, and what breaks on the way, as errors for people. */
import { type ObjectNotFoundError, type ReplicaError } from '../../../domain/errors.js'
import { messageOf } from '../../../kit/error-text.js'
import {
  absentObject,
  type Attempt,
  field,
  numberField,
  type Refusal,
  refusedRequest,
  type RequestFailure,
  textField,
  transportRefusal,
} from '../object-store/refused-request.js'

/** What can be wrong with credentials before the store is asked at all. */
type CredentialsTrouble =
  'NoCredentials' | 'CredentialsFile' | 'InvalidCredentials' | 'ExpiredCredentials' | 'WrongClock'

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
  const trouble = credentialsTrouble(oauth, description)
  return {
    code: trouble ?? textField(error, 'code'),
    status: numberField(answer, 'status'),
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
export function toReplicaError(attempt: Attempt, failure: RequestFailure): ReplicaError {
  return refusedRequest(attempt, told(failure), {
    refusal: lookUp(failure),
    isTransient: isTransient(failure),
  })
}

export function toNotFoundError(attempt: Attempt, failure: RequestFailure): ObjectNotFoundError {
  return absentObject(attempt, told(failure))
}

/** The address of an upload's session opens it to whoever has it. */
function told(failure: RequestFailure): RequestFailure {
  const message = failure.message.replace(/upload_id=[^&\s"']+/g, 'upload_id=***')
  return { ...failure, message }
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

function lookUp(failure: RequestFailure): Refusal | undefined {
  const { code, status, message } = failure
  const refusal = code === undefined ? undefined : known.get(code)
  if (refusal !== undefined) return refusal
  if (status === 401) return rejected
  if (status === 403) return /retention|hold/i.test(message) ? retained : notAllowed
  return status === 404 ? noBucket : transportRefusal(failure)
}

const notAllowed: Refusal = {
  phrase: 'permission denied: the credentials are accepted, but may not do this',
  hint: 'allow {permission} on the bucket for this account: the role Storage Object User (roles/storage.objectUser) has what is needed',
  retryable: false,
}

const rejected: Refusal = {
  phrase: 'the credentials are not accepted',
  hint: 'check that the key or account of the credentials still exists and is enabled; make a new key if not',
  retryable: false,
}

const retained: Refusal = {
  phrase: 'a retention policy or hold protects the object',
  hint: 'use retention: none where a policy does the retention',
  retryable: false,
}

const noBucket: Refusal = {
  phrase: 'there is no such bucket',
  hint: 'create the bucket, or fix its name or the endpoint',
  retryable: false,
}

const rateLimited: Refusal = {
  phrase: 'too many requests',
  hint: 'requests are retried; if this lasts, raise sync-interval or the quota',
  retryable: true,
}

const credentialsTroubles: Readonly<Record<CredentialsTrouble, Refusal>> = {
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

const known: ReadonlyMap<string, Refusal> = new Map(
  Object.entries<Refusal>({
    ...credentialsTroubles,
    retentionPolicyNotMet: retained,
    objectUnderActiveHold: retained,
    rateLimitExceeded: rateLimited,
    userRateLimitExceeded: rateLimited,
    quotaExceeded: {
      phrase: 'a quota is exhausted',
      hint: 'raise the quota of the project, or wait until it is reset',
    },
    accountDisabled: {
      phrase: 'the account or the billing of the project is disabled',
      hint: 'enable the account or the billing of the project in the Google Cloud console',
      retryable: false,
    },
    userProjectMissing: {
      phrase: 'the bucket requires the requester to pay',
      hint: 'use a bucket without requester pays',
      retryable: false,
    },
  }),
)
