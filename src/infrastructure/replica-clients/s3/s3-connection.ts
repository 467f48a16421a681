/**
 * The vendor's client, set up so that every S3-compatible store takes its requests: nothing optional is left to a
 * default that may move with its versions. One attempt at a request is one request, but for a bucket that turns out to
 * be in another region: that is learnt from the refusal and asked again.
 */
import { createHash } from 'node:crypto'
import { GetBucketLocationCommand, S3Client, type S3ClientConfig } from '@aws-sdk/client-s3'
import { type S3ReplicaTarget } from '../../../domain/settings/config.js'
import { ConfigError } from '../../../domain/errors.js'
import { ownerObjectName } from '../../../domain/stored/replica-layout.js'
import { agentsOf } from '../object-store/agents.js'
import { isLoopbackHost, refusePlainSecret } from '../object-store/plain-secrets.js'
import { type Attempt } from '../object-store/refused-request.js'
import { type Outcome, TimedRequests } from '../object-store/timed-requests.js'
import { parseEndpoint } from './endpoint.js'
import { profileNamed, profileOf, type ProviderProfile, regionInHost } from './provider-profiles.js'
import { describeFailure, type S3Failure, toReplicaError } from './s3-errors.js'

export interface S3Timeouts {
  /** How long a store may take to answer, and to go on with a body. */
  readonly noProgressMs: number
  /** How long it may take to put an object together from its parts, which some do while the client waits. */
  readonly assemblyMs: number
  /** Until a connection stands. */
  readonly connectMs: number
}

/** A store that is there again after it had swallowed a request is used again within half a minute. */
const usualTimeouts: S3Timeouts = { noProgressMs: 20_000, assemblyMs: 60_000, connectMs: 10_000 }

/** How one request is made: the vendor's client, and the options of its `send`. */
type Request<T> = (client: S3Client, options: { readonly abortSignal: AbortSignal }) => Promise<T>

export class S3Connection {
  readonly bucket: string
  readonly profile: ProviderProfile
  readonly timeouts: S3Timeouts
  readonly #target: S3ReplicaTarget
  readonly #client: S3Client
  readonly #requests = new TimedRequests(describeFailure)
  #region: string
  /** Once the credentials were accepted, a refused signature is an accident of one request. */
  #credentialsVerified = false

