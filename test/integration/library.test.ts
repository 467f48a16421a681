/** The library in an application that opens the same database through a SQLite library of its own (F-93). */
import Database from 'better-sqlite3'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { afterEach, describe, expect, test, vi } from 'vitest'
import type * as Library from '../../src/index.js'
import { type LogFields, type Logger } from '../../src/index.js'
import {
  cleanUp,
  library,
  listObjects,
  packageUnderTest,
  root,
  Running,
  temporaryFolder,
  until,
} from '../support/cli.js'
import { contained, whyNotElsewhere } from '../support/elsewhere.ts'
import { lastAcknowledged, startWriter, summaryOf, verifyLedger, write } from '../support/ledger.js'
import { onThisMachine } from '../support/patience.ts'

const {
  configFromUrls,
  CorruptionError,
  listGenerations,
  loadConfig,
  replicate,
  restore,
  status,
  verify,
} = (await import(library)) as typeof Library

afterEach(cleanUp)

const drivers = ['better-sqlite3', 'node:sqlite'] as const

const scene = () => {
  const folder = temporaryFolder()
  const replica = join(folder, 'replica')
  return {
    folder,
    db: join(folder, 'app.db'),
    oracle: join(folder, 'oracle'),
    replicateTo: `file://${replica}`,
    output: join(folder, 'restored.db'),
  }
}

async function restoreByLibrary(url: string, outputPath: string) {
  return restore({ sources: [url], outputPath })
}

const isAlive = (pid: number): boolean => {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}

/** The process of the engine, as the writer tells it. */
async function enginePid(writer: Running): Promise<number> {
  await writer.waitFor(/"event":"ready".*\n/)
  const line = JSON.parse(writer.stdout.split('\n', 1)[0] ?? '') as { enginePid: number }
  return line.enginePid
}

interface Checkpoint {
  readonly busy: number
  readonly log: number
  readonly checkpointed: number
}

describe.each(drivers)('an application that uses %s', (driver) => {
  test('writes, checkpoints and opens again as it likes, and every commit is stored', async () => {
    const { db, oracle, replicateTo, output } = scene()
    const { notStored, n } = await write({
      ...{ db, oracle, driver, replicateTo, seconds: 5, rows: 3, rate: 400 },
      ...{ checkpointChance: 0.02, reopenChance: 0.05, shrinkChance: 0.02, autocheckpoint: 100 },
    })
    expect(notStored).toEqual([])
    await restoreByLibrary(replicateTo, output)
    expect(verifyLedger(output, oracle)).toEqual({ n })
    expect(await listGenerations(replicateTo)).toHaveLength(1)
  })

  test('keeps its locks: nobody copies pages back that it still reads around', async () => {
    const { db, oracle, replicateTo } = scene()
    await write({ db, oracle, driver, count: 50 })
    const holder = spawn(
      process.execPath,
      [join(root, 'test/support/lock-holder.mjs'), JSON.stringify({ db, driver, replicateTo })],
      { stdio: ['pipe', 'pipe', 'ignore'] },
    )
    let output = ''
    holder.stdout.setEncoding('utf8').on('data', (text: string) => (output += text))
    const exited = once(holder, 'exit')
    try {
      await until(() => output.includes('holding'), 20_000, 'the application')
      for (let round = 0; round < 20; round++) {
        await write({ db, oracle, driver, count: 20, rows: 5 })
        const foreign = new Database(db, { timeout: 0 })
        const [result] = foreign.pragma('wal_checkpoint(TRUNCATE)') as [Checkpoint]
        foreign.close()
        expect(result.busy).toBe(1)
        expect(result.checkpointed).toBeLessThan(result.log)
        holder.stdin.write(`round ${round}\n`)
        await until(() => output.includes(`round ${round}:`), 10_000, 'an answer')
      }
      holder.stdin.end()
      expect((await exited)[0]).toBe(0)
      expect(output).not.toContain('changed')
    } finally {
      holder.kill('SIGKILL')
    }
  })

  test('is killed, and what it had committed is stored still', async () => {
    const { db, oracle, replicateTo, output } = scene()
    const writer = startWriter({ db, oracle, driver, replicateTo, rate: 200 })
    const pid = await enginePid(writer)
    await until(() => lastAcknowledged(oracle) > 200, 20_000, 'commits')
    await writer.kill()
    await until(() => !isAlive(pid), 20_000, 'the end of the engine')
    await restoreByLibrary(replicateTo, output)
    const { n } = verifyLedger(output, oracle)
    expect(n).toBeGreaterThanOrEqual(lastAcknowledged(oracle))
  })

  test('does not notice that its engine is killed, which is started anew', async () => {
    const { db, oracle, replicateTo, output } = scene()
    const writer = startWriter({ db, oracle, driver, replicateTo, rate: 200 })
    const pid = await enginePid(writer)
    await until(() => lastAcknowledged(oracle) > 200, 20_000, 'commits')
    process.kill(pid, 'SIGKILL')
    await writer.waitFor(/engine ended, restarting it/)
    const before = lastAcknowledged(oracle)
    await until(() => lastAcknowledged(oracle) > before + 300, 20_000, 'commits')
    writer.signal('SIGTERM')
    const { n, notStored } = await summaryOf(writer)
    expect(notStored).toEqual([])
    await restoreByLibrary(replicateTo, output)
    expect(verifyLedger(output, oracle)).toEqual({ n })
  })
})

