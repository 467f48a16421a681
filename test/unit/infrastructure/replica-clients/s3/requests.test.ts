/**
 * What goes over the wire, header by header. The vendor's client changes what it sends by default from one version to
 * another, which has broken every S3-compatible store before: whatever changes here has to be looked at.
 */
import { createHash } from 'node:crypto'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { type S3ReplicaTarget } from '../../../../../src/domain/settings/config.js'
import { formatGeneration } from '../../../../../src/domain/wal/generation.js'
import { type ObjectRef } from '../../../../../src/domain/stored/replica-layout.js'
import { Secret } from '../../../../../src/domain/settings/secret.js'
import {
  providerProfiles,
  type ProviderProfile,
} from '../../../../../src/infrastructure/replica-clients/s3/provider-profiles.js'
import { openS3Replica } from '../../../../../src/infrastructure/replica-clients/s3/s3-store.js'
import { s3Target } from '../../../../support/stores/s3-target.js'
import { type ReplicaClient } from '../../../../../src/usecase/ports/replica-client.js'
import {
  type RecordedRequest,
  type ScriptedS3,
  startScriptedS3,
} from '../../../../support/stores/scripted-s3.js'

const { signal } = new AbortController()
const generation = formatGeneration(Uint8Array.from([1, 2, 3, 4, 5, 6, 7, 8]))
const ref: ObjectRef = { kind: 'wal-segment', generation, index: 0, offset: 0 }
const object = `generations/${generation}/wal/00000000_00000000.wal.lz4`
const mebibyte = 1024 * 1024

let server: ScriptedS3

beforeEach(async () => {
  server = await startScriptedS3()
})

afterEach(async () => {
  await server[Symbol.asyncDispose]()
})

function open(settings: Partial<S3ReplicaTarget> = {}): ReplicaClient {
  const store = {
    endpoint: server.endpoint,
    accessKeyId: 'AKID',
    secretAccessKey: 'SECRET',
    bucket: 'bucket',
    region: 'eu-test-1',
  }
  return openS3Replica(s3Target(store, { prefix: 'db', ...settings }))
}

const sha256 = (bytes: Buffer | string) => createHash('sha256').update(bytes).digest('hex')
const md5 = (bytes: Buffer | string) => createHash('md5').update(bytes).digest('base64')

/** Method, path, and every header, but for what is new each time. */
function shown({ method, url, headers, body }: RecordedRequest): Record<string, unknown> {
  const {
    authorization,
    host,
    'user-agent': userAgent,
    'x-amz-user-agent': amzUserAgent,
    'x-amz-date': date,
    'amz-sdk-invocation-id': invocation,
    ...others
  } = headers
  expect(host).toMatch(/^(?:bucket\.)?127\.0\.0\.1:\d+$/)
  expect(userAgent).toMatch(/^aws-sdk-js\/3/)
  expect(amzUserAgent).toMatch(/^aws-sdk-js\/3/)
  expect(date).toMatch(/^\d{8}T\d{6}Z$/)
  expect(invocation).toBeDefined()
  // The body that is signed is the body that is sent.
  expect(headers['x-amz-content-sha256']).toBe(sha256(body))
  const signature =
    /^AWS4-HMAC-SHA256 Credential=AKID\/\d{8}\/(.*)\/s3\/aws4_request, SignedHeaders=(.*), Signature=[0-9a-f]{64}$/
  const [, region, signedHeaders] = signature.exec(authorization ?? '') ?? []
  return { request: `${method} ${url}`, region, signedHeaders, headers: others }
}

async function multipart(client: ReplicaClient): Promise<void> {
  await using upload = await client.startUpload(ref, { expectedBytes: 1 }, signal)
  const bytes = Buffer.alloc(upload.partSizeBytes)
  await upload.sendPart({ number: 0, bytes, last: false })
  await upload.sendPart({ number: 1, bytes: Buffer.from('end'), last: true })
  await upload.finish()
}

async function single(client: ReplicaClient, text = 'hello'): Promise<void> {
  await using upload = await client.startUpload(ref, { expectedBytes: 1 }, signal)
  await upload.sendPart({ number: 0, bytes: Buffer.from(text), last: true })
  await upload.finish()
}

const drain = (items: AsyncIterable<unknown>) => Array.fromAsync(items)

const common = {
  connection: 'keep-alive',
  'amz-sdk-request': 'attempt=1; max=1',
}
const alwaysSigned =
  'amz-sdk-invocation-id;amz-sdk-request;host;x-amz-content-sha256;x-amz-date;x-amz-user-agent'

