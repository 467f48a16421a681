import { inspect } from 'node:util'
import { describe, expect, it } from 'vitest'
import { type ReplicaTarget } from '../../../../src/domain/settings/config.ts'
import { ConfigError } from '../../../../src/domain/errors.ts'
import { configFromUrls, parseConfig } from '../../../../src/infrastructure/config/config-file.ts'
import { parseReplicaUrl } from '../../../../src/infrastructure/config/replica-url.ts'

type Env = Readonly<Record<string, string | undefined>>

function parse(replica: string, { env = {}, global = '' }: { env?: Env; global?: string } = {}) {
  const text = `${global}\ndbs:\n  - path: /a.db\n    replicas:\n      - ${replica.replaceAll('\n', '\n        ')}\n`
  return parseConfig(text, 'c.yml', { home: '/home/me', cwd: '/work', env })
}

const targetOf = (...args: Parameters<typeof parse>): ReplicaTarget | undefined =>
  parse(...args).databases[0]?.replicas[0]?.target

function messageOf(action: () => unknown): string {
  try {
    action()
  } catch (error) {
    if (error instanceof ConfigError) return error.message
    throw error
  }
  return 'no error'
}

const common = {
  prefix: '',
  endpoint: undefined,
  partSizeBytes: undefined,
  concurrency: undefined,
  storageClass: undefined,
  caFile: undefined,
  skipVerify: false,
}
const s3 = {
  ...common,
  type: 's3',
  region: undefined,
  forcePathStyle: undefined,
  credentials: undefined,
  encryption: undefined,
  plainSecrets: false,
  provider: undefined,
}
const gcs = { ...common, type: 'gcs', anonymous: false }
const abs = {
  ...{ ...common, type: 'abs', plainSecrets: false },
  ...{ accountKey: undefined, sasToken: undefined },
}
const key32 = Buffer.alloc(32, 7).toString('base64')