interface Line extends LogFields {
  readonly level: string
  readonly message: string
}

function recordingLogger(lines: Line[]): Logger {
  const write = (level: string) => (fields: LogFields, message: string) => {
    lines.push({ ...fields, level, message })
  }
  return {
    debug: write('debug'),
    info: write('info'),
    warn: write('warn'),
    error: write('error'),
  }
}

test('what the engine logs comes to the logger of the application', async () => {
  const { db, oracle, replicateTo } = scene()
  await write({ db, oracle, count: 5 })
  const lines: Line[] = []
  const replication = await replicate(await configFromUrls(db, [replicateTo]), {
    logger: recordingLogger(lines),
  })
  const isWritten = ({ message }: Line) => message === 'snapshot written'
  await until(() => lines.some(isWritten), 20_000, 'a snapshot')
  expect(lines.find(isWritten)).toMatchObject({ level: 'info', db, replica: 'file' })
  expect(await replication.stop()).toEqual([])
  expect(await replication.stop()).toEqual([])
  expect(replication.pid).toBeUndefined()
})

/** A process that runs this and is told to end before it has begun to replicate. */
function stoppedAtOnce(config: object): Running {
  const script = `
    import { pathToFileURL } from 'node:url'
    const at = (name) => import(pathToFileURL(${JSON.stringify(root)} + '/dist/' + name).href)
    const { composeDaemon, loadConfig } = await at("compose/commands.js")
    const config = await loadConfig({ path: process.env.CONFIG })
    const logger = { debug() {}, info() {}, warn() {}, error() {}, child: () => logger }
    const { Lifetime } = await at("compose/lifetime.js")
    await using lifetime = new Lifetime()
    const { replication } = await composeDaemon(config, { logger, version: 'v0', lifetime })
    const kill = new AbortController()
    console.log(JSON.stringify(await replication.run(AbortSignal.abort(), kill.signal)))`
  const folder = temporaryFolder()
  writeFileSync(join(folder, 'c.yml'), JSON.stringify(config))
  writeFileSync(join(folder, 'engine.mjs'), script)
  const env = { CONFIG: join(folder, 'c.yml') }
  return new Running('engine', process.execPath, [join(folder, 'engine.mjs')], env)
}

test('an engine that is told to end before it has begun stores everything, or says what is missing', async () => {
  const { folder, db, oracle, replicateTo, output } = scene()
  await write({ db, oracle, count: 5 })
  const inFolder = join(folder, 'tenants')
  mkdirSync(inFolder)
  const tenant = join(inFolder, 'a.db')
  await write({ db: tenant, oracle: `${oracle}-a`, count: 7 })
  const replicas = [{ path: join(folder, 'replica') }]
  const dbs = [
    { path: db, replicas },
    { dir: inFolder, replicas: [{ path: join(folder, 'of-tenants') }] },
  ]
  const engine = stoppedAtOnce({ dbs })
  expect(await engine.exit(), engine.output).toBe(0)
  expect(JSON.parse(engine.stdout)).toEqual([])
  await restoreByLibrary(replicateTo, output)
  expect(verifyLedger(output, oracle)).toEqual({ n: 5 })
  await restoreByLibrary(`file://${join(folder, 'of-tenants/a.db')}`, `${output}-a`)
  expect(verifyLedger(`${output}-a`, `${oracle}-a`)).toEqual({ n: 7 })

  // A file where the folder of the local state should be made.
  writeFileSync(join(folder, 'file'), '')
  const unusable = { path: join(folder, 'other.db'), 'meta-path': join(folder, 'file/state') }
  await write({ db: unusable.path, oracle: `${oracle}-other`, count: 1 })
  const failing = stoppedAtOnce({ dbs: [{ ...unusable, replicas }] })
  expect(await failing.exit(), failing.output).toBe(0)
  expect(JSON.parse(failing.stdout)).toMatchObject([{ database: unusable.path }])
})

