/** The databases that the engine is to replicate, on the side of the engine: those of the start, and what is added and removed. */
import { checkConfig } from '../../compose/commands.js'
import { type Config, type DatabaseConfig } from '../../domain/settings/config.js'
import { databaseAt } from '../../domain/settings/database-folder.js'
import { type NotStored } from '../../domain/errors.js'
import {
  describeElsewhere,
  placesOf,
  type ReplicaPlace,
  samePlaces,
} from '../../domain/settings/replica-place.js'
import { sameSettings } from '../../domain/settings/same-settings.js'
import { type NotReady } from '../../domain/status.js'
import { type Replication } from '../../usecase/daemon/replicated-databases.js'
import { type Logger } from '../../usecase/ports/logger.js'
import { type WantedDatabase } from '../daemon/control.js'

/** Several processes of an application may have one configuration: one of them replicates, and the others take over. */
export function inTurn(config: Config): Config {
  return {
    ...config,
    databases: config.databases.map(standingBy),
    folders: config.folders.map((folder) => ({
      ...folder,
      database: standingBy(folder.database),
    })),
  }
}

function standingBy<T extends Omit<DatabaseConfig, 'path' | 'metaPath'>>(
  database: T,
): T & { readonly standsBy: true } {
  return { ...database, standsBy: true }
}

export interface WantedDatabasesOptions {
  /** Of the start, as {@link inTurn} makes it. */
  readonly config: Config
  readonly replication: Pick<Replication, 'want' | 'remove'>
  /** Restores one that does not exist, if it wants that. */
  readonly restoreMissing: (database: DatabaseConfig, signal: AbortSignal) => Promise<unknown>
  readonly logger: Logger
}

export class WantedDatabases {
  readonly #options: WantedDatabasesOptions
  #config: Config
  /** What the process that is asked replicates, and this one does not. */
  #left: readonly WantedDatabase[] | 'all' = []
  /** Those of them that it has elsewhere than this one would. */
  #elsewhere: readonly NotReady[] = []

  constructor(options: WantedDatabasesOptions) {
    this.#options = options
    this.#config = options.config
  }

  /** The paths of those that are named. */
  get named(): readonly string[] {
    return this.#config.databases.map(({ path }) => path)
  }

  /** Leaves these to another process; it is that one which is asked, so it has to be the one that replicates them. */
  leave(databases: readonly WantedDatabase[] | 'all'): void {
    if (sameSettings(databases, this.#left)) return
    this.#left = databases
    this.#want()
  }

  /** What another process replicates to other places than this one would. */
  get elsewhere(): readonly NotReady[] {
    return this.#elsewhere
  }

  /** Where the replicas of a database are to lie; undefined: it is none of ours. */
  placesOf(path: string): readonly ReplicaPlace[] | undefined {
    const database = this.#databaseAt(path)
    return database && placesOf(database)
  }

  /** Whether a database is one of ours, and left to another process. */
  leaves(path: string): boolean {
    return this.#isLeft(path) && this.#databaseAt(path) !== undefined
  }

  /** One that is known by its path already takes its place. Rejects as a start would, and at an abort; then nothing has changed. */
  async add(database: DatabaseConfig, signal: AbortSignal): Promise<void> {
    const { restoreMissing } = this.#options
    await checkConfig({ ...this.#config, databases: [database], folders: [] })
    await restoreMissing(database, signal)
    signal.throwIfAborted()
    const others = this.#config.databases.filter(({ path }) => path !== database.path)
    this.#config = { ...this.#config, databases: [...others, standingBy(database)] }
    this.#want()
  }

  /** Resolves with what could not be stored of it. */
  async remove(path: string): Promise<readonly NotStored[]> {
    const databases = this.#config.databases.filter((each) => each.path !== path)
    this.#config = { ...this.#config, databases }
    this.#lookElsewhere()
    return this.#isLeft(path) ? [] : this.#options.replication.remove(path)
  }

  #isLeft(path: string): boolean {
    return this.#left === 'all' || this.#left.some((each) => each.path === path)
  }

  #databaseAt(path: string): DatabaseConfig | undefined {
    const { databases, folders } = this.#config
    return databases.find((each) => each.path === path) ?? databaseAt(folders, path)
  }

  /** Says once of each what another process has elsewhere. */
  #lookElsewhere(): void {
    const left = this.#left === 'all' ? [] : this.#left
    const former = new Set(this.#elsewhere.map(({ reason }) => reason))
    this.#elsewhere = left.flatMap(({ path, replicas: theirs }) => {
      const ours = this.placesOf(path)
      if (ours === undefined || samePlaces(theirs, ours)) return []
      const reason = describeElsewhere({ theirs, ours })
      return [{ database: path, replica: undefined, reason }]
    })
    for (const { database: db, reason: why } of this.#elsewhere) {
      if (!former.has(why))
        this.#options.logger.warn({ db, why }, 'not stored until that process ends')
    }
  }

  #want(): void {
    const { databases, folders } = this.#config
    const isAlone = this.#left !== 'all' && this.#left.length === 0
    this.#options.replication.want({
      databases: databases.filter(({ path }) => !this.#isLeft(path)),
      folders: isAlone ? folders : [],
    })
    this.#lookElsewhere()
  }
}
