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
