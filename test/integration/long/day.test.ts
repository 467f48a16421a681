/**
 * A day of the daemon in 24 steps. In each, three applications write at once, one of them hostile, a database comes and
 * goes, a replica is away for a while, the configuration is read again, snapshots, retention and proofs come due many
 * times, and a restore runs beside all of it. Then everything rests, and what the process holds is looked at.
 */
import Database from 'better-sqlite3'
import { once } from 'node:events'
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, expect, test } from 'vitest'
import { type DaemonDetails } from '../../../src/domain/status.js'
import { cleanUp, program, Running, temporaryFolder, until } from '../../support/cli.ts'
import { restoreAndVerify, startWriter, summaryOf, write } from '../../support/ledger.ts'

afterAll(() => cleanUp())

const hours = Number(process.env['TSREPLICATE_DAY_HOURS'] ?? 24)
const loadSeconds = Number(process.env['TSREPLICATE_DAY_LOAD_SECONDS'] ?? 25)
const idleDatabases = 20
/** What memory and descriptors may gain in a whole day, by their slope: noise, and not one descriptor in each step. */
const maxGainMib = 24
const maxHeapGainMib = 6
const maxGainDescriptors = 6

interface Sample {
  readonly hour: number
  readonly residentMib: number
  readonly heapMib: number
  readonly descriptors: number
  readonly threads: number
}

interface InspectorMessage {
  readonly id?: number
  readonly method?: string
  readonly params?: { readonly sessionId?: string }
}

test(`${hours} hours of mixed load in steps: memory and descriptors stay flat`, async () => {
  const folder = temporaryFolder()
  const at = (name: string): string => join(folder, name)
  const data = (name: string): string => at(`data/${name}.db`)
  const oracle = (name: string): string => at(`oracle-${name}`)
  mkdirSync(at('data'))
  for (let i = 0; i < idleDatabases; i += 1) createIdle(data(`idle-${i}`))
  createIdle(at('extra.db'))

  const configure = ({ withExtra }: { withExtra: boolean }): void => {
    const replicas = (name: string): object[] => [
      {
        name: 'near',
        path: at(`near/${name}`),
        'sync-interval': '100ms',
        'snapshot-interval': '10s',
        retention: '30s',
        'retention-check-interval': '3s',
        'validation-interval': '20s',
      },
      { name: 'far', path: at(`far/${name}`), 'sync-interval': '500ms' },
    ]
    const dbs = [
      { dir: at('data'), pattern: '*.db', replicas: replicas('data') },
      ...(withExtra ? [{ path: at('extra.db'), replicas: replicas('extra') }] : []),
    ]
    writeFileSync(at('c.yml'), JSON.stringify({ addr: '127.0.0.1:0', dbs }))
  }
  configure({ withExtra: false })
  const inspected = ['--inspect=127.0.0.1:0', program, 'replicate', '-config', at('c.yml')]
  // As in the systemd unit.
  const env = { MALLOC_ARENA_MAX: '2', MIMALLOC_PURGE_DELAY: '0' }
  const daemon = new Running('tsreplicate', process.execPath, inspected, env)
  await daemon.waitFor(/serving metrics on/)
  const inspector = /ws:\/\/\S+/.exec(daemon.stderr)?.[0] ?? ''
  const url = /url=(\S+)\/metrics/.exec(daemon.output)?.[1] ?? ''
  await daemon.waitFor(/snapshot written/, { times: idleDatabases * 2, timeoutMs: 60_000 })

  const samples: Sample[] = []
  let commits = 0
  let restores = 0
  for (let hour = 1; hour <= hours; hour += 1) {
    const writers = startApplications(hour, data, oracle)
    await sleep(loadSeconds * 200)

    renameSync(at('far'), at('far-away'))
    writeFileSync(at('far'), '')
    const guest = `guest-${hour}`
    await write({ db: data(guest), oracle: oracle(guest), count: 100, seed: hour })
    await daemon.waitFor(new RegExp(`snapshot written.*${guest}`), { timeoutMs: 60_000 })
    rmSync(at('far'))
    renameSync(at('far-away'), at('far'))
    for (const suffix of ['', '-wal', '-shm']) rmSync(data(guest) + suffix, { force: true })
    await daemon.waitFor(new RegExp(`no longer replicated.*${guest}`), {
      timeoutMs: 60_000,
    })
    for (const replica of ['near', 'far'])
      rmSync(at(`${replica}/data/${guest}.db`), { recursive: true, force: true })

    configure({ withExtra: hour % 2 === 1 })
    daemon.signal('SIGHUP')
    await daemon.waitFor(/configuration reloaded/, { times: hour, timeoutMs: 60_000 })

    for (const name of ['steady', 'hostile']) {
      const output = at('restored.db')
      await restoreAndVerify(at(`near/data/${name}.db`), output, oracle(name))
      for (const suffix of ['', '-wal', '-shm']) rmSync(output + suffix, { force: true })
      restores += 1
    }
    for (const writer of writers) commits += (await summaryOf(writer)).commits
    await atRest(url)
    await collectGarbage(inspector)
    const sample = await look(daemon, url, hour)
    samples.push(sample)
    console.log(
      `hour ${hour}: ${sample.residentMib.toFixed(0)} MiB resident, ${sample.heapMib.toFixed(1)} MiB of heap used, ` +
        `${sample.descriptors} descriptors, ${sample.threads} threads`,
    )
  }

  const flows = await totals(url)
  expect(await daemon.stop(), daemon.output.slice(-2000)).toBe(0)
  for (const replica of ['near', 'far']) {
    for (const name of ['steady', 'hostile', 'bursts']) {
      const output = at(`${replica}-${name}.db`)
      const { n } = await restoreAndVerify(at(`${replica}/data/${name}.db`), output, oracle(name))
      expect(n, `${name} from ${replica}`).toBe(rowsOf(data(name)))
    }
  }
  const settled = samples.slice(Math.floor(hours / 4))
  const slope = slopeOf(settled.map(({ residentMib }) => residentMib))
  const heapSlope = slopeOf(settled.map(({ heapMib }) => heapMib))
  const descriptors = settled.map((sample) => sample.descriptors)
  console.log(
    `a day in ${hours} steps: ${commits} commits, ${restores} restores meanwhile, ${flows}\n` +
      `memory: ${slope.toFixed(2)} MiB an hour (${(slope * 24).toFixed(1)} a day), ` +
      `heap used: ${heapSlope.toFixed(2)} MiB an hour; ` +
      `descriptors: ${Math.min(...descriptors)} to ${Math.max(...descriptors)}`,
  )
  expect(slope * 24).toBeLessThan(maxGainMib)
  expect(heapSlope * 24).toBeLessThan(maxHeapGainMib)
  expect(slopeOf(descriptors) * 24).toBeLessThan(maxGainDescriptors)
  expect(settled.at(-1)?.threads).toBe(settled[0]?.threads)
})