describe.each(providerProfiles.map((profile) => [profile.name, profile] as const))(
  'requests to %s',
  (name, profile: ProviderProfile) => {
    const extra = profile.headers
    const signed = (...more: string[]) =>
      [...alwaysSigned.split(';'), ...Object.keys(extra), ...more].sort().join(';')
    const withMd5 = (body: Buffer | string) =>
      profile.bodyMd5 ? { 'content-md5': md5(body) } : undefined

    test('one put for a small object', async () => {
      await single(open({ provider: name }))
      expect(server.requests.map(shown)).toEqual([
        {
          request: `PUT /bucket/db/${object}?x-id=PutObject`,
          region: 'eu-test-1',
          signedHeaders: signed(
            'content-length',
            'content-type',
            ...(profile.bodyMd5 ? ['content-md5'] : []),
          ),
          headers: {
            ...common,
            ...extra,
            'content-type': 'application/octet-stream',
            'content-length': '5',
            'x-amz-content-sha256': sha256('hello'),
            ...withMd5('hello'),
          },
        },
      ])
    })

    test('parts of a large object', async () => {
      await multipart(open({ provider: name }))
      const shownRequests = server.requests.map(shown)
      expect(shownRequests).toMatchObject([
        {
          request: `POST /bucket/db/${object}?uploads=`,
          headers: { 'content-length': '0' },
        },
        {},
        {},
        {
          request: `POST /bucket/db/${object}?uploadId=upload-1`,
        },
      ])
      const begin = shownRequests[0]?.headers as Record<string, string>
      expect(Object.keys(begin).sort()).toEqual(
        [
          ...Object.keys({ ...common, ...extra }),
          'content-length',
          'x-amz-content-sha256',
          'x-amz-meta-tsreplicate-upload',
        ].sort(),
      )
      expect(shownRequests[1]).toEqual({
        request: `PUT /bucket/db/${object}?partNumber=1&uploadId=upload-1&x-id=UploadPart`,
        region: 'eu-test-1',
        signedHeaders: signed(
          'content-length',
          'content-type',
          ...(profile.bodyMd5 ? ['content-md5'] : []),
        ),
        headers: {
          ...common,
          ...extra,
          'content-type': 'application/octet-stream',
          'content-length': String(8 * mebibyte),
          'x-amz-content-sha256': sha256(Buffer.alloc(8 * mebibyte)),
          ...withMd5(Buffer.alloc(8 * mebibyte)),
        },
      })
      const finish = shownRequests[3]?.headers as Record<string, string>
      expect(Object.keys(finish).sort()).toEqual(
        [
          ...Object.keys({ ...common, ...extra }),
          'content-length',
          'content-type',
          'x-amz-content-sha256',
        ].sort(),
      )
    })

    test('a whole object, a range, a listing', async () => {
      const client = open({ provider: name })
      await drain(client.read(ref, { offset: 0, length: undefined }, signal))
      await drain(client.read(ref, { offset: 2, length: 3 }, signal))
      await drain(client.listWalSegments(generation, signal))
      const empty = sha256('')
      const headers = { ...common, ...extra, 'x-amz-content-sha256': empty }
      expect(server.requests.map(shown)).toEqual([
        {
          request: `GET /bucket/db/${object}?x-id=GetObject`,
          region: 'eu-test-1',
          signedHeaders: signed(),
          headers,
        },
        {
          request: `GET /bucket/db/${object}?x-id=GetObject`,
          region: 'eu-test-1',
          signedHeaders: signed('if-match', 'range'),
          headers: { ...headers, range: 'bytes=2-4', 'if-match': '"one"' },
        },
        {
          request: `GET /bucket/?delimiter=%2F&encoding-type=url&list-type=2&prefix=${encodeURIComponent(`db/generations/${generation}/wal/`)}`,
          region: 'eu-test-1',
          signedHeaders: signed(),
          headers,
        },
      ])
    })

    test('deletions', async () => {
      await open({ provider: name }).delete([ref], signal)
      expect(server.requests).toHaveLength(1)
      const [request] = server.requests
      const body = request?.body ?? Buffer.alloc(0)
      if (profile.deletion === 'single') {
        expect(server.requests.map(shown)).toEqual([
          {
            request: `DELETE /bucket/db/${object}?x-id=DeleteObject`,
            region: 'eu-test-1',
            signedHeaders: signed(),
            headers: { ...common, ...extra, 'x-amz-content-sha256': sha256('') },
          },
        ])
        return
      }
      const withMd5 = profile.deletion === 'many-with-md5'
      expect(server.requests.map(shown)).toEqual([
        {
          request: 'POST /bucket/?delete=',
          region: 'eu-test-1',
          signedHeaders: signed(
            'content-length',
            'content-type',
            ...(withMd5 ? ['content-md5'] : []),
          ),
          headers: {
            ...common,
            ...extra,
            'content-type': 'application/xml',
            'content-length': String(body.length),
            'x-amz-content-sha256': sha256(body),
            ...(withMd5 ? { 'content-md5': md5(body) } : {}),
          },
        },
      ])
      expect(body.toString()).toContain(`<Quiet>true</Quiet>`)
    })
  },
)