test('of two that replicate one database one waits without a word more, knows what is stored, and takes over at once', async () => {
  const { db, oracle, replicateTo, output } = scene()
  await write({ db, oracle, count: 5 })
  const config = await configFromUrls(db, [replicateTo])
  const lines: Line[] = []
  const first = await replicate(config, { logger: recordingLogger([]) })
  await first.stored({ urgency: 'now' })
  const second = await replicate(config, { logger: recordingLogger(lines) })
  const { pid } = second
  await until(() => lines.some(({ message }) => /^waiting/.test(message)), 20_000, 'a line')
  await write({ db, oracle, count: 5 })
  expect(await second.stored({ urgency: 'now' })).toMatchObject({ database: db })
  // Whoever is asked how it is, answers for the one that replicates.
  expect(await second.status()).toMatchObject({ pid: first.pid, databases: [{ path: db }] })
  const metrics = await second.handler()(new Request('http://localhost/metrics'))
  expect([metrics.status, await metrics.text()]).toEqual([200, expect.stringContaining(db)])
  await restoreByLibrary(replicateTo, `${output}-1`)
  expect(verifyLedger(`${output}-1`, oracle)).toEqual({ n: 10 })
  const started = /^(initialized db|replicating to)$/
  const said = lines.filter(({ message }) => !started.test(message))
  expect(said).toMatchObject([{ level: 'info', message: 'waiting until that process ends' }])

  await first.stop()
  const endedAt = performance.now()
  const isRunning = ({ message }: Line) => message === 'replica claimed'
  await until(() => lines.some(isRunning), 30_000, 'the other')
  expect(performance.now() - endedAt).toBeLessThan(onThisMachine(3000))
  expect(second.pid).toBe(pid)
  await write({ db, oracle, count: 5 })
  expect(await second.stored({ urgency: 'now' })).toMatchObject({ database: db })
  expect(await second.stop()).toEqual([])
  await restoreByLibrary(replicateTo, output)
  expect(verifyLedger(output, oracle)).toEqual({ n: 15 })
})

/** An application in a process of its own, which does what is written here between its start and its end. */
function application(
  { db, replicateTo }: { readonly db: string; readonly replicateTo: string },
  text: string,
  {
    env = {},
    descriptors = 1024,
    within = (command) => command,
  }: {
    env?: Record<string, string>
    descriptors?: number
    within?: (command: readonly string[]) => readonly string[]
  } = {},
): Running {
  const script = `
    import { openSync, closeSync } from 'node:fs'
    import { setTimeout as sleep } from 'node:timers/promises'
    const { configFromUrls, replicate } = await import(${JSON.stringify(library)})
    const [lines, hints] = [[], []]
    const note = (level) => (fields, message) => {
      lines.push(level + ' ' + message)
      hints.push(fields.hint)
      globalThis.onLine?.()
    }
    const logger = { debug: note('debug'), info: note('info'), warn: note('warn'), error: note('error') }
    const replication = await replicate(await configFromUrls(${JSON.stringify(db)}, [${JSON.stringify(replicateTo)}]), { logger })
    const wait = () => replication.stored({ urgency: 'now', timeoutMs: 60_000 })
    await wait()
    ${text}`
  const shell = ['/bin/sh', '-c', `ulimit -n ${descriptors}; exec "$0" --input-type=module -e "$1"`]
  const [command = '', ...args] = within([...shell, process.execPath, script])
  return new Running('application', command, args, env)
}

