/**
 * Open files are limited for the whole process, and where none is left, nothing works: no store, no log, no other database. So
 * databases that are found in folders, where anybody may make any number of them, are refused before that. Those that the
 * configuration names are the operator's, who is warned.
 */
import { DatabaseError } from '../../domain/errors.js'
import { type Logger } from '../ports/logger.js'

/**
 * Of a database at rest: its file for the reader, for snapshots, and twice for connections that are closed (SQLite keeps
 * those while another one of the process holds a lock); the WAL, and the wal-index.
 */
const perDatabase = 6
/** Of the process itself, and of uploads. */
const besides = 150

/**
 * The databases of one owner may be so many times as many as there is room for after them. So whoever has the most is the first to be
 * refused, and whoever comes later finds room: an eighth, and of that an eighth. Switches share their memory among ports like this
 * ("dynamic queue length thresholds", Choudhury and Hahne, 1998), since nobody need know who will come.
 */
const shareOfLeft = 7

/** There is no room for one more database of its owner. It is tried again. */
export class NoRoomError extends DatabaseError {}

export class DescriptorRoom {
  readonly #limit: number | undefined
  readonly #logger: Logger
  readonly #foundOf = new Map<number | undefined, number>()
  #databases = 0
  #hasSaid = false

  /** `limit`: of the process; undefined: not known. */
  constructor(limit: number | undefined, logger: Logger) {
    this.#limit = limit
    this.#logger = logger
  }

  /** Takes the room of a database of this user until it is disposed of. `isFound`: in a folder; only then it throws a {@link NoRoomError}. */
  take({
    isFound,
    owner,
  }: {
    readonly isFound: boolean
    readonly owner: number | undefined
  }): Disposable {
    if (isFound) this.#refuseBeyondShare(owner)
    this.#count(1, isFound, owner)
    if (!isFound) this.#warnBeyondLimit()
    let isTaken = true
    return {
      [Symbol.dispose]: () => {
        if (isTaken) this.#count(-1, isFound, owner)
        isTaken = false
      },
    }
  }

  #count(change: 1 | -1, isFound: boolean, owner: number | undefined): void {
    this.#databases += change
    if (!isFound) return
    const count = (this.#foundOf.get(owner) ?? 0) + change
    if (count === 0) this.#foundOf.delete(owner)
    else this.#foundOf.set(owner, count)
  }

  #refuseBeyondShare(owner: number | undefined): void {
    if (this.#limit === undefined) return
    const left = Math.floor((this.#limit - besides) / perDatabase) - this.#databases
    if ((this.#foundOf.get(owner) ?? 0) < shareOfLeft * left) return
    const whose = owner === undefined ? '' : ` of user ${owner}`
    throw new NoRoomError(
      `no room for one more database${whose} under the limit of ${this.#limit} open files: raise it (LimitNOFILE= in the unit, ulimit -Hn), or remove some`,
    )
  }

  #warnBeyondLimit(): void {
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
}
