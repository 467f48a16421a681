/** A history that was recorded at a long sync interval, and moments of it that must be hit. */
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { expect } from 'vitest'
import { restore, start, temporaryFolder, writeConfig } from './cli.ts'
import {
  type OracleLine,
  readOracle,
  startWriter,
  summaryOf,
  verifyLedger,
  write,
} from './ledger.ts'
import { onThisMachine } from './patience.ts'

export interface RecordedHistory {
  readonly folder: string
  readonly oracle: string
  readonly replica: string
  /** Those that were made while the daemon ran. */
  readonly commits: readonly OracleLine[]
}

/** Commits for so many seconds beside a daemon with a sync interval of 5 s. */
export async function recordHistory(options: {
  seconds: number
  rate: number
}): Promise<RecordedHistory> {
  const folder = temporaryFolder()
  const db = join(folder, 'app.db')
  const oracle = join(folder, 'oracle')
  const replica = join(folder, 'replica')
  await write({ db, oracle, count: 1 })
  const config = writeConfig(folder, { path: db, replicas: [replica], syncInterval: '5s' })
  const daemon = start('replicate', '-config', config)
  await daemon.waitFor(/snapshot written/)
  const writer = startWriter({ db, oracle, ...options, autocheckpoint: 20, shrinkChance: 0.02 })
  await summaryOf(writer, options.seconds * 1000 + 60_000)
  expect(await daemon.stop()).toBe(0)
  return { folder, oracle, replica, commits: readOracle(oracle).slice(1) }
}

/** Capturing may see a commit this much later than it was made, on a quiet machine. */
const quietToleranceMs = 100

/** Restores random moments between the first commit and the last, and expects of each the commit that was the last one then. */
export async function expectMomentsHit(
  { folder, oracle, commits }: RecordedHistory,
  replica: string,
  momentCount: number,
): Promise<void> {
  const toleranceMs = onThisMachine(quietToleranceMs)
  const firstMs = commits[0]!.timeMs + toleranceMs
  const lastMs = commits.at(-1)!.timeMs
  for (let i = 0; i < momentCount; i += 1) {
    const momentMs = Math.floor(firstMs + Math.random() * (lastMs - firstMs))
    const moment = new Date(momentMs).toISOString()
    const output = join(folder, `moment-${i}.db`)
    const report = await restore(replica, output, '-timestamp', moment)
    const { n } = verifyLedger(output, oracle)
    rmSync(output)
    const at = commits.findIndex((commit) => commit.n === n)
    // The line of the oracle comes after the commit, so that the commit may be a little older than it says.
    expect(commits[at]!.timeMs, `${moment} gave commit ${n}`).toBeLessThan(momentMs + toleranceMs)
    const next = commits[at + 1]?.timeMs ?? Infinity
    expect(next, `${moment} gave commit ${n}`).toBeGreaterThan(momentMs - toleranceMs)
    expect(report.commitTimeMs).toBeLessThanOrEqual(momentMs)
  }
}