describe('parseReplicaUrl', () => {
  it.each([
    ['file:///a/b', '/a/b'],
    ['FILE:///a/b', '/a/b'],
    ['file://host/x', '/host/x'],
    ['file://~/x', '/~/x'],
    ['file:///x/../y//z/', '/y/z'],
    ['file:///a b%20c', '/a%20b%20c'],
    ['file:///a?q#f', '/a?q#f'],
  ])('%s is the folder %s', (url, path) => {
    expect(parseReplicaUrl(url, {})).toEqual({ type: 'file', path })
  })

  it.each([
    ['s3://bkt', { ...s3, bucket: 'bkt' }],
    ['S3://bkt/', { ...s3, bucket: 'bkt' }],
    ['s3://bkt//a//b/../c/', { ...s3, bucket: 'bkt', prefix: 'a/c' }],
    ['s3://my.dotted.bucket/a%20b', { ...s3, bucket: 'my.dotted.bucket', prefix: 'a b' }],
    [
      's3://bkt.localhost:9000/a',
      { ...s3, bucket: 'bkt', prefix: 'a', endpoint: 'http://localhost:9000' },
    ],
    [
      's3://b.c.s3.us-west-000.backblazeb2.com/a',
      {
        ...s3,
        bucket: 'b.c',
        prefix: 'a',
        region: 'us-west-000',
        endpoint: 'https://s3.us-west-000.backblazeb2.com',
      },
    ],
    [
      's3://bkt.s3.filebase.com/a',
      { ...s3, bucket: 'bkt', prefix: 'a', endpoint: 'https://s3.filebase.com' },
    ],
    [
      's3://bkt.nyc3.digitaloceanspaces.com',
      { ...s3, bucket: 'bkt', region: 'nyc3', endpoint: 'https://nyc3.digitaloceanspaces.com' },
    ],
    [
      's3://bkt.s3.fr-par.scw.cloud:8443',
      { ...s3, bucket: 'bkt', region: 'fr-par', endpoint: 'https://s3.fr-par.scw.cloud:8443' },
    ],
    [
      's3://bkt.eu-central-1.linodeobjects.com',
      {
        ...s3,
        bucket: 'bkt',
        region: 'eu-central-1',
        endpoint: 'https://eu-central-1.linodeobjects.com',
      },
    ],
    [
      's3://bkt/a?endpoint=https%3A%2F%2Fx.r2.cloudflarestorage.com&region=auto&force-path-style=true&skip-verify=true' +
        '&part-size=16MiB&concurrency=2&storage-class=STANDARD_IA&ca-file=/ca.pem&provider=r2&sse-kms-key-id=k',
      {
        ...s3,
        bucket: 'bkt',
        prefix: 'a',
        endpoint: 'https://x.r2.cloudflarestorage.com',
        region: 'auto',
        forcePathStyle: true,
        skipVerify: true,
        partSizeBytes: 16 * 1024 * 1024,
        concurrency: 2,
        storageClass: 'STANDARD_IA',
        caFile: '/ca.pem',
        provider: 'r2',
        encryption: { kind: 'kms', keyId: 'k' },
      },
    ],
    ['s3://bkt?sse=kms', { ...s3, bucket: 'bkt', encryption: { kind: 'kms' } }],
    ['gcs://bkt/a', { ...gcs, bucket: 'bkt', prefix: 'a' }],
    [
      'gs://bkt?endpoint=http://127.0.0.1:4443',
      { ...gcs, bucket: 'bkt', endpoint: 'http://127.0.0.1:4443', anonymous: true },
    ],
    ['s3://bkt/me@there/12:30', { ...s3, bucket: 'bkt', prefix: 'me@there/12:30' }],
    [
      's3://bkt.localhost:9000/me@there',
      { ...s3, bucket: 'bkt', prefix: 'me@there', endpoint: 'http://localhost:9000' },
    ],
    [
      's3://arn:aws:s3:eu-west-1:1:accesspoint%2Fmine/a',
      { ...s3, bucket: 'arn:aws:s3:eu-west-1:1:accesspoint/mine', prefix: 'a' },
    ],
    ['file:///me:12/at@home', { type: 'file', path: '/me:12/at@home' }],
    ['abs://acc@container/a/', { ...abs, accountName: 'acc', bucket: 'container', prefix: 'a' }],
  ])('%s is understood', (url, target) => {
    expect(parseReplicaUrl(url, {})).toEqual(target)
  })

  it.each([
    ['/a', 'replica url scheme required: /a'],
    ['file://', 'file replica path required'],
    ['http://x/y', 'unknown replica type in config: "http"'],
    ['sftp://x/y', 'sftp replicas are not supported'],
    ['s3:///a', 'bucket required for s3 replica'],
    ['s3://localhost:9000/a', 'bucket required for s3 replica'],
    ['gcs:///a', 'bucket required for gcs replica'],
    ['abs://acc@/a', 'bucket required for abs replica'],
    ['abs://container/a', 'account-name required for abs replica'],
    ['s3://minio.example.com:9000/a', 's3://BUCKET/PATH?endpoint=minio.example.com:9000'],
    [
      's3://b?regoin=x',
      'unknown setting regoin in the url of a replica of type s3, did you mean region?',
    ],
    ['gcs://b?region=x', 'unknown setting region in the url of a replica of type gcs'],
    ['s3://b?secret-access-key=hunter2', 'secret-access-key does not belong in a url'],
    ['s3://b?bucket=x', 'unknown setting bucket'],
    ['s3://b?region=a&region=b', 'region is given twice'],
    ['s3://b?region=', 'region: is empty'],
    ['s3://b?skip-verify=yes', 'skip-verify: neither true nor false: yes'],
    ['s3://b?part-size=1MiB', 'part-size: must be from 5MiB to 5GiB'],
    ['s3://b?part-size=big', 'part-size: not a size: big'],
    ['gcs://b?part-size=300KiB', 'part-size: must be a multiple of 256KiB'],
    ['gcs://b?concurrency=2', 'unknown setting concurrency in the url of a replica of type gcs'],
    ['s3://b?concurrency=0', 'concurrency: must be above 0'],
    ['s3://b/%zz', 'a % in a url'],
    ['s3://KEY:hunter2@b/a', 's3://***@b/a: credentials in a url are not used'],
    ['s3://KEY@b/a', 's3://***@b/a: credentials in a url are not used'],
    ['gcs://me@b/a', 'gcs://***@b/a: credentials in a url are not used'],
    ['abs://acc:hunter2@b/a', 'abs://***@b/a: credentials in a url are not used'],
    ['s3://KEY:hunter2%zz@b/a', 's3://***@b/a: a % in a url'],
    ['s3://b?region=hunter2%zz', 's3://b: a % in a url'],
    ['s3://KEY:123?hunter2@b', 's3://***@b: credentials in a url are not used'],
    ['s3://KEY:hunter2/more+hunter2@b/a', 's3://***@b/a: credentials in a url are not used'],
    ['s3://KEY:123/hunter2@b/a', 's3://***@b/a: credentials in a url are not used'],
    ['s3://KEY%3Ahunter2/hunter2@b/a', 's3://***@b/a: credentials in a url are not used'],
    ['s3://KEY:hunter2#hunter2@b/a', 's3://***@b/a: credentials in a url are not used'],
    ['s3://KEY:hunter2?hunter2@b/a', 's3://***@b/a: credentials in a url are not used'],
    ['s3://KEY:hunter2/b', 's3://***/b: credentials in a url are not used'],
    ['gcs://me:hunter2/hunter2@b', 'gcs://***@b: credentials in a url are not used'],
    ['abs://acc:hunter2/hunter2==@b', 'abs://***@b: credentials in a url are not used'],
    ['gcs://fake:4443/b', 'gcs://BUCKET/PATH?endpoint=fake:4443'],
    ['s3:/KEY:hunter2@b', 'replica url scheme required: s3:/***@b'],
    ['s3:KEY:hunter2/hunter2@b', 'replica url scheme required: s3:***@b'],
    ['KEY:hunter2/hunter2@b', 'replica url scheme required: ***@b'],
    ['s3//KEY:hunter2/hunter2@b', 'replica url scheme required: ***@b'],
    ['/home/me@here', 'replica url scheme required: /home/me@here'],
    ['s3://b?endpoint=http://KEY:hunter2@10.0.0.1', 'endpoint: must not name a user or a password'],
    [
      's3://b?endpoint=http://KEY:hunter2/hunter2@h',
      'endpoint: must not name a user or a password',
    ],
    ['s3://b?endpoint=https://KEY:hunter2/h', 'endpoint: is not a URL'],
    ['s3://b.localhost:99999', 'endpoint: is not a URL'],
    ['s3://b?endpoint=https://h/?sig=hunter2', 'endpoint: must have no query and no fragment'],
    ['gcs://b?endpoint=https://h/?sig=hunter2', 'endpoint: must have no query and no fragment'],
    ['abs://a@b?endpoint=https://h/?sig=hunter2', 'endpoint: must have no query and no fragment'],
    ['s3://b?endpoint=https://h/%23hunter2', 'endpoint: must have no query and no fragment'],
  ])('refuses %s', (url, message) => {
    expect(messageOf(() => parseReplicaUrl(url, {}))).toContain(message)
    expect(messageOf(() => parseReplicaUrl(url, {}))).not.toContain('hunter2')
  })

  it('names all that is wrong with a query at once', () => {
    const url = 's3://b?skip-verify=x&concurrency=y'
    expect(messageOf(() => parseReplicaUrl(url, {})).split('\n')).toHaveLength(2)
  })
})

