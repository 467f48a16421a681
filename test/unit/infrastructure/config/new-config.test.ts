import { expect, it } from 'vitest'
import { type NewDatabase, newConfig } from '../../../../src/infrastructure/config/new-config.ts'
import { parseConfig } from '../../../../src/infrastructure/config/config-file.ts'
import { parseReplicaUrl } from '../../../../src/infrastructure/config/replica-url.ts'

const context = { home: '/root', cwd: '/', env: { AWS_SECRET_ACCESS_KEY: 'secret', HOME: '/root' } }

function databaseAt(path: string, ...urls: string[]): NewDatabase {
  return { path, replicas: urls.map((url) => ({ url, target: parseReplicaUrl(url, context.env) })) }
}

function textOf(...databases: NewDatabase[]): string {
  return newConfig(databases, { path: '/etc/tsreplicate.yml', context })
}

it('is read back as it was meant, without a warning', () => {
  const databases = [
    databaseAt(
      '/data/app.db',
      's3://bucket/app?region=eu-west-1',
      's3://other/app',
      'file:///r/app',
    ),
    databaseAt('/data/a "b": #c\\.db', 'file:///r/a: b'),
  ]
  const config = parseConfig(textOf(...databases), 'c.yml', context)
  expect(config.warnings).toEqual([])
  expect(config.databases.map(({ path }) => path)).toEqual(databases.map(({ path }) => path))
  expect(config.databases[0]?.replicas.map(({ name }) => name)).toEqual(['s3', 's3-2', 'file'])
})

it('puts what is optional in comments that can be taken away', () => {
  const text = textOf(databaseAt('/data/app.db', 'file:///r/app'))
  const inEffect = text.replaceAll(/^( *)#([a-z-]+: .*)$/gm, '$1$2')
  expect(inEffect).not.toBe(text)
  const config = parseConfig(inEffect, 'c.yml', context)
  expect(config.addr).toEqual({ host: '127.0.0.1', port: 9090 })
  expect(config.databases[0]?.replicas[0]).toMatchObject({
    snapshotIntervalMs: 86_400_000,
    validationIntervalMs: 86_400_000,
  })
})

it('names the variables of credentials, and holds none', () => {
  const text = textOf(
    databaseAt('/a.db', 's3://bucket/a', 'gcs://bucket/a', 'abs://account@container/a'),
  )
  expect(text).toContain('AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY')
  expect(text).not.toContain('AWS_SESSION_TOKEN')
  expect(text).toContain('GOOGLE_APPLICATION_CREDENTIALS')
  expect(text).toContain('LITESTREAM_AZURE_ACCOUNT_KEY')
  expect(text).not.toContain('=secret')
  expect(textOf(databaseAt('/a.db', 'file:///r'))).not.toContain('redentials of')
})

it('refuses a path that would be taken for a variable', () => {
  const wrong = databaseAt('/data/$HOME.db', 'file:///r')
  expect(() => textOf(wrong)).toThrow('cannot be written in a configuration: /data/$HOME.db')
})