  constructor(target: S3ReplicaTarget, timeouts: Partial<S3Timeouts> = {}) {
    const endpoint = target.endpoint === undefined ? undefined : parseEndpoint(target.endpoint)
    if (endpoint !== undefined && !target.plainSecrets) refuseConfiguredSecrets(target, endpoint)
    this.#target = target
    this.bucket = target.bucket
    this.timeouts = { ...usualTimeouts, ...timeouts }
    this.profile = chooseProfile(target, endpoint)
    this.#region =
      target.region ??
      regionInHost(this.profile, endpoint) ??
      this.profile.defaultRegion ??
      'us-east-1'
    this.#client = new S3Client({
      region: () => Promise.resolve(this.#region),
      ...(endpoint === undefined ? {} : { endpoint: endpoint.href }),
      // The profile was chosen by the configured endpoint; the environment must not name another one.
      ignoreConfiguredEndpointUrls: true,
      forcePathStyle: usesPathStyle(target, this.profile),
      ...credentialsOf(target),
      maxAttempts: 1,
      requestChecksumCalculation: 'WHEN_REQUIRED',
      responseChecksumValidation: 'WHEN_REQUIRED',
      expectContinueHeader: false,
      followRegionRedirects: false,
      requestHandler: {
        ...agentsOf({
          caFile: target.caFile,
          skipVerify: target.skipVerify,
          proxyEnv: proxyOf(target, endpoint),
        }),
        connectionTimeout: this.timeouts.connectMs,
      },
    })
    shapeRequests(this.#client, this.profile, target.storageClass)
    if (!target.plainSecrets) refuseSentSecrets(this.#client)
  }

  /** An object, a folder or the bucket itself, for people. */
  urlOf(key: string): string {
    const { bucket, endpoint } = this.#target
    const path = key === '' ? '' : `/${key}`
    return `s3://${bucket}${path}${endpoint === undefined ? '' : ` at ${endpoint}`}`
  }

  /**
   * Makes a request. Rejects with the signal's reason at once when it is aborted, and with an error of ours when the
   * request fails, unless `expected` makes an answer of the failure.
   */
  async attempt<T, E = never>(
    attempt: Attempt,
    request: Request<T>,
    options: {
      readonly signal: AbortSignal
      /** About how many bytes go over the wire until the answer is there. */
      readonly sizeBytes?: number
      /** Until the answer is there, on top of the time for the bytes. */
      readonly timeoutMs?: number
      readonly expected?: (failure: S3Failure) => E | undefined
    },
  ): Promise<T | E> {
    const { signal, sizeBytes = 0, timeoutMs = this.timeouts.noProgressMs, expected } = options
    for (let redirected = false; ; redirected = true) {
      const region = this.#region
      const outcome = await this.#send(request, { sizeBytes, timeoutMs, signal })
      if ('answer' in outcome) return outcome.answer
      const { failure } = outcome
      const answer = expected?.(failure)
      if (answer !== undefined) return answer
      if (redirected || !(await this.#learnRegion(failure, region, signal))) {
        throw this.toReplicaError(attempt, failure)
      }
    }
  }

  async #send<T>(
    request: Request<T>,
    times: {
      readonly sizeBytes: number
      readonly timeoutMs: number
      readonly signal: AbortSignal
    },
  ): Promise<Outcome<T, S3Failure>> {
    const outcome = await this.#requests.send(
      (abortSignal) => request(this.#client, { abortSignal }),
      times,
    )
    if ('answer' in outcome) this.#credentialsVerified = true
    return outcome
  }

  toReplicaError(attempt: Attempt, failure: S3Failure): Error {
    return toReplicaError(attempt, failure, {
      redact: (text) => this.#redact(text),
      credentialsVerified: this.#credentialsVerified,
    })
  }

  /** Whether the request can be made again with a better region than `usedRegion`. */
  async #learnRegion(
    failure: S3Failure,
    usedRegion: string,
    signal: AbortSignal,
  ): Promise<boolean> {
    const { status, code } = failure
    if (status !== 400 && (status === undefined || status < 300 || status >= 400)) return false
    const asked = code === 'PermanentRedirect' || code === 'AuthorizationHeaderMalformed'
    // Another request may have learnt it meanwhile.
    if (asked && this.#region !== usedRegion) return true
    const region = failure.region ?? (asked ? await this.#askRegion(signal) : undefined)
    if (region === undefined || region === usedRegion) return false
    this.#region = region
    return true
  }

  /** The region as the store tells it; undefined where it does not, which takes a permission that many keys lack. */
  async #askRegion(signal: AbortSignal): Promise<string | undefined> {
    if (this.profile.defaultRegion !== undefined) return undefined
    const command = new GetBucketLocationCommand({ Bucket: this.bucket })
    const outcome = await this.#send((client, options) => client.send(command, options), {
      sizeBytes: 0,
      timeoutMs: this.timeouts.noProgressMs,
      signal,
    })
    if (!('answer' in outcome)) return undefined
    const { LocationConstraint: place } = outcome.answer
    return place === undefined ? 'us-east-1' : place === 'EU' ? 'eu-west-1' : place
  }

  #redact(text: string): string {
    const { credentials, encryption } = this.#target
    const secrets = [
      credentials?.secretAccessKey,
      credentials?.sessionToken,
      encryption?.kind === 'customer' ? encryption.key : undefined,
    ]
    return secrets.reduce(
      (redacted, secret) =>
        secret === undefined || secret.reveal() === ''
          ? redacted
          : redacted.replaceAll(secret.reveal(), '***'),
      text,
    )
  }
}

/** At the start: what the vendor's chain finds is known only when it is sent. */
function refuseConfiguredSecrets(
  { credentials, encryption }: S3ReplicaTarget,
  endpoint: URL,
): void {
  if (credentials?.sessionToken !== undefined) refusePlainSecret(sentSecrets[0][1], endpoint)
  if (encryption?.kind === 'customer') refusePlainSecret(sentSecrets[1][1], endpoint)
}

/** The headers that are secrets, and what people call them. */
const sentSecrets = [
  ['x-amz-security-token', 'a session token'],
  ['x-amz-server-side-encryption-customer-key', 'sse-customer-key'],
] as const