test('an application that has no descriptor left when its engine ends goes on, and so does replication', async () => {
  const { db, oracle, replicateTo, output } = scene()
  await write({ db, oracle, count: 5 })
  const text = `
    const { pid } = replication
    const codes = []
    replication.on('problem', ({ code }) => codes.push(code)).on('recovered', () => codes.push('recovered'))
    const opened = []
    try { for (;;) opened.push(openSync('/dev/null')) } catch {}
    process.kill(pid, 'SIGKILL')
    const refused = await replication.stored({ timeoutMs: 3000 }).catch((error) => error)
    console.log(refused.code, refused.message.replace(/spawn .* EMFILE/, 'EMFILE'), refused.hint)
    while (lines.filter((line) => line.startsWith('error')).length < 2) await sleep(20)
    for (const each of opened) closeSync(each)
    await wait()
    console.log(replication.pid !== pid, codes.join(' '))
    await replication.stop()`
  const running = application({ db, replicateTo }, text, { descriptors: 256 })
  expect(await running.exit(), running.output).toBe(0)
  const [refused, after] = running.stdout.split('\n')
  expect(refused).toBe(
    `NOT_STORED not stored: ${db} on file: the engine does not start anew: the engine cannot be started: EMFILE The commit itself is safe in the database, and is stored once an engine runs.`,
  )
  expect(after).toBe('true NOT_STORED NOT_RUNNING recovered')
  await restoreByLibrary(replicateTo, output)
  expect(verifyLedger(output, oracle)).toEqual({ n: 5 })
})

test('an application that has no descriptor left at the start is told so, and replicates once it has', async () => {
  const { db, oracle, replicateTo, output } = scene()
  await write({ db, oracle, count: 5 })
  const script = `
    import { openSync, closeSync } from 'node:fs'
    process.on('uncaughtException', (error) => console.log('uncaught', error))
    const { configFromUrls, replicate } = await import(${JSON.stringify(library)})
    const noted = () => undefined
    const logger = { debug: noted, info: noted, warn: noted, error: noted }
    const start = () => replicate(${JSON.stringify(db)}, ${JSON.stringify(replicateTo)}, { logger })
    async function refused() {
      const opened = []
      try { for (;;) opened.push(openSync('/dev/null')) } catch {}
      const { code, message, hint } = await start().catch((error) => error)
      for (const each of opened) closeSync(each)
      console.log(code, /^the engine cannot be started: .*(EMFILE|too many)/.test(message), /ulimit/.test(hint))
    }
    await refused() // where its own files cannot be read
    await configFromUrls(${JSON.stringify(db)}, ${JSON.stringify(replicateTo)})
    await refused() // where no process can be started
    const replication = await start()
    await replication.stored({ urgency: 'now', timeoutMs: 60_000 })
    console.log((await replication.stop()).length)`
  const limited = ['-c', 'ulimit -n 256; exec "$0" --input-type=module -e "$1"']
  const running = new Running('application', '/bin/sh', [...limited, process.execPath, script])
  expect(await running.exit(), running.output).toBe(0)
  expect(running.stdout).toBe('NOT_RUNNING true true\nNOT_RUNNING true true\n0\n')
  await restoreByLibrary(replicateTo, output)
  expect(verifyLedger(output, oracle)).toEqual({ n: 5 })
})