/** The applications of an hour: each opens its database anew, and closes it at the end. */
function startApplications(
  hour: number,
  data: (name: string) => string,
  oracle: (name: string) => string,
): Running[] {
  const of = (name: string): { db: string; oracle: string; seed: number; seconds: number } => ({
    db: data(name),
    oracle: oracle(name),
    seed: hour,
    seconds: loadSeconds,
  })
  return [
    startWriter({ ...of('steady'), rate: 50, shrinkChance: 0.01 }),
    startWriter({
      ...of('hostile'),
      rate: 30,
      rows: 3,
      payloadBytes: 2000,
      autocheckpoint: [0, 1, 10, 1000][hour % 4] ?? 1000,
      checkpointChance: 0.03,
      vacuumChance: 0.003,
      reopenChance: 0.02,
      shrinkChance: 0.05,
      schemaChance: 0.02,
    }),
    startWriter({
      ...of('bursts'),
      rate: 4,
      rows: 300,
      payloadBytes: 3000,
      shrinkChance: 0.2,
      keepRows: 1000,
      bigTransactionRows: 5000,
    }),
  ]
}

function createIdle(path: string): void {
  const database = new Database(path)
  database.pragma('journal_mode = wal')
  database.exec('CREATE TABLE t (n INTEGER PRIMARY KEY); INSERT INTO t VALUES (1)')
  database.close()
}

function rowsOf(path: string): number {
  const database = new Database(path, { readonly: true })
  try {
    return Number(database.prepare('SELECT max(n) FROM ledger').pluck().get())
  } finally {
    database.close()
  }
}

