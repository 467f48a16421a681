/**
 * Several databases under one daemon, whose applications do what they like while it is down and while it takes its
 * first look. A generation goes on exactly when nothing was lost to the daemon.
 */
import { existsSync, mkdirSync, readdirSync, readlinkSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { sameSalts } from '../../src/domain/wal/wal-format.ts'
import { Application, type CheckpointKind } from './application.ts'
import { type Captured, lookAtCaptured, saltsOf, walSalts } from './captured.ts'
import { program, Running, until } from './cli.ts'
import { logOf, restoreHere } from './crash-arena.ts'
import { verifyLedger } from './ledger.ts'
import { Patience } from './patience.ts'

const kinds: readonly CheckpointKind[] = ['PASSIVE', 'FULL', 'RESTART', 'TRUNCATE']

interface Lane {
  readonly db: string
  readonly oracle: string
  readonly replica: string
  readonly application: Application
  newest: number
}

/** What a process has open. */
function openFiles(pid: number): Set<string> {
  const folder = `/proc/${pid}/fd`
  return new Set(
    readdirSync(folder).flatMap((name) => {
      try {
        return [readlinkSync(join(folder, name))]
      } catch {
        // Closed meanwhile.
        return []
      }
    }),
  )
}

/** Timers are too coarse. */
function spin(ms: number): void {
  const end = performance.now() + ms
  while (performance.now() < end);
}

export class DownTime {
  readonly #folder: string
  readonly #random: () => number
  readonly #lanes: readonly Lane[]
  #daemon: Running
  #restores = 0
  readonly #counts = new Map<string, number>()

  static async begin(
    folder: string,
    { databases, random }: { databases: number; random: () => number },
  ): Promise<DownTime> {
    const lanes = Array.from({ length: databases }, (_, number): Lane => {
      const db = join(folder, `${number}.db`)
      const oracle = join(folder, `${number}.oracle`)
      const application = new Application(db, oracle)
      application.append(5)
      return { db, oracle, replica: join(folder, `${number}.replica`), application, newest: 0 }
    })
    mkdirSync(join(folder, 'out'))
    const dbs = lanes.map(({ db, replica }) => ({
      path: db,
      'min-checkpoint-page-count': 50,
      replicas: [{ path: replica, 'sync-interval': '50ms' }],
    }))
    const logging = { level: 'debug', type: 'json' }
    writeFileSync(join(folder, 'tsreplicate.yml'), JSON.stringify({ dbs, logging }))
    const downTime = new DownTime(folder, lanes, random)
    for (const lane of lanes) await downTime.#arrive(lane)
    return downTime
  }

  private constructor(folder: string, lanes: readonly Lane[], random: () => number) {
    this.#folder = folder
    this.#lanes = lanes
    this.#random = random
    this.#daemon = this.#start()
  }

  get databases(): number {
    return this.#lanes.length
  }

  /** What became of the generations, and how often. */
  get summary(): string {
    return [...this.#counts].map(([what, count]) => `${what}: ${count}`).join('\n')
  }

  /** The daemon is killed, everybody goes on, and it is started again. */
  async round(): Promise<void> {
    for (const { application } of this.#lanes) {
      for (let n = this.#pick(4); n > 0; n -= 1) application.append(1 + this.#pick(5))
    }
    await sleep(this.#random() * 100)
    if (this.#random() < 0.2) await this.#daemon.stop()
    else await this.#daemon.kill()
    for (const { application } of this.#lanes) {
      for (let n = this.#pick(4); n > 0; n -= 1) this.#act(application)
      // The tail that the daemon has not seen is copied back: its reader will hold no frame of the WAL.
      if (this.#random() < 0.3) {
        application.append()
        application.checkpoint('PASSIVE')
      }
    }
    const before = this.#lanes.map(({ db }) => lookAtCaptured(db))
    this.#daemon = this.#start()
    if (this.#random() < 0.5) await this.#strike()
    else await this.#goOn()
    for (const [index, lane] of this.#lanes.entries()) {
      lane.application.append()
      await this.#arrive(lane)
      this.#judge(lane, before[index]!)
    }
  }

  /** Everybody goes on while the daemon starts. */
  async #goOn(): Promise<void> {
    const deadline = Date.now() + 900
    while (Date.now() < deadline && this.#random() < 0.9) {
      await sleep(this.#random() * 60)
      this.#act(this.#lanes[this.#pick(this.#lanes.length)]!.application)
    }
  }

  /** The first write since the daemon was killed comes within its first look, which may restart the WAL under it. */
  async #strike(): Promise<void> {
    const patience = new Patience(20_000)
    const waiting = new Set(this.#lanes)
    while (waiting.size > 0 && !patience.isOver) {
      const open = openFiles(this.#daemon.pid)
      for (const lane of waiting) {
        if (!open.has(`${lane.db}-wal`)) continue
        waiting.delete(lane)
        spin(this.#random() * 12)
        lane.application.append()
      }
      await sleep(1)
    }
  }

  async end(): Promise<void> {
    const code = await this.#daemon.stop()
    if (code !== 0) throw new Error(`the daemon ended with ${code}:\n${this.#daemon.output}`)
    for (const lane of this.#lanes) {
      lane.application.close()
      await this.#arrive(lane)
    }
  }

  #start(): Running {
    const config = join(this.#folder, 'tsreplicate.yml')
    const args = [program, 'replicate', '-config', config]
    return new Running('tsreplicate', process.execPath, args)
  }

  #pick(below: number): number {
    return Math.floor(this.#random() * below)
  }

  #act(application: Application): void {
    const what = this.#random()
    if (what < 0.5) application.append(1 + this.#pick(8))
    else if (what < 0.8) application.checkpoint(kinds[this.#pick(kinds.length)]!)
    else if (what < 0.9) application.close()
    else application.vacuum()
  }

  /** Waits until the newest commit is restored. */
  async #arrive(lane: Lane): Promise<void> {
    const wanted = lane.application.last
    await until(
      async () => {
        if (!existsSync(lane.replica)) return false
        if (lane.newest === 0 && !this.#hasSnapshot(lane)) return false
        this.#restores += 1
        const output = join(this.#folder, 'out', `${this.#restores}.db`)
        await restoreHere(lane.replica, output)
        const { n } = verifyLedger(output, lane.oracle)
        rmSync(output)
        if (n < lane.newest) {
          throw new Error(`${lane.replica} restores row ${n}, and had restored ${lane.newest}`)
        }
        lane.newest = n
        return n === wanted
      },
      60_000,
      () => `row ${wanted} of ${lane.db}:\n${this.#daemon.output}`,
    )
  }

  #hasSnapshot({ db }: Lane): boolean {
    return logOf(this.#daemon).some((line) => line.db === db && line.msg === 'snapshot written')
  }

  #judge({ db }: Lane, before: Captured): void {
    const lines = logOf(this.#daemon).filter((line) => line.db === db)
    const begun = lines.find(({ msg }) => msg === 'new generation')
    const what = begun === undefined ? 'the generation went on' : `new generation, ${begun.reason}`
    this.#counts.set(what, (this.#counts.get(what) ?? 0) + 1)
    if (begun === undefined) {
      // Else the page map tells.
      const isByWal = lines.some(({ msg, how }) => msg === 'resumed' && how === 'proven')
      if (!before.goesOn && isByWal) {
        throw new Error(`${db}: it went on though that cannot be proven`)
      }
      return
    }
    if (begun.reason === undefined) throw new Error(`${db}: no reason is given`)
    if (!before.goesOn || before.last === undefined) return
    const salts = walSalts(db)
    if (salts !== undefined && sameSalts(salts, saltsOf(before.last))) {
      throw new Error(`${db}: a generation too many: ${JSON.stringify(begun)}`)
    }
  }
}