test('an engine whose program fails, or is of another version, is tried again until it runs', async () => {
  const { folder, db, oracle, replicateTo, output } = scene()
  await write({ db, oracle, count: 5 })
  const installed = join(folder, 'node_modules/tsreplicate')
  for (const name of ['package.json', 'dist']) {
    cpSync(join(packageUnderTest, name), join(installed, name), { recursive: true })
  }
  symlinkSync(join(root, 'node_modules'), join(installed, 'node_modules'))
  const own = (await import(join(installed, 'dist/index.js'))) as typeof Library
  const lines: Line[] = []
  const replication = await own.replicate(db, replicateTo, { logger: recordingLogger(lines) })
  await replication.stored({ urgency: 'now' })
  const engine = join(installed, 'dist/delivery/library/start-engine.js')
  const away = engine.replace('start-engine.js', 'start-engine-away.js')
  renameSync(engine, away)
  writeFileSync(engine, "throw new Error('half of it is replaced')")
  process.kill(replication.pid ?? 0, 'SIGKILL')
  const isTriedAgain = (times: number): boolean =>
    lines.filter(({ message }) => message === 'engine ended, restarting it').length >= times
  await until(() => isTriedAgain(2), 20_000, 'a start that fails')
  await expect(replication.stored({ timeoutMs: 100 })).rejects.toMatchObject({
    code: 'NOT_STORED',
    message: expect.stringContaining(
      `not stored: ${db} on file: the engine does not start anew: `,
    ) as string,
    hint: expect.stringContaining('safe in the database') as string,
    missing: [{ database: db, replica: 'file' }],
  })
  await expect(replication.status()).rejects.toMatchObject({ code: 'NOT_RUNNING' })

  const said = [
    "'word'",
    "{ kind: 'log', level: 'loud', fields: {}, message: '' }",
    "{ kind: 'x' }",
  ]
  const sent = said.map((each) => `process.send(${each})`).join('\n')
  writeFileSync(engine, `${sent}\nawait import('./start-engine-away.js')`)
  await write({ db, oracle, count: 5 })
  await replication.stored({ timeoutMs: 60_000 })
  const strange = lines.filter(({ message }) => /not understood/.test(message))
  expect(strange.map(({ level }) => level)).toEqual(['error', 'error'])
  expect(await replication.stop()).toEqual([])
  await restoreByLibrary(replicateTo, output)
  expect(verifyLedger(output, oracle)).toEqual({ n: 10 })
})

test('an engine survives signals and loggers that throw, and runs nothing of the application', async () => {
  const { folder, db, oracle, replicateTo } = scene()
  await write({ db, oracle, count: 5 })
  const agent = join(folder, 'agent.cjs')
  const pids = join(folder, 'pids')
  writeFileSync(agent, `require('fs').appendFileSync(${JSON.stringify(pids)}, process.pid + '\\n')`)
  const text = `
    const { pid } = replication
    let threw = 0
    globalThis.onLine = () => { threw += 1; throw new Error('a logger that throws') }
    for (const signal of ['SIGINT', 'SIGUSR1', 'SIGUSR2', 'SIGQUIT', 'SIGHUP', 'SIGTERM']) process.kill(pid, signal)
    await sleep(100)
    await wait()
    console.log('same', replication.pid === pid)
    process.kill(pid, 'SIGKILL')
    while (threw === 0) await sleep(20)
    await wait()
    console.log('another', replication.pid !== pid)
    await replication.stop()`
  const env = { NODE_OPTIONS: `--require ${agent}` }
  const running = application({ db, replicateTo }, text, { env })
  expect(await running.exit(), running.output).toBe(0)
  expect(running.stdout).toBe('same true\nanother true\n')
  expect(readFileSync(pids, 'utf8')).toBe(`${running.pid}\n`)
})

test.skipIf(whyNotElsewhere !== undefined)(
  'an application that is process 1 of a container is told what it risks',
  async () => {
    const { db, oracle, replicateTo } = scene()
    await write({ db, oracle, count: 5 })
    const text = `
    const at = lines.findIndex((line) => line.includes('process 1'))
    console.log(process.pid, lines[at], hints[at])
    await replication.stop()`
    const running = application({ db, replicateTo }, text, { within: contained })
    expect(await running.exit(), running.output).toBe(0)
    expect(running.stdout).toMatch(
      /^1 warn .*lost with the container call stop\(\) at SIGTERM.*--init\)\n$/,
    )
  },
)

test('an application that ends is over for whoever reads its stderr, though its engine is at work still', async () => {
  const { db, oracle, replicateTo } = scene()
  await write({ db, oracle, count: 5 })
  const text = `
    process.kill(replication.pid, 'SIGSTOP')
    console.log(replication.pid)
    process.kill(process.pid, 'SIGKILL')`
  const running = application({ db, replicateTo }, text)
  expect(await running.exit(20_000)).toBe(-1)
  const pid = Number(running.stdout)
  expect(isAlive(pid)).toBe(true)
  process.kill(pid, 'SIGCONT')
  await until(() => !isAlive(pid), 20_000, 'the end of the engine')
})

