/**
 * A database with a writer, its daemon, a real store and the proxy between the two: what every test of faults does, and
 * what has to hold whatever the fault was.
 */
import { randomUUID } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect } from 'vitest'
import { formatWalSegmentName } from '../../../src/domain/stored/replica-layout.ts'
import { program, Running, temporaryFolder, until } from '../cli.ts'
import { lastAcknowledged, startWriter, summaryOf, verifyLedger, write } from '../ledger.ts'
import { type FaultProxy, type Rule, startFaultProxy } from './fault-proxy.ts'
import { type Place } from './places.ts'

type Settings = Readonly<Record<string, unknown>>

export interface SceneOptions {
  /** Rows of about 4.4 KB that are there before the daemon starts: 2400 are a snapshot of three parts of 5 MiB. */
  readonly rows?: number
  /** Of the replica. */
  readonly settings?: Settings
  /** Arguments of Node.js, for the daemon. */
  readonly nodeArguments?: readonly string[]
}

/** A record of the daemon's log. */
export interface LogRecord {
  readonly level: string
  readonly msg: string
  readonly position?: string
  readonly hint?: string
  readonly err?: { readonly message: string }
}

/** The longest that a commit of the application may take on a machine that is busy with tests. */
const longestCommitMs = 3000
export const recoveryMs = 30_000

export class Scene implements AsyncDisposable {
  readonly place: Place
  readonly proxy: FaultProxy
  readonly path = `faults/${randomUUID()}`
  readonly folder = temporaryFolder()
  readonly db = join(this.folder, 'app.db')
  readonly oracle = join(this.folder, 'oracle')
  readonly #config = join(this.folder, 'config.yml')
  readonly #options: SceneOptions
  readonly #running: Running[] = []
  #daemon: Running | undefined
  #writer: Running | undefined

  private constructor(place: Place, proxy: FaultProxy, options: SceneOptions) {
    this.place = place
    this.proxy = proxy
    this.#options = options
    this.configure()
  }

  static async open(place: Place, options: SceneOptions = {}): Promise<Scene> {
    const scene = new Scene(place, await startFaultProxy(place.endpoint), options)
    const { db, oracle } = scene
    await write({ db, oracle, count: 5 })
    const bulk = Math.ceil((options.rows ?? 0) / 100)
    if (bulk > 0) await write({ db, oracle, count: bulk, rows: 100, payloadBytes: 4400 })
    return scene
  }

