import { type Logger } from './ports/logger.js'

/** Of a database: its file for each of SQLite's connections and for snapshots, the WAL, and the wal-index. */
const perDatabase = 7
/** Of the process itself, and of uploads. */
const besides = 150

/** Says in time that descriptors will not do: SQLite's own message is that a file cannot be opened. */
export class CountDescriptors {
  readonly #limit: number | undefined
  readonly #logger: Logger
  #databases = 0
  #hasSaid = false

  constructor(limit: number | undefined, logger: Logger) {
    this.#limit = limit
    this.#logger = logger
  }

  databaseOpened(): void {
    this.#databases += 1
    const needed = this.#databases * perDatabase + besides
    if (this.#limit === undefined || needed <= this.#limit || this.#hasSaid) return
    this.#hasSaid = true
    this.#logger.warn(
      {
        limit: this.#limit,
        databases: this.#databases,
        hint: `allow ${perDatabase} for each database and ${besides} besides: LimitNOFILE= in the unit, or ulimit -Hn`,
      },
      'too few open files are allowed for so many databases: some may fail',
    )
  }

  databaseClosed(): void {
    this.#databases -= 1
  }
}
