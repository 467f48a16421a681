/** The databases that the engine is to replicate, on the side of the engine: those of the start, and what is added and removed. */
import { checkConfig } from '../../compose/commands.js'
import { type Config, type DatabaseConfig } from '../../domain/settings/config.js'
import { folderOf } from '../../domain/settings/database-folder.js'
import { type NotStored } from '../../domain/errors.js'
import { type Replication } from '../../usecase/daemon/replicated-databases.js'

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
  readonly restoreMissing: (database: DatabaseConfig) => Promise<unknown>
}

export class WantedDatabases {
  readonly #options: WantedDatabasesOptions
  #config: Config
  /** What the process that is asked replicates, and this one does not. */
  #left: ReadonlySet<string> | 'all' = new Set()

  constructor(options: WantedDatabasesOptions) {
    this.#options = options
    this.#config = options.config
  }

  /** The paths of those that are named. */
  get named(): readonly string[] {
    return this.#config.databases.map(({ path }) => path)
  }

  /** Leaves these to another process; it is that one which is asked, so it has to be the one that replicates them. */
  leave(paths: ReadonlySet<string> | 'all'): void {
    if (sameLeft(paths, this.#left)) return
    this.#left = paths
    this.#want()
  }

  /** Whether a database is one of ours, and left to another process. */
  leaves(path: string): boolean {
    if (!this.#isLeft(path)) return false
    return this.named.includes(path) || folderOf(this.#config.folders, path) !== undefined
  }

  /** One that is known by its path already takes its place. Rejects as a start would, and then nothing has changed. */
  async add(database: DatabaseConfig): Promise<void> {
    const { restoreMissing } = this.#options
    await checkConfig({ ...this.#config, databases: [database], folders: [] })
    await restoreMissing(database)
    const others = this.#config.databases.filter(({ path }) => path !== database.path)
    this.#config = { ...this.#config, databases: [...others, standingBy(database)] }
    this.#want()
  }

  /** Resolves with what could not be stored of it. */
  async remove(path: string): Promise<readonly NotStored[]> {
    const databases = this.#config.databases.filter((each) => each.path !== path)
    this.#config = { ...this.#config, databases }
    return this.#isLeft(path) ? [] : this.#options.replication.remove(path)
  }

  #isLeft(path: string): boolean {
    return this.#left === 'all' || this.#left.has(path)
  }

  #want(): void {
    const { databases, folders } = this.#config
    const isAlone = this.#left !== 'all' && this.#left.size === 0
    this.#options.replication.want({
      databases: databases.filter(({ path }) => !this.#isLeft(path)),
      folders: isAlone ? folders : [],
    })
  }
}

function sameLeft(one: ReadonlySet<string> | 'all', other: ReadonlySet<string> | 'all'): boolean {
  if (one === 'all' || other === 'all') return one === other
  return one.size === other.size && [...one].every((path) => other.has(path))
}
