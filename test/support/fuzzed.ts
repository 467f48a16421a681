/** Random damage to what is read, each case made of its seed alone; another process runs them, so that one may hang or crash. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { type Readable } from 'node:stream'
import { expect } from 'vitest'
import { root } from './cli.ts'
import { Patience } from './patience.ts'

export type Fuzzed = 'replica' | 'wal' | 'trailer' | 'config'

/** What runs the cases, and where the seeds are kept that failed once: they are run each time, before all others. */
export interface FuzzPlace {
  readonly script: string
  readonly keptPath: string
}

const ours: FuzzPlace = {
  script: join(root, 'test/support/fuzz.mjs'),
  keptPath: join(root, 'test/fixtures/kept-seeds.json'),
}

type KeptSeeds = Readonly<Record<Fuzzed, readonly number[]>>

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

/** Runs so many cases, or the one of TSREPLICATE_FUZZ_SEED alone. Fails with the seeds of those that something is wrong with, and keeps them. */
export async function fuzz(kind: Fuzzed, count: number, place = ours): Promise<void> {
  const only = process.env.TSREPLICATE_FUZZ_SEED
  if (only !== undefined) {
    await runCases(kind, { firstSeed: Number(only), count: 1, place })
    return
  }
  for (const firstSeed of keptSeeds(place)[kind]) {
    await runCases(kind, { firstSeed, count: 1, place })
  }
  await runCases(kind, { firstSeed: 1, count, place })
}

function keptSeeds({ keptPath }: FuzzPlace): KeptSeeds {
  return JSON.parse(readFileSync(keptPath, 'utf8')) as KeptSeeds
}

function keep(kind: Fuzzed, seed: number | undefined, place: FuzzPlace): void {
  const kept = keptSeeds(place)
  if (seed === undefined || kept[kind].includes(seed)) return
  const now = { ...kept, [kind]: [...kept[kind], seed] }
  writeFileSync(place.keptPath, `${JSON.stringify(now, undefined, 2)}\n`)
}

async function runCases(
  kind: Fuzzed,
  {
    firstSeed,
    count,
    place,
  }: { readonly firstSeed: number; readonly count: number; readonly place: FuzzPlace },
): Promise<void> {
  const args = [place.script, kind, String(firstSeed), String(count)]
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'ignore', 'ignore', 'pipe'] })
  const exited = once(child, 'exit')
  const problems: string[] = []
  const complain = (what: string): void => {
    problems.push(`${kind} ${last.seed}: ${what}`)
    keep(kind, last.seed, place)
  }
  const say = (what: string): void => void process.stdout.write(`${kind}: ${what}\n`)
  let last: Said = {}
  let patience = new Patience(maxCaseMs)
  const watch = setInterval(() => {
    if (!patience.isOver) return
    complain('it hangs')
    child.kill('SIGKILL')
  }, 1000)
  try {
    for await (const line of createInterface({ input: child.stdio[3] as Readable })) {
      last = JSON.parse(line) as Said
      patience = new Patience(maxCaseMs)
      if (last.problem !== undefined) complain(last.problem)
      else if ((last.seed ?? 1) % saidEvery === 0) say(`seed ${last.seed}`)
    }
    await exited
  } finally {
    clearInterval(watch)
  }
  if (last.maxMebibytes === undefined) complain('the process ended')
  else if (count > saidEvery) say(`${count} cases in ${last.maxMebibytes} MiB`)
  const hint = `run one again with TSREPLICATE_FUZZ_SEED=N; it is kept in ${place.keptPath}`
  expect(problems, hint).toEqual([])
  expect(last.maxMebibytes).toBeLessThan(maxMebibytes)
  expect(last.isFolderLeft).toBe(false)
}
