/**
 * Random histories of one host and its store, by the real loops: whenever the daemon says that it is ready, the newest
 * commit that is older than the limit can be restored from the store alone. The store is away, loses what it acknowledged,
 * and lists late; the clock is set; the disk and the looks at the WAL fail or hang; the daemon is killed and started again,
 * and objects are gone by then.
 */
import { dirname } from 'node:path/posix'
import { DatabaseError, LocalStateError, ReplicaError } from '../../src/domain/errors.ts'
import { formatObjectPath } from '../../src/domain/stored/replica-layout.ts'
import { areSafe, findNotReady, type DatabaseDetails } from '../../src/domain/status.ts'
import { type Commit, type Host, hourMs, minuteMs, secondMs, World } from './lineage-world.ts'

const maxLagMs = 3 * minuteMs
const syncIntervalMs = secondMs
/** More segments than are sent within the limit. */
const maxUnconfirmed = 200

export interface HistoryResult {
  readonly checks: number
  /** How often the daemon was ready with something to lose. */
  readonly ready: number
  /** What was said and is not so. */
  readonly wrong: readonly string[]
}

/** A history of so many steps. */
export async function checkStatusHistory(seed: number, steps: number): Promise<HistoryResult> {
  const history = new History(seed)
  for (let step = 0; step < steps && history.wrong.length === 0; step += 1) {
    await history.step()
    await history.check(step)
  }
  await history.end()
  return history
}

class History implements HistoryResult {
  checks = 0
  ready = 0
  readonly wrong: string[] = []
  readonly #world: World
  readonly #host: Host
  readonly #commits: { readonly commit: Commit; readonly atMs: number }[] = []
  readonly #said: string[] = []
  readonly #times = new Map<string, number>()
  #isAway = false
  #losesOne = 0
  #lagMs = 0
  /** This object, and those behind it in its folder, are passed over. */
  #hiddenFrom: string | undefined
  /** Lets a look go on that hangs. */
  #release = (): void => undefined

  constructor(seed: number) {
    this.#world = new World(seed)
    this.#host = this.#world.host('a')
    this.#host.place()
    this.#spoilStore()
    this.#commit(3)
    this.#host.start()
  }

  async step(): Promise<void> {
    const random = this.#world.random
    const pick = Math.floor(random() * 24)
    const host = this.#host
    const fails = (error: Error) => () => Promise.reject(error)
    const hangs = () =>
      new Promise<void>((_, reject) => {
        this.#release = () => reject(new DatabaseError('killed'))
      })
    if (pick < 8) this.#commit(1 + Math.floor(random() * 4))
    else if (pick === 8) {
      // SQLite restarts no WAL twice behind a reader that has not gone on: what is there has been looked at.
      if (host.captureGate === undefined) await this.#world.pass(3 * secondMs)
      this.#do('checkpoint', () => host.checkpoint())
    } else if (pick === 9) this.#do(`away: ${!this.#isAway}`, () => (this.#isAway = !this.#isAway))
    else if (pick === 10) this.#do('one is lost', () => (this.#losesOne += 1))
    else if (pick === 11) {
      this.#lagMs = this.#lagMs === 0 ? Math.floor(random() * 90) * secondMs : 0
      this.#said.push(`listings lag by ${this.#lagMs}`)
    } else if (pick === 12) {
      const byMs = Math.round((random() - 0.5) * 4 * hourMs)
      this.#do(`clock set by ${byMs}`, () => (host.offsetMs += byMs))
    } else if (pick === 13) {
      const gate = host.diskGate === undefined ? fails(new LocalStateError('disk full')) : undefined
      this.#do(`disk fails: ${gate !== undefined}`, () => (host.diskGate = gate))
    } else if (pick === 14) {
      const gate = host.captureGate === undefined ? fails(new DatabaseError('locked')) : undefined
      this.#do(`capture fails: ${gate !== undefined}`, () => (host.captureGate = gate))
    } else if (pick === 15 && random() < 0.3) {
      this.#do('capture hangs', () => (host.captureGate = hangs))
    } else if (pick === 16) await this.#restart()
    else if (pick < 20) this.#do('all is well', () => this.#heal())
    await this.#world.pass(Math.floor(random() ** 3 * 120) * secondMs + 500)
  }