/** Waits until nothing is pending, and then longer than connections are kept after the last change. */
async function atRest(url: string): Promise<void> {
  const isStored = async (): Promise<boolean> => {
    const status = (await (await fetch(`${url}/api/status`)).json()) as DaemonDetails
    return status.databases.every(({ replicas }) =>
      replicas.every((replica) => replica.pendingBytes === 0),
    )
  }
  await until(isStored, 120_000, 'everything to be stored')
  await sleep(2500)
}

/**
 * In the main thread and in all others. Without it the memory goes up and down by 80 MiB, as V8 likes, and nothing slower
 * is seen: in a thread with little to do what has grown old is hardly ever collected by itself.
 */
async function collectGarbage(inspector: string): Promise<void> {
  const socket = new WebSocket(inspector)
  await once(socket, 'open')
  const answers = new Map<number, PromiseWithResolvers<undefined>>()
  const threads = new Map<string, PromiseWithResolvers<undefined>>()
  socket.addEventListener('message', ({ data }) => {
    const { id, method, params } = JSON.parse(String(data)) as InspectorMessage
    if (id !== undefined) answers.get(id)?.resolve(undefined)
    if (params?.sessionId === undefined) return
    if (method === 'NodeWorker.attachedToWorker')
      threads.set(params.sessionId, Promise.withResolvers())
    // Threads that build an image for a proof may end meanwhile.
    else threads.get(params.sessionId)?.resolve(undefined)
  })
  const call = async (method: string, params?: object): Promise<void> => {
    const id = answers.size + 1
    const answered = Promise.withResolvers<undefined>()
    answers.set(id, answered)
    socket.send(JSON.stringify({ id, method, params }))
    await answered.promise
  }
  await call('NodeWorker.enable', { waitForDebuggerOnStart: false })
  const message = JSON.stringify({ id: 1, method: 'HeapProfiler.collectGarbage' })
  for (const [sessionId, { promise }] of threads) {
    await call('NodeWorker.sendMessageToWorker', { sessionId, message })
    await promise
  }
  await call('HeapProfiler.collectGarbage')
  const closed = once(socket, 'close')
  socket.close()
  await closed
}

/** What the process holds: the least of some looks, because proofs of replicas go on. */
async function look({ pid }: Running, url: string, hour: number): Promise<Sample> {
  const seen: { descriptors: number; threads: number; residentMib: number }[] = []
  for (let i = 0; i < 16; i += 1) {
    const status = readFileSync(`/proc/${pid}/status`, 'utf8')
    seen.push({
      residentMib: Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1]) / 1024,
      descriptors: readdirSync(`/proc/${pid}/fd`).length,
      threads: Number(/Threads:\s+(\d+)/.exec(status)?.[1]),
    })
    await sleep(250)
  }
  const metrics = await (await fetch(`${url}/metrics`)).text()
  const least = (key: 'descriptors' | 'threads' | 'residentMib'): number =>
    Math.min(...seen.map((one) => one[key]))
  return {
    hour,
    residentMib: least('residentMib'),
    heapMib: Number(/^nodejs_heap_size_used_bytes (\S+)/m.exec(metrics)?.[1]) / 1024 / 1024,
    descriptors: least('descriptors'),
    threads: least('threads'),
  }
}

/** What has come due in all. */
async function totals(url: string): Promise<string> {
  const status = (await (await fetch(`${url}/api/status`)).json()) as DaemonDetails
  const sum = (key: string): number =>
    status.databases
      .flatMap(({ replicas }) => replicas)
      .reduce(
        (all, { totals: of }) =>
          all + Number(Object.entries(of).find(([k]) => k === key)?.[1] ?? 0),
        0,
      )
  return `${sum('deletedSnapshots')} snapshots and ${sum('deletedSegments')} segments deleted, ${sum('passedValidations')} restores proven`
}

/** The median of the slopes between all pairs (Theil and Sen), per step: single values that are off do not move it. */
function slopeOf(values: readonly number[]): number {
  const slopes = values.flatMap((a, i) => values.slice(i + 1).map((b, j) => (b - a) / (j + 1)))
  slopes.sort((a, b) => a - b)
  return slopes[Math.floor(slopes.length / 2)] ?? 0
}
