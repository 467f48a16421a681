import { type GenerationFeed } from './generation-feed.js'
import { type Refusal } from './refusal.js'
import { type ScheduleRetention } from './schedule-retention.js'
import { type SyncDatabase } from './sync-database.js'
import { type SyncReplica } from './sync-replica.js'

/** Something captured, or still to be captured, that a replica does not have. */
export interface NotStored {
  readonly database: string
  readonly replica: string
  readonly detail: string
}

/** Databases being replicated. */
export interface Replication {
  /**
   * Runs until `stop`, then does a last sync of everything and resolves with what could not be stored. `kill` ends that
   * sync at once. Throws {@link InUseError} when another process replicates one of the databases.
   */
  run(stop: AbortSignal, kill: AbortSignal): Promise<readonly NotStored[]>
  /**
   * Resolves when every replica has all that is committed now in the databases that exist, or at an abort. `run` has to
   * be under way.
   */
  stored(signal: AbortSignal): Promise<void>
  /** What is not stored at this moment. */
  readonly notStored: readonly NotStored[]
}

/** One database with all that replicates it. */
export interface ReplicatedDatabase {
  readonly path: string
  readonly feed: GenerationFeed
  readonly capture: SyncDatabase
  /** Let go of at the end. */
  readonly spool: AsyncDisposable
  readonly replicas: readonly {
    readonly name: string
    readonly sync: SyncReplica
    /** Undefined: nothing is ever deleted. */
    readonly retention: ScheduleRetention | undefined
  }[]
}

/** Replicates databases side by side: one that is broken never stops another. */
export class ReplicateDatabases implements Replication {
  readonly #databases: readonly ReplicatedDatabase[]
  readonly #refusal: Refusal

  constructor(databases: readonly ReplicatedDatabase[], refusal: Refusal) {
    this.#databases = databases
    this.#refusal = refusal
  }

  async run(stop: AbortSignal, kill: AbortSignal): Promise<readonly NotStored[]> {
    const work = Promise.all(
      this.#databases.flatMap((database) => [
        database.capture.run(stop, kill),
        ...database.replicas.flatMap(({ sync, retention }) => [
          sync.run(stop, kill),
          ...(retention === undefined ? [] : [retention.run(stop)]),
        ]),
      ]),
    )
    await this.#refusal.orElse(work)
    for (const { spool } of this.#databases) await spool[Symbol.asyncDispose]()
    return this.notStored
  }

  async stored(signal: AbortSignal): Promise<void> {
    await Promise.all(this.#databases.map((database) => storedOf(database, signal)))
  }

  get notStored(): readonly NotStored[] {
    return this.#databases.flatMap((database) =>
      database.replicas.flatMap((replica) => {
        const detail = database.capture.uncaptured ?? replica.sync.missing
        return detail === undefined
          ? []
          : [{ database: database.path, replica: replica.name, detail }]
      }),
    )
  }
}

async function storedOf(database: ReplicatedDatabase, signal: AbortSignal): Promise<void> {
  const { feed, capture, replicas } = database
  const aborted = untilAborted(signal)
  const isOver = (): boolean => signal.aborted || capture.isAbsent || feed.ended
  while (!isOver()) {
    // It is rejected when capturing fails, which is tried again, and then so is this.
    const barrier = await Promise.race([feed.barrier().catch(() => undefined), aborted])
    while (barrier !== undefined && !isOver()) {
      if (replicas.every(({ sync }) => sync.hasStored(barrier))) return
      if (feed.current?.generation !== barrier.generation) break
      await feed.waitForChange(signal)
    }
  }
}

function untilAborted(signal: AbortSignal): Promise<undefined> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve(undefined)
    signal.addEventListener('abort', () => resolve(undefined), { once: true })
  })
}