test('a path and a URL are enough to replicate, to ask how it is, and to restore a moment', async () => {
  const { db, oracle, replicateTo, output } = scene()
  await write({ db, oracle, count: 5 })
  const options = { logger: recordingLogger([]), signal: undefined }
  await using replication = await replicate(db, replicateTo, options)
  await replication.stored({ urgency: 'now', timeoutMs: undefined, replicas: undefined })
  const { databases } = await replication.status()
  expect(databases).toMatchObject([{ path: db, state: 'replicating', replicas: [{ lagMs: 0 }] }])
  const handle = replication.handler()
  const ask = (path: string, method = 'GET') =>
    handle(new Request(`https://app.example/internal${path}`, { method }))
  await until(async () => (await ask('/readyz')).status === 200, 20_000, 'readiness')
  const said = async (path: string, headers = {}) => {
    const response = await handle(new Request(`https://app.example${path}`, { headers }))
    return [response.status, response.headers.get('content-type'), await response.text()]
  }
  const plain = 'text/plain; charset=utf-8'
  const json = 'application/json; charset=utf-8'
  expect(await said('/readyz')).toEqual([200, plain, 'ready\n'])
  const verdict = await said('/readyz', { accept: 'application/json' })
  expect(verdict.slice(0, 2)).toEqual([200, json])
  expect(JSON.parse(String(verdict[2]))).toEqual({ ready: true, reasons: [] })
  const [code, type, metrics] = await said('/metrics')
  expect([code, type]).toEqual([200, 'text/plain; version=0.0.4; charset=utf-8'])
  expect(metrics).toContain(`tsreplicate_replica_lag_seconds{db="${db}",name="file"} 0`)
  // Counted from the start, not from the first time that somebody asks.
  expect(metrics).toMatch(/^litestream_replica_operation_total{.*"PUT"} [1-9]/m)
  expect(metrics).toContain('process_cpu_seconds_total')
  const [okay, jsonType, told] = await said('/api/status')
  expect([okay, jsonType]).toEqual([200, json])
  expect(JSON.parse(String(told))).toMatchObject({
    pid: replication.pid,
    databases: [{ path: db }],
  })
  const head = await ask('/api/status', 'HEAD')
  expect([head.status, head.headers.get('content-type')]).toEqual([200, json])
  expect(await head.text()).toBe('')
  expect((await ask('/api/sync', 'POST')).status).toBe(404)
  expect((await ask('/readyz', 'POST')).status).toBe(405)
  // Whoever asked is gone.
  const left = new Request('https://app.example/readyz', { signal: AbortSignal.abort() })
  expect((await handle(left)).status).toBe(503)

  await restore(replicateTo, { to: output, at: undefined })
  expect(verifyLedger(output, oracle)).toEqual({ n: 5 })
  const early = restore(replicateTo, { to: `${output}-early`, at: new Date(0) })
  await expect(early).rejects.toMatchObject({ code: 'NO_BACKUP' })
  const at = new Date()
  await write({ db, oracle, count: 5 })
  await replication.stored({ urgency: 'now' })
  await restore(replicateTo, { to: `${output}-at`, at })
  expect(verifyLedger(`${output}-at`, oracle)).toEqual({ n: 5 })
  await replication.stop()
  const [generation, ...others] = await listGenerations(replicateTo)
  expect(others).toEqual([])
  for (const level of [undefined, 'full'] as const) {
    expect(await verify(replicateTo, { level })).toMatchObject([
      { generation: generation?.generation, snapshots: 1, findings: [] },
    ])
  }
  const wrong = verify(replicateTo, { level: 'ful' as 'full' })
  await expect(wrong).rejects.toMatchObject({ code: 'USAGE' })
  const gone = await ask('/readyz')
  expect([gone.status, await gone.text()]).toEqual([503, `no daemon is running for ${db} alone\n`])
  await expect(replication.status()).rejects.toMatchObject({ code: 'NOT_RUNNING' })
})

