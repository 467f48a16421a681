/** How the client finds its way: endpoints, providers, regions, certificates, sizes of parts. */
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, test, vi } from 'vitest'
import { type S3ReplicaTarget } from '../../../../../src/domain/settings/config.js'
import { ConfigError } from '../../../../../src/domain/errors.js'
import { Secret } from '../../../../../src/domain/settings/secret.js'
import { formatGeneration } from '../../../../../src/domain/wal/generation.js'
import { parseEndpoint } from '../../../../../src/infrastructure/replica-clients/s3/endpoint.js'
import {
  choosePartConcurrency,
  choosePartSize,
} from '../../../../../src/infrastructure/replica-clients/s3/part-size.js'
import {
  profileOf,
  regionInHost,
} from '../../../../../src/infrastructure/replica-clients/s3/provider-profiles.js'
import { openS3Replica } from '../../../../../src/infrastructure/replica-clients/s3/s3-store.js'
import { s3Target } from '../../../../support/stores/s3-target.js'
import { startScriptedS3 } from '../../../../support/stores/scripted-s3.js'

test.each([
  ['s3.amazonaws.com', 'aws', undefined],
  ['s3.eu-west-3.amazonaws.com', 'aws', 'eu-west-3'],
  ['s3.dualstack.us-gov-west-1.amazonaws.com', 'aws', 'us-gov-west-1'],
  ['s3.cn-north-1.amazonaws.com.cn', 'aws', 'cn-north-1'],
  ['s3.us-west-004.backblazeb2.com', 'backblaze', 'us-west-004'],
  ['0123456789abcdef.r2.cloudflarestorage.com', 'r2', undefined],
  ['0123456789abcdef.eu.r2.cloudflarestorage.com', 'r2', undefined],
  ['localhost:9000', 'minio', undefined],
  ['minio:9000', 'minio', undefined],
  ['minio.example.com', 'minio', undefined],
  ['fra1.digitaloceanspaces.com', 'digitalocean', 'fra1'],
  ['s3.fr-par.scw.cloud', 'scaleway', 'fr-par'],
  ['fsn1.your-objectstorage.com', 'hetzner', 'fsn1'],
  ['s3.filebase.com', 'filebase', undefined],
  ['fly.storage.tigris.dev', 'tigris', undefined],
  ['t3.storage.dev', 'tigris', undefined],
  ['abcdefgh.supabase.co', 'supabase', undefined],
  ['abcdefgh.storage.supabase.co', 'supabase', undefined],
  ['s3.wasabisys.com', 'wasabi', undefined],
  ['s3.eu-central-1.wasabisys.com', 'wasabi', 'eu-central-1'],
  ['ns.compat.objectstorage.eu-frankfurt-1.oraclecloud.com', 'oci', 'eu-frankfurt-1'],
  ['gateway.storjshare.io', 'storj', undefined],
  ['gateway.eu1.storjshare.io', 'storj', undefined],
  ['garage.example.com', 'garage', undefined],
  ['eu-central-1.linodeobjects.com', 'linode', 'eu-central-1'],
  ['storage.googleapis.com', 'gcs-s3', undefined],
  ['storage.example.com', 'default', undefined],
  ['10.0.0.7:9000', 'default', undefined],
])('%s is %s, in region %s', (host, name, region) => {
  const endpoint = parseEndpoint(host)
  const profile = profileOf(endpoint)
  expect(profile.name).toBe(name)
  expect(regionInHost(profile, endpoint)).toBe(region)
})

test('no endpoint is Amazon’s', () => {
  expect(profileOf(undefined).name).toBe('aws')
})

test.each([
  ['s3.example.com', 'https://s3.example.com/'],
  ['s3.example.com:9000', 'https://s3.example.com:9000/'],
  ['8.8.8.8:9000', 'https://8.8.8.8:9000/'],
  ['http://s3.example.com', 'http://s3.example.com/'],
  ['localhost:9000', 'http://localhost:9000/'],
  ['127.0.0.1:9000', 'http://127.0.0.1:9000/'],
  ['[::1]:9000', 'http://[::1]:9000/'],
  ['192.168.1.2:9000', 'http://192.168.1.2:9000/'],
  ['172.20.0.3', 'http://172.20.0.3/'],
  ['172.32.0.3', 'https://172.32.0.3/'],
  ['[fd00::1]:9000', 'http://[fd00::1]:9000/'],
  ['abc.supabase.co/storage/v1/s3', 'https://abc.supabase.co/storage/v1/s3'],
])('the endpoint %s means %s', (text, href) => {
  expect(parseEndpoint(text).href).toBe(href)
})

