/** Every function of the library refuses what it does not know or understand, before it does anything. */
import { describe, expect, test } from 'vitest'
import { EngineProcess } from '../../../../src/delivery/library/engine-process.ts'
import {
  configFromUrls,
  listGenerations,
  loadConfig,
  type Logger,
  replicate,
  restore,
  restoreIfMissing,
  status,
  UsageError,
  verify,
} from '../../../../src/index.ts'

const url = 'file:///nowhere/backup'
const db = '/nowhere/app.db'
const { signal } = new AbortController()
const config = await configFromUrls(db, url)

const silent: Logger = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
}

/** As a program in JavaScript calls it. */
type Loose = (...values: readonly unknown[]) => unknown
const loose = (of: unknown): Loose => of as Loose
const engine = (): EngineProcess => new EngineProcess(config, silent)
const functions: Readonly<Record<string, Loose>> = {
  configFromUrls: loose(configFromUrls),
  listGenerations: loose(listGenerations),
  loadConfig: loose(loadConfig),
  replicate: loose(replicate),
  restore: loose(restore),
  restoreIfMissing: loose(restoreIfMissing),
  status: loose(status),
  verify: loose(verify),
  stored: (...values) => loose(engine().stored.bind(engine()))(...values),
  durable: (...values) => loose(engine().durable.bind(engine()))(...values),
  addDatabase: (...values) => loose(engine().addDatabase.bind(engine()))(...values),
  removeDatabase: (...values) => loose(engine().removeDatabase.bind(engine()))(...values),
}

describe('what is no option, or a wrong one, is refused', () => {
  test.each<[string, readonly unknown[], RegExp]>([
    ['verify', [url, { levle: 'full' }], /no option levle/],
    ['verify', [url, { level: 'ful' }], /level must be 'structure' or 'full'/],
    ['verify', [url, { signal: 5 }], /signal must be an AbortSignal/],
    ['verify', [url, signal], /takes an object/],
    ['verify', [url, null], /takes an object/],
    ['verify', [config, { parallelism: 4 }], /no option parallelism/],
    ['verify', [undefined], /takes the URL of a replica, or one of a configuration, or/],
    ['verify', [[url]], /takes the URL/],
    ['replicate', [db, url, { log: silent }], /no option log/],
    ['replicate', [config, { retention: '1h' }], /no option retention/],
    ['replicate', [config, undefined, { bogus: 1 }], /options .* as the second argument/],
    ['replicate', [{ databases: config.databases, folders: [] }], /takes a path and URLs, or a/],
    ['replicate', [{ ...config, databases: [{ path: db, replicas: [{ url }] }] }], /takes a path/],
    ['replicate', [{ ...config, folders: [{ path: '/nowhere' }] }], /takes a path and URLs, or a/],
    ['replicate', [config, { signal: 5 }], /signal must be an AbortSignal/],
    ['addDatabase', [{ path: db, replicas: [{ url }] }], /takes a path and URLs, or a database/],
    ['addDatabase', [config.databases[0], url], /takes a path and URLs, or a database/],
    ['replicate', [config, { logger: { info: () => undefined } }], /logger must be an object with/],
    ['replicate', [config, { logger: 'pino' }], /logger must be/],
    ['replicate', [config, { logger: null }], /logger must be/],
    ['replicate', [config, url], /has its URLs already/],
    ['replicate', [config, null], /takes an object/],
    ['replicate', [db], /URL of a replica is missing/],
    ['replicate', [db, [url, undefined]], /must be text/],
    ['replicate', [db, { logger: silent }], /must be text/],
    ['replicate', [undefined, url], /takes a path and URLs, or a configuration/],
    ['replicate', [{ dbs: [] }], /takes a path and URLs, or a configuration/],
    ['loadConfig', [{ file: '/etc/x.yml' }], /no option file/],
    ['loadConfig', ['/etc/x.yml'], /takes an object/],
    ['loadConfig', [{ path: 5 }], /path must be a path/],
    ['loadConfig', [{ path: '' }], /path must be a path/],
    ['loadConfig', [{ path: '/x.yml', expandEnv: 'no' }], /expandEnv must be true or false/],
    ['loadConfig', [{ path: '/x.yml', env: 'HOME' }], /env must be an object/],
    ['configFromUrls', [db, 5], /must be text/],
    ['configFromUrls', [undefined, url], /takes the path of a database/],
    ['listGenerations', [url, signal], /takes an object/],
    ['listGenerations', [url, { limit: 1 }], /no option limit/],
    ['listGenerations', [undefined], /takes the URL of a replica/],
    ['restoreIfMissing', [db, url, { to: db }], /no option to/],
    ['restoreIfMissing', [config, url], /has its URLs already/],
    ['restoreIfMissing', [undefined, url], /takes a path and URLs/],
    ['restore', [url, signal], /takes an object/],
    ['restore', [new URL(url), { to: db }], /takes an object/],
    ['status', ['/etc/x.yml'], /takes an object/],
    ['status', [{ path: db }], /no option path/],
    ['status', [{ timeoutMs: 0 }], /timeoutMs must be milliseconds/],
    ['status', [{ timeoutMs: Number.POSITIVE_INFINITY }], /timeoutMs must be milliseconds/],
    ['stored', [{ waits: false }], /no option waits/],
    ['stored', [{ urgency: 'nwo' }], /urgency must be 'ride' or 'now'/],
    ['stored', [{ database: 5 }], /database must be/],
    ['stored', [{ signal: 5 }], /signal must be an AbortSignal/],
    ['stored', [signal], /takes an object/],
    ['durable', [undefined], /takes a function/],
    ['addDatabase', [{ path: db }], /takes a path and URLs, or a database/],
    ['addDatabase', [5, url], /takes a path and URLs, or a database/],
    ['addDatabase', [db, 5], /must be text/],
    ['removeDatabase', [undefined], /takes the path/],
  ])('%s%j', async (name, values, message) => {
    const refused: unknown = await Promise.resolve(functions[name]?.(...values)).catch(
      (error: unknown) => error,
    )
    expect(refused).toBeInstanceOf(UsageError)
    expect((refused as UsageError).message).toMatch(message)
  })

  test('with the name that may be meant', async () => {
    await expect(loose(verify)(url, { levle: 'full' })).rejects.toMatchObject({
      hint: 'did you mean level?',
    })
    await expect(loose(status)({ timeout: 5 })).rejects.toMatchObject({
      hint: 'did you mean timeoutMs?',
    })
  })
})

