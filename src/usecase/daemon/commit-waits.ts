import { InUseError, NotStoredError, UsageError, type NotStored } from '../../domain/errors.js'
import { type DatabaseConfig } from '../../domain/settings/config.js'
import { type Position } from '../../domain/wal/position.js'
import { Pace } from '../../kit/pace.js'
import { never, orAborted } from '../../kit/abort.js'
import { type Barrier, type GenerationFeed } from '../backlog/generation-feed.js'
import { type Clock } from '../ports/clock.js'
import { type ReplicaStanding } from '../replica/replica-standing.js'

/** Where the commits of a database are wanted, and how soon. */
export interface WantedStored {
  /** All replicas of the database, whichever has it first, or those of these names. */
  readonly replicas: 'all' | 'any' | readonly string[]
  /** `ride`: when it is their time, which costs nothing. `now`: at once; all who wait share an upload. */
  readonly urgency: 'ride' | 'now'
}

/** What is stored of a database: everything that was committed before somebody asked. */
export interface Stored {
  /** The path of the database. */
  readonly database: string
  /** Everything up to there is stored. */
  readonly position: Position
  /** When the last commit before it was captured, milliseconds since 1970. */
  readonly commitTimeMs: number
  /** The replicas that have it, of those that were wanted. */
  readonly replicas: readonly {
    /** As the configuration has it. */
    readonly name: string
    /** When the store had acknowledged all of it, at the latest, milliseconds since 1970. */
    readonly storedAtMs: number
  }[]
}

/** What is stored of a database, with a snapshot on each replica that needs nothing of earlier WALs to be restored. */
export interface StoredWithSnapshot extends Stored {
  readonly replicas: readonly (Stored['replicas'][number] & { readonly snapshot: StoredSnapshot })[]
}

export interface StoredSnapshot {
  /** Of the WAL from which it is replayed. */
  readonly index: number
  /** When it was finished, milliseconds since 1970. */
  readonly takenAtMs: number
}

/** What is wanted, and whether with a snapshot. */
export type Wanted = WantedStored & { readonly withSnapshot?: boolean }

/** What somebody waits for, which tells what is missing when he gives up. */
export interface Captured {
  /** Everything that was committed before he asked; undefined: it is not captured yet. */
  barrier: Barrier | undefined
}

/** What was reached, and when each replica was first seen to have it. */
interface Reached {
  readonly barrier: Barrier
  readonly storedAtMs: Map<string, number>
}

type WaitedStanding = Pick<
  ReplicaStanding,
  'isRestorableTo' | 'snapshotOf' | 'takenBy' | 'awaited' | 'lastStoredAtMs' | 'failure'
>

export interface CommitWaitsOptions {
  readonly feed: GenerationFeed
  readonly clock: Clock
  readonly config: () => DatabaseConfig
  /** Of the replicas that run now, by their names. */
  readonly standings: () => ReadonlyMap<string, WaitedStanding>
  /** Why nothing can be captured now, for people; undefined: it can. */
  readonly captureProblem: () => string | undefined
}

/** Those who wait until what they have committed to one database is stored. */
export class CommitWaits {
  readonly #options: CommitWaitsOptions
  /** The barrier for all who ask before it is asked for. */
  #next: Promise<Barrier> | undefined
  readonly #pace = new Pace()
  #isOver = false

  constructor(options: CommitWaitsOptions) {
    this.#options = options
  }

  /** Captures everything that is committed now, and has it sent. Resolves before that is stored. */
  async request(wanted: WantedStored, signal: AbortSignal): Promise<Stored> {
    const barrier = await this.#captured(wanted, signal)
    return this.#stored({ barrier, storedAtMs: new Map() }, wanted)
  }

  /**
   * Resolves once everything that was committed before the call is acknowledged by the replicas that are wanted, each with
   * a snapshot to begin with. Rejects with {@link NotStoredError} when that will not be: another writer has taken a
   * replica over, or all has ended.
   */
  async wait(wanted: WantedStored, captured: Captured, signal: AbortSignal): Promise<Stored> {
    return this.#stored(await this.#reached(wanted, captured, signal), wanted)
  }

