// An application: appends a hash chain to a database through better-sqlite3 or node:sqlite and, after each commit, a line
// `n hash timeMs` to an oracle file. With `replicateTo`, it replicates the database itself, by the library. Options are one JSON argument; prints a summary as JSON and ends on SIGTERM.
import { Buffer } from 'node:buffer'
import { createHash } from 'node:crypto'
import { appendFileSync, closeSync, existsSync, openSync, readFileSync, writeSync } from 'node:fs'
import process from 'node:process'
import { performance } from 'node:perf_hooks'
import { setImmediate as turn, setTimeout as sleep } from 'node:timers/promises'

const options = {
  driver: 'better-sqlite3',
  /** The URL of a replica. */
  replicateTo: undefined,
  rows: 1,
  payloadBytes: 200,
  rate: 0,
  seed: 1,
  autocheckpoint: 1000,
  synchronous: 'NORMAL',
  pageSize: 4096,
  busyTimeoutMs: 30_000,
  checkpointChance: 0,
  checkpointKinds: ['PASSIVE', 'FULL', 'RESTART', 'TRUNCATE'],
  vacuumChance: 0,
  reopenChance: 0,
  shrinkChance: 0,
  schemaChance: 0,
  compressible: false,
  keepRows: 200,
  /** Rows of one big transaction at the start, on top of everything else. */
  bigTransactionRows: 0,
  seconds: undefined,
  count: undefined,
  ...JSON.parse(process.argv[2] ?? '{}'),
}

let state = options.seed >>> 0 || 1
/** A number in [0, 1), the same ones for the same seed. */
function random() {
  state = (state + 0x6d2b79f5) >>> 0
  let t = state
  t = Math.imul(t ^ (t >>> 15), t | 1)
  t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
  return ((t ^ (t >>> 14)) >>> 0) / 4294967296
}

const noise = Buffer.alloc(options.payloadBytes + 65_536)
if (!options.compressible) for (let i = 0; i < noise.length; i++) noise[i] = random() * 256

function payload() {
  const start = Math.floor(random() * 65_536)
  return noise.subarray(start, start + options.payloadBytes)
}

const connect =
  options.driver === 'node:sqlite'
    ? await import('node:sqlite').then(({ DatabaseSync }) => (path, { timeout }) => {
        const db = new DatabaseSync(path, { timeout })
        db.pragma = (text) => db.prepare(`pragma ${text}`).all()
        return db
      })
    : await import('better-sqlite3').then(
        ({ default: Database }) =>
          (path, settings) =>
            new Database(path, settings),
      )

function open() {
  const db = connect(options.db, { timeout: options.busyTimeoutMs })
  db.pragma(`page_size = ${options.pageSize}`)
  db.pragma('journal_mode = WAL')
  db.pragma(`synchronous = ${options.synchronous}`)
  db.pragma(`wal_autocheckpoint = ${options.autocheckpoint}`)
  db.exec(
    `create table if not exists ledger(n integer primary key, prev text, hash text, payload blob);
     create index if not exists ledger_hash on ledger(hash)`,
  )
  return db
}

let db = open()
const oracle = openSync(options.oracle, 'a')
let last = db.prepare('select n, hash from ledger order by n desc limit 1').get() ?? {
  n: 0,
  hash: '',
}

function record() {
  writeSync(oracle, `${last.n} ${last.hash} ${Date.now()}\n`)
}

// Killed between a commit and its line: the line is written now.
if (last.n > 0) {
  const lines = existsSync(options.oracle)
    ? readFileSync(options.oracle, 'utf8').trim().split('\n')
    : []
  if (Number(lines.at(-1)?.split(' ')[0] ?? 0) < last.n) record()
}

function appendRows(count) {
  const insert = db.prepare('insert into ledger values (?, ?, ?, ?)')
  let { n, hash } = last
  for (let i = 0; i < count; i++) {
    const body = payload()
    const prev = hash
    n++
    hash = createHash('sha256').update(`${n}|${prev}|`).update(body).digest('hex')
    insert.run(n, prev, hash, body)
  }
  return { n, hash }
}

const checkpoints = []
const latencies = []
let commits = 0
let stopping = false
let tables = 0
process.on('SIGTERM', () => (stopping = true))

/** One transaction: rows, and now and then a deletion or a change of the schema along with them. */
function transact(rows) {
  const shrink = random() < options.shrinkChance
  const schema = random() < options.schemaChance
  const start = performance.now()
  db.exec('begin immediate')
  const next = appendRows(rows)
  if (shrink) db.prepare('delete from ledger where n <= ?').run(next.n - options.keepRows)
  if (schema) db.exec(`create table if not exists extra${process.pid}_${tables++ % 50}(a, b)`)
  db.exec('commit')
  latencies.push(performance.now() - start)
  last = next
  commits++
  record()
}

function checkpoint() {
  const kind = options.checkpointKinds[Math.floor(random() * options.checkpointKinds.length)]
  const start = performance.now()
  const [result] = db.pragma(`wal_checkpoint(${kind})`)
  checkpoints.push({ kind, ms: performance.now() - start, busy: result.busy !== 0 })
}

function quantile(sorted, q) {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))] ?? 0
}

const library =
  options.replicateTo === undefined ? undefined : (await import('./library.mjs')).library
const replication =
  library === undefined
    ? undefined
    : await library.replicate(await library.configFromUrls(options.db, [options.replicateTo]))
process.stdout.write(
  `${JSON.stringify({ event: 'ready', n: last.n, enginePid: replication?.pid })}\n`,
)
if (options.bigTransactionRows > 0) transact(options.bigTransactionRows)
const started = performance.now()
let firstRound = true
for (;;) {
  if (stopping) break
  if (options.count !== undefined && commits >= options.count) break
  if (options.seconds !== undefined && performance.now() - started >= options.seconds * 1000) break
  if (options.rate > 0) {
    const due = started + (commits / options.rate) * 1000
    const wait = due - performance.now()
    if (wait > 0) await sleep(Math.min(wait, 250))
    if (performance.now() < due && !firstRound) continue
  } else if (commits % 16 === 0) {
    await turn()
  }
  firstRound = false
  transact(options.rows)
  if (random() < options.checkpointChance) checkpoint()
  if (random() < options.vacuumChance) db.exec('vacuum')
  if (random() < options.reopenChance) {
    db.close()
    db = open()
  }
}

latencies.sort((a, b) => a - b)
const summary = {
  event: 'done',
  n: last.n,
  commits,
  checkpoints: checkpoints.length,
  busyCheckpoints: checkpoints.filter(({ kind, busy }) => busy && kind !== 'PASSIVE').length,
  // PASSIVE never waits: while another process copies pages back, it answers busy at once.
  busyPassive: checkpoints.filter(({ kind, busy }) => busy && kind === 'PASSIVE').length,
  maxCheckpointMs: Math.max(0, ...checkpoints.map(({ ms }) => ms)),
  slowest: checkpoints.sort((a, b) => b.ms - a.ms).slice(0, 3),
  commitP50Ms: quantile(latencies, 0.5),
  commitP999Ms: quantile(latencies, 0.999),
  commitMaxMs: latencies.at(-1) ?? 0,
}
closeSync(oracle)
if (replication !== undefined) {
  // The last commit is captured beside a connection that stays open, and one that is closed.
  if (random() < 0.5) db.close()
  summary.notStored = await replication.stop()
}
if (db.isOpen ?? db.open) db.close()
if (options.summary !== undefined) appendFileSync(options.summary, `${JSON.stringify(summary)}\n`)
process.stdout.write(`${JSON.stringify(summary)}\n`)
