/** Puts a replica's target together from where it is and its settings, whatever these were written in. */
import {
  type AbsReplicaTarget,
  type GcsReplicaTarget,
  type ReplicaTarget,
  type S3ReplicaTarget,
} from '../../domain/settings/config.js'
import { Secret } from '../../domain/settings/secret.js'
import { type Environment } from './environment.js'
import { type ObjectStoreType } from './keys.js'
import { type Settings } from './settings.js'

/** Where a replica is, before its settings are known. */
export type StoreAddress =
  | { readonly type: 'file'; readonly path: string }
  | {
      readonly type: ObjectStoreType
      readonly bucket: string
      readonly prefix: string
      readonly accountName?: string
      readonly endpoint?: string
      readonly region?: string
      /** Whether the URL's host is one whose buckets are asked for by path. */
      readonly isKnownHost?: boolean
    }

/** What the targets of all object stores have. */
type CommonSettings = Omit<GcsReplicaTarget, 'type' | 'anonymous'>

type ObjectStoreAddress = Exclude<StoreAddress, { type: 'file' }>

export interface TargetContext {
  readonly env: Environment
  /** Of the whole configuration, for replicas without their own. */
  readonly accessKeyId?: string | undefined
  readonly secretAccessKey?: string | undefined
}

/** The target; undefined when a problem was reported instead. */
export function readTarget(
  place: StoreAddress,
  settings: Settings<'replica'>,
  context: TargetContext,
): ReplicaTarget | undefined {
  if (place.type === 'file') {
    return settings.value('owner') === 'database' ? { ...place, owner: 'database' } : place
  }
  if (place.bucket === '') {
    settings.problem('bucket', `bucket required for ${place.type} replica`)
    return undefined
  }
  return readers[place.type](place, settings, context)
}

const readers: {
  readonly [T in ObjectStoreType]: (
    place: ObjectStoreAddress,
    settings: Settings<'replica'>,
    context: TargetContext,
  ) => Extract<ReplicaTarget, { readonly type: T }> | undefined
} = { s3: readS3, gcs: readGcs, abs: readAbs }

function readCommon(place: ObjectStoreAddress, settings: Settings<'replica'>): CommonSettings {
  const endpoint = settings.value('endpoint') ?? place.endpoint
  const problem = endpoint === undefined ? undefined : endpointProblem(endpoint)
  if (problem !== undefined) settings.problem('endpoint', problem)
  return {
    bucket: place.bucket,
    prefix: place.prefix,
    endpoint,
    partSizeBytes: settings.value('part-size'),
    concurrency: settings.value('concurrency'),
    storageClass: settings.value('storage-class'),
    caFile: settings.value('ca-file'),
    skipVerify: settings.value('skip-verify'),
  }
}

