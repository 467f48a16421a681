/** The other half of `ledger-writer.mjs`: starts it, and proves that a database is one of its commits. */
import Database from 'better-sqlite3'
import { createHash } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { restore, root, Running } from './cli.ts'

export interface WriterOptions {
  readonly db: string
  readonly oracle: string
  readonly driver?: 'better-sqlite3' | 'node:sqlite'
  /** The URL of a replica, to which the writer replicates by the library. */
  readonly replicateTo?: string
  readonly rows?: number
  readonly payloadBytes?: number
  /** Transactions a second; 0: flat out. */
  readonly rate?: number
  readonly seed?: number
  readonly autocheckpoint?: number
  readonly synchronous?: 'OFF' | 'NORMAL' | 'FULL'
  readonly pageSize?: number
  readonly busyTimeoutMs?: number
  readonly checkpointChance?: number
  readonly checkpointKinds?: readonly ('PASSIVE' | 'FULL' | 'RESTART' | 'TRUNCATE')[]
  readonly vacuumChance?: number
  readonly reopenChance?: number
  readonly shrinkChance?: number
  readonly schemaChance?: number
  readonly compressible?: boolean
  readonly keepRows?: number
  readonly bigTransactionRows?: number
  readonly seconds?: number
  readonly count?: number
}

export interface WriterSummary {
  readonly n: number
  readonly commits: number
  readonly checkpoints: number
  /** Of the kinds that wait: FULL, RESTART and TRUNCATE. */
  readonly busyCheckpoints: number
  readonly busyPassive: number
  readonly maxCheckpointMs: number
  readonly slowest: readonly { readonly kind: string; readonly ms: number }[]
  readonly commitP50Ms: number
  readonly commitP999Ms: number
  readonly commitMaxMs: number
  /** Of a writer that replicates. */
  readonly notStored?: readonly unknown[]
}

export function startWriter(
  options: WriterOptions,
  env: Readonly<Record<string, string>> = {},
): Running {
  return new Running(
    'ledger writer',
    process.execPath,
    [join(root, 'test/support/ledger-writer.mjs'), JSON.stringify(options)],
    env,
  )
}

/** Waits for the writer's end and reads what it says of itself. */
export async function summaryOf(writer: Running, timeoutMs = 120_000): Promise<WriterSummary> {
  const code = await writer.exit(timeoutMs)
  if (code !== 0) throw new Error(`the writer ended with ${code}:\n${writer.output}`)
  return JSON.parse(writer.stdout.trim().split('\n').at(-1)!) as WriterSummary
}

/** Runs a writer of a limited count or time to its end. */
export async function write(options: WriterOptions): Promise<WriterSummary> {
  return summaryOf(startWriter(options))
}

export interface OracleLine {
  readonly n: number
  readonly hash: string
  readonly timeMs: number
}

/** The commits that were acknowledged, in order. A last line without its end is left out. */
export function readOracle(path: string): OracleLine[] {
  if (!existsSync(path)) return []
  const text = readFileSync(path, 'utf8')
  return text
    .slice(0, text.lastIndexOf('\n') + 1)
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const [n, hash, timeMs] = line.split(' ')
      return { n: Number(n), hash: hash!, timeMs: Number(timeMs) }
    })
}

/** The row number of the last acknowledged commit; 0: none. */
export function lastAcknowledged(oraclePath: string): number {
  return readOracle(oraclePath).at(-1)?.n ?? 0
}

interface Row {
  readonly n: number
  readonly prev: string
  readonly hash: string
  readonly payload: Buffer
}

/**
 * Throws unless the database is whole and exactly one commit of the writer: its chain is unbroken and its last row is
 * the last row of a commit in the oracle, or of the one after it, whose line was not yet written.
 */
export function verifyLedger(
  dbPath: string,
  oraclePath: string,
  { maxRows = 10_000 }: { maxRows?: number } = {},
): { n: number } {
  const db = new Database(dbPath, { fileMustExist: true })
  try {
    const integrity = db.pragma('integrity_check', { simple: true })
    if (integrity !== 'ok') throw new Error(`integrity_check of ${dbPath}: ${String(integrity)}`)
    let before: Row | undefined
    const rows = db.prepare<[], Row>('select n, prev, hash, payload from ledger order by n')
    for (const row of rows.iterate()) {
      const hash = createHash('sha256').update(`${row.n}|${row.prev}|`).update(row.payload)
      if (hash.digest('hex') !== row.hash) throw new Error(`row ${row.n} is not what was written`)
      if (before !== undefined && (before.n + 1 !== row.n || before.hash !== row.prev))
        throw new Error(`the chain is broken between rows ${before.n} and ${row.n}`)
      before = row
    }
    if (before === undefined) return { n: 0 }
    const { n, hash } = before
    const lines = readOracle(oraclePath)
    const newest = lines.at(-1)?.n ?? 0
    if (n > newest) {
      if (n > newest + maxRows) throw new Error(`row ${n} is far above the last commit, ${newest}`)
      return { n }
    }
    const line = lines.findLast((candidate) => candidate.n === n)
    if (line === undefined) throw new Error(`row ${n} is the last one of no commit`)
    if (line.hash !== hash) throw new Error(`row ${n} has another hash than its commit`)
    return { n }
  } finally {
    db.close()
  }
}

/** Restores the newest state and verifies it. */
export async function restoreAndVerify(
  replica: string,
  output: string,
  oracle: string,
  ...options: string[]
): Promise<{ n: number }> {
  await restore(replica, output, ...options)
  return verifyLedger(output, oracle)
}
