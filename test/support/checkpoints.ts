/** An application that checkpoints after writes and pauses, and measures what each checkpoint cost it. */
import Database from 'better-sqlite3'
import { setTimeout as sleep } from 'node:timers/promises'

const kinds = ['PASSIVE', 'FULL', 'RESTART', 'TRUNCATE'] as const
const writeCounts = [0, 1, 5, 60]

export interface MeasuredCheckpoint {
  readonly kind: (typeof kinds)[number]
  readonly writes: number
  readonly pauseMs: number
  readonly ms: number
  readonly busy: boolean
}

/** Every kind after every count of writes, `rounds` times, with pauses of up to 1.5 s before and after the writes. */
export async function measureCheckpoints(
  path: string,
  rounds: number,
): Promise<MeasuredCheckpoint[]> {
  const measured: MeasuredCheckpoint[] = []
  const db = new Database(path, { timeout: 10_000 })
  try {
    db.pragma('wal_autocheckpoint = 0')
    db.exec('create table if not exists checkpointed (n integer primary key, filler blob)')
    const insert = db.prepare('insert into checkpointed (filler) values (randomblob(300))')
    for (let round = 0; round < rounds; round += 1) {
      for (const kind of kinds) {
        for (const writes of writeCounts) {
          const pauseMs = Math.random() < 0.3 ? 0 : Math.random() * 1500
          await sleep(Math.random() * pauseMs)
          for (let i = 0; i < writes; i += 1) insert.run()
          await sleep(pauseMs)
          const started = performance.now()
          const [row] = db.pragma(`wal_checkpoint(${kind})`) as { busy: number }[]
          const ms = performance.now() - started
          measured.push({ kind, writes, pauseMs, ms, busy: row!.busy !== 0 })
        }
      }
    }
  } finally {
    db.close()
  }
  return measured
}

/** One line of how they went. */
export function describeCheckpoints(measured: readonly MeasuredCheckpoint[]): string {
  const slowest = measured.toSorted((a, b) => b.ms - a.ms).slice(0, 3)
  return (
    `${measured.length} checkpoints, ${measured.filter(({ busy }) => busy).length} busy; the longest: ` +
    slowest
      .map(
        ({ kind, writes, pauseMs, ms }) =>
          `${kind} after ${writes} writes and ${Math.round(pauseMs)} ms: ${ms.toFixed(1)} ms`,
      )
      .join(', ')
  )
}
