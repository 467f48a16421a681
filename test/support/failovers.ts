/**
 * Fail-overs of two hosts whose clocks differ: one replicates and writes, dies or loses its network, the other restores,
 * takes over and writes, and so on, to and fro. After each, a restore is the newest commit of the one that took over last.
 */
import { randomUUID } from 'node:crypto'
import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect } from 'vitest'
import { Application } from './application.ts'
import { program, Running, temporaryFolder } from './cli.ts'
import { type Elsewhere } from './elsewhere.ts'
import { Host } from './hosts.ts'
import { lastAcknowledged, readOracle, verifyLedger } from './ledger.ts'
import { seeded } from './random.ts'
import { type ReplicaPlace } from './two-writers.ts'

export interface FailoverOptions {
  readonly place: ReplicaPlace
  /** Of the store on this machine's loopback; undefined: a folder, to which there is no network. */
  readonly storePort: number | undefined
  readonly rounds: number
  readonly seed: number
}

const secondMs = 1000
const minuteMs = 60 * secondMs
const clocksMs = [-60, -10, -1, -25 / 60, 0, 25 / 60, 1, 10, 60].map(
  (minutes) => minutes * minuteMs,
)
/** A restore of what was committed has to be there after this long. */
const storedMs = 30 * secondMs

/** A host with its disk: a database, its application, and the daemon. */
class Side {
  readonly host: Host
  readonly db: string
  readonly oracle: string
  readonly config: string
  daemon: Elsewhere | undefined
  app: Application | undefined

  constructor(host: Host, replica: Readonly<Record<string, unknown>>) {
    this.host = host
    this.db = join(host.folder, 'app.db')
    this.oracle = join(host.folder, 'oracle')
    this.config = join(host.folder, 'config.yml')
    const dbs = [{ path: this.db, replicas: [{ ...replica, 'sync-interval': '100ms' }] }]
    writeFileSync(this.config, JSON.stringify({ dbs, logging: { level: 'debug' } }))
  }

  startDaemon(): void {
    this.daemon = this.host.start('replicate', '-config', this.config)
  }

  write(commits: number): void {
    this.app ??= new Application(this.db, this.oracle)
    for (let i = 0; i < commits; i += 1) this.app.append(1 + (i % 3))
  }

  /** The whole host ends at once. */
  async die(): Promise<void> {
    await this.host.restart()
    this.app?.close()
    this.app = undefined
  }

  /** Puts another disk in, or one on which only the local state is left. */
  loseDatabase({ all }: { all: boolean }): void {
    for (const suffix of ['', '-wal', '-shm']) rmSync(`${this.db}${suffix}`, { force: true })
    if (all) rmSync(join(this.host.folder, '.app.db-litestream'), { recursive: true, force: true })
  }
}

export interface FailoverSummary {
  rounds: number
  cut: number
  waited: number
  slowestMs: number
}

export async function failOver(options: FailoverOptions): Promise<FailoverSummary> {
  const { place, storePort, rounds, seed } = options
  const random = seeded(seed)
  const pick = <T>(values: readonly T[]): T => values[Math.floor(random() * values.length)]!
  const replica = place.replica(`failover/${randomUUID()}`)
  const outputs = temporaryFolder()
  const summary: FailoverSummary = { rounds: 0, cut: 0, waited: 0, slowestMs: 0 }
  const common = { env: place.env, storePort }
  await using hostA = await Host.start('a', { ...common, aheadMs: pick(clocksMs) })
  await using hostB = await Host.start('b', { ...common, aheadMs: pick(clocksMs) })
  let [active, other] = [new Side(hostA, replica), new Side(hostB, replica)] as const
  const story: string[] = []
  const tell = (text: string): void => void story.push(text)

  /** A restore by somebody with the right time; undefined: refused. */
  const restored = async (): Promise<{ n: number } | { refused: string }> => {
    const path = join(outputs, randomUUID())
    const config = active.config
    const args = ['restore', '-config', config, '-o', path, active.db]
    const run = new Running('restore', process.execPath, [program, ...args], place.env)
    if ((await run.exit(minuteMs)) !== 0) return { refused: run.output }
    const { n } = verifyLedger(path, active.oracle)
    rmSync(path)
    return { n }
  }
  /** Waits until a restore is the newest commit. It never goes back meanwhile, and is always one of this lineage. */
  const untilNewest = async (from: number): Promise<void> => {
    const startedMs = performance.now()
    const last = lastAcknowledged(active.oracle)
    for (let before = from; ; await sleep(100)) {
      const found = await restored()
      const tookMs = performance.now() - startedMs
      if ('n' in found) {
        expect(found.n, 'a restore went back').toBeGreaterThanOrEqual(before)
        before = found.n
        if (found.n === last) {
          summary.slowestMs = Math.max(summary.slowestMs, tookMs)
          return
        }
      }
      if (tookMs < storedMs) continue
      throw new Error(`the newest commit, ${last}, cannot be restored: ${JSON.stringify(found)}`)
    }
  }

  try {
    active.write(3)
    active.startDaemon()
    await untilNewest(0)
    for (let round = 1; round <= rounds; round += 1) {
      tell(`round ${round}: ${active.host.name} at ${active.host.clock.aheadMs / secondMs} s`)
      // What is stored for sure, then what may be lost with the host.
      let stored = lastAcknowledged(active.oracle)
      if (random() < 0.3) {
        active.host.clock.set(pick(clocksMs))
        tell(`its clock is set to ${active.host.clock.aheadMs / secondMs} s`)
        active.write(2)
        await untilNewest(stored)
        stored = lastAcknowledged(active.oracle)
      }
      active.write(Math.floor(random() * 4))
      if (random() < 0.5) {
        await untilNewest(stored)
        stored = lastAcknowledged(active.oracle)
        summary.waited += 1
      }
      const isCut = storePort !== undefined && random() < 0.5
      const former = active
      if (isCut) {
        summary.cut += 1
        former.host.cut()
        former.write(3)
      } else await former.die()
      tell(
        `${isCut ? 'cut off' : 'dead'} with ${stored} stored of ${lastAcknowledged(former.oracle)}`,
      )

      other.loseDatabase({ all: random() < 0.5 })
      other.host.clock.set(pick(clocksMs))
      tell(`${other.host.name} at ${other.host.clock.aheadMs / secondMs} s`)
      const restore = other.host.start('restore', '-config', other.config, other.db)
      expect(await restore.exit(minuteMs), restore.output).toBe(0)
      const { n } = verifyLedger(other.db, former.oracle)
      expect(n, 'the new owner starts with less than was stored').toBeGreaterThanOrEqual(stored)
      tell(`restored ${n}`)
      const lines = readOracle(former.oracle).filter((line) => line.n <= n)
      writeFileSync(
        other.oracle,
        lines.map((line) => `${line.n} ${line.hash} ${line.timeMs}\n`).join(''),
      )
      ;[active, other] = [other, former]
      active.startDaemon()
      active.write(1 + Math.floor(random() * 5))
      await untilNewest(n)
      if (isCut) {
        former.host.join()
        former.write(2)
        // It sees that it was taken over before it writes, or ends for another reason.
        await untilNewest(lastAcknowledged(active.oracle))
        await former.die()
      }
      summary.rounds += 1
    }
    return summary
  } catch (error) {
    const log = [active, other].map(({ host, daemon }) => `${host.name}:\n${daemon?.output}`)
    throw new Error(`${String(error)}\nseed ${seed}\n${story.join('\n')}\n${log.join('\n')}`, {
      cause: error,
    })
  } finally {
    for (const { app } of [active, other]) app?.close()
  }
}