test('a program asks a daemon, or the engine of another program, how it is, and is told that none runs', async () => {
  const { folder, db, oracle, replicateTo } = scene()
  await write({ db, oracle, count: 5 })
  const inFile = join(folder, 'in-file.db')
  await write({ db: inFile, oracle: `${oracle}-in-file`, count: 5 })
  const replicas = [{ path: join(folder, 'replica-in-file') }]
  const config = join(folder, 'c.yml')
  const socket = join(folder, 'status.sock')
  const dbs = [{ path: inFile, replicas }]
  writeFileSync(config, JSON.stringify({ dbs, socket: { path: socket } }))
  await expect(status({ config })).rejects.toMatchObject({
    code: 'NOT_RUNNING',
    message: `no daemon is running with ${config} or at ${socket}`,
    hint: expect.stringContaining('tsreplicate replicate') as string,
  })
  await expect(status({ config: join(folder, 'none.yml') })).rejects.toMatchObject({
    code: 'CONFIG',
  })

  const logger = recordingLogger([])
  await using daemon = await replicate(await loadConfig({ path: config }), { logger })
  await daemon.stored({ urgency: 'now' })
  const whole = await status({ config })
  expect(whole).toMatchObject({ pid: daemon.pid, source: config, databases: [{ path: inFile }] })
  expect(whole.databases[0]?.replicas[0]?.position).toEqual(whole.databases[0]?.position)
  expect(await status({ socket })).toMatchObject({ pid: daemon.pid })
  const unknown = status({ config, database: db })
  await expect(unknown).rejects.toMatchObject({ code: 'CONFIG', hint: `It replicates: ${inFile}` })

  // Which daemon is meant is known by the database where the configuration that is found has not got it.
  await using alone = await replicate(db, replicateTo, { logger })
  await alone.stored({ urgency: 'now' })
  vi.stubEnv('LITESTREAM_CONFIG', config)
  try {
    for (const [database, { pid }] of [[inFile, daemon] as const, [db, alone] as const]) {
      expect(await status({ database })).toMatchObject({ pid, databases: [{ path: database }] })
    }
  } finally {
    vi.unstubAllEnvs()
  }
})

test.each([
  [{ to: '/x', timestamp: 5 }, /has no option timestamp/],
  [{ to: '/x', target: { kind: 'latest' } }, /has no option target/],
  [{ to: '/x', at: '2026-01-02' }, /at must be a valid Date/],
  [{ to: '/x', at: new Date('soon') }, /at must be a valid Date/],
  [{ to: '/x', integrityCheck: 'ful' }, /integrityCheck must be/],
  [{}, /to is missing/],
  [undefined, /takes an object/],
])('a restore from a URL with options %j is refused', async (options, message) => {
  const refused = restore('file:///nowhere', options as unknown as { to: string })
  await expect(refused).rejects.toMatchObject({
    code: 'USAGE',
    message: expect.stringMatching(message) as string,
  })
})

test('a database that does not exist is restored before the application opens it, if that is wanted', async () => {
  const { folder, db, oracle, replicateTo } = scene()
  await write({ db, oracle, count: 5 })
  const config = await configFromUrls(db, [replicateTo])
  expect(await (await replicate(config)).stop()).toEqual([])
  const restoring = (of: typeof config): typeof config => ({
    ...of,
    databases: of.databases.map((each) => ({ ...each, restoreIfDbNotExists: true })),
  })
  const damaged = join(folder, 'damaged')
  cpSync(join(folder, 'replica'), damaged, { recursive: true })
  const snapshots = listObjects(damaged).filter((name) => name.includes('snapshot'))
  expect(snapshots).toHaveLength(1)
  for (const name of snapshots) writeFileSync(join(damaged, name), 'x')
  for (const name of readdirSync(folder)) {
    if (/^\.?app\.db/.test(name)) rmSync(join(folder, name), { recursive: true })
  }
  const broken = replicate(restoring(await configFromUrls(db, [`file://${damaged}`])))
  await expect(broken).rejects.toBeInstanceOf(CorruptionError)
  expect(existsSync(db)).toBe(false)

  await using replication = await replicate(restoring(config))
  expect(verifyLedger(db, oracle)).toEqual({ n: 5 })
  await replication.stop()
})

test('a configuration without databases, or with a program to start, is refused', async () => {
  const config = await configFromUrls('/a.db', ['file:///b'])
  await expect(replicate({ ...config, databases: [] })).rejects.toThrow('no databases')
  await expect(replicate('/a.db', '')).rejects.toMatchObject({ code: 'CONFIG' })
  await expect(replicate('/a.db', undefined as unknown as string)).rejects.toMatchObject({
    code: 'USAGE',
  })
  await expect(configFromUrls('/a.db', [])).rejects.toThrow('no replica URL for /a.db')
  await expect(replicate({ ...config, exec: ['app'] })).rejects.toThrow('starts no program')
})