const mebibyte = 1024 * 1024
const gibibyte = 1024 * mebibyte

describe('parts', () => {
  test.each([
    0,
    1,
    5 * mebibyte,
    gibibyte,
    48 * gibibyte,
    100 * gibibyte,
    1024 * gibibyte,
    4096 * gibibyte,
  ])(
    'of an object of %i expected bytes are few enough, though it turns out larger',
    (expectedBytes) => {
      for (const configuredBytes of [undefined, 1, 5 * mebibyte, 64 * mebibyte]) {
        const size = choosePartSize({ expectedBytes, configuredBytes })
        expect(size).toBeGreaterThanOrEqual(5 * mebibyte)
        expect(size).toBeLessThanOrEqual(5 * gibibyte)
        expect(Math.ceil((expectedBytes * 1.1 + 64 * mebibyte) / size)).toBeLessThanOrEqual(10_000)
        const inFlight = choosePartConcurrency({ partSizeBytes: size, wanted: 8 })
        expect(inFlight).toBeGreaterThanOrEqual(1)
        expect(inFlight * size).toBeLessThanOrEqual(Math.max(size, 256 * mebibyte))
      }
    },
  )

  test('are as large as was configured where that does', () => {
    const partSizeBytes = 64 * mebibyte
    expect(choosePartSize({ expectedBytes: gibibyte, configuredBytes: partSizeBytes })).toBe(
      partSizeBytes,
    )
  })
})

describe('TLS', () => {
  const { signal } = new AbortController()
  const certificate = fileURLToPath(new URL('../../../../fixtures/tls/cert.pem', import.meta.url))
  const key = certificate.replace('cert.pem', 'key.pem')
  const generation = formatGeneration(Uint8Array.from([1, 2, 3, 4, 5, 6, 7, 8]))

  async function read(settings: Partial<S3ReplicaTarget>): Promise<string> {
    await using server = await startScriptedS3({
      cert: readFileSync(certificate, 'utf8'),
      key: readFileSync(key, 'utf8'),
    })
    const store = {
      endpoint: server.endpoint,
      accessKeyId: 'AKID',
      secretAccessKey: 'secret',
      bucket: 'bucket',
      region: 'us-east-1',
    }
    const client = openS3Replica(s3Target(store, settings))
    const range = { offset: 0, length: undefined }
    const ref = { kind: 'snapshot', generation, index: 0 } as const
    return Buffer.concat(await Array.fromAsync(client.read(ref, range, signal))).toString()
  }

  test('a certificate of an authority of one’s own is refused, with a hint', async () => {
    await expect(read({})).rejects.toMatchObject({
      message: expect.stringContaining('the certificate of the server is not trusted') as string,
      hint: expect.stringContaining('ca-file') as string,
      retryable: false,
    })
  })

  test('and accepted with ca-file, or with skip-verify', async () => {
    expect(await read({ caFile: certificate })).toBe('0123456789')
    expect(await read({ skipVerify: true })).toBe('0123456789')
  })

  test('a ca-file that cannot be read is a mistake in the configuration', async () => {
    await expect(read({ caFile: '/nonexistent.pem' })).rejects.toThrow(ConfigError)
  })

  test('https to a server without TLS is told', async () => {
    await using server = await startScriptedS3()
    const store = {
      endpoint: server.endpoint.replace('http:', 'https:'),
      accessKeyId: 'AKID',
      secretAccessKey: 'secret',
      bucket: 'bucket',
      region: 'us-east-1',
    }
    const client = openS3Replica(s3Target(store))
    await expect(Array.fromAsync(client.listGenerations(signal))).rejects.toMatchObject({
      message: expect.stringContaining('the endpoint does not speak TLS') as string,
      hint: expect.stringContaining('http://') as string,
      retryable: false,
    })
  })
})