  /** What is said, against what can be restored. */
  async check(step: number): Promise<void> {
    const { daemon } = this.#host
    if (daemon === undefined) return
    this.checks += 1
    const captured = daemon.capture.status()
    const status: DatabaseDetails = {
      ...captured,
      path: '/a.db',
      metaPath: '/a',
      replicas: [
        {
          ...daemon.sync.standing.status(captured),
          maxLagMs: maxLagMs + syncIntervalMs,
          refusal: daemon.sync.standing.takenBy,
          lastRetentionAtMs: undefined,
          lastValidatedAtMs: undefined,
          totals: {
            ...daemon.sync.standing.status(captured).totals,
            deletedSnapshots: 0,
            deletedSegments: 0,
            passedValidations: 0,
            failedValidations: 0,
          },
        },
      ],
    }
    const isReady = findNotReady([status]).length === 0 || areSafe(status, status.replicas)
    // Beyond the limit there is what a look takes to begin.
    const olderThanMs = this.#world.time.nowMs - maxLagMs - syncIntervalMs - 2 * secondMs
    const due = this.#commits.findLast(({ atMs }) => atMs < olderThanMs)
    if (!isReady || due === undefined) return
    this.ready += 1
    const before = this.#lagMs
    const away = this.#isAway
    this.#lagMs = 0
    this.#isAway = false
    const restored = await this.#restoreNewest()
    this.#lagMs = before
    this.#isAway = away
    const is = restored.kind === 'commit' ? restored.commit.number : -1
    if (is >= due.commit.number) return
    const found = restored.kind === 'commit' ? `commit ${is}` : String(restored.error)
    this.wrong.push(
      `step ${step}: ready, and ${found} instead of ${due.commit.number} of ${(this.#world.time.nowMs - due.atMs) / secondMs} s ago`,
      JSON.stringify(status.replicas[0]),
      ...this.#said.slice(-40),
    )
  }

  /**
   * What a restore gives, or where it is refused because of what was sent last, and is not confirmed yet,
   * what it gives without that: a refusal says how.
   */
  async #restoreNewest(): ReturnType<World['restore']> {
    const restored = await this.#world.restore()
    if (restored.kind === 'commit') return restored
    const generation = this.#world.begun.at(-1)?.generation
    const last = [...this.#world.client.objects.keys()]
      .filter((path) => path.startsWith(`generations/${generation}/wal/`))
      .sort()
      .slice(-maxUnconfirmed)
    for (const path of last.toReversed()) {
      this.#hiddenFrom = path
      const without = await this.#world.restore()
      this.#hiddenFrom = undefined
      if (without.kind === 'commit') return without
    }
    return restored
  }

  async end(): Promise<void> {
    this.#heal()
    await this.#host.kill()
  }

  #do(what: string, act: () => unknown): void {
    this.#said.push(`${this.#world.time.nowMs / secondMs}: ${what}`)
    act()
  }

  #heal(): void {
    this.#isAway = false
    this.#lagMs = 0
    this.#host.diskGate = undefined
    this.#host.captureGate = undefined
    this.#release()
  }

  #commit(count: number): void {
    for (let i = 0; i < count; i += 1) {
      this.#commits.push({ commit: this.#host.commit(), atMs: this.#world.time.nowMs })
    }
    this.#said.push(`${this.#world.time.nowMs / secondMs}: ${count} commits`)
  }

  /** While the daemon is down, the application goes on, and objects are removed. */
  async #restart(): Promise<void> {
    const random = this.#world.random
    const host = this.#host
    host.captureGate = undefined
    this.#release()
    await host.kill()
    this.#said.push(`${this.#world.time.nowMs / secondMs}: killed`)
    if (random() < 0.3) this.#commit(2)
    if (random() < 0.2) host.checkpoint()
    if (random() < 0.3) this.#commit(2)
    if (random() < 0.1) this.#do('local state lost', () => host.loseState())
    if (random() < 0.3) {
      const paths = [...this.#world.client.objects.keys()].filter((path) =>
        path.startsWith('generations/'),
      )
      for (const path of paths) {
        if (random() < 2 / paths.length) {
          this.#do(`removed: ${path}`, () => this.#world.client.objects.delete(path))
        }
      }
    }
    await this.#world.pass(random() * 300 * secondMs)
    this.#do('started', () => host.start())
  }

  #spoilStore(): void {
    const { client, time } = this.#world
    client.beforeOperation = () => {
      if (this.#isAway) throw new ReplicaError('the store is away', { retryable: true })
    }
    const set = client.objects.set.bind(client.objects)
    client.objects.set = (path, object) => {
      if (path.startsWith('generations/') && this.#losesOne > 0) {
        this.#losesOne -= 1
        this.#said.push(`${time.nowMs / secondMs}: lost: ${path}`)
        return client.objects
      }
      if (!client.objects.has(path)) this.#times.set(path, time.nowMs)
      return set(path, object)
    }
    const snapshots = client.listSnapshots.bind(client)
    const segments = client.listWalSegments.bind(client)
    const isHidden = (path: string): boolean =>
      this.#hiddenFrom !== undefined &&
      dirname(path) === dirname(this.#hiddenFrom) &&
      path >= this.#hiddenFrom
    const isListed = (path: string): boolean =>
      !isHidden(path) && time.nowMs - (this.#times.get(path) ?? 0) >= this.#lagMs
    client.listSnapshots = async function* (generation, signal) {
      for await (const found of snapshots(generation, signal)) {
        if (isListed(formatObjectPath(found))) yield found
      }
    }
    client.listWalSegments = async function* (generation, signal, options) {
      for await (const found of segments(generation, signal, options)) {
        if (isListed(formatObjectPath(found))) yield found
      }
    }
  }
}
