/**
 * `npm run bench [-- --json]`: tsreplicate beside Litestream 0.3.13 on this machine. Medians of three.
 *
 * - restore: wall time for a database of 150 MB and 300 MB of WAL on top
 * - capture: CPU seconds of the daemon and peak WAL size for 20 s of 200 transactions a second
 * - commit: the application's commit latency beside nothing, ours and theirs
 */
import { readFileSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { performance } from 'node:perf_hooks'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  cleanUp,
  litestream,
  run,
  runLitestream,
  Running,
  start,
  temporaryFolder,
  type Outcome,
} from '../support/cli.ts'
import { startWriter, summaryOf, write } from '../support/ledger.ts'

const json = process.argv.includes('--json')
const rounds = Number(process.env['BENCH_ROUNDS'] ?? 3)
const captureSeconds = Number(process.env['BENCH_SECONDS'] ?? 20)

interface Result {
  readonly what: string
  readonly tool: string
  readonly value: number
  readonly unit: string
}

const results: Result[] = []

function note(what: string, tool: string, values: readonly number[], unit: string): void {
  const value = [...values].sort((a, b) => a - b)[values.length >> 1]!
  results.push({ what, tool, value: Number(value.toPrecision(4)), unit })
  process.stderr.write(`${what}, ${tool}: ${value.toPrecision(4)} ${unit}\n`)
}

async function timed(work: () => Promise<Outcome>): Promise<number> {
  const before = performance.now()
  const { code, stderr } = await work()
  if (code !== 0) throw new Error(stderr)
  return (performance.now() - before) / 1000
}

/** User and system time of a process so far. */
function cpuSeconds(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return (Number(fields[11]) + Number(fields[12])) / 100
}

type Tool = 'nothing' | 'tsreplicate' | 'litestream 0.3.13'

function startTool(tool: Tool, db: string, replica: string): Running | undefined {
  if (tool === 'nothing') return undefined
  return tool === 'tsreplicate'
    ? start('replicate', db, `file://${replica}`)
    : new Running('litestream', litestream, ['replicate', db, `file://${replica}`])
}

async function benchRestore(): Promise<void> {
  const folder = temporaryFolder()
  const db = join(folder, 'app.db')
  const oracle = join(folder, 'oracle')
  const replica = join(folder, 'replica')
  await write({ db, oracle, count: 300, rows: 100, payloadBytes: 4400 })
  const daemon = start('replicate', db, `file://${replica}`)
  await daemon.waitFor(/snapshot written/, { timeoutMs: 120_000 })
  await write({ db, oracle, count: 600, rows: 100, payloadBytes: 4400, rate: 20 })
  if ((await daemon.stop(120_000)) !== 0) throw new Error(daemon.output)
  const output = join(folder, 'out.db')
  const what: [string, string, () => Promise<Outcome>][] = [
    [
      'restore, no check',
      'tsreplicate',
      () => run('restore', '-o', output, '-integrity-check', 'none', `file://${replica}`),
    ],
    [
      'restore, quick_check',
      'tsreplicate',
      () => run('restore', '-o', output, '-integrity-check', 'quick', `file://${replica}`),
    ],
    [
      'restore, no check',
      'litestream 0.3.13',
      () => runLitestream('restore', '-o', output, `file://${replica}`),
    ],
  ]
  for (const [name, tool, work] of what) {
    const times: number[] = []
    for (let i = 0; i < rounds; i++) {
      times.push(await timed(work))
      rmSync(output)
    }
    note(name, tool, times, 's')
  }
  await cleanUp()
}

async function benchCapture(): Promise<void> {
  for (const tool of ['nothing', 'tsreplicate', 'litestream 0.3.13'] as const) {
    const cpu: number[] = []
    const wal: number[] = []
    const p50: number[] = []
    const p999: number[] = []
    for (let i = 0; i < rounds; i++) {
      const folder = temporaryFolder()
      const db = join(folder, 'app.db')
      const oracle = join(folder, 'oracle')
      await write({ db, oracle, count: 10 })
      const daemon = startTool(tool, db, join(folder, 'replica'))
      await daemon?.waitFor(/snapshot written/)
      const before = daemon === undefined ? 0 : cpuSeconds(daemon.pid)
      const writer = startWriter({
        db,
        oracle,
        rate: 200,
        rows: 20,
        payloadBytes: 300,
        seconds: captureSeconds,
      })
      let peak = 0
      while (!writer.ended) {
        peak = Math.max(peak, statSync(`${db}-wal`, { throwIfNoEntry: false })?.size ?? 0)
        await sleep(100)
      }
      const summary = await summaryOf(writer)
      if (daemon !== undefined) cpu.push(cpuSeconds(daemon.pid) - before)
      wal.push(peak / 1024 / 1024)
      p50.push(summary.commitP50Ms)
      p999.push(summary.commitP999Ms)
      await daemon?.stop()
      await cleanUp()
    }
    if (cpu.length > 0) note(`CPU for ${captureSeconds} s of writes`, tool, cpu, 's')
    note('peak size of the WAL', tool, wal, 'MiB')
    note('commit latency p50', tool, p50, 'ms')
    note('commit latency p99.9', tool, p999, 'ms')
  }
}

try {
  await benchRestore()
  await benchCapture()
} finally {
  await cleanUp()
}
if (json) process.stdout.write(`${JSON.stringify(results, undefined, 2)}\n`)
else console.table(results.sort((a, b) => a.what.localeCompare(b.what)))
