/**
 * Who makes the SQLite calls of which database. SQLite maps `-shm` into memory, and who can write to that file can end every
 * process that has it mapped. Where all databases are one user's, that harms nobody else, and threads do. Where there are
 * several users, all databases that others than we can write to are open in processes apart, which those of one file system
 * share, and those of a user who has ended such a process in one with their like.
 */
import { availableParallelism } from 'node:os'
import { ourselves } from './database-owner.js'
import { Offences } from './offences.js'
import { SqliteCaller } from './sqlite-caller.js'
import { startProcess } from './sqlite-host.js'

/**
 * More than this shares no more load: SQLite's calls are short, but for a disk that is slow. A thread takes some 10 MB, and
 * more of them than processors make the start of many databases slower; with one alone, one slow disk stops all.
 */
const maxCaptureThreads = Math.min(Math.max(availableParallelism(), 2), 4)

/**
 * A process makes one call after the other, and one to a disk that hangs lasts until the disk answers: file systems have
 * processes of their own. A process takes some 40 MB; where there are more file systems than this, some share one.
 */
const maxFileSystemsApart = 4

/** Who makes the calls of a database while it is open. */
export interface DatabaseCallers {
  readonly capture: SqliteCaller
  readonly checkpoint: SqliteCaller
  readonly lock: SqliteCaller
}

/** What a database gets, and its number there. */
export interface AssignedCallers {
  readonly database: number
  readonly looks: Pick<SqliteCaller, 'look'>
  readonly inThreads: DatabaseCallers
  /**
   * Who is to have it open now, given its owner, of `database-owner.ts`, and the device that it lies on. Throws a `DatabaseError`
   * while it is held back.
   */
  callersFor(place: { readonly owner: number; readonly device: number }): DatabaseCallers
}

/**
 * What all databases of the daemon share: a few threads for readers, and others for checkpoints, so that a disk
 * that syncs slowly does not hold up the readers, for writer locks, which are fought for, and for looks at the files of idle
 * databases, so that a disk that hangs holds up no other database. Processes likewise, but for offenders, who wait for each
 * other. Each starts when it is needed. Who disposes of them has disposed of all that makes calls to them.
 */
export class SqliteCallers implements AsyncDisposable {
  readonly #captures: SqliteCaller[] = []
  readonly #checkpoints = new SqliteCaller({ endsAtRest: true })
  readonly #locks = new SqliteCaller({ endsAtRest: true })
  readonly #looks = new SqliteCaller()
  readonly #threads: DatabaseCallers[] = []
  readonly #apart: DatabaseCallers[] = []
  readonly #devices: number[] = []
  readonly #inProcess: ConstructorParameters<typeof SqliteCaller>[0]
  readonly #offenders: DatabaseCallers
  readonly #offences = new Offences()
  readonly #owners = new Set<number>()
  readonly #ownerOf = new Map<number, number>()
  #next = 0

  constructor() {
    const blame = (database: number, why: string): void => {
      const owner = this.#ownerOf.get(database)
      if (owner !== undefined) this.#offences.blame(database, { owner, why })
    }
    this.#inProcess = { start: startProcess, blame }
    const one = new SqliteCaller(this.#inProcess)
    this.#offenders = { capture: one, checkpoint: one, lock: one }
  }

  /** There will be databases of this owner. Who is known before any of them is opened has none opened twice. */
  expect(owner: number): void {
    this.#owners.add(owner)
  }

  assign(): AssignedCallers {
    const database = this.#next++
    const at = database % maxCaptureThreads
    const capture = (this.#captures[at] ??= new SqliteCaller())
    const inThreads = (this.#threads[at] ??= {
      capture,
      checkpoint: this.#checkpoints,
      lock: this.#locks,
    })
    // The look of the first one has been where it holds up nobody.
    if (database === 1) this.#captures[0]?.endLooks()
    return {
      database,
      looks: { look: (...args) => this.#lookingFor(capture).look(...args) },
      inThreads,
      callersFor: ({ owner, device }) => {
        this.#ownerOf.set(database, owner)
        this.expect(owner)
        this.#offences.refuseHeld(database)
        if (owner === ourselves || this.#owners.size === 1) return inThreads
        return this.#offences.isOffender(owner) ? this.#offenders : this.#apartOn(device)
      },
    }
  }

  #apartOn(device: number): DatabaseCallers {
    if (!this.#devices.includes(device)) this.#devices.push(device)
    const inProcess = this.#inProcess
    return (this.#apart[this.#devices.indexOf(device) % maxFileSystemsApart] ??= {
      capture: new SqliteCaller(inProcess),
      checkpoint: new SqliteCaller({ ...inProcess, endsAtRest: true }),
      lock: new SqliteCaller({ ...inProcess, endsAtRest: true }),
    })
  }

  /** Where there is but one database, its looks need no thread of their own. */
  #lookingFor(capture: SqliteCaller): SqliteCaller {
    return this.#next === 1 ? capture : this.#looks
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const threads = [...this.#captures, this.#checkpoints, this.#locks, this.#looks]
    const apart = this.#apart.flatMap(({ capture, checkpoint, lock }) => [
      capture,
      checkpoint,
      lock,
    ])
    const processes = [...apart, this.#offenders.capture]
    await Promise.all([...threads, ...processes].map((caller) => caller[Symbol.asyncDispose]()))
  }
}
