/** What Azure Blob Storage answers when it refuses, and what breaks on the way, as errors for people. */
import { type ObjectNotFoundError, type ReplicaError } from '../../../domain/errors.js'
import { messageOf } from '../../../kit/error-text.js'
import {
  absentObject,
  field,
  numberField,
  type Refusal,
  refusedRequest,
  type RequestFailure,
  transportRefusal,
} from '../object-store/refused-request.js'

/** What is known about a request that failed. */
export interface AbsFailure extends RequestFailure {
  /** The sas-token of the request has expired by this machine's clock, which Azure does not always say. */
  readonly tokenExpired?: boolean
}

/** Takes apart what the vendor's client threw. */
export function describeFailure(error: unknown): AbsFailure {
  const named = field(error, 'name') === 'RestError' ? undefined : field(error, 'name')
  const code = field(field(error, 'details'), 'errorCode') ?? field(error, 'code') ?? named
  const text = messageOf(error)
  return {
    code: typeof code === 'string' && code !== 'Error' ? code : undefined,
    status: numberField(error, 'statusCode'),
    // Behind the first line Azure repeats the request's id and time.
    message: text.split('\n', 1)[0] ?? '',
  }
}

/** The failure as an error of ours. `action` follows "cannot"; `redact` takes secrets out of what was said. */
export function toReplicaError(
  action: string,
  failure: AbsFailure,
  redact: (text: string) => string,
): ReplicaError | ObjectNotFoundError {
  const told = { ...failure, message: redact(failure.message) }
  if (failure.code === 'BlobNotFound') return absentObject({ action }, told, 'blob')
  // Azure's permissions are those of roles and tokens, which the hints name.
  const attempt = { action, permission: '' }
  return refusedRequest(attempt, told, {
    refusal: lookUp(failure),
    isTransient: isTransient(failure),
  })
}

function isTransient({ code, status }: AbsFailure): boolean {
  if (status === undefined) {
    // `PARSE_ERROR`, `REQUEST_SEND_ERROR`, `ECONNRESET`, `HPE_…`: the connection broke.
    return code !== undefined && /^(?:[A-Z][A-Z0-9_]+|TimeoutError)$/.test(code)
  }
  // A success whose answer could not be understood was damaged on the way.
  if (status < 300) return true
  return [408, 409, 429].includes(status) || status >= 500
}

function lookUp(failure: AbsFailure): Refusal | undefined {
  const { code, status, message, tokenExpired } = failure
  if (status === 403 && tokenExpired === true) return expiredToken
  if (code === 'AuthenticationFailed' && /expired|expiry|Signed expiry time/i.test(message)) {
    return expiredToken
  }
  if (
    code === 'AuthenticationFailed' &&
    /not in the correct format|time|date/i.test(message) &&
    /clock|15 minutes/i.test(message)
  ) {
    return wrongClock
  }
  const refusal = code === undefined ? undefined : known.get(code)
  if (refusal !== undefined) return refusal
  return status === 401 || status === 403 ? notAllowed : transportRefusal(failure)
}

const notAllowed: Refusal = {
  phrase: 'permission denied: the credentials may not do this',
  hint: 'check that the sas-token allows read, write, list, create and delete on the container, or give the identity the role Storage Blob Data Contributor',
  retryable: false,
}

const wrongKey: Refusal = {
  phrase: 'the account key or token is not accepted',
  hint: 'check account-name, account-key (or LITESTREAM_AZURE_ACCOUNT_KEY) or sas-token for typos, and whether the key was rotated',
  retryable: false,
}

const expiredToken: Refusal = {
  phrase: 'the sas-token has expired, or is not valid yet',
  hint: 'make a new token and set it as sas-token; an account key or a role does not expire',
  retryable: false,
}

const wrongClock: Refusal = {
  phrase: 'the clock of this machine differs too much from Azure’s',
  hint: 'set the clock, and keep it right with NTP',
  retryable: true,
}

const noCredentials: Refusal = {
  phrase: 'no credentials were found',
  hint: 'set account-key or sas-token of the replica, or LITESTREAM_AZURE_ACCOUNT_KEY, or log in with the Azure CLI, or give this machine a managed identity',
  retryable: false,
}

const known: ReadonlyMap<string, Refusal> = new Map(
  Object.entries<Refusal>({
    ContainerNotFound: {
      phrase: 'there is no such container',
      hint: 'create the container, or fix its name, the account or the endpoint',
      retryable: false,
    },
    ContainerBeingDeleted: {
      phrase: 'the container is being deleted',
      hint: 'create it again when Azure has finished, or use another one',
    },
    AuthenticationFailed: wrongKey,
    AuthorizationFailure: wrongKey,
    InvalidAuthenticationInfo: wrongKey,
    AuthorizationPermissionMismatch: notAllowed,
    AuthorizationResourceTypeMismatch: notAllowed,
    AuthorizationServiceMismatch: notAllowed,
    InsufficientAccountPermissions: notAllowed,
    NoAuthenticationInformation: notAllowed,
    PublicAccessNotPermitted: notAllowed,
    CredentialUnavailableError: noCredentials,
    ChainedTokenCredentialAuthenticationFailed: noCredentials,
    AggregateAuthenticationError: noCredentials,
    AuthenticationRequiredError: {
      ...noCredentials,
      phrase: 'the identity could not be authenticated',
    },
    AccountIsDisabled: {
      phrase: 'the account is disabled',
      hint: 'enable it in the Azure portal',
      retryable: false,
    },
    BlobImmutableDueToPolicy: {
      phrase: 'an immutability policy protects the blob',
      hint: 'use retention: none where a policy does the retention',
      retryable: false,
    },
    BlobArchived: {
      phrase: 'the blob is in the archive tier and cannot be read at once',
      hint: 'rehydrate it first, and use a storage-class that can be read at once',
      retryable: false,
    },
  }),
)