  /**
   * As {@link wait}, and has a snapshot taken. A replica whose newest one is of the WAL that goes on gets no other: its name
   * is taken, and it would shorten no restore.
   */
  async waitForSnapshot(
    wanted: WantedStored & { readonly withSnapshot: true },
    captured: Captured,
    signal: AbortSignal,
  ): Promise<StoredWithSnapshot> {
    const reached = await this.#reached(wanted, captured, signal)
    const stored = this.#stored(reached, wanted)
    const withSnapshot = stored.replicas.flatMap((replica) => {
      const newest = this.#options.standings().get(replica.name)?.snapshotOf(reached.barrier)
      if (newest === undefined) return []
      return { ...replica, snapshot: { index: newest.index, takenAtMs: newest.atMs } }
    })
    return { ...stored, replicas: withSnapshot }
  }

  /** Everything that was committed before the call, once it is stored as it is wanted. */
  async #reached(wanted: Wanted, captured: Captured, signal: AbortSignal): Promise<Reached> {
    const { feed } = this.#options
    for (;;) {
      captured.barrier = undefined
      const barrier = await this.#captured(wanted, signal)
      captured.barrier = barrier
      const reached: Reached = { barrier, storedAtMs: new Map() }
      for (;;) {
        this.#noteStored(reached, wanted)
        if (this.#isStored(barrier, wanted)) return reached
        signal.throwIfAborted()
        this.#refuse(wanted, barrier)
        // What follows it needs a snapshot of its own, which has all this, and what was committed since.
        if (feed.current?.generation !== barrier.generation) break
        await feed.waitForChange(signal)
      }
    }
  }

