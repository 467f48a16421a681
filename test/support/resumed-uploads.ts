/** What a start costs: daemons and applications that end and come back in every order, and what is stored because of it. */
import { join } from 'node:path'
import { writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { program, Running, until } from './cli.ts'
import { lastAcknowledged, startWriter, verifyLedger, write } from './ledger.ts'

export interface ResumedUploadsOptions {
  readonly folder: string
  readonly replica: Readonly<Record<string, unknown>>
  /** Credentials for it. */
  readonly env?: Readonly<Record<string, string>>
  readonly megabytes: number
  /** Transactions a second. */
  readonly rate: number
  readonly hasPageMap: boolean
  /** How long an upgrade takes. */
  readonly downSeconds: number
}

/** Of one round. */
export interface Resumed {
  readonly how: string
  readonly changedPages: number
  readonly storedBytes: number
  readonly snapshots: number
}

type Act = (uploads: ResumedUploads) => Promise<void>

/** What ends, and what comes back. */
export const rounds: Readonly<Record<string, Act>> = {
  'daemon restarted': async (each) => {
    await each.daemon.stop(120_000)
    await each.startDaemon()
  },
  'application restarted': async (each) => {
    await each.writer.stop()
    each.startWriter()
  },
  'both, the daemon first': async (each) => {
    await each.daemon.stop(120_000)
    await each.writer.stop()
    await each.startDaemon()
    each.startWriter()
  },
  'both, the application first': async (each) => {
    await each.writer.stop()
    await each.daemon.stop(120_000)
    each.startWriter()
    await each.startDaemon()
  },
  'kill -9 of both': async (each) => {
    await Promise.all([each.daemon.kill(), each.writer.kill()])
    each.startWriter()
    await each.startDaemon()
  },
  'an upgrade, with 10 MB written past it': async (each) => {
    await each.daemon.stop(120_000)
    await each.writer.stop()
    await each.write({ bigTransactionRows: 10_000, payloadBytes: 1000 })
    each.startWriter()
    await sleep(each.options.downSeconds * 1000)
    await each.startDaemon()
  },
}

export class ResumedUploads {
  readonly options: ResumedUploadsOptions
  readonly db: string
  readonly oracle: string
  daemon!: Running
  writer!: Running
  readonly #config: string
  #writers = 0
  #restores = 0

  constructor(options: ResumedUploadsOptions) {
    this.options = options
    this.db = join(options.folder, 'app.db')
    this.oracle = join(options.folder, 'oracle')
    this.#config = join(options.folder, 'tsreplicate.yml')
    const database = {
      path: this.db,
      'page-map': options.hasPageMap,
      replicas: [{ ...options.replica, 'sync-interval': '200ms' }],
    }
    writeFileSync(this.#config, JSON.stringify({ dbs: [database] }))
  }

  /** Makes the database, and everything is stored. */
  async begin(): Promise<void> {
    const rowBytes = 1000
    await this.write({
      bigTransactionRows: (this.options.megabytes * 1_000_000) / (rowBytes * 1.4),
      payloadBytes: rowBytes,
    })
    await this.startDaemon()
    await this.daemon.waitFor(/snapshot written/, { timeoutMs: 600_000 })
    this.startWriter()
  }

  async write(options: { bigTransactionRows: number; payloadBytes: number }): Promise<void> {
    await write({ ...this.#files, count: 1, keepRows: 1e9, ...options })
  }

  startWriter(): void {
    this.#writers += 1
    this.writer = startWriter({
      ...this.#files,
      rate: this.options.rate,
      seed: this.#writers,
      keepRows: 1e9,
    })
  }

  async startDaemon(): Promise<void> {
    this.daemon = this.#run('replicate', '-config', this.#config)
    await this.daemon.waitFor(/msg=resumed/, { timeoutMs: 600_000 })
  }

  /** Something ends and comes back; then everything is stored, and is the newest commit. */
  async round(act: Act): Promise<Resumed> {
    const before = await this.#snapshots()
    await act(this)
    const { output } = this.daemon
    const said = [...output.matchAll(/msg=resumed.*?how=(\w+)(?:.*?changedPages=(\d+) sz=(\d+))?/g)]
    const [, how = '', changedPages = '0', storedBytes = '0'] = said.at(-1) ?? []
    const written = lastAcknowledged(this.oracle)
    await until(() => lastAcknowledged(this.oracle) > written, 20_000, 'the application to go on')
    if (how === 'new') await this.daemon.waitFor(/snapshot written/, { timeoutMs: 600_000 })
    return {
      how,
      changedPages: Number(changedPages),
      storedBytes: Number(storedBytes),
      snapshots: (await this.#snapshots()) - before,
    }
  }

  /** Ends both, and proves that what is restored is the newest commit. */
  async end(): Promise<void> {
    await this.writer.stop()
    const code = await this.daemon.stop(600_000)
    if (code !== 0) throw new Error(`the daemon ended with ${code}:\n${this.daemon.output}`)
    this.#restores += 1
    const output = join(this.options.folder, `restored-${this.#restores}.db`)
    const restored = this.#run('restore', '-config', this.#config, '-o', output, this.db)
    if ((await restored.exit(600_000)) !== 0) throw new Error(restored.output)
    const { n } = verifyLedger(output, this.oracle, { maxRows: Number.POSITIVE_INFINITY })
    const wanted = lastAcknowledged(this.oracle)
    if (n < wanted) throw new Error(`row ${n} is restored, and ${wanted} was acknowledged`)
  }

  get #files(): { db: string; oracle: string } {
    return { db: this.db, oracle: this.oracle }
  }

  #run(...args: readonly string[]): Running {
    return new Running('tsreplicate', process.execPath, [program, ...args], this.options.env)
  }

  async #snapshots(): Promise<number> {
    const listing = this.#run('snapshots', '--json', '-config', this.#config, this.db)
    if ((await listing.exit(60_000)) !== 0) throw new Error(listing.output)
    return (JSON.parse(listing.stdout) as unknown[]).length
  }
}
