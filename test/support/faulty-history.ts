/**
 * A database with a writer, its daemon, and a store that is not what it says. While it runs, the daemon is asked how it
 * stands: whenever it says that it is ready, what a reader of the store finds at that moment is kept, restored and
 * compared with what the application had committed.
 */
import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type DaemonDetails } from '../../src/domain/status.ts'
import { messageOf } from '../../src/kit/error-text.ts'
import { run, type Running, start, temporaryFolder } from './cli.ts'
import {
  lastAcknowledged,
  readOracle,
  startWriter,
  summaryOf,
  verifyLedger,
  write,
  type WriterOptions,
} from './ledger.ts'
import { type Faults, faultyBucket, type FaultyS3, startFaultyS3 } from './stores/faulty-s3.ts'

export interface HistoryOptions {
  /** What happens from the start of the daemon on. */
  readonly faults: Faults
  readonly faultsForMs: number
  readonly writer?: Partial<WriterOptions>
  /** Of the replica. */
  readonly settings?: Readonly<Record<string, unknown>>
  /** Of the whole. */
  readonly whole?: Readonly<Record<string, unknown>>
  /** Restarts of the daemon meanwhile, each killed. */
  readonly kills?: number
}

export interface HistoryResult {
  readonly commits: number
  /** How often the daemon was asked, said that it is ready, and was held to it. */
  readonly asked: number
  readonly ready: number
  readonly restored: number
  /** From the end of the faults until all is stored and known to be. */
  readonly recoveredMs: number
  readonly generations: number
}

/** A limit that is soon reached. */
const maxLagMs = 3000
const syncIntervalMs = 200
/** Until a commit is noticed, its line is in the oracle, and an answer is on its way, on a machine that is busy with tests. */
const slackMs = 2500
const recoveryMs = 30_000

/** Throws when a promise was broken: with what happened in the store and what the daemon said. */
export async function runHistory(options: HistoryOptions): Promise<HistoryResult> {
  await using store = await startFaultyS3()
  const history = new History(store, options)
  try {
    return await history.run()
  } catch (error) {
    const daemon = history.daemon?.output.trim().split('\n') ?? []
    const message = messageOf(error)
    throw new Error(
      [message, 'the store:', ...store.events, 'the daemon:', ...daemon.slice(-150)].join('\n'),
      { cause: error },
    )
  }
}

class History {
  readonly #store: FaultyS3
  readonly #options: HistoryOptions
  readonly #folder = temporaryFolder()
  readonly #db = join(this.#folder, 'app.db')
  readonly #oracle = join(this.#folder, 'oracle')
  readonly #config = join(this.#folder, 'tsreplicate.yml')
  daemon: Running | undefined
  #url = ''
  #kept = 0
  #asked = 0
  #ready = 0
  #restored = 0

  constructor(store: FaultyS3, options: HistoryOptions) {
    this.#store = store
    this.#options = options
  }

  async run(): Promise<HistoryResult> {
    const { faults, faultsForMs, kills = 0 } = this.#options
    this.#configure()
    await this.#write({ count: 5 })
    this.#store.follow(faults)
    await this.#startDaemon()
    const writer = startWriter({
      db: this.#db,
      oracle: this.#oracle,
      rate: 25,
      payloadBytes: 500,
      ...this.#options.writer,
    })
    const startedAt = performance.now()
    const past = (): number => performance.now() - startedAt
    let killed = 0
    while (past() < faultsForMs) {
      await this.#holdToIt()
      if (past() > (faultsForMs * (killed + 1)) / (kills + 1) && killed < kills) {
        killed += 1
        await this.daemon?.kill()
        await this.#startDaemon()
      }
      await sleep(150)
    }
    this.#store.follow({})
    while (!this.#store.isSettled) {
      await this.#holdToIt()
      await sleep(150)
    }
    const calmAt = performance.now()
    writer.child.kill('SIGTERM')
    const { commits } = await summaryOf(writer)
    await this.#recovered()
    const recoveredMs = performance.now() - calmAt
    await this.#write({ count: 3 })
    const daemon = this.#daemon()
    const code = await daemon.stop()
    if (code !== 0) throw new Error(`the daemon ended with ${code}`)
    const n = await this.#restore(this.#keep())
    const newest = lastAcknowledged(this.#oracle)
    if (n !== newest) throw new Error(`at the end: ${n}, and the newest commit is ${newest}`)
    return {
      commits,
      asked: this.#asked,
      ready: this.#ready,
      restored: this.#restored,
      recoveredMs,
      generations: daemon.count(/msg="new generation"/),
    }
  }

  /**
   * Asks the daemon how it stands. If it says that it is ready, everything older than it says must be there. What is newer
   * may be lost without its knowledge, and then a restore of the newest is refused, and names what is there: all that is
   * older.
   */
  async #holdToIt(): Promise<void> {
    const askedAtMs = Date.now()
    const status = await this.#status()
    if (status === undefined) return
    this.#asked += 1
    const replica = status.databases[0]?.replicas[0]
    if (status.notReady.length > 0 || replica === undefined) return
    this.#ready += 1
    const { confirmedLagMs } = replica
    const provenMs = askedAtMs - Math.min(maxLagMs + syncIntervalMs, confirmedLagMs)
    const wanted = readOracle(this.#oracle).findLast(({ timeMs }) => timeMs <= provenMs - slackMs)
    if (wanted === undefined) return
    const bucket = this.#keep()
    const said = `ready, ${confirmedLagMs} ms behind`
    let outcome = await this.#restore(bucket)
    if (typeof outcome === 'string' && confirmedLagMs > 0) {
      outcome = await this.#restore(bucket, '-timestamp', new Date(provenMs - 1).toISOString())
    }
    // A lost segment may hold a commit of that moment: then the last one before it is named, with how to get it.
    const named = / -generation (\S+) -index (\S+) /.exec(String(outcome))
    if (named?.[1] !== undefined && named[2] !== undefined && confirmedLagMs > 0) {
      outcome = await this.#restore(bucket, '-generation', named[1], '-index', named[2])
    }
    if (typeof outcome === 'string') throw new Error(`${said}: ${outcome}`)
    if (outcome < wanted.n) {
      throw new Error(`${said}: ${outcome} was restored, and ${wanted.n} is older`)
    }
    this.#store.drop(bucket)
    this.#restored += 1
  }

  async #status(): Promise<DaemonDetails | undefined> {
    try {
      const answer = await fetch(`${this.#url}/api/status`)
      return JSON.parse(await answer.text()) as DaemonDetails
    } catch {
      return undefined
    }
  }