  /** What is not stored of what is wanted, at this moment. */
  missing(wanted: Wanted, { barrier }: Captured): readonly NotStored[] {
    const { config, standings, captureProblem, feed } = this.#options
    const { path: database } = config()
    const problem = captureProblem()
    const { withSnapshot = false } = wanted
    const ofWal = feed.isWithinWal ? ', until all of its very long WAL is copied back' : ''
    return this.#names(wanted.replicas).flatMap((replica) => {
      const standing = standings().get(replica)
      const isTaken = standing?.takenBy !== undefined
      if (barrier !== undefined && !isTaken && this.#hasWanted(replica, barrier, wanted)) return []
      const awaited = withSnapshot ? `a snapshot${ofWal}` : standing?.awaited
      const detail = problem ?? (standing === undefined ? 'it does not run' : awaited)
      const failure = standing?.failure
      const why = failure === undefined ? '' : `: ${failure}`
      return { database, replica, detail: `${detail}${why}` }
    })
  }

  /** Nothing more will be stored: whoever still waits is refused. */
  end(): void {
    this.#isOver = true
    this.#options.feed.announce()
  }

  /** Everything committed before the call, captured and spooled, and sent soon if that is wanted. */
  async #captured(wanted: Wanted, signal: AbortSignal): Promise<Barrier> {
    const { feed } = this.#options
    for (;;) {
      signal.throwIfAborted()
      this.#refuse(wanted)
      // It is rejected when capturing fails, which is tried again, and then so is this.
      const barrier = await orAborted(
        this.#barrier(wanted).catch(() => undefined),
        signal,
      )
      // That of the end was captured before it, and does not tell of what was committed since.
      if (feed.ended) throw this.#ended(wanted)
      if (barrier === undefined) continue
      if (wanted.urgency === 'now') {
        for (const name of this.#names(wanted.replicas)) feed.hurry(name, barrier)
      }
      if (wanted.withSnapshot === true) {
        for (const name of this.#names(wanted.replicas)) feed.wantSnapshot(name, barrier)
      }
      return barrier
    }
  }

  #barrier({ urgency }: WantedStored): Promise<Barrier> {
    const { feed } = this.#options
    if (urgency === 'ride') return feed.barrier({ rides: true })
    this.#next ??= this.#nextBarrier()
    return this.#next
  }

  async #nextBarrier(): Promise<Barrier> {
    const { feed, clock, config } = this.#options
    const intervalMs = Math.min(
      ...config().replicas.map(({ urgentSyncIntervalMs }) => urgentSyncIntervalMs),
    )
    const waitMs = this.#pace.dueInMs(clock.monotonic())
    // Without a wait, too, it is asked for only once it is known to be the next one.
    await (waitMs > 0 ? clock.sleep(waitMs, never) : Promise.resolve())
    // Whoever comes from here on has committed what this one may not have.
    this.#next = undefined
    this.#pace.happens(clock.monotonic(), intervalMs)
    return feed.barrier()
  }

  #isStored(barrier: Barrier, wanted: Wanted): boolean {
    const names = this.#names(wanted.replicas)
    const has = (name: string): boolean => this.#hasWanted(name, barrier, wanted)
    return names.length > 0 && (wanted.replicas === 'any' ? names.some(has) : names.every(has))
  }

  #hasWanted(name: string, barrier: Barrier, { withSnapshot = false }: Wanted): boolean {
    if (!this.#has(name, barrier)) return false
    return !withSnapshot || this.#options.standings().get(name)?.snapshotOf(barrier) !== undefined
  }

  #has(name: string, barrier: Barrier): boolean {
    return this.#options.standings().get(name)?.isRestorableTo(barrier) === true
  }

  /** The first time that a replica is seen to have it, what it stored last is this, or came soon after. */
  #noteStored({ barrier, storedAtMs }: Reached, { replicas }: WantedStored): void {
    const { clock, standings } = this.#options
    for (const name of this.#names(replicas)) {
      if (storedAtMs.has(name) || !this.#has(name, barrier)) continue
      storedAtMs.set(name, standings().get(name)?.lastStoredAtMs ?? clock.now())
    }
  }

  #stored(reached: Reached, wanted: WantedStored): Stored {
    const { generation, position, commitTimeMs } = reached.barrier
    this.#noteStored(reached, wanted)
    return {
      database: this.#options.config().path,
      position: { generation, ...position },
      commitTimeMs,
      replicas: this.#names(wanted.replicas).flatMap((name) => {
        const storedAtMs = reached.storedAtMs.get(name)
        return storedAtMs === undefined ? [] : [{ name, storedAtMs }]
      }),
    }
  }

  #names(replicas: WantedStored['replicas']): readonly string[] {
    return typeof replicas === 'string'
      ? this.#options.config().replicas.map(({ name }) => name)
      : replicas
  }

  /** Throws where what is wanted will not be. */
  #refuse(wanted: Wanted, barrier?: Barrier): void {
    const { config, standings } = this.#options
    const { path, replicas } = config()
    const known = replicas.map(({ name }) => name)
    const names = this.#names(wanted.replicas)
    const unknown = names.find((name) => !known.includes(name))
    if (unknown !== undefined || names.length === 0) {
      throw new UsageError(`${path} has no replica ${unknown ?? ''}`.trimEnd(), {
        hint: `It has: ${known.join(', ')}.`,
      })
    }
    if (this.#isOver) throw this.#ended(wanted, barrier)
    const taken = names.flatMap((replica) => {
      const by = standings().get(replica)?.takenBy
      return by === undefined ? [] : [{ replica, by }]
    })
    const [first] = taken
    if (first === undefined || (wanted.replicas === 'any' && taken.length < names.length)) return
    throw notStored(`${path}: replica ${first.replica} was taken over by ${first.by}`, {
      cause: new InUseError(`replica ${first.replica} was taken over by ${first.by}`),
      missing: this.missing(wanted, { barrier }),
    })
  }

  #ended(wanted: Wanted, barrier?: Barrier): NotStoredError {
    const { path } = this.#options.config()
    const missing = this.missing(wanted, { barrier })
    return notStored(`${path}: its replication ends`, { missing }, EndedError)
  }
}

/** This process replicates the database no longer; another one may. */
export class EndedError extends NotStoredError {}

/** Why a commit is not stored. It is lost with the machine only. */
export function notStored(
  why: string,
  options: { readonly cause?: unknown; readonly missing: readonly NotStored[] },
  Kind: typeof NotStoredError = NotStoredError,
): NotStoredError {
  const places = options.missing.map(({ replica, detail }) => `on ${replica}: ${detail}`)
  return new Kind(`not stored: ${[why, ...places].join('; ')}`, {
    ...options,
    hint: 'The commit itself is safe in the database, and is stored when that can be done again.',
  })
}