test('storage class and encryption by a managed key go where an object begins', async () => {
  const client = open({ storageClass: 'ONEZONE_IA', encryption: { kind: 'kms', keyId: 'key-1' } })
  await single(client)
  await multipart(client)
  const withClass = server.requests.filter(
    ({ headers }) =>
      headers['x-amz-storage-class'] === 'ONEZONE_IA' &&
      headers['x-amz-server-side-encryption'] === 'aws:kms' &&
      headers['x-amz-server-side-encryption-aws-kms-key-id'] === 'key-1',
  )
  expect(withClass.map(({ method }) => method)).toEqual(['PUT', 'POST'])
})

test('a key of the customer goes with all bytes, both ways, and a session token with all requests', async () => {
  const key = Buffer.alloc(32, 7).toString('base64')
  const client = open({
    encryption: { kind: 'customer', key: new Secret(key) },
    credentials: {
      accessKeyId: 'AKID',
      secretAccessKey: new Secret('SECRET'),
      sessionToken: new Secret('TOKEN'),
    },
  })
  await single(client)
  await multipart(client)
  await drain(client.read(ref, { offset: 0, length: undefined }, signal))
  const withKey = server.requests.filter(
    ({ headers }) =>
      headers['x-amz-server-side-encryption-customer-key'] === key &&
      headers['x-amz-server-side-encryption-customer-algorithm'] === 'AES256' &&
      headers['x-amz-server-side-encryption-customer-key-md5'] === md5(Buffer.alloc(32, 7)),
  )
  // The put, the beginning of the upload, both parts, and the read; not the completion.
  expect(withKey.map(({ method }) => method)).toEqual(['PUT', 'POST', 'PUT', 'PUT', 'GET'])
  expect(server.requests.map(({ headers }) => headers['x-amz-security-token'])).toEqual(
    server.requests.map(() => 'TOKEN'),
  )
})

test('a path in the endpoint is kept in front of the bucket', async () => {
  await single(open({ endpoint: `${server.endpoint}/storage/v1/s3/` }))
  expect(server.requests[0]?.url).toBe(`/storage/v1/s3/bucket/db/${object}?x-id=PutObject`)
})

describe('through a proxy', () => {
  // The proxy is the server itself: it sees the whole URL.
  beforeEach(() => {
    vi.stubEnv('http_proxy', server.endpoint)
    vi.stubEnv('no_proxy', '')
  })

  afterEach(() => {
    vi.unstubAllEnvs()
  })

  const endpoint = 'http://s3.example'

  test('without path style, the bucket is in the host name; with dots in its name it never is', async () => {
    await single(open({ endpoint, forcePathStyle: false }))
    await single(open({ endpoint, forcePathStyle: false, bucket: 'dotted.bucket' }))
    expect(server.requests.map(({ url, headers }) => [url, headers.host])).toEqual([
      [`http://bucket.s3.example/db/${object}?x-id=PutObject`, 'bucket.s3.example'],
      [`http://s3.example/dotted.bucket/db/${object}?x-id=PutObject`, 's3.example'],
    ])
  })

  test('a provider without path style gets none unless it is forced', async () => {
    const spaces = 'http://fra1.digitaloceanspaces.com'
    await single(open({ endpoint: spaces, forcePathStyle: undefined, region: undefined }))
    await single(open({ endpoint: spaces, forcePathStyle: true, region: undefined }))
    expect(server.requests.map(({ headers }) => headers.host)).toEqual([
      'bucket.fra1.digitaloceanspaces.com',
      'fra1.digitaloceanspaces.com',
    ])
    expect(server.requests[0]?.headers.authorization).toContain('/fra1/s3/aws4_request')
  })

  test('without an endpoint it is Amazon’s, whatever the environment says', async () => {
    vi.stubEnv('https_proxy', 'http://127.0.0.1:1')
    vi.stubEnv('AWS_ENDPOINT_URL_S3', server.endpoint)
    await expect(single(open({ endpoint: undefined }))).rejects.toThrow('ECONNREFUSED')
    expect(server.requests).toHaveLength(0)
  })

  test('this machine is reached past the proxy, and so is any server whose certificate is not looked at', async () => {
    await single(open())
    expect(server.requests.map(({ url }) => url)).toEqual([`/bucket/db/${object}?x-id=PutObject`])
    await expect(single(open({ endpoint: 'http://s3.invalid', skipVerify: true }))).rejects.toThrow(
      'does not resolve',
    )
  })
})

test('an empty object is sent as one, with its length', async () => {
  await single(open(), '')
  expect(server.requests.map(({ method, headers }) => [method, headers['content-length']])).toEqual(
    [['PUT', '0']],
  )
})

test.each(['', '/', '//', 'a//', '/a//b/', ' a+b&c=d/ü%20'])(
  'needless slashes in the prefix %j do not matter, and other characters stay',
  async (prefix) => {
    await single(open({ prefix }))
    const path = decodeURIComponent(server.requests[0]?.url.split('?')[0] ?? '')
    const clean = prefix.replace(/\/+/g, '/').replace(/^\/|\/$/g, '')
    expect(path).toBe(`/bucket/${clean === '' ? '' : `${clean}/`}${object}`)
  },
)
