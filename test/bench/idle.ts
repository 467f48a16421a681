import Database from 'better-sqlite3'
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { performance } from 'node:perf_hooks'
import { setTimeout as sleep } from 'node:timers/promises'
import { temporaryFolder, until } from '../support/cli.ts'
import { cpuSeconds, type Results, rounds, startTool, tools } from './measure.ts'

const idleSeconds = 20
/** What is left to do when all is stored: first checkpoints, connections and memory that are given back. */
const settleMs = 20_000

/** What many databases cost at which nothing happens: processor, memory, descriptors; and how long all of them take to be stored. */
export async function benchIdle(results: Results): Promise<void> {
  for (const count of [200, 1000]) {
    for (const tool of tools) {
      const figures: Record<string, number>[] = []
      for (let round = 0; round < Math.min(rounds, count > 200 ? 1 : 3); round += 1) {
        figures.push(await measureIdle(tool, count))
      }
      for (const what of Object.keys(figures[0] ?? {})) {
        const unit = what.startsWith('memory') ? 'MiB' : what.endsWith('descriptors') ? '' : 's'
        const values = figures.map((figure) => figure[what] ?? Number.NaN)
        results.note(`${what} of ${count} idle databases`, unit, tool, values)
      }
    }
  }
}

export async function measureIdle(
  tool: (typeof tools)[number],
  count: number,
  start = startTool,
): Promise<Record<string, number>> {
  const folder = temporaryFolder()
  const names = Array.from({ length: count }, (_, i) => `${i}.db`)
  mkdirSync(join(folder, 'data'))
  create(join(folder, 'template.db'))
  for (const name of names) copyFileSync(join(folder, 'template.db'), join(folder, 'data', name))
  const replica = (name: string): string => join(folder, 'replica', name)
  const config = join(folder, 'config.yml')
  const dbs = names.map((name) => ({
    path: join(folder, 'data', name),
    replicas: [{ type: 'file', path: replica(name) }],
  }))
  writeFileSync(config, JSON.stringify({ dbs }))
  const started = performance.now()
  const daemon = start(tool, 'replicate', '-config', config)
  const waiting = new Set(names)
  await until(
    () => {
      if (daemon.ended) throw new Error(daemon.output)
      for (const name of waiting) {
        if (hasSnapshot(replica(name))) waiting.delete(name)
        else break
      }
      return waiting.size === 0
    },
    300_000,
    'all to be stored',
  )
  const storedSeconds = (performance.now() - started) / 1000
  const startCpu = cpuSeconds(daemon.pid)
  await sleep(settleMs)
  const before = cpuSeconds(daemon.pid)
  await sleep(idleSeconds * 1000)
  const figures = {
    'time until stored': storedSeconds,
    'cpu until stored': startCpu,
    'cpu in 20 s': cpuSeconds(daemon.pid) - before,
    memory: memoryMib(daemon.pid),
    descriptors: readdirSync(`/proc/${daemon.pid}/fd`).length,
  }
  await daemon.stop(120_000)
  return figures
}

function create(path: string): void {
  const database = new Database(path)
  database.pragma('journal_mode = wal')
  database.exec('CREATE TABLE t (n INTEGER PRIMARY KEY, text TEXT); INSERT INTO t VALUES (1, 2)')
  database.close()
}

function hasSnapshot(replica: string): boolean {
  const generations = join(replica, 'generations')
  if (!existsSync(generations)) return existsSync(join(replica, 'ltx'))
  return readdirSync(generations).some((name) => {
    const snapshots = join(generations, name, 'snapshots')
    return existsSync(snapshots) && readdirSync(snapshots).some((file) => file.endsWith('.lz4'))
  })
}

function memoryMib(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  return Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1] ?? 0) / 1024
}