/** What is wrong with an endpoint, without a word of it: endpoints are shown, and what is wrong may be a secret. */
function endpointProblem(text: string): string | undefined {
  if (text.includes('@'))
    return 'must not name a user or a password: set the credentials by their own keys'
  if (/[?#]/.test(text))
    return 'must have no query and no fragment: remove what begins with ? or # (a SAS token is set by sas-token)'
  return URL.canParse(withScheme(text, 'https'))
    ? undefined
    : 'is not a URL: write it as https://host, with the port if there is one'
}

const kibibyte = 1024
const mebibyte = 1024 * kibibyte

function readS3(
  place: ObjectStoreAddress,
  settings: Settings<'replica'>,
  context: TargetContext,
): S3ReplicaTarget {
  const common = readCommon(place, settings)
  const { partSizeBytes } = common
  if (
    partSizeBytes !== undefined &&
    (partSizeBytes < 5 * mebibyte || partSizeBytes > 5120 * mebibyte)
  ) {
    settings.problem('part-size', 'must be from 5MiB to 5GiB for s3')
  }
  const forced = settings.value('force-path-style')
  return {
    ...common,
    type: 's3',
    region: settings.value('region') ?? place.region,
    // As with the original, a known host is not argued with.
    forcePathStyle: forced === false && place.isKnownHost === true ? undefined : forced,
    credentials: readS3Credentials(settings, context),
    encryption: readS3Encryption(settings),
    plainSecrets: settings.value('plain-secrets'),
    provider: settings.value('provider'),
  }
}

/** Undefined: the vendor's own chain finds them. Its environment variables go before those of the original's name. */
function readS3Credentials(
  settings: Settings<'replica'>,
  { env, ...global }: TargetContext,
): S3ReplicaTarget['credentials'] {
  const keyId = settings.value('access-key-id') ?? global.accessKeyId
  const secret = settings.value('secret-access-key') ?? global.secretAccessKey
  const token = settings.value('session-token')
  if (keyId !== undefined && secret !== undefined) {
    return {
      accessKeyId: keyId,
      secretAccessKey: new Secret(secret),
      sessionToken: token === undefined ? undefined : new Secret(token),
    }
  }
  if (keyId !== undefined && !settings.has('secret-access-key')) {
    settings.problem('access-key-id', 'has no effect without secret-access-key')
  }
  if (secret !== undefined && !settings.has('access-key-id')) {
    settings.problem('secret-access-key', 'has no effect without access-key-id')
  }
  if (keyId !== undefined || secret !== undefined) return undefined
  if (token !== undefined) {
    settings.problem('session-token', 'has no effect without access-key-id and secret-access-key')
  }
  return environmentCredentials(env)
}

function environmentCredentials(env: Environment): S3ReplicaTarget['credentials'] {
  const accessKeyId = env['AWS_ACCESS_KEY_ID'] ?? env['LITESTREAM_ACCESS_KEY_ID']
  const secretAccessKey = env['AWS_SECRET_ACCESS_KEY'] ?? env['LITESTREAM_SECRET_ACCESS_KEY']
  const isVendors =
    env['AWS_ACCESS_KEY_ID'] !== undefined && env['AWS_SECRET_ACCESS_KEY'] !== undefined
  // Empty ones are as none to the vendor's chain, which goes on to the next source.
  if (isVendors || !accessKeyId || !secretAccessKey) return undefined
  const token = env['AWS_SESSION_TOKEN']
  return {
    accessKeyId,
    secretAccessKey: new Secret(secretAccessKey),
    sessionToken: token === undefined || token === '' ? undefined : new Secret(token),
  }
}

function readS3Encryption(settings: Settings<'replica'>): S3ReplicaTarget['encryption'] {
  const kind = settings.value('sse')
  const keyId = settings.value('sse-kms-key-id')
  const customerKey = settings.value('sse-customer-key')
  if (customerKey !== undefined) {
    if (kind !== undefined || keyId !== undefined) {
      settings.problem('sse-customer-key', 'cannot be combined with sse or sse-kms-key-id')
    }
    if (decodeBase64(customerKey)?.byteLength !== 32) {
      settings.problem('sse-customer-key', 'must be 32 bytes in base64')
    }
    return { kind: 'customer', key: new Secret(customerKey) }
  }
  return kind === undefined && keyId === undefined ? undefined : { kind: 'kms', keyId }
}

function readGcs(
  place: ObjectStoreAddress,
  settings: Settings<'replica'>,
  { env }: TargetContext,
): GcsReplicaTarget {
  const { endpoint: given, ...common } = readCommon(place, settings)
  const { partSizeBytes } = common
  if (
    partSizeBytes !== undefined &&
    (partSizeBytes === 0 || partSizeBytes > 1024 * mebibyte || partSizeBytes % (256 * kibibyte) > 0)
  ) {
    settings.problem('part-size', 'must be a multiple of 256KiB, at most 1GiB, for gcs')
  }
  if (given === undefined) {
    const host = env['STORAGE_EMULATOR_HOST'] ?? ''
    const endpoint = emulatorEndpoint(host)
    if (endpoint === undefined && host !== '')
      settings.problem(
        'endpoint',
        'STORAGE_EMULATOR_HOST is not a URL: write it as http://host:port',
      )
    return { ...common, type: 'gcs', endpoint, anonymous: endpoint !== undefined }
  }
  const endpoint = withScheme(given, 'https').replace(/\/+$/, '')
  // Without TLS a token would be everybody's.
  return { ...common, type: 'gcs', endpoint, anonymous: endpoint.startsWith('http://') }
}

/** The original takes scheme and host of the variable, and passes a path over. */
function emulatorEndpoint(host: string): string | undefined {
  const text = withScheme(host, 'http')
  return URL.canParse(text) ? new URL(text).origin : undefined
}

function withScheme(text: string, scheme: string): string {
  return /^[a-z][a-z0-9+.-]*:\/\//i.test(text) ? text : `${scheme}://${text}`
}

function readAbs(
  place: ObjectStoreAddress,
  settings: Settings<'replica'>,
  { env }: TargetContext,
): AbsReplicaTarget | undefined {
  const common = readCommon(place, settings)
  const { partSizeBytes } = common
  if (partSizeBytes !== undefined && partSizeBytes > 4000 * mebibyte) {
    settings.problem('part-size', 'must be at most 4000MiB for abs')
  }
  const fromUrl = place.accountName === '' ? undefined : place.accountName
  const accountName = settings.value('account-name') ?? fromUrl
  if (accountName === undefined) {
    if (!settings.has('account-name')) {
      settings.problem(
        'account-name',
        'account-name required for abs replica (or abs://ACCOUNT@CONTAINER/PATH as url)',
      )
    }
    return undefined
  }
  const sasToken = settings.value('sas-token')?.replace(/^\?/, '')
  const configuredKey = settings.value('account-key')
  if (sasToken !== undefined && configuredKey !== undefined) {
    settings.problem('sas-token', 'cannot be combined with account-key')
  }
  // A token is given to do with less than everything, so the environment's key does not take its place.
  const environmentKey = sasToken === undefined ? env['LITESTREAM_AZURE_ACCOUNT_KEY'] : undefined
  const accountKey = configuredKey ?? (environmentKey === '' ? undefined : environmentKey)
  if (accountKey !== undefined && decodeBase64(accountKey) === undefined) {
    const where = configuredKey === undefined ? 'LITESTREAM_AZURE_ACCOUNT_KEY ' : ''
    settings.problem('account-key', `${where}is not base64`)
  }
  return {
    ...common,
    type: 'abs',
    accountName,
    accountKey: accountKey === undefined ? undefined : new Secret(accountKey),
    sasToken: sasToken === undefined ? undefined : new Secret(sasToken),
    plainSecrets: settings.value('plain-secrets'),
  }
}

function decodeBase64(text: string): Uint8Array | undefined {
  return /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/.test(text)
    ? Buffer.from(text, 'base64')
    : undefined
}
