/** What Azure Blob Storage answers when it refuses, and what breaks on the way, as errors for people. */
import { ObjectNotFoundError, ReplicaError } from '../../../domain/errors.js'
import { messageOf } from '../../../kit/error-text.js'

/** What is known about a request that failed. */
export interface RequestFailure {
  /** Azure's word for it, `ECONNRESET` and the like, or undefined. */
  readonly code: string | undefined
  /** Undefined: there was no answer. */
  readonly status: number | undefined
  readonly message: string
  /** The sas-token of the request has expired by this machine's clock, which Azure does not always say. */
  readonly tokenExpired?: boolean
}

function field(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null ? Reflect.get(value, name) : undefined
}

/** Takes apart what the vendor's client threw. */
export function describeFailure(error: unknown): RequestFailure {
  const status = field(error, 'statusCode')
  const named = field(error, 'name') === 'RestError' ? undefined : field(error, 'name')
  const code = field(field(error, 'details'), 'errorCode') ?? field(error, 'code') ?? named
  const text = messageOf(error)
  return {
    code: typeof code === 'string' && code !== 'Error' ? code : undefined,
    status: typeof status === 'number' ? status : undefined,
    // Behind the first line Azure repeats the request's id and time.
    message: text.split('\n', 1)[0] ?? '',
  }
}

/** The failure as an error of ours. `action` follows "cannot"; `redact` takes secrets out of what was said. */
export function toReplicaError(
  action: string,
  failure: RequestFailure,
  redact: (text: string) => string,
): ReplicaError | ObjectNotFoundError {
  const { code, status } = failure
  const facts = [code, ...(status === undefined ? [] : [`HTTP ${status}`])].filter(
    (fact) => fact !== undefined,
  )
  const suffix = facts.length === 0 ? '' : ` (${facts.join(', ')})`
  const said = redact(failure.message)
  // The vendor's own error is not kept: it holds the request, whose URL may bear a SAS token.
  const cause = new Error(said)
  if (code === 'BlobNotFound') {
    return new ObjectNotFoundError(`cannot ${action}: there is no such blob${suffix}`, { cause })
  }
  const entry = lookUp(failure)
  const phrase = entry?.phrase ?? (said === '' ? 'the store refused' : said)
  return new ReplicaError(`cannot ${action}: ${phrase}${suffix}`, {
    cause,
    retryable: entry?.retryable ?? isTransient(failure),
    ...(entry === undefined ? {} : { hint: entry.hint }),
  })
}

function isTransient({ code, status }: RequestFailure): boolean {
  if (status === undefined) {
    // `PARSE_ERROR`, `REQUEST_SEND_ERROR`, `ECONNRESET`, `HPE_…`: the connection broke.
    return code !== undefined && /^(?:[A-Z][A-Z0-9_]+|TimeoutError)$/.test(code)
  }
  // A success whose answer could not be understood was damaged on the way.
  if (status < 300) return true
  return [408, 409, 429].includes(status) || status >= 500
}

interface Entry {
  readonly phrase: string
  readonly hint: string
  /** Undefined: by status and code. */
  readonly retryable?: boolean
}

function lookUp({ code, status, message, tokenExpired }: RequestFailure): Entry | undefined {
  if (code !== undefined && untrustedCode.test(code)) return untrusted
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
  const entry = code === undefined ? undefined : known.get(code)
  if (entry !== undefined) return entry
  if (status === 401 || status === 403) return notAllowed
  return undefined
}

const untrustedCode = /CERT|SELF_SIGNED|UNABLE_TO_VERIFY|ISSUER/

const notAllowed: Entry = {
  phrase: 'permission denied: the credentials may not do this',
  hint: 'check that the sas-token allows read, write, list, create and delete on the container, or give the identity the role Storage Blob Data Contributor',
  retryable: false,
}

const wrongKey: Entry = {
  phrase: 'the account key or token is not accepted',
  hint: 'check account-name, account-key (or LITESTREAM_AZURE_ACCOUNT_KEY) or sas-token for typing errors, and whether the key was rotated',
  retryable: false,
}

const expiredToken: Entry = {
  phrase: 'the sas-token has expired, or is not valid yet',
  hint: 'make a new token and set it as sas-token; an account key or a role does not expire',
  retryable: false,
}

const wrongClock: Entry = {
  phrase: 'the clock of this machine differs too much from Azure’s',
  hint: 'set the clock, and keep it right with NTP',
  retryable: true,
}

const noCredentials: Entry = {
  phrase: 'no credentials were found',
  hint: 'set account-key or sas-token of the replica, or LITESTREAM_AZURE_ACCOUNT_KEY, or log in with the Azure CLI, or give this machine a managed identity',
  retryable: false,
}

const untrusted: Entry = {
  phrase: 'the certificate of the server is not trusted',
  hint: 'set ca-file to the certificate of the authority that signed it, or fix the endpoint’s host name',
  retryable: false,
}

const known: ReadonlyMap<string, Entry> = new Map([
  [
    'ContainerNotFound',
    {
      phrase: 'there is no such container',
      hint: 'create the container, or fix its name, the account or the endpoint',
      retryable: false,
    },
  ],
  [
    'ContainerBeingDeleted',
    {
      phrase: 'the container is being deleted',
      hint: 'create it again when Azure has finished, or use another one',
    },
  ],
  ['AuthenticationFailed', wrongKey],
  ['AuthorizationFailure', wrongKey],
  ['InvalidAuthenticationInfo', wrongKey],
  ['AuthorizationPermissionMismatch', notAllowed],
  ['AuthorizationResourceTypeMismatch', notAllowed],
  ['AuthorizationServiceMismatch', notAllowed],
  ['InsufficientAccountPermissions', notAllowed],
  ['NoAuthenticationInformation', notAllowed],
  ['PublicAccessNotPermitted', notAllowed],
  ['CredentialUnavailableError', noCredentials],
  ['ChainedTokenCredentialAuthenticationFailed', noCredentials],
  ['AggregateAuthenticationError', noCredentials],
  [
    'AuthenticationRequiredError',
    { ...noCredentials, phrase: 'the identity could not be authenticated' },
  ],
  [
    'AccountIsDisabled',
    { phrase: 'the account is disabled', hint: 'enable it in the Azure portal', retryable: false },
  ],
  [
    'BlobImmutableDueToPolicy',
    {
      phrase: 'an immutability policy protects the blob',
      hint: 'use retention: none where a policy does the retention',
      retryable: false,
    },
  ],
  [
    'BlobArchived',
    {
      phrase: 'the blob lies in the archive tier and cannot be read at once',
      hint: 'rehydrate it first, and use a storage-class that can be read at once',
      retryable: false,
    },
  ],
  [
    'ENOTFOUND',
    {
      phrase: 'the host name of the endpoint does not resolve',
      hint: 'check account-name, the endpoint and this machine’s DNS',
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