describe('the keys of a replica', () => {
  it.each([
    ['type: s3\nbucket: b', { ...s3, bucket: 'b' }],
    ['type: s3\nbucket: b\npath: ""', { ...s3, bucket: 'b' }],
    ['type: s3\nbucket: b\npath: /a//b/', { ...s3, bucket: 'b', prefix: 'a/b' }],
    ['type: s3\nbucket: b\npath: a%20b', { ...s3, bucket: 'b', prefix: 'a%20b' }],
    [
      'type: s3\nbucket: b\nendpoint: minio:9000\nforce-path-style: no\nskip-verify: on',
      { ...s3, bucket: 'b', endpoint: 'minio:9000', forcePathStyle: false, skipVerify: true },
    ],
    ['type: gcs\nbucket: b\npath: /a', { ...gcs, bucket: 'b', prefix: 'a' }],
    [
      'type: abs\nbucket: c\naccount-name: acc\nendpoint: http://127.0.0.1:10000/acc',
      { ...abs, bucket: 'c', accountName: 'acc', endpoint: 'http://127.0.0.1:10000/acc' },
    ],
    ['type: file\nurl: s3://b', { ...s3, bucket: 'b' }],
    [
      'url: s3://b.localhost/a?region=one\nregion: two\nforce-path-style: false\nendpoint: http://127.0.0.1:1',
      { ...s3, bucket: 'b', prefix: 'a', region: 'two', endpoint: 'http://127.0.0.1:1' },
    ],
    ['url: abs://acc@c\naccount-name: other', { ...abs, bucket: 'c', accountName: 'other' }],
    ['url: s3://b\npart-size: 64MiB', { ...s3, bucket: 'b', partSizeBytes: 64 * 1024 * 1024 }],
  ])('%j is understood', (lines, target) => {
    expect(targetOf(lines)).toEqual(target)
  })

  it.each([
    ['type: s3', 'bucket: bucket required for s3 replica'],
    ['type: gcs\npath: a', 'bucket required for gcs replica'],
    ['type: abs\naccount-name: a', 'bucket required for abs replica'],
    ['type: abs\nbucket: c', 'account-name required for abs replica'],
    ['type: s3\nbucket: b\npath: s3://b/a', "please use the 'url' field instead: s3://b/a"],
    ['url: s3://b\npath: a', 'cannot specify url & path for s3 replica'],
    ['url: s3://b\nbucket: a', 'cannot specify url & bucket for s3 replica'],
    ['url: gs://b\nbucket: a', 'cannot specify url & bucket for gcs replica'],
    ['url: abs://a@b\nbucket: a', 'cannot specify url & bucket for abs replica'],
    ['url: file:///a\npath: a', 'cannot specify url & path for file replica'],
    ['type: azure\npath: a', 'unknown replica type in config: "azure"'],
    ['type: sftp\npath: a', 'sftp replicas are not supported'],
    ['type: sftp\nhost: a', 'host: not supported by this version'],
    ['type: gcs\nbucket: b\nregion: x', 'region: has no effect on a replica of type gcs'],
    ['type: s3\nbucket: b\naccess-key-id: a', 'has no effect without secret-access-key'],
    ['type: s3\nbucket: b\nsecret-access-key: a', 'has no effect without access-key-id'],
    ['type: s3\nbucket: b\nsession-token: a', 'has no effect without access-key-id'],
    ['type: s3\nbucket: b\nsse: aes', 'sse: must be kms'],
    ['type: s3\nbucket: b\nsse-customer-key: short', 'must be 32 bytes in base64'],
    [`type: s3\nbucket: b\nsse: kms\nsse-customer-key: ${key32}`, 'cannot be combined with sse'],
    ['type: abs\nbucket: c\naccount-name: a\naccount-key: "%"', 'account-key: is not base64'],
    [
      'type: abs\nbucket: c\naccount-name: a\naccount-key: eA==\nsas-token: s',
      'cannot be combined with account-key',
    ],
    ['url: s3://b?regin=x', 'url: unknown setting regin'],
    ['url: s3://b?concurrency=x', 'url: concurrency: not a whole number: x'],
  ])('%j is refused, with its line', (lines, problem) => {
    const message = messageOf(() => parse(lines))
    expect(message).toContain(problem)
    expect(message).toMatch(/^c\.yml:\d+: dbs\[0\]\.replicas\[0\]/)
  })

  it('one place under two names is refused', () => {
    const both = [
      '{url: "s3://b/a", name: one}',
      '{type: s3, bucket: b, path: /a/, region: x, name: two}',
    ]
    const text = `dbs: [{path: /a.db, replicas: [${both.join(', ')}]}]`
    expect(messageOf(() => parseConfig(text, 'c.yml', { home: '/', cwd: '/', env: {} }))).toContain(
      's3://b/a is already used by dbs[0].replicas[0]',
    )
  })
})

