/** What S3 and its compatibles answer when they refuse, and what breaks on the way, as errors for people. */
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

/** What is known about a request that failed. */
export interface S3Failure extends RequestFailure {
  /** The bucket's region, if the answer named it. */
  readonly region?: string | undefined
  /** Whether the clock was found to be wrong by the answer; the next request is signed with the right time. */
  readonly clockCorrected?: boolean
}

/** Takes apart what the vendor's client threw. */
export function describeFailure(error: unknown): S3Failure {
  const response = field(error, '$response')
  const metadata = field(error, '$metadata')
  const status = numberField(metadata, 'httpStatusCode') ?? numberField(response, 'statusCode')
  const name = textField(error, 'Code') ?? textField(error, 'name')
  const systemCode = textField(error, 'code')
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
      textField(field(response, 'headers'), 'x-amz-bucket-region') ?? textField(error, 'Region'),
    clockCorrected: field(metadata, 'clockSkewCorrected') === true,
  }
}

/** Whether the failure says that the object (not the bucket) is not there. */
export function isMissingObject({ code, status }: S3Failure): boolean {
  return code === 'NoSuchKey' || (status === 404 && (code === undefined || code === 'NotFound'))
}

/** Whether the failure says that the store does not know this kind of request, or not in this form. */
export function isUnsupported({ code, status }: S3Failure): boolean {
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
  attempt: Attempt,
  failure: S3Failure,
  options: {
    readonly redact: (text: string) => string
    /** Whether the credentials have been good before: then a refused signature is an accident. */
    readonly credentialsVerified: boolean
  },
): ReplicaError | ObjectNotFoundError {
  const told = { ...failure, message: options.redact(failure.message) }
  if (isMissingObject(failure)) return absentObject(attempt, told)
  const isAccident = failure.code === 'SignatureDoesNotMatch' && options.credentialsVerified
  return refusedRequest(attempt, told, {
    refusal: lookUp(failure),
    isTransient: isAccident || isTransient(failure),
  })
}

function isTransient({ code, status, clockCorrected }: S3Failure): boolean {
  if (clockCorrected === true) return true
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

function lookUp(failure: S3Failure): Refusal | undefined {
  const { code, status } = failure
  const refusal = code === undefined ? undefined : known.get(code)
  if (refusal !== undefined) return refusal
  return status === 401 || status === 403 ? notAllowed : transportRefusal(failure)
}

const notAllowed: Refusal = {
  phrase: 'permission denied: the credentials are accepted, but may not do this',
  hint: 'allow {permission} on the bucket for these credentials; a retention lock on the object also refuses deletion',
}

const wrongRegion: Refusal = {
  phrase: 'the bucket is in another region',
  hint: 'set the replica’s region to the bucket’s',
}

const noCredentials: Refusal = {
  phrase: 'no credentials were found',
  hint: 'set access-key-id and secret-access-key of the replica, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give this machine a role',
}

const unknownKey: Refusal = {
  phrase: 'the access key id is not known there',
  hint: 'check access-key-id for typos, whether the key was deleted, and whether the endpoint is the one it belongs to',
}

const wrongSecret: Refusal = {
  phrase:
    'the secret access key does not belong to the access key id: the signature does not match',
  hint: 'check secret-access-key for typos, and that no proxy changes the request or its Host header',
}

const expired: Refusal = {
  phrase: 'the session token has expired, or is not valid',
  hint: 'get new temporary credentials, token included, and restart; a role or profile renews them by itself',
}

const known: ReadonlyMap<string, Refusal> = new Map(
  Object.entries<Refusal>({
    CredentialsProviderError: noCredentials,
    InvalidAccessKeyId: unknownKey,
    InvalidClientTokenId: unknownKey,
    SignatureDoesNotMatch: wrongSecret,
    AccessDenied: notAllowed,
    AllAccessDisabled: notAllowed,
    Forbidden: notAllowed,
    ExpiredToken: expired,
    ExpiredTokenException: expired,
    InvalidToken: expired,
    InvalidTokenId: expired,
    TokenRefreshRequired: expired,
    RequestTimeTooSkewed: {
      phrase: 'the clock of this machine differs too much from the store’s',
      hint: 'set the clock, and keep it right with NTP',
    },
    NoSuchBucket: {
      phrase: 'there is no such bucket',
      hint: 'create the bucket, or fix its name, the endpoint or the region',
    },
    InvalidBucketName: { phrase: 'this is not a valid bucket name', hint: 'fix the bucket’s name' },
    PermanentRedirect: wrongRegion,
    AuthorizationHeaderMalformed: wrongRegion,
    NoSuchUpload: {
      phrase: 'the store no longer knows the upload, because somebody or a lifecycle rule ended it',
    },
    UserSuspended: {
      phrase: 'the account is suspended',
      hint: 'ask the store’s administrator to enable it',
    },
    QuotaExceeded: {
      phrase: 'the quota is exhausted',
      hint: 'raise the quota of the bucket or user, or shorten the retention',
    },
    InvalidObjectState: {
      phrase: 'the object is in an archive class and cannot be read at once',
      hint: 'restore it from the archive first, and use a storage-class that can be read at once',
    },
  }),
)
