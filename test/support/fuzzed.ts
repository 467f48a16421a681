/** Random damage to what is read, each case made of its seed alone; another process runs them, so that one may hang or crash. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { type Readable } from 'node:stream'
import { expect } from 'vitest'
import { root } from './cli.ts'
import { Patience } from './patience.ts'

export type Fuzzed = 'replica' | 'wal' | 'trailer' | 'config'

/** Seeds that failed once, and are run each time. */
const kept: Readonly<Record<Fuzzed, readonly number[]>> = {
  replica: [],
  wal: [],
  trailer: [],
  config: [],
}

const maxMebibytes = 300
/** How often a run of very many says where it is. */
const saidEvery = 1000
/** A case that takes longer hangs. */
const maxCaseMs = 20_000

interface Said {
  readonly seed?: number
  readonly problem?: string
  readonly maxMebibytes?: number
  readonly isFolderLeft?: boolean
}

/** Runs so many cases, or the one of TSREPLICATE_FUZZ_SEED alone. Fails with the seeds of those that something is wrong with. */
export async function fuzz(kind: Fuzzed, count: number): Promise<void> {
  const only = process.env.TSREPLICATE_FUZZ_SEED
  if (only !== undefined) {
    await runCases(kind, Number(only), 1)
    return
  }
  for (const seed of kept[kind]) await runCases(kind, seed, 1)
  await runCases(kind, 1, count)
}

async function runCases(kind: Fuzzed, firstSeed: number, count: number): Promise<void> {
  const args = [join(root, 'test/support/fuzz.mjs'), kind, String(firstSeed), String(count)]
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'ignore', 'ignore', 'pipe'] })
  const exited = once(child, 'exit')
  const problems: string[] = []
  const say = (what: string): void => void process.stdout.write(`${kind}: ${what}\n`)
  let last: Said = {}
  let patience = new Patience(maxCaseMs)
  const watch = setInterval(() => {
    if (!patience.isOver) return
    problems.push(`${kind} ${last.seed}: it hangs`)
    child.kill('SIGKILL')
  }, 1000)
  try {
    for await (const line of createInterface({ input: child.stdio[3] as Readable })) {
      last = JSON.parse(line) as Said
      patience = new Patience(maxCaseMs)
      if (last.problem !== undefined) problems.push(`${kind} ${last.seed}: ${last.problem}`)
      else if ((last.seed ?? 1) % saidEvery === 0) say(`seed ${last.seed}`)
    }
    await exited
  } finally {
    clearInterval(watch)
  }
  if (last.maxMebibytes === undefined) problems.push(`${kind} ${last.seed}: the process ended`)
  else if (count > saidEvery) say(`${count} cases in ${last.maxMebibytes} MiB`)
  expect(problems, 'run one again with TSREPLICATE_FUZZ_SEED=N, and keep it in fuzzed.ts').toEqual(
    [],
  )
  expect(last.maxMebibytes).toBeLessThan(maxMebibytes)
  expect(last.isFolderLeft).toBe(false)
}
