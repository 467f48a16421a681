import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { cleanUp, litestream, root, Running, temporaryFolder } from '../support/cli.ts'
import installPackage, { installation } from '../support/installed.ts'
import { startWriter, summaryOf, write } from '../support/ledger.ts'
import { measureIdle } from './idle.ts'
import {
  captureSeconds,
  litestream05OrNone,
  measure,
  type Results,
  type Run,
  rounds,
  type Tool,
  untilSnapshot,
} from './measure.ts'

/** What is left to do when all is stored: memory and threads that are given back. */
const settleMs = 20_000
const manyDatabases = 1000
const mib = 1024 * 1024

interface Program {
  readonly tool: Exclude<Tool, 'nothing'>
  /** File or folder. */
  readonly installed: string
  readonly command: readonly [string, ...string[]]
}

/**
 * What having and running each tool takes: as installed from the tarball, beside the binaries of Litestream. The size of
 * tsreplicate is without that of Node.js. 0.5.17 restores what it stored itself, the two others what 0.3.13 stored.
 */
export async function benchFootprint(results: Results): Promise<void> {
  execFileSync('npm', ['run', '--silent', 'bundle'], { cwd: root })
  installPackage()
  const modules = join(installation, 'node_modules')
  const path05 = litestream05OrNone()
  const programs: readonly Program[] = [
    {
      tool: 'tsreplicate',
      installed: modules,
      command: [process.execPath, join(modules, '.bin/tsreplicate')],
    },
    { tool: 'litestream 0.3.13', installed: litestream, command: [litestream] },
    ...(path05 === undefined
      ? []
      : [{ tool: 'litestream 0.5.17', installed: path05, command: [path05] } as const]),
  ]
  for (const { tool, installed } of programs) {
    results.note('installed', 'MiB', tool, [sizeOf(installed) / mib])
    results.note('installed packages', '', tool, [packagesIn(installed)])
  }
  for (const program of programs) {
    const { tool } = program
    const versions = await repeated(() => measure(start(program, 'version')))
    results.note('start-up of version', 's', tool, secondsOf(versions))
    for (const [what, [unit, values]] of await besideOneDatabase(program)) {
      results.note(what, unit, tool, values)
    }
    const many = await measureIdle(tool, manyDatabases, (_, ...args) => start(program, ...args))
    results.note(`memory of ${manyDatabases} idle databases`, 'MiB', tool, [many['memory'] ?? NaN])
    const descriptors = (many['descriptors'] ?? NaN) / manyDatabases
    results.note('descriptors of each of them', '', tool, [descriptors])
    await cleanUp()
  }
  await restores(results, programs)
}

const start = ({ tool, command: [command, ...first] }: Program, ...args: string[]): Running =>
  new Running(tool, command, [...first, ...args])

async function repeated<T>(work: () => Promise<T>): Promise<readonly T[]> {
  const all: T[] = []
  for (let round = 0; round < rounds; round += 1) all.push(await work())
  return all
}

const secondsOf = (runs: readonly Run[]): readonly number[] => runs.map(({ seconds }) => seconds)

/** Resident memory of a daemon at rest, and beside 200 transactions a second of 20 rows. */
async function besideOneDatabase(
  program: Program,
): Promise<Map<string, readonly [unit: string, readonly number[]]>> {
  const seen = await repeated(async () => {
    const folder = temporaryFolder()
    const [db, oracle] = [join(folder, 'app.db'), join(folder, 'oracle')]
    const replica = join(folder, 'replica')
    await write({ db, oracle, count: 10 })
    const daemon = start(program, 'replicate', db, `file://${replica}`)
    await untilSnapshot(replica)
    await sleep(settleMs)
    const idle = residentMib(daemon)
    const descriptors = readdirSync(`/proc/${daemon.pid}/fd`).length
    const load = { seconds: captureSeconds, rate: 200, rows: 20, payloadBytes: 300 }
    const writer = startWriter({ db, oracle, ...load })
    const beside: number[] = []
    while (!writer.ended) {
      beside.push(residentMib(daemon))
      await sleep(500)
    }
    await summaryOf(writer)
    await daemon.stop(120_000)
    await cleanUp()
    const later = beside.slice(beside.length >> 1)
    return { idle, descriptors, busy: later.reduce((sum, each) => sum + each, 0) / later.length }
  })
  return new Map([
    ['memory of an idle database', ['MiB', seen.map(({ idle }) => idle)]],
    ['descriptors of its daemon', ['', seen.map(({ descriptors }) => descriptors)]],
    ['memory beside 200 transactions a second', ['MiB', seen.map(({ busy }) => busy)]],
  ])
}

async function restores(results: Results, programs: readonly Program[]): Promise<void> {
  const folder = temporaryFolder()
  const output = join(folder, 'out.db')
  const stored = new Map<string, string>()
  for (const program of programs.filter(({ tool }) => tool !== 'tsreplicate')) {
    const at = (name: string): string =>
      join(folder, `${program.tool}-${name}`.replaceAll(' ', '-'))
    const replica = at('replica')
    const rows = { db: at('app.db'), oracle: at('oracle'), rows: 100, payloadBytes: 4400 }
    await write({ ...rows, count: 300 })
    const daemon = start(program, 'replicate', rows.db, `file://${replica}`)
    await untilSnapshot(replica)
    await write({ ...rows, count: 600, rate: 40 })
    await sleep(3000)
    await daemon.stop(120_000)
    stored.set(program.tool, `file://${replica}`)
  }
  for (const program of programs) {
    const replica = stored.get(program.tool) ?? stored.get('litestream 0.3.13') ?? ''
    const runs = await repeated(async () => {
      const run = await measure(start(program, 'restore', '-o', output, replica))
      rmSync(output)
      return run
    })
    results.note('restore of 150 + 300 MB', 's', program.tool, secondsOf(runs))
    const peaks = runs.map(({ peakMib }) => peakMib)
    results.note('restore of 150 + 300 MB: memory', 'MiB', program.tool, peaks)
  }
  await cleanUp()
}

function residentMib({ pid }: Running): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  return Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1] ?? 0) / 1024
}

function sizeOf(path: string): number {
  const stat = statSync(path)
  if (!stat.isDirectory()) return stat.size
  const names = readdirSync(path, { recursive: true, encoding: 'utf8' })
  return names.reduce((sum, name) => sum + statSync(join(path, name)).blocks * 512, 0)
}

/** A binary is one. */
function packagesIn(path: string): number {
  if (!statSync(path).isDirectory()) return 1
  const lock = JSON.parse(readFileSync(join(path, '.package-lock.json'), 'utf8')) as {
    readonly packages: Readonly<Record<string, unknown>>
  }
  return Object.keys(lock.packages).length
}