function refuseSentSecrets(client: S3Client): void {
  client.middlewareStack.add(
    (next) => (args) => {
      const { request } = args
      if (isRequest(request)) {
        for (const [header, what] of sentSecrets) {
          if (header in request.headers) refusePlainSecret(what, request)
        }
      }
      return next(args)
    },
    // Behind the signing, which adds the token.
    { step: 'deserialize', priority: 'high', name: 'refuseSentSecrets' },
  )
}

/** A proxy cannot reach this machine; and who trusts any certificate means the server itself. */
function proxyOf(
  { skipVerify }: S3ReplicaTarget,
  endpoint: URL | undefined,
): NodeJS.ProcessEnv | undefined {
  if (skipVerify || (endpoint !== undefined && isLoopbackHost(endpoint.hostname))) return undefined
  return Object.fromEntries(
    Object.entries(process.env).filter(([name]) => /^(?:https?|no)_proxy$/i.test(name)),
  )
}

function chooseProfile(target: S3ReplicaTarget, endpoint: URL | undefined): ProviderProfile {
  if (target.provider === undefined) return profileOf(endpoint)
  const profile = profileNamed(target.provider)
  if (profile === undefined) {
    throw new ConfigError(`there is no S3 provider "${target.provider}"`, {
      hint: 'leave provider out: it is found by the endpoint',
    })
  }
  return profile
}

function usesPathStyle(target: S3ReplicaTarget, profile: ProviderProfile): boolean {
  if (target.bucket.startsWith('arn:')) return false
  // No wildcard certificate covers a host name with further dots.
  if (target.bucket.includes('.')) return true
  return target.forcePathStyle ?? profile.pathStyle
}

function credentialsOf({ credentials }: S3ReplicaTarget): Pick<S3ClientConfig, 'credentials'> {
  if (credentials === undefined) return {}
  const { accessKeyId, secretAccessKey, sessionToken } = credentials
  return {
    credentials: {
      accessKeyId,
      secretAccessKey: secretAccessKey.reveal(),
      ...(sessionToken === undefined ? {} : { sessionToken: sessionToken.reveal() }),
    },
  }
}

/** What of a request in the making is looked at here. */
interface RequestInTheMaking {
  readonly protocol: string
  readonly hostname: string
  readonly port?: number
  readonly headers: Record<string, string>
  readonly body?: unknown
}

function isRequest(value: unknown): value is RequestInTheMaking {
  return typeof value === 'object' && value !== null && 'headers' in value && 'hostname' in value
}

/** Gives requests the headers of the profile, just before they are signed. */
function shapeRequests(
  client: S3Client,
  profile: ProviderProfile,
  storageClass: string | undefined,
): void {
  client.middlewareStack.add(
    (next, context) => (args) => {
      const { request } = args
      if (isRequest(request)) {
        const { headers } = request
        Object.assign(headers, profile.headers)
        const { commandName } = context
        if (commandName === 'DeleteObjectsCommand') {
          // The client insists on a checksum here that many stores don't know, and has no way to send the MD5 that
          // others demand: https://github.com/aws/aws-sdk-js-v3/issues/6920
          delete headers['x-amz-checksum-crc32']
          delete headers['x-amz-sdk-checksum-algorithm']
          if (profile.deletion === 'many-with-md5' && typeof request.body === 'string') {
            headers['content-md5'] = createHash('md5').update(request.body).digest('base64')
          }
        }
        if (profile.bodyMd5 && isBodyCommand(commandName) && request.body instanceof Uint8Array) {
          headers['content-md5'] = createHash('md5').update(request.body).digest('base64')
        }
        const creates =
          commandName === 'PutObjectCommand' || commandName === 'CreateMultipartUploadCommand'
        // The owner object is written over and over, for which cheaper classes charge, and has to be read at once.
        const isOwner = String(Reflect.get(args.input, 'Key')).endsWith(ownerObjectName)
        if (creates && !isOwner && storageClass !== undefined)
          headers['x-amz-storage-class'] = storageClass
      }
      return next(args)
    },
    { step: 'build', priority: 'low', name: 'shapeRequests' },
  )
}

/** Whether such a request carries bytes of an object. */
function isBodyCommand(name: string | undefined): boolean {
  return name === 'PutObjectCommand' || name === 'UploadPartCommand'
}