describe('the endpoint of gcs', () => {
  const gcsTarget = (query: string, env: Env): unknown => {
    const target = parseReplicaUrl(`gcs://b${query}`, env)
    return target.type === 'gcs' && [target.endpoint, target.anonymous]
  }

  it.each([
    ['127.0.0.1:4443', 'http://127.0.0.1:4443'],
    ['http://127.0.0.1:4443', 'http://127.0.0.1:4443'],
    ['https://fake.internal:4443/storage/v1/', 'https://fake.internal:4443'],
  ])('is that of STORAGE_EMULATOR_HOST=%s, without credentials', (host, endpoint) => {
    expect(gcsTarget('', { STORAGE_EMULATOR_HOST: host })).toEqual([endpoint, true])
  })

  it('is the vendor’s own without one', () => {
    expect(gcsTarget('', {})).toEqual([undefined, false])
    expect(gcsTarget('', { STORAGE_EMULATOR_HOST: '' })).toEqual([undefined, false])
  })

  it('is not shown where the variable is no URL', () => {
    const message = messageOf(() => gcsTarget('', { STORAGE_EMULATOR_HOST: 'http://hunter2:x' }))
    expect(message).toBe(
      'gcs://b: endpoint: STORAGE_EMULATOR_HOST is not a URL: write it as http://host:port',
    )
  })

  it('bears credentials only under TLS, and goes before the environment', () => {
    const env = { STORAGE_EMULATOR_HOST: 'other' }
    expect(gcsTarget('?endpoint=private.example/', env)).toEqual(['https://private.example', false])
    expect(gcsTarget('?endpoint=http://fake:1', env)).toEqual(['http://fake:1', true])
  })
})