test('an unknown provider is a mistake in the configuration', () => {
  const store = {
    endpoint: 'http://x',
    accessKeyId: 'a',
    secretAccessKey: 'b',
    bucket: 'c',
    region: 'd',
  }
  expect(() => openS3Replica(s3Target(store, { provider: 'acme' }))).toThrow(ConfigError)
})

test('a replica is shown without secrets, with its endpoint', () => {
  const store = {
    endpoint: 'http://x:9',
    accessKeyId: 'a',
    secretAccessKey: 'b',
    bucket: 'c',
    region: 'd',
  }
  expect(openS3Replica(s3Target(store, { prefix: '/p/' })).location).toBe('s3://c/p at http://x:9')
  expect(openS3Replica(s3Target(store, { endpoint: undefined })).location).toBe('s3://c')
})

test('a hundred replicas on one endpoint share its connections', async () => {
  await using server = await startScriptedS3()
  const store = {
    endpoint: server.endpoint,
    accessKeyId: 'AKID',
    secretAccessKey: 'secret',
    bucket: 'bucket',
    region: 'us-east-1',
  }
  for (let i = 0; i < 100; i += 1) {
    const client = openS3Replica(s3Target(store, { prefix: `db${i}` }))
    expect(await Array.fromAsync(client.listGenerations(AbortSignal.timeout(10_000)))).toEqual([])
  }
  expect(server.requests).toHaveLength(100)
  expect(server.connectionCount).toBe(1)
})

test.each<[string, Partial<S3ReplicaTarget>]>([
  [
    'a session token',
    {
      credentials: {
        accessKeyId: 'id',
        secretAccessKey: new Secret('secret'),
        sessionToken: new Secret('token'),
      },
    },
  ],
  ['sse-customer-key', { encryption: { kind: 'customer', key: new Secret('key') } }],
])('%s is sent to another machine over https, or where that is asked for', (what, settings) => {
  const store = {
    endpoint: '',
    accessKeyId: 'id',
    secretAccessKey: 'secret',
    bucket: 'b',
    region: 'eu',
  }
  const openAt = (endpoint: string, more: Partial<S3ReplicaTarget> = {}): unknown =>
    openS3Replica(s3Target(store, { ...settings, endpoint, ...more }))
  for (const endpoint of ['http://minio.internal:9000', 'http://10.0.0.7', '192.168.0.7:9000']) {
    expect(() => openAt(endpoint)).toThrow(ConfigError)
    const host = endpoint.replace('http://', '')
    expect(() => openAt(endpoint)).toThrow(`${what} would be sent to ${host} over http`)
    expect(() => openAt(endpoint, { plainSecrets: true })).not.toThrow()
    const plain = { credentials: undefined, encryption: undefined }
    expect(() => openAt(endpoint, plain)).not.toThrow()
  }
  for (const endpoint of [
    'https://minio.internal',
    'http://127.0.0.1:9000',
    'http://localhost:9',
  ]) {
    expect(() => openAt(endpoint)).not.toThrow()
  }
})

test('a session token that the vendor’s own chain finds is not sent to another machine over http', async () => {
  const store = {
    endpoint: 'http://192.0.2.1:9000',
    accessKeyId: '',
    secretAccessKey: '',
    bucket: 'b',
    region: 'eu',
  }
  vi.stubEnv('AWS_ACCESS_KEY_ID', 'id')
  vi.stubEnv('AWS_SECRET_ACCESS_KEY', 'secret')
  vi.stubEnv('AWS_SESSION_TOKEN', 'token')
  try {
    const client = openS3Replica(s3Target(store, { credentials: undefined }))
    const listing = Array.fromAsync(client.listGenerations(AbortSignal.timeout(10_000)))
    await expect(listing).rejects.toThrow(ConfigError)
    await expect(listing).rejects.toThrow(
      'a session token would be sent to 192.0.2.1:9000 over http',
    )
  } finally {
    vi.unstubAllEnvs()
  }
})
