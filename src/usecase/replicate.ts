import { type GenerationFeed } from './generation-feed.js'
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
   * sync at once.
   */
  run(stop: AbortSignal, kill: AbortSignal): Promise<readonly NotStored[]>
}

/** One database with all that replicates it. */
export interface ReplicatedDatabase {
  readonly path: string
  readonly feed: GenerationFeed
  readonly capture: SyncDatabase
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

  constructor(databases: readonly ReplicatedDatabase[]) {
    this.#databases = databases
  }

  async run(stop: AbortSignal, kill: AbortSignal): Promise<readonly NotStored[]> {
    await Promise.all(
      this.#databases.flatMap((database) => [
        database.capture.run(stop, kill),
        ...database.replicas.flatMap(({ sync, retention }) => [
          sync.run(stop, kill),
          ...(retention === undefined ? [] : [retention.run(stop)]),
        ]),
      ]),
    )
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
