import Database from 'better-sqlite3'
import { once } from 'node:events'
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { createServer, type Server } from 'node:http'
import { type AddressInfo, connect, type Socket } from 'node:net'
import { basename, join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import { type DaemonDetails } from '../../src/domain/status.js'
import {
  cleanUp,
  litestream,
  listGenerations,
  root,
  listObjects,
  run,
  Running,
  start,
  temporaryFolder,
  until,
} from '../support/cli.ts'
import { inAnotherNetwork, whyNoNetworks } from '../support/elsewhere.ts'
import { restoreAndVerify, write } from '../support/ledger.ts'
import { onThisMachine } from '../support/patience.ts'

const servers = new Set<Server>()

afterEach(async () => {
  for (const server of servers) {
    server.closeAllConnections()
    server.close()
  }
  servers.clear()
  await cleanUp()
})

/** A server that tests ask or listen with; its port. */
async function serve(
  answer: Parameters<typeof createServer>[1],
): Promise<{ port: number; server: Server }> {
  const server = createServer(answer ?? (() => undefined)).listen(0, '127.0.0.1')
  servers.add(server)
  await once(server, 'listening')
  return { port: (server.address() as AddressInfo).port, server }
}

interface Scene {
  readonly folder: string
  readonly db: string
  readonly oracle: string
  readonly replica: string
}

function scene(): Scene {
  const folder = temporaryFolder()
  const replicas = join(folder, 'replicas')
  mkdirSync(replicas)
  return {
    folder,
    db: join(folder, 'app.db'),
    oracle: join(folder, 'oracle'),
    replica: join(replicas, 'app'),
  }
}

function configure(
  { folder, db, replica }: Scene,
  change: {
    readonly top?: object
    readonly database?: object
    readonly replica?: object
    /** Other databases than the one of the scene. */
    readonly dbs?: readonly object[]
  } = {},
): string {
  const path = join(folder, 'tsreplicate.yml')
  const config = {
    addr: '127.0.0.1:0',
    logging: { level: 'debug' },
    ...change.top,
    dbs: change.dbs ?? [
      {
        path: db,
        ...change.database,
        replicas: [{ path: replica, 'sync-interval': '100ms', ...change.replica }],
      },
    ],
  }
  writeFileSync(path, JSON.stringify(config, undefined, 2))
  return path
}

/** A daemon that serves, and how it is asked. */
async function startServing(config: string): Promise<{
  readonly daemon: Running
  readonly url: string
  readonly get: (path: string, accept?: string) => Promise<{ status: number; text: string }>
  readonly status: () => Promise<DaemonDetails>
  readonly metrics: () => Promise<Metrics>
}> {
  const daemon = start('replicate', '-config', config)
  await daemon.waitFor(/serving metrics on/)
  const url = /url=(\S+)\/metrics/.exec(daemon.output)?.[1] ?? ''
  const get = async (path: string, accept = '*/*'): Promise<{ status: number; text: string }> => {
    const response = await fetch(`${url}${path}`, { headers: { accept } })
    return { status: response.status, text: await response.text() }
  }
  return {
    daemon,
    url,
    get,
    status: async () => JSON.parse((await get('/api/status')).text) as DaemonDetails,
    metrics: async () => parseMetrics((await get('/metrics')).text),
  }
}

/** Waits until the first snapshot is stored, writes, and waits until that is stored too. */
async function writeAndWait(daemon: Running, { db, oracle }: Scene): Promise<void> {
  await daemon.waitFor(/snapshot written/)
  await write({ db, oracle, count: 5 })
  await daemon.waitFor(/wal segment written/)
}

/** Metrics that are the same twice, half a second apart, with nothing waiting. */
async function metricsAtRest(metrics: () => Promise<Metrics>): Promise<Metrics> {
  let latest = await metrics()
  await until(
    async () => {
      const before = latest
      await new Promise((resolve) => setTimeout(resolve, 500))
      latest = await metrics()
      const name = 'litestream_total_wal_bytes'
      return (
        before.value(name) === latest.value(name) &&
        latest.value('tsreplicate_replica_pending_bytes') === 0
      )
    },
    20_000,
    'rest',
  )
  return latest
}

interface Metrics {
  readonly types: ReadonlyMap<string, string>
  /** Samples by name and labels, as they are printed. */
  readonly samples: ReadonlyMap<string, number>
  /** The only sample of a name, or the sum of those with these labels. */
  readonly value: (name: string, labels?: Readonly<Record<string, string>>) => number | undefined
}

function parseMetrics(text: string): Metrics {
  const types = new Map<string, string>()
  const samples = new Map<string, number>()
  for (const line of text.split('\n')) {
    const type = /^# TYPE (\S+) (\S+)$/.exec(line)
    if (type !== null) types.set(type[1]!, type[2]!)
    const sample = /^([a-z_]+(?:\{.*\})?) (\S+)/i.exec(line)
    if (sample !== null) samples.set(sample[1]!, Number(sample[2]!.replace('+Inf', 'Infinity')))
  }
  return {
    types,
    samples,
    value(name, labels = {}) {
      const wanted = Object.entries(labels).map(([key, value]) => `${key}="${value}"`)
      const found = [...samples].filter(
        ([key]) => key.split('{')[0] === name && wanted.every((label) => key.includes(label)),
      )
      return found.length === 0 ? undefined : found.reduce((sum, [, value]) => sum + value, 0)
    },
  }
}

describe('readiness', () => {
  test('fails with the reason while a replica cannot be written, and is back when all is stored', async () => {
    const places = scene()
    const { db, oracle, replica, folder } = places
    await write({ db, oracle, count: 5 })
    const { daemon, get, status, metrics } = await startServing(
      configure(places, { replica: { 'max-lag': '1s' } }),
    )
    await writeAndWait(daemon, places)
    const before = await metricsAtRest(metrics)
    expect(await get('/readyz')).toEqual({ status: 200, text: 'ready\n' })
    expect(await get('/healthz')).toEqual({ status: 200, text: 'alive\n' })
    expect(before.value('tsreplicate_ready')).toBe(1)
    expect(before.value('tsreplicate_replica_lag_seconds')).toBe(0)
    expect(before.value('tsreplicate_snapshots_total', { reason: 'generation' })).toBe(1)

    // A file in its place: nothing can be written there, whoever writes.
    const away = join(folder, 'away')
    renameSync(replica, away)
    writeFileSync(replica, '')
    await write({ db, oracle, count: 5 })
    let text = ''
    await until(
      async () => {
        const answer = await get('/readyz')
        text = answer.text
        return answer.status === 503 && text.includes('not a folder')
      },
      20_000,
      () => `503, and not: ${text}`,
    )
    expect(text).toContain(`${db} replica file: commits have been waiting for`)
    expect(text).toContain('the limit is 1.1s: cannot')
    const asJson = JSON.parse((await get('/readyz', 'application/json')).text) as {
      ready: boolean
      reasons: { database: string; replica: string }[]
    }
    expect(asJson.ready).toBe(false)
    expect(asJson.reasons[0]).toMatchObject({ database: db, replica: 'file' })
    expect((await get('/healthz')).status).toBe(200)
    const meanwhile = await metrics()
    expect(meanwhile.value('tsreplicate_ready')).toBe(0)
    expect(meanwhile.value('tsreplicate_replica_lag_seconds')).toBeGreaterThan(1)
    expect(meanwhile.value('tsreplicate_replica_pending_bytes')).toBeGreaterThan(0)
    expect(
      meanwhile.value('tsreplicate_replica_errors_total', { kind: 'REPLICA' }),
    ).toBeGreaterThan(0)
    const late = (await status()).databases[0]?.replicas[0]
    expect(late?.lastFailure).toMatchObject({ kind: 'REPLICA', isOver: false })

    rmSync(replica)
    renameSync(away, replica)
    await until(async () => (await get('/readyz')).status === 200, 30_000, '200')
    const after = await metrics()
    expect(after.value('tsreplicate_replica_lag_seconds')).toBeLessThan(onThisMachine(2))
    expect(after.value('litestream_replica_wal_offset')).toBeGreaterThan(
      before.value('litestream_replica_wal_offset') ?? Infinity,
    )
    expect((await status()).databases[0]?.replicas[0]?.lastFailure?.isOver).toBe(true)
    expect(await daemon.stop()).toBe(0)
    expect(await restoreAndVerify(replica, join(folder, 'restored.db'), oracle)).toEqual({ n: 15 })
  })

  test('a store that acknowledges and keeps nothing is found out, though all seems to be stored', async () => {
    const places = scene()
    const { db, oracle } = places
    let puts = 0
    const { port } = await serve((request, response) => {
      request.resume()
      request.on('end', () => {
        if (request.method === 'PUT') {
          puts += 1
          response.writeHead(200, { etag: '"d41d8cd98f00b204e9800998ecf8427e"' }).end()
        } else if (request.url?.includes('list-type=2') === true) {
          response
            .writeHead(200, { 'content-type': 'application/xml' })
            .end(
              '<?xml version="1.0"?><ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>',
            )
        } else {
          const code = request.url?.includes('uploads') === true ? 'NoSuchUpload' : 'NoSuchKey'
          response
            .writeHead(404, { 'content-type': 'application/xml' })
            .end(`<?xml version="1.0"?><Error><Code>${code}</Code></Error>`)
        }
      })
    })
    await write({ db, oracle, count: 5 })
    const { daemon, get, metrics } = await startServing(
      configure(places, {
        replica: {
          path: undefined,
          'max-lag': '2s',
          url: `s3://bucket/app?endpoint=http://127.0.0.1:${port}&region=us-east-1&force-path-style=true`,
          'access-key-id': 'a',
          'secret-access-key': 'b',
        },
      }),
    )
    await daemon.waitFor(/was acknowledged by the store, but is not there/)
    expect((await get('/readyz')).status).toBe(503)
    expect(puts).toBeGreaterThan(0)
    await until(
      async () => ((await metrics()).value('tsreplicate_replica_confirmed_lag_seconds') ?? 0) > 2,
      20_000,
      'a lag above the limit',
    )
    expect((await get('/readyz')).status).toBe(503)
    await daemon.kill()
  })

  test('a replica that was emptied is noticed while the application writes, and begins a generation', async () => {
    const places = scene()
    const { db, oracle, replica, folder } = places
    await write({ db, oracle, count: 5 })
    const { daemon } = await startServing(configure(places, { replica: { 'max-lag': '2s' } }))
    await writeAndWait(daemon, places)
    await until(() => listGenerations(replica).length === 1, 10_000, 'a generation')
    rmSync(replica, { recursive: true })
    for (let i = 0; daemon.count(/msg="snapshot written"/) < 2; i += 1) {
      expect(i).toBeLessThan(100)
      await write({ db, oracle, count: 1 })
      await new Promise((resolve) => setTimeout(resolve, 200))
    }
    const n = countRows(db)
    expect(await daemon.stop()).toBe(0)
    expect(await restoreAndVerify(replica, join(folder, 'restored.db'), oracle)).toEqual({ n })
  })

  test('a database that was replicated and is gone is a reason, also after a restart, until it is back', async () => {
    const places = scene()
    const { db, oracle } = places
    const beats: string[] = []
    const { port } = await serve((request, response) => {
      beats.push(String(request.url))
      response.end()
    })
    const heartbeat = (name: string): object => ({
      'heartbeat-url': `http://127.0.0.1:${port}/${name}`,
      'heartbeat-interval': '100ms',
    })
    await write({ db, oracle, count: 5 })
    const config = configure(places, { database: heartbeat('db'), replica: heartbeat('replica') })
    const first = await startServing(config)
    let { daemon, get } = first
    await writeAndWait(daemon, places)
    await until(() => beats.includes('/db') && beats.includes('/replica'), 20_000, 'heartbeats')
    expect((await get('/readyz')).status).toBe(200)

    for (const suffix of ['', '-wal', '-shm']) rmSync(`${db}${suffix}`, { force: true })
    await until(async () => (await get('/readyz')).status === 503, 10_000, '503')
    expect((await get('/readyz')).text).toContain(`${db}: the database file is gone`)
    expect((await first.status()).databases[0]?.state).toBe('gone')
    const asked = await run('status', '-config', config)
    expect(asked.code).toBe(1)
    expect(asked.stdout).toContain('the database file is gone')
    // Both that were under way when it went have arrived: 20 intervals pass without another one.
    const before = beats.length
    await new Promise((resolve) => setTimeout(resolve, 2000))
    expect(beats.length - before).toBeLessThanOrEqual(2)
    expect(await daemon.stop()).toBe(0)

    ;({ daemon, get } = await startServing(config))
    await until(async () => (await get('/readyz')).status === 503, 10_000, '503 after a restart')
    await write({ db, oracle: join(places.folder, 'oracle-2'), count: 5 })
    await until(async () => (await get('/readyz')).status === 200, 20_000, '200')
    const back = beats.length
    await until(() => beats.length > back + 2, 20_000, 'heartbeats again')
    await daemon.stop()
  })

  test('a database that never existed is waited for, and said loudly if its folder is missing, too', async () => {
    const places = scene()
    const missing = join(places.folder, 'missing')
    const config = configure({ ...places, db: join(missing, 'app.db') })
    const { daemon, get } = await startServing(config)
    await daemon.waitFor(/level=WARN msg="waiting for the database .*its folder does not exist/)
    expect((await get('/readyz')).status).toBe(200)
    await daemon.stop()
  })

  test('a database that cannot be captured is named with what is wrong', async () => {
    const places = scene()
    writeFileSync(
      places.db,
      'this is no database at all, but long enough to look like one'.repeat(20),
    )
    const { daemon, get, metrics } = await startServing(
      configure(places, { replica: { 'max-lag': '1s' } }),
    )
    await until(
      async () => (await get('/readyz')).text.includes('file is not a database'),
      20_000,
      'its reason',
    )
    expect((await get('/readyz')).status).toBe(503)
    const { value } = await metrics()
    expect(value('tsreplicate_database_up')).toBe(0)
    expect(value('tsreplicate_database_errors_total', { kind: 'DATABASE' })).toBeGreaterThan(0)
    expect(value('litestream_sync_error_count')).toBeGreaterThan(0)
    await daemon.stop()
  })
})

function countRows(db: string): number {
  const connection = new Database(db, { readonly: true })
  const row = connection.prepare('select max(n) as n from ledger').get() as { n: number }
  connection.close()
  return row.n
}

describe('metrics', () => {
  test("have the original's names, types, labels and meanings", async () => {
    const ours = scene()
    const theirs = scene()
    for (const { db, oracle } of [ours, theirs]) await write({ db, oracle, count: 20 })
    const serving = await startServing(configure(ours))
    await writeAndWait(serving.daemon, ours)
    const port = await freePort()
    const config = join(theirs.folder, 'litestream.yml')
    writeFileSync(
      config,
      JSON.stringify({
        addr: `127.0.0.1:${port}`,
        dbs: [
          {
            path: theirs.db,
            replicas: [
              { path: theirs.replica, 'sync-interval': '100ms' },
              { url: `file://${theirs.folder}/second`, name: 'second' },
            ],
          },
        ],
      }),
    )
    const original = new Running('litestream', litestream, ['replicate', '-config', config])
    await original.waitFor(/wal segment written/, { times: 2 })
    const ask = async (): Promise<Metrics> =>
      parseMetrics(await (await fetch(`http://127.0.0.1:${port}/metrics`)).text())
    let expected = await ask()
    await until(
      async () => {
        expected = await ask()
        return (expected.value('litestream_db_size') ?? 0) > 0
      },
      20_000,
      'sizes, which the original looks at with its second sync',
    )
    const actual = await metricsAtRest(serving.metrics)

    const labelsOf = (metrics: Metrics, name: string): string[] => [
      ...new Set(
        [...metrics.samples.keys()]
          .filter((key) => key.split('{')[0] === name)
          .map((key) =>
            [...key.matchAll(/(\w+)="/g)]
              .map((match) => match[1])
              .sort()
              .join(),
          ),
      ),
    ]
    const names = [...expected.types.keys()].filter((name) => name.startsWith('litestream_'))
    expect(names.length).toBeGreaterThanOrEqual(12)
    for (const name of names) {
      expect(actual.types.get(name), name).toBe(expected.types.get(name))
      expect(labelsOf(actual, name), name).toEqual(labelsOf(expected, name))
    }
    for (const name of [
      'process_cpu_seconds_total',
      'process_open_fds',
      'process_start_time_seconds',
    ])
      expect(actual.types.has(name), name).toBe(true)

    const of = { db: ours.db, name: 'file' }
    expect(actual.value('litestream_replica_validation_total', { ...of, status: 'ok' })).toBe(0)
    // What both say of the bytes that they have captured and sent.
    for (const metrics of [expected, actual]) {
      const sent = metrics.value('litestream_replica_wal_offset', { name: 'file' }) ?? 0
      expect(sent).toBeGreaterThan(32)
      expect(metrics.value('litestream_replica_wal_index', { name: 'file' })).toBe(0)
      expect(metrics.value('litestream_replica_wal_bytes', { name: 'file' })).toBe(sent)
      expect(metrics.value('litestream_total_wal_bytes')).toBe(sent - 32)
      expect(metrics.value('litestream_shadow_wal_index')).toBe(0)
      expect(metrics.value('litestream_wal_size')).toBeGreaterThanOrEqual(sent)
      expect(metrics.value('litestream_db_size')).toBeGreaterThan(0)
      expect(metrics.value('litestream_sync_count')).toBeGreaterThan(0)
      expect(metrics.value('litestream_sync_error_count')).toBe(0)
    }
    expect(
      actual.value('litestream_replica_operation_total', {
        replica_type: 'file',
        operation: 'PUT',
      }),
      // The owner object is written at the start, and once more in vain, to see whether the store heeds conditions; then it
      // is told that the generation begins, and that its first snapshot is there.
    ).toBe(listObjects(ours.replica).length + 4)
    await original.stop()
    await serving.daemon.stop()
  })

  test('count checkpoints by mode, and nothing else is served', async () => {
    const places = scene()
    const { db, oracle } = places
    await write({ db, oracle, count: 5 })
    const { daemon, metrics, get, url } = await startServing(
      configure(places, { database: { 'min-checkpoint-page-count': 5 } }),
    )
    await writeAndWait(daemon, places)
    await write({ db, oracle, count: 50 })
    await until(
      async () =>
        ((await metrics()).value('litestream_checkpoint_count', { mode: 'PASSIVE' }) ?? 0) > 0,
      20_000,
      'a checkpoint',
    )
    const { value } = await metrics()
    expect(value('litestream_checkpoint_error_count', { mode: 'PASSIVE' })).toBe(0)
    expect(value('tsreplicate_build_info')).toBe(1)
    expect(value('tsreplicate_file_system_used_ratio')).toBeGreaterThan(0)
    for (const path of ['/', '/debug/pprof/', '/metrics/x'])
      expect((await get(path)).status).toBe(404)
    expect((await fetch(`${url}/metrics`, { method: 'POST' })).status).toBe(405)
    await daemon.stop()
  })
})

async function freePort(): Promise<number> {
  const { port, server } = await serve(() => undefined)
  server.close()
  await once(server, 'close')
  return port
}

describe('addr', () => {
  test('that another process listens on ends the daemon with a clear message', async () => {
    const places = scene()
    await write({ ...places, count: 1 })
    const { port } = await serve(() => undefined)
    const daemon = start(
      'replicate',
      '-config',
      configure(places, { top: { addr: `127.0.0.1:${port}` } }),
    )
    expect(await daemon.exit()).toBe(1)
    expect(daemon.stderr).toContain(
      `cannot listen on addr 127.0.0.1:${port}: another process listens there`,
    )
    expect(daemon.stderr).toContain('hint: ')
  })

  test.each([['foo'], ['9091'], ['1.2.3.4:x'], ['127.0.0.1:99999'], ['::1:9090']])(
    '%s is refused as a wrong configuration',
    async (addr) => {
      const places = scene()
      const { code, stderr } = await run(
        'replicate',
        '-config',
        configure(places, { top: { addr } }),
      )
      expect(code).toBe(78)
      expect(stderr).toContain('addr: ')
      expect(stderr).toContain(`bind address: "${addr}"`)
    },
  )

  test('without a host is this machine alone, and says so', async () => {
    const places = scene()
    const { daemon, url } = await startServing(configure(places, { top: { addr: ':0' } }))
    expect(url).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/)
    expect(daemon.output).toContain('0.0.0.0:0 for all its addresses')
    await daemon.stop()
  })
})

test('connections that ask nothing neither shut out a probe nor stay', async () => {
  const places = scene()
  const { daemon, url } = await startServing(configure(places, {}))
  const { port } = new URL(url)
  const silent = Array.from({ length: 200 }, () => {
    const socket = connect(Number(port), '127.0.0.1')
      .on('error', () => undefined)
      .resume()
    return socket.on('connect', () => void socket.write('GET /healthz HTTP/1.1\r\n'))
  })
  try {
    await until(() => silent.every((socket) => !socket.connecting), 20_000, 'connections')
    expect((await fetch(`${url}/healthz`)).status).toBe(200)
    await until(() => silent.every((socket) => socket.closed), 30_000, 'their end')
    expect((await fetch(`${url}/healthz`)).status).toBe(200)
    expect(await daemon.stop()).toBe(0)
  } finally {
    for (const socket of silent) socket.destroy()
  }
})

/** The connections that the daemon has there, each with how much of its answer is not taken. Who does not read is not told of their end. */
function openAt(port: number): readonly { readonly untakenBytes: number }[] {
  const address = `0100007F:${port.toString(16).toUpperCase().padStart(4, '0')}`
  const lines = readFileSync('/proc/net/tcp', 'utf8').split('\n')
  const established = new RegExp(`^ *\\d+: ${address} \\S+ 01 ([0-9A-F]+):`)
  return lines.flatMap((line) => {
    const [, untaken] = established.exec(line) ?? []
    return untaken === undefined ? [] : [{ untakenBytes: Number.parseInt(untaken, 16) }]
  })
}

test('readers who never read what they ask for neither shut out a probe nor stay', async () => {
  const places = scene()
  // Together they make a long answer.
  const dbs = Array.from({ length: 600 }, (_, i) => ({
    path: join(places.folder, 'n'.repeat(200), 'n'.repeat(200), `${i}.db`),
    replicas: [{ path: join(places.folder, 'replicas', `${i}`) }],
  }))
  const { daemon, url } = await startServing(configure(places, { dbs }))
  const { port } = new URL(url)
  const request = (path: string): string => `GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`
  const connected = async (): Promise<Socket> => {
    const socket = connect(Number(port), '127.0.0.1').on('error', () => undefined)
    await once(socket, 'connect')
    return socket
  }
  const slow = await Promise.all(Array.from({ length: 64 }, connected))
  try {
    // More than what the system keeps for a connection.
    for (const socket of slow) socket.pause().write(request('/metrics'))
    const startedAt = performance.now()
    const areAnswered = (): boolean =>
      openAt(Number(port)).every(({ untakenBytes }) => untakenBytes > 0)
    await until(areAnswered, 60_000, 'their answers')
    const areGone = async (): Promise<boolean> => {
      const { status } = await fetch(`${url}/healthz`, { headers: { connection: 'close' } })
      expect(status).toBe(200)
      return openAt(Number(port)).length === 0
    }
    await until(areGone, 60_000, 'their end')
    // Probes took the place of some; the others had their time.
    expect(performance.now() - startedAt).toBeGreaterThan(9000)
    expect(await daemon.stop()).toBe(0)
  } finally {
    for (const socket of slow) socket.destroy()
  }
})

describe('tsreplicate status', () => {
  test('shows what the daemon does, without any addr, and fails when something is late', async () => {
    const places = scene()
    const { db, oracle, replica, folder } = places
    await write({ db, oracle, count: 5 })
    const config = configure(places, { top: { addr: '' }, replica: { 'max-lag': '1s' } })
    const daemon = start('replicate', '-config', config)
    await writeAndWait(daemon, places)
    const good = await run('status', '-config', config)
    expect(good.code, good.stderr).toBe(0)
    expect(good.stdout).toMatch(new RegExp(`process ${daemon.pid}, up \\S+, ready`))
    expect(good.stdout).toMatch(/database +state +generation +position +page size/)
    const asJson = await run('status', '--json', '-config', config)
    const { databases, notReady } = JSON.parse(asJson.stdout) as DaemonDetails
    expect(notReady).toEqual([])
    expect(databases[0]).toMatchObject({ path: db, state: 'replicating', pageSizeBytes: 4096 })
    expect(databases[0]?.replicas[0]).toMatchObject({ name: 'file', location: replica, lagMs: 0 })
    expect(databases[0]?.replicas[0]?.position).toEqual(databases[0]?.position)
    const other = await run('status', '-config', config, join(folder, 'other.db'))
    expect(other.code).toBe(78)
    expect(other.stderr).toContain('database not replicated by the daemon')

    renameSync(replica, join(folder, 'away'))
    writeFileSync(replica, '')
    await write({ db, oracle, count: 1 })
    await until(
      async () => (await run('status', '-config', config)).code === 1,
      30_000,
      'exit code 1',
    )
    const bad = await run('status', '-config', config, db)
    expect(bad.stdout).toContain('NOT READY')
    expect(bad.stdout).toContain('commits have been waiting for')
    await daemon.kill()
    const gone = await run('status', '-config', config)
    expect(gone.code).toBe(3)
    expect(gone.stderr).toContain(`no daemon is running with ${config}`)
  })

  test('finds a daemon that was started with a database and URLs', async () => {
    const places = scene()
    const { db, oracle, replica } = places
    await write({ db, oracle, count: 5 })
    const daemon = start('replicate', db, `file://${replica}`)
    await writeAndWait(daemon, places)
    const { code, stdout } = await run('status', '--json', db)
    expect(code).toBe(0)
    expect((JSON.parse(stdout) as DaemonDetails).pid).toBe(daemon.pid)
    await daemon.stop()
  })
})

describe('the socket file', () => {
  const socketIn = ({ folder }: Scene): string => join(folder, 'status.sock')

  test.skipIf(whyNoNetworks !== undefined)(
    'answers who is in another network, is for its user alone, and goes with the daemon',
    async () => {
      const places = scene()
      const socket = socketIn(places)
      await write({ ...places, count: 5 })
      const config = configure(places, { top: { socket: { path: socket } } })
      const daemon = start('replicate', '-config', config)
      await writeAndWait(daemon, places)
      expect(lstatSync(socket).mode & 0o777).toBe(0o600)
      for (const [args, code] of [
        [['-config', config], 0],
        [['-socket', socket, places.db], 0],
        [[places.db], 3],
      ] as const) {
        const asked = inAnotherNetwork('status', '--json', ...args)
        expect(await asked.exit(), asked.output).toBe(code)
        if (code === 0) expect(asked.stdout).toContain(`"pid": ${daemon.pid}`)
      }
      expect(await daemon.stop()).toBe(0)
      expect(existsSync(socket)).toBe(false)
    },
  )

  test('is taken over from a daemon that was killed, and from nobody else', async () => {
    const places = scene()
    const socket = socketIn(places)
    await write({ ...places, count: 5 })
    const daemonOf = (db: string): Running =>
      start('replicate', '-socket', socket, db, `file://${places.replica}-${basename(db)}`)
    const killed = daemonOf(places.db)
    await killed.waitFor(/answering tsreplicate status on/)
    await killed.kill()
    expect(lstatSync(socket).isSocket()).toBe(true)
    const daemon = daemonOf(places.db)
    await writeAndWait(daemon, places)
    const status = await run('status', '--json', '-socket', socket)
    expect(status.code, status.stderr).toBe(0)
    expect((JSON.parse(status.stdout) as DaemonDetails).pid).toBe(daemon.pid)
    const second = daemonOf(join(places.folder, 'other.db'))
    expect(await second.exit()).toBe(1)
    expect(second.stderr).toContain(
      `cannot listen on socket ${socket}: another process answers there`,
    )
    expect((await run('status', '-socket', socket)).code).toBe(0)
    expect(await daemon.stop()).toBe(0)

    writeFileSync(socket, 'kept')
    const third = daemonOf(places.db)
    expect(await third.exit()).toBe(1)
    expect(third.stderr).toContain('a file that is no socket is there')
    expect(readFileSync(socket, 'utf8')).toBe('kept')
    expect((await run('status', '-socket', socket)).code).toBe(3)
    const lost = join(places.folder, 'no', 'status.sock')
    const fourth = start('replicate', '-socket', lost, places.db, `file://${places.replica}`)
    expect(await fourth.exit()).toBe(1)
    expect(fourth.stderr).toContain(`cannot listen on socket ${lost}: its folder does not exist`)
  })
})

describe('heartbeats', () => {
  test('come while all is stored, stay out while it is not, and never show the URL in the log', async () => {
    const places = scene()
    const { db, oracle, replica, folder } = places
    const beats: string[] = []
    const { port } = await serve((request, response) => {
      beats.push(`${request.method} ${request.url}`)
      response.end()
    })
    await write({ db, oracle, count: 5 })
    const url = (token: string): string => `http://127.0.0.1:${port}/${token}`
    const { daemon } = await startServing(
      configure(places, {
        database: { 'heartbeat-url': url('db-token'), 'heartbeat-interval': '100ms' },
        replica: {
          'max-lag': '1s',
          'heartbeat-url': url('replica-token'),
          'heartbeat-interval': '100ms',
        },
      }),
    )
    const count = (token: string): number => beats.filter((beat) => beat === `GET /${token}`).length
    await until(() => count('db-token') > 2 && count('replica-token') > 2, 20_000, 'heartbeats')

    renameSync(replica, join(folder, 'away'))
    writeFileSync(replica, '')
    await write({ db, oracle, count: 1 })
    await until(
      async () => {
        const before = beats.length
        await new Promise((resolve) => setTimeout(resolve, 700))
        return beats.length === before
      },
      20_000,
      'silence',
    )
    rmSync(replica)
    renameSync(join(folder, 'away'), replica)
    const before = beats.length
    await until(() => beats.length > before + 2, 30_000, 'heartbeats again')
    for (const server of servers) {
      server.closeAllConnections()
      server.close()
    }
    await daemon.waitFor(/heartbeat could not be sent/)
    // Refused, or cut off when one was on its way.
    const unreachable = `127.0.0.1:${port} cannot be reached: `
    expect(daemon.output).toMatch(
      new RegExp(`${unreachable}(ECONNREFUSED|ECONNRESET|UND_ERR_SOCKET)`),
    )
    expect(daemon.output).not.toContain('token')
    expect(await daemon.stop()).toBe(0)
  })
})

describe('the files for Prometheus and Grafana', () => {
  test('name only metrics that there are', async () => {
    const places = scene()
    await write({ ...places, count: 5 })
    const { daemon, metrics } = await startServing(configure(places))
    await writeAndWait(daemon, places)
    const { types } = await metrics()
    const alerts = parse(readFileSync(join(root, 'config/prometheus-alerts.yml'), 'utf8')) as {
      groups: { rules: { alert: string; expr: string; annotations: { summary: string } }[] }[]
    }
    const rules = alerts.groups.flatMap((group) => group.rules)
    expect(new Set(rules.map(({ alert }) => alert)).size).toBe(rules.length)
    for (const { alert, annotations } of rules) expect(annotations.summary, alert).not.toBe('')
    const dashboard = JSON.parse(
      readFileSync(join(root, 'config/grafana-dashboard.json'), 'utf8'),
    ) as { panels: { targets: { expr: string }[] }[] }
    const expressions = [
      ...rules.map(({ expr }) => expr),
      ...dashboard.panels.flatMap(({ targets }) => targets.map(({ expr }) => expr)),
    ]
    expect(expressions.length).toBeGreaterThan(40)
    for (const expression of expressions) {
      const names = expression.match(/\b(?:tsreplicate|litestream|process|nodejs)_\w+/g) ?? []
      expect(names.length, expression).toBeGreaterThan(0)
      for (const name of names) expect(types.has(name), `${name} in ${expression}`).toBe(true)
    }
    await daemon.stop()
  })
})