  /** Writes the configuration: with other settings of the replica, of the whole, and of the database. */
  configure(settings: Settings = {}, whole: Settings = {}, database: Settings = {}): void {
    const replica = {
      ...this.place.through(this.proxy.endpoint).replica(this.path),
      'sync-interval': '100ms',
      'part-size': '5MiB',
      ...this.#options.settings,
      ...settings,
    }
    const config = {
      logging: { type: 'json' },
      'shutdown-timeout': '40s',
      ...whole,
      dbs: [{ path: this.db, ...database, replicas: [replica] }],
    }
    writeFileSync(this.#config, JSON.stringify(config))
  }

  get daemon(): Running {
    if (this.#daemon === undefined) throw new Error('the daemon was not started')
    return this.#daemon
  }

  startDaemon(): Running {
    const nodeArguments = this.#options.nodeArguments ?? []
    const place = this.place.through(this.proxy.endpoint)
    this.#daemon = this.#start(place, 'replicate', ['-config', this.#config], nodeArguments)
    return this.#daemon
  }

  startWriter(options: { readonly rate: number } = { rate: 20 }): void {
    const { db, oracle } = this
    this.#writer = startWriter({ db, oracle, rows: 2, payloadBytes: 1000, ...options })
    this.#running.push(this.#writer)
  }

  /** Ends the writer, which must not have noticed anything. */
  async stopWriter(): Promise<void> {
    const writer = this.#writer
    if (writer === undefined) throw new Error('the writer was not started')
    writer.child.kill('SIGTERM')
    const { commits, commitMaxMs } = await summaryOf(writer)
    expect(commits).toBeGreaterThan(0)
    expect(commitMaxMs).toBeLessThan(longestCommitMs)
  }

  /** Runs a command against the store, past the proxy unless told otherwise. */
  async command(name: string, args: readonly string[], place = this.place): Promise<Running> {
    const replica = place.replica(this.path)
    const config = join(this.folder, `${randomUUID()}.yml`)
    writeFileSync(config, JSON.stringify({ dbs: [{ path: this.db, replicas: [replica] }] }))
    const running = this.#start(place, name, ['-config', config, ...args, this.db])
    await running.exit(120_000)
    return running
  }

  /** Restores what is stored and proves that it is one commit; returns which. */
  async restore(place = this.place): Promise<number> {
    const output = join(this.folder, `${randomUUID()}.db`)
    const running = await this.command('restore', ['-o', output], place)
    expect(running.child.exitCode, running.output).toBe(0)
    return verifyLedger(output, this.oracle).n
  }

  get records(): LogRecord[] {
    return this.daemon.stdout
      .split('\n')
      .filter((line) => line.startsWith('{'))
      .map((line) => JSON.parse(line) as LogRecord)
  }

  get problems(): LogRecord[] {
    return this.records.filter(({ level }) => level === 'ERROR' || level === 'WARN')
  }

  async snapshotWritten(timeoutMs = recoveryMs): Promise<void> {
    await until(
      () => this.daemon.count(/"snapshot written"/) > 0,
      timeoutMs,
      () => `a snapshot; the daemon printed:\n${this.#printed()}`,
    )
  }

  async replicating(): Promise<void> {
    await this.snapshotWritten()
    await this.stores('before the fault')
  }

  /** Waits until a segment is stored that was not stored at the call. */
  async stores(when: string, timeoutMs = recoveryMs): Promise<void> {
    const before = this.daemon.count(/wal segment written/)
    await until(
      () => this.daemon.count(/wal segment written/) > before,
      timeoutMs,
      () => `something to be stored ${when}; the daemon printed:\n${this.#printed()}`,
    )
  }

  /** Lets a fault last for a while, and until it has happened. */
  async suffer(rule: Rule, forMs: number): Promise<void> {
    let times = 0
    this.proxy.follow((request) => {
      const fault = rule(request)
      if (fault !== undefined) times += 1
      return fault
    })
    await sleep(forMs)
    await until(
      () => times > 0,
      recoveryMs,
      () => `the fault to happen; the daemon printed:\n${this.#printed()}`,
    )
  }

  /** What has to hold at the end, with the fault over: all is stored, and nothing was said to be that is not. */
  async expectAllStored(startedAtMs: number): Promise<void> {
    await this.stopWriter()
    const code = await this.daemon.stop()
    expect(code, this.#printed()).toBe(0)
    this.expectQuietLog(startedAtMs)
    await this.expectNothingFalse()
    expect(await this.restore()).toBe(lastAcknowledged(this.oracle))
  }

  /** At most one line in 30 s for what is one problem. */
  expectQuietLog(startedAtMs: number): void {
    const allowed = 1 + Math.floor((performance.now() - startedAtMs) / 30_000)
    const lines = this.problems.map((problem) => JSON.stringify(problem))
    expect(lines.length, lines.join('\n')).toBeLessThanOrEqual(allowed)
  }

  /** Everything that the log calls written is there. */
  async expectNothingFalse(): Promise<void> {
    const keys = await this.place.keys(this.path)
    const named = this.records.filter(({ msg }) => msg === 'wal segment written')
    for (const { position = '' } of named) {
      const [, generation = '', index = '', offset = ''] =
        /^([0-9a-f]{16})\/([0-9a-f]{8}):(\d+)$/.exec(position) ?? []
      const name = formatWalSegmentName({ index: parseInt(index, 16), offset: Number(offset) })
      expect(keys).toContain(`generations/${generation}/wal/${name}`)
    }
    const snapshots = this.records.filter(({ msg }) => msg === 'snapshot written')
    expect(keys.filter((key) => key.includes('/snapshots/')).length).toBeGreaterThanOrEqual(
      snapshots.length,
    )
  }

  /** What went wrong in the daemon, and its last words. */
  #printed(): string {
    const lines = this.daemon.output.trim().split('\n')
    return [
      ...this.problems.map((problem) => JSON.stringify(problem)),
      '…',
      ...lines.slice(-5),
    ].join('\n')
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const running of this.#running) if (!running.ended) await running.kill()
    await this.proxy[Symbol.asyncDispose]()
  }

  #start(
    place: Place,
    command: string,
    args: readonly string[],
    nodeArguments: readonly string[] = [],
  ): Running {
    const all = [...nodeArguments, program, command, ...args]
    const running = new Running(`tsreplicate ${command}`, process.execPath, all, place.env)
    this.#running.push(running)
    return running
  }
}
