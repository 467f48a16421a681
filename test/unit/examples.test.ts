/** The files of `examples/`, as far as they can be looked at without being run. */
import { globSync, readFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { expect, test } from 'vitest'
import { parse, parseAllDocuments } from 'yaml'
import { expandEnvironment } from '../../src/infrastructure/config/environment.ts'
import { parseConfig } from '../../src/infrastructure/config/config-file.ts'
import { parseDuration } from '../../src/kit/duration.ts'

const root = join(import.meta.dirname, '../..')
const textOf = (name: string): string => readFileSync(join(root, 'examples', name), 'utf8')
const files = globSync('*/**', { cwd: join(root, 'examples'), withFileTypes: true })
  .filter((entry) => entry.isFile())
  .map(({ parentPath, name }) => relative(join(root, 'examples'), join(parentPath, name)))
  .sort()

interface Manifest {
  readonly kind: string
  readonly data?: Readonly<Record<string, string>>
  readonly spec?: {
    readonly template: { readonly spec: { readonly terminationGracePeriodSeconds: number } }
  }
}

const manifests = ['kubernetes/app.yaml', 'kubernetes/scale-to-zero.yaml'].map((name) => {
  const [config, pod] = parseAllDocuments(textOf(name)).map((document) => {
    expect(document.errors).toEqual([])
    return document.toJS() as Manifest
  })
  return { name, config: config?.data?.['tsreplicate.yml'] ?? '', pod: pod?.spec?.template.spec }
})

const env = { REPLICA_URL: 's3://my-bucket/app' }
const configurations = [
  ...files.filter((name) => name.endsWith('/tsreplicate.yml')).map((name) => [name, textOf(name)]),
  ...manifests.map(({ name, config }) => [name, config]),
].map(([name = '', text = '']) => {
  const context = { home: '/', cwd: '/', env }
  return { name, config: parseConfig(expandEnvironment(text, env), name, context) }
})

test('every configuration is valid, without a warning, and keeps no secret', () => {
  expect(configurations.length).toBe(15)
  for (const { name, config } of configurations) {
    expect(config.warnings, name).toEqual([])
    expect(config.databases.length, name).toBe(1)
  }
  for (const name of files) {
    expect(textOf(name), name).not.toMatch(/(SECRET_ACCESS_KEY|secret-access-key)(=|: *)\w/)
  }
})

test('what is given to stop is longer than what the last commits may take', () => {
  const compose = parse(textOf('compose/compose.yaml')) as {
    services: { replicate: { stop_grace_period: string } }
  }
  const kamal = parse(textOf('kamal/deploy.yml')) as {
    accessories: { replicate: { options: { 'stop-timeout': number } } }
  }
  const fly = /^kill_timeout = '(.*)'$/m.exec(textOf('fly/fly.toml'))?.[1] ?? ''
  const given = [
    parseDuration(compose.services.replicate.stop_grace_period),
    kamal.accessories.replicate.options['stop-timeout'] * 1000,
    ...manifests.map(({ pod }) => (pod?.terminationGracePeriodSeconds ?? 0) * 1000),
    parseDuration(fly),
  ]
  const longest = Math.max(...configurations.map(({ config }) => config.shutdownTimeoutMs))
  expect(given.filter((ms) => ms === undefined || ms <= longest)).toEqual([])
})

test('the folder of the database is mounted, not the file alone', () => {
  const folders = configurations.flatMap(({ name, config }) =>
    config.databases.map(({ path }) => ({ name, folder: join(path, '..') })),
  )
  const mounts: Record<string, RegExp> = {
    'compose/tsreplicate.yml': /^ +- \.\/data:(\S+)$/m,
    'kamal/tsreplicate.yml': /^ +- app_storage:(\S+)$/m,
    'fly/tsreplicate.yml': /^destination = '(.*)'$/m,
    ...Object.fromEntries(
      manifests.map(({ name }) => [name, /- name: data\n +mountPath: (\S+)$/m]),
    ),
  }
  const where: Record<string, string> = {
    'compose/tsreplicate.yml': 'compose/compose.yaml',
    'kamal/tsreplicate.yml': 'kamal/deploy.yml',
    'fly/tsreplicate.yml': 'fly/fly.toml',
  }
  for (const { name, folder } of folders) {
    const mount = mounts[name]
    if (mount === undefined) continue
    expect(mount.exec(textOf(where[name] ?? name))?.[1], name).toBe(folder)
  }
})

test('images and archives are those of this version', () => {
  const { version } = parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string }
  const named = files.flatMap((name) =>
    [...textOf(name).matchAll(/tsreplicate[:-](\d+\.\d+\.\d+)/g)].map((match) => match[1]),
  )
  expect(named.length).toBeGreaterThan(4)
  expect(new Set(named)).toEqual(new Set([version]))
})