describe('credentials', () => {
  const minimal = 'type: s3\nbucket: b'
  const revealed = (...args: Parameters<typeof parse>): unknown => {
    const target = targetOf(...args)
    if (target?.type !== 's3' || target.credentials === undefined) return undefined
    const { accessKeyId, secretAccessKey, sessionToken } = target.credentials
    return [accessKeyId, secretAccessKey.reveal(), sessionToken?.reveal()]
  }

  it('are those of the replica, else those of the file, key by key', () => {
    const global = 'access-key-id: GLOBAL\nsecret-access-key: global-secret'
    expect(revealed(minimal, { global })).toEqual(['GLOBAL', 'global-secret', undefined])
    expect(revealed(`${minimal}\naccess-key-id: OWN`, { global })).toEqual([
      'OWN',
      'global-secret',
      undefined,
    ])
    const own = `${minimal}\naccess-key-id: OWN\nsecret-access-key: 0123\nsession-token: t`
    expect(revealed(own, { global })).toEqual(['OWN', '0123', 't'])
  })

  it.each([
    [{}, undefined],
    [{ LITESTREAM_ACCESS_KEY_ID: 'L', LITESTREAM_SECRET_ACCESS_KEY: 'l' }, ['L', 'l', undefined]],
    [
      { LITESTREAM_ACCESS_KEY_ID: 'L', AWS_SECRET_ACCESS_KEY: 'a', AWS_SESSION_TOKEN: 't' },
      ['L', 'a', 't'],
    ],
    [{ LITESTREAM_ACCESS_KEY_ID: 'L' }, undefined],
    [
      {
        AWS_ACCESS_KEY_ID: 'A',
        AWS_SECRET_ACCESS_KEY: 'a',
        LITESTREAM_ACCESS_KEY_ID: 'L',
        LITESTREAM_SECRET_ACCESS_KEY: 'l',
      },
      undefined,
    ],
    [
      { AWS_ACCESS_KEY_ID: '', LITESTREAM_ACCESS_KEY_ID: 'L', LITESTREAM_SECRET_ACCESS_KEY: 'l' },
      undefined,
    ],
  ])('of the environment %j are %j; undefined is left to the vendor’s chain', (env, expected) => {
    expect(revealed(minimal, { env })).toEqual(expected)
  })

  it('of Azure are the key, of the file or the environment, or the token', () => {
    const azure = (lines: string, env: Env = {}): unknown => {
      const target = targetOf(`type: abs\nbucket: c\naccount-name: a\n${lines}`, { env })
      return target?.type === 'abs' && [target.accountKey?.reveal(), target.sasToken?.reveal()]
    }
    const env = { LITESTREAM_AZURE_ACCOUNT_KEY: 'ZW52' }
    expect(azure('name: x')).toEqual([undefined, undefined])
    expect(azure('name: x', env)).toEqual(['ZW52', undefined])
    expect(azure('account-key: a2V5', env)).toEqual(['a2V5', undefined])
    expect(azure('sas-token: "?sv=1&sig=x"', env)).toEqual([undefined, 'sv=1&sig=x'])
    const wrong = { LITESTREAM_AZURE_ACCOUNT_KEY: 'hunter2!' }
    const message = messageOf(() => azure('name: x', wrong))
    expect(message).toContain('LITESTREAM_AZURE_ACCOUNT_KEY is not base64')
    expect(message).not.toContain('hunter2')
  })

  it('are nowhere to be seen, neither in a dump of the configuration nor in an error', () => {
    const secret = 'Hunter2/Hunter2+Hunter2='
    const global = `access-key-id: GLOBAL\nsecret-access-key: ${secret}`
    const lines = [
      `${minimal}\naccess-key-id: A\nsecret-access-key: ${secret}\nsession-token: ${secret}`,
      `type: abs\nbucket: c\naccount-name: a\naccount-key: ${Buffer.from(secret).toString('base64')}`,
      `type: abs\nbucket: c\naccount-name: a\nsas-token: ${secret}`,
      `${minimal}\nsse-customer-key: ${Buffer.from(`${secret}12345678`).toString('base64')}`,
    ]
    const forms = [secret, Buffer.from(secret).toString('base64').slice(0, 20)]
    for (const replica of lines) {
      const config = parse(replica, { global })
      for (const dump of [
        JSON.stringify(config),
        inspect(config, { depth: null, showHidden: true }),
      ]) {
        for (const form of forms) expect(dump).not.toContain(form)
      }
    }
    for (const broken of [
      `${minimal}\naccess-key-id: A\nsecret-access-key: ${secret}\nregion: `,
      `${minimal}\nsecret-access-key: *${secret}`,
      `${minimal}\nsecret-access-key: !${secret} x`,
      `${minimal}\nsecret-access-key: "${secret}`,
      `${minimal}\nsecret-access-key: ${secret}: ${secret}`,
      `${minimal}\nsecret-access-key: [${secret}]`,
      `${minimal}\nsse-customer-key: ${secret}`,
      `type: abs\nbucket: c\naccount-name: a\naccount-key: ${secret}x`,
      `url: s3://A:${secret.replaceAll('/', '%2F')}@b?concurrency=x`,
      `path: s3://A:${secret.replaceAll('/', '%2F')}@b`,
      `url: s3://b?secret-access-key=${secret}`,
      `url: s3://b?secret_access_key=${secret}`,
    ]) {
      const message = messageOf(() => parse(broken))
      expect(message).not.toBe('no error')
      expect(message).not.toContain('Hunter2')
    }
    expect(
      messageOf(() =>
        configFromUrls('/a.db', ['s3://A:Hunter2@b?part-size=x'], {
          home: '/',
          cwd: '/',
          env: {},
        }),
      ),
    ).not.toContain('Hunter2')
  })
})
