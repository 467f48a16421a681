import { type Logger } from '../ports/logger.js'

/**
 * Of a database at rest: its file for the reader, for snapshots, and twice for connections that are closed (SQLite keeps
 * those while another one of the process holds a lock); the WAL, and the wal-index.
 */
const perDatabase = 6
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
        hint: `allow ${perDatabase} for each database and ${besides} more: set LimitNOFILE= in the unit, or ulimit -Hn`,
      },
      'the limit of open files is too low for so many databases: some may fail',
    )
  }

  databaseClosed(): void {
    this.#databases -= 1
  }
}