  /** Until the daemon says that all is stored, and it is. */
  async #recovered(): Promise<void> {
    const newest = lastAcknowledged(this.#oracle)
    const deadline = performance.now() + recoveryMs
    let last: unknown
    for (;;) {
      const status = await this.#status()
      const replica = status?.databases[0]?.replicas[0]
      if (status?.notReady.length === 0 && replica?.confirmedLagMs === 0) {
        const bucket = this.#keep()
        const n = await this.#restore(bucket)
        this.#store.drop(bucket)
        if (n === newest) return
        // What was committed last may not have been noticed yet.
        last = `${n} of ${newest}`
      } else {
        last = status?.notReady
      }
      if (performance.now() > deadline) {
        throw new Error(
          `not recovered ${recoveryMs} ms after the faults: ${JSON.stringify(last)}; ${JSON.stringify(replica)}`,
        )
      }
      await sleep(200)
    }
  }

  #keep(): string {
    this.#kept += 1
    const bucket = `kept-${this.#kept}`
    this.#store.keep(bucket)
    return bucket
  }

  /** Restores what was kept and proves that it is one commit; returns which, or why it was refused. */
  async #restore(bucket: string, ...target: string[]): Promise<number | string> {
    const output = join(this.#folder, `${bucket}.db`)
    const config = join(this.#folder, `${bucket}.yml`)
    const replica = this.#replica(this.#store.keptEndpoint, bucket)
    writeFileSync(config, JSON.stringify({ dbs: [{ path: this.#db, replicas: [replica] }] }))
    const args = ['-config', config, '-o', output, ...target, this.#db]
    const { code, stderr } = await run('restore', ...args)
    if (code !== 0) return `restore ${target.join(' ')} ended with ${code}:\n${stderr}`
    const { n } = verifyLedger(output, this.#oracle)
    rmSync(output)
    rmSync(config)
    return n
  }

  async #startDaemon(): Promise<void> {
    this.daemon = start('replicate', '-config', this.#config)
    await this.daemon.waitFor(/serving metrics on/)
    this.#url = /url=(\S+)\/metrics/.exec(this.daemon.output)?.[1] ?? ''
  }

  #daemon(): Running {
    if (this.daemon === undefined) throw new Error('the daemon was not started')
    return this.daemon
  }

  async #write(options: Partial<WriterOptions>): Promise<void> {
    await write({ db: this.#db, oracle: this.#oracle, ...options })
  }

  #configure(): void {
    const replica = {
      ...this.#replica(this.#store.endpoint, faultyBucket),
      'sync-interval': `${syncIntervalMs}ms`,
      'max-lag': `${maxLagMs}ms`,
      ...this.#options.settings,
    }
    const config = {
      addr: '127.0.0.1:0',
      'shutdown-timeout': '40s',
      ...this.#options.whole,
      dbs: [{ path: this.#db, replicas: [replica] }],
    }
    writeFileSync(this.#config, JSON.stringify(config))
  }

  #replica(endpoint: string, bucket: string): Readonly<Record<string, unknown>> {
    return {
      type: 's3',
      bucket,
      path: 'db',
      region: 'us-east-1',
      endpoint,
      'force-path-style': true,
      'access-key-id': 'AKID',
      'secret-access-key': 'secret',
    }
  }
}
