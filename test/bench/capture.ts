import { statSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { cleanUp, temporaryFolder } from '../support/cli.ts'
import {
  startWriter,
  summaryOf,
  write,
  type WriterOptions,
  type WriterSummary,
} from '../support/ledger.ts'
import {
  captureSeconds,
  cpuSeconds,
  type Results,
  rounds,
  startTool,
  type Tool,
  tools,
  untilSnapshot,
} from './measure.ts'

const figures = {
  [`capture of ${captureSeconds} s: CPU`]: 's',
  'capture: peak size of the WAL': 'MiB',
  'commit latency p50': 'ms',
  'commit latency p99.9': 'ms',
  'commit latency max': 'ms',
} as const

/** 200 transactions a second of 20 rows of 300 bytes with an index, beside each tool and beside nothing, in turns. */
export async function benchCapture(results: Results): Promise<void> {
  const all: readonly Tool[] = ['nothing', ...tools]
  const taken = new Map(all.map((tool) => [tool, [] as (readonly number[])[]]))
  for (let round = 0; round < rounds; round++) {
    for (const tool of all) taken.get(tool)?.push(await captureOnce(tool))
  }
  for (const [tool, values] of taken) {
    Object.entries(figures).forEach(([what, unit], i) => {
      if (tool === 'nothing' && i === 0) return
      results.note(
        what,
        unit,
        tool,
        values.map((figure) => figure[i] ?? Number.NaN),
      )
    })
  }
}

const fullSpeedFigures = {
  'full speed: peak size of the WAL': 'MiB',
  'full speed: written by the application': 'MiB/s',
  'full speed: commit latency p50': 'ms',
  'full speed: commit latency p99.9': 'ms',
  'full speed: commit latency max': 'ms',
} as const

/** 100 rows of 4 KB in each transaction, one after the other without a pause, beside each tool and beside nothing. */
export async function benchFullSpeed(results: Results): Promise<void> {
  const rows = 100
  const payloadBytes = 4000
  for (const tool of ['nothing', ...tools] as const) {
    const values: (readonly number[])[] = []
    for (let round = 0; round < rounds; round++) {
      const { peakBytes, summary } = await captureBeside(tool, {
        rows,
        payloadBytes,
        shrinkChance: 0.02,
        keepRows: 20_000,
      })
      const writtenBytes = summary.commits * rows * payloadBytes
      values.push([
        peakBytes / 1024 / 1024,
        writtenBytes / 1024 / 1024 / captureSeconds,
        summary.commitP50Ms,
        summary.commitP999Ms,
        summary.commitMaxMs,
      ])
    }
    Object.entries(fullSpeedFigures).forEach(([what, unit], i) => {
      results.note(
        what,
        unit,
        tool,
        values.map((figure) => figure[i] ?? Number.NaN),
      )
    })
  }
}

/** The figures in their order. */
async function captureOnce(tool: Tool): Promise<readonly number[]> {
  const { cpu, peakBytes, summary } = await captureBeside(tool, {
    rate: 200,
    rows: 20,
    payloadBytes: 300,
  })
  const { commitP50Ms, commitP999Ms, commitMaxMs } = summary
  return [cpu, peakBytes / 1024 / 1024, commitP50Ms, commitP999Ms, commitMaxMs]
}

async function captureBeside(
  tool: Tool,
  options: Omit<WriterOptions, 'db' | 'oracle' | 'seconds'>,
): Promise<{ cpu: number; peakBytes: number; summary: WriterSummary }> {
  const folder = temporaryFolder()
  const db = join(folder, 'app.db')
  const oracle = join(folder, 'oracle')
  const replica = join(folder, 'replica')
  await write({ db, oracle, count: 10 })
  const daemon =
    tool === 'nothing' ? undefined : startTool(tool, 'replicate', db, `file://${replica}`)
  if (daemon !== undefined) await untilSnapshot(replica)
  const before = daemon === undefined ? 0 : cpuSeconds(daemon.pid)
  const writer = startWriter({ db, oracle, seconds: captureSeconds, ...options })
  let peakBytes = 0
  while (!writer.ended) {
    peakBytes = Math.max(peakBytes, statSync(`${db}-wal`, { throwIfNoEntry: false })?.size ?? 0)
    await sleep(100)
  }
  const summary = await summaryOf(writer)
  const cpu = daemon === undefined ? 0 : cpuSeconds(daemon.pid) - before
  await daemon?.stop(300_000)
  await cleanUp()
  return { cpu, peakBytes, summary }
}