test('an option that is undefined is its default', async () => {
  const missing = { path: '/nowhere/c.yml', expandEnv: undefined, env: undefined }
  await expect(loadConfig(missing)).rejects.toMatchObject({ code: 'CONFIG' })
  expect(await listGenerations(url, { signal: undefined })).toEqual([])
  expect(await verify(url, { level: undefined, signal: undefined })).toEqual([])
  const nowhere = { config: undefined, socket: undefined, timeoutMs: undefined, signal: undefined }
  await expect(status({ database: db, ...nowhere })).rejects.toMatchObject({ code: 'NOT_RUNNING' })
  const wanted = { database: undefined, replicas: undefined, urgency: undefined, signal: undefined }
  const { durable, stored } = functions
  await expect(stored?.({ ...wanted, timeoutMs: 20 })).rejects.toMatchObject({ code: 'NOT_STORED' })
  const committed = durable?.(() => 1, { ...wanted, timeoutMs: 20 })
  await expect(committed).rejects.toMatchObject({ code: 'NOT_STORED' })
})

test('durable passes on what its work fails with, at once: it would wait for a minute', async () => {
  const { durable } = functions
  const failure = new Error('the work failed')
  const options = { timeoutMs: 60_000 }
  const works = [
    () => Promise.reject(failure),
    async () => {
      await Promise.resolve()
      throw failure
    },
    () => {
      throw failure
    },
  ]
  for (const work of works) {
    const running = durable?.(work, options)
    expect(running).toBeInstanceOf(Promise)
    await expect(running).rejects.toBe(failure)
  }
})

test('what work has done is lost to nobody while no engine runs: the error says that it is safe', async () => {
  const { durable } = functions
  let committed = 0
  const work = (): number => (committed += 1)
  await expect(durable?.(work, { timeoutMs: 20 })).rejects.toMatchObject({
    code: 'NOT_STORED',
    hint: 'The commit itself is safe in the database, and is stored once an engine runs.',
  })
  expect(committed).toBe(1)
})

test('durable says what is wrong before it commits anything', async () => {
  let runs = 0
  const work = (): number => (runs += 1)
  const { durable } = functions
  await expect(durable?.(work, { urgency: 'nwo' })).rejects.toBeInstanceOf(UsageError)
  await expect(durable?.(work, { signal: AbortSignal.abort() })).rejects.toMatchObject({
    name: 'AbortError',
  })
  expect(runs).toBe(0)
})
