/** What every part of the bench shares: tools, rounds, medians and the table. */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { performance } from 'node:perf_hooks'
import { setTimeout as sleep } from 'node:timers/promises'
import { litestream, program, Running, until } from '../support/cli.ts'
import { findLitestream05 } from '../support/litestream05.ts'

export type Tool = 'nothing' | 'tsreplicate' | 'litestream 0.3.13' | 'litestream 0.5.17'

const litestream05 = process.env['TSREPLICATE_BENCH_LITESTREAM05']

/** The same, and where its path is not given, as pip installs it. Undefined: it is not to be had, and that is said. */
export function litestream05OrNone(): string | undefined {
  if (litestream05 !== undefined) return litestream05
  const found = findLitestream05()
  if ('path' in found) return found.path
  process.stderr.write(`litestream 0.5.17 is not measured: ${found.missing}\n`)
  return undefined
}

/** The replicating tools of this run: 0.5.17 where its path is given. */
export const tools: readonly Exclude<Tool, 'nothing'>[] = [
  'tsreplicate',
  'litestream 0.3.13',
  ...(litestream05 === undefined ? [] : (['litestream 0.5.17'] as const)),
]

export const rounds = Number(process.env['BENCH_ROUNDS'] ?? 3)
export const captureSeconds = Number(process.env['BENCH_SECONDS'] ?? 20)

/** Runs a command of a tool. */
export function startTool(tool: Exclude<Tool, 'nothing'>, ...args: string[]): Running {
  switch (tool) {
    case 'tsreplicate':
      return new Running(tool, process.execPath, [program, ...args])
    case 'litestream 0.3.13':
      return new Running(tool, litestream, args)
    case 'litestream 0.5.17':
      return new Running(tool, litestream05 ?? '', args)
  }
}

/** Waits until a replica folder holds its first object. */
export async function untilSnapshot(replica: string, timeoutMs = 300_000): Promise<void> {
  const finished = /(snapshots\/.*\.snapshot\.lz4|ltx\/.*\.ltx)$/
  await until(
    () =>
      existsSync(replica) &&
      readdirSync(replica, { recursive: true, encoding: 'utf8' }).some((name) =>
        finished.test(name),
      ),
    timeoutMs,
    `a snapshot in ${replica}`,
  )
}

/** User and system time of a process so far. */
export function cpuSeconds(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return (Number(fields[11]) + Number(fields[12])) / 100
}

/** The most resident memory that a process has had so far, in MiB; 0: it has ended. */
export function peakMemoryMib(pid: number): number {
  try {
    const kib = /VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]
    return Number(kib ?? 0) / 1024
  } catch {
    return 0
  }
}

export interface Run {
  readonly seconds: number
  readonly cpuSeconds: number
  readonly peakMib: number
}

/** Runs a process to its end, which must be a success. */
export async function measure(running: Running): Promise<Run> {
  const started = performance.now()
  let cpu = 0
  let peakMib = 0
  const ended = running.exit(1_800_000)
  while (!running.ended) {
    peakMib = Math.max(peakMib, peakMemoryMib(running.pid))
    try {
      cpu = cpuSeconds(running.pid)
    } catch {
      break
    }
    await Promise.race([ended, sleep(20)])
  }
  const seconds = (performance.now() - started) / 1000
  if ((await ended) !== 0) throw new Error(running.output)
  return { seconds, cpuSeconds: cpu, peakMib }
}

export interface Result {
  readonly what: string
  readonly unit: string
  readonly tool: Tool
  readonly median: number
  readonly values: readonly number[]
}

export class Results {
  readonly all: Result[] = []

  /** Takes down one figure: the values of all rounds. */
  note(what: string, unit: string, tool: Tool, values: readonly number[]): void {
    const sorted = [...values].sort((a, b) => a - b)
    const median = sorted[sorted.length >> 1] ?? Number.NaN
    this.all.push({ what, unit, tool, median, values })
    process.stderr.write(
      `${what}, ${tool}: ${median.toPrecision(4)} ${unit} (${values.map((value) => value.toPrecision(3)).join(', ')})\n`,
    )
  }

  /** One row a figure, with ours as a ratio of each other tool's. */
  table(): Record<string, Record<string, string>> {
    const rows: Record<string, Record<string, string>> = {}
    for (const { what, unit, tool, median } of this.all) {
      const row = (rows[`${what} (${unit})`] ??= {})
      row[tool] = median.toPrecision(3)
      const ours = this.#median(what, 'tsreplicate')
      if (tool !== 'tsreplicate' && ours !== undefined)
        row[`ours/${tool}`] = (ours / median).toFixed(2)
    }
    return rows
  }

  /** For programs: every figure with its ratio. */
  json(): unknown {
    return this.all.map((result) => {
      const ours = this.#median(result.what, 'tsreplicate')
      return { ...result, ratio: ours === undefined ? null : ours / result.median }
    })
  }

  #median(what: string, tool: Tool): number | undefined {
    return this.all.find((result) => result.what === what && result.tool === tool)?.median
  }
}
