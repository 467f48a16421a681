/** The databases that the engine is to replicate, on the side of the engine: those of the start, and what is added and removed. */
import { checkConfig } from '../../compose/commands.js'
import { type Config, type DatabaseConfig } from '../../domain/settings/config.js'
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

  constructor(options: WantedDatabasesOptions) {
    this.#options = options
    this.#config = options.config
  }

  /** One that is known by its path already takes its place. Rejects as a start would, and then nothing has changed. */
  async add(database: DatabaseConfig): Promise<void> {
    const { replication, restoreMissing } = this.#options
    await checkConfig({ ...this.#config, databases: [database], folders: [] })
    await restoreMissing(database)
    const others = this.#config.databases.filter(({ path }) => path !== database.path)
    this.#config = { ...this.#config, databases: [...others, standingBy(database)] }
    replication.want(this.#config)
  }

  /** Resolves with what could not be stored of it. */
  async remove(path: string): Promise<readonly NotStored[]> {
    const databases = this.#config.databases.filter((each) => each.path !== path)
    this.#config = { ...this.#config, databases }
    return this.#options.replication.remove(path)
  }
}
