import { DatabaseError, LostReaderError } from '../../domain/errors.js'
import { wokenOrAborted } from '../../kit/abort.js'
import { messageOf } from '../../kit/error-text.js'
import { type SqliteHost, type SqliteHostEvents, startThread } from './sqlite-host.js'
import { type Look, type LookOrder, type SqliteCall, type SqliteReply } from './sqlite-messages.js'
import { nothing } from './under-way.js'

/** Another process is in the way, for the moment perhaps. */
export class LockedError extends DatabaseError {}

interface Waiting {
  readonly database: number
  readonly resolve: (value: unknown) => void
  readonly reject: (error: Error) => void
}

/** One that died is started again no sooner than this after its start: what it died of may last. */
const leastRestartMs = 1000

/** One that is needed now and then, and has nothing to do for so long, ends: it takes some 10 MB, and its start some 50 ms. */
const restMs = 5000

interface SqliteCallerOptions {
  /** Nothing is open in it between calls, and without any it ends after a while. It starts again at the next one. */
  readonly endsAtRest?: boolean
  /** By default, a thread. */
  readonly start?: (events: SqliteHostEvents) => SqliteHost
  /** Hears of the database whose call has ended the process, before anybody else hears of that. */
  readonly blame?: (database: number, why: string) => void
}

/** Makes SQLite calls in a thread or a process apart. One that died is replaced at the next call. */
export class SqliteCaller implements AsyncDisposable {
  #host: SqliteHost | undefined
  #life = 0
  #startedAt = Number.NEGATIVE_INFINITY
  #failure: DatabaseError | undefined
  readonly #waiting = new Map<number, Waiting>()
  readonly #looks = new Map<number, () => void>()
  readonly #mourners = new Set<() => void>()
  readonly #running = new Set<SqliteHost>()
  readonly #options: SqliteCallerOptions
  #rest: NodeJS.Timeout | undefined
  #nextId = 1

  constructor(options: SqliteCallerOptions = {}) {
    this.#options = options
  }

  /** Another number with each host that takes the place of a dead one: what was open in that one is closed. */
  get life(): number {
    return this.#life
  }

  /** The process whose locks are those of its connections. */
  get pid(): number {
    return this.#host?.pid ?? process.pid
  }

  /** Makes a call. It cannot be interrupted: SQLite decides how long it takes. Rejects if its host dies meanwhile. */
  async call(request: SqliteCall): Promise<unknown> {
    const host = this.#host ?? this.#start()
    clearTimeout(this.#rest)
    const id = this.#nextId++
    const answered = new Promise<unknown>((resolve, reject) => {
      this.#waiting.set(id, { database: request.database, resolve, reject })
    })
    host.post({ ...request, id })
    return answered
  }

  /** Calls `changed` once when the files are no longer as they were, or nobody looks at them. Returns what ends that. */
  look(look: Look, changed: () => void): () => void {
    let host: SqliteHost
    try {
      host = this.#host ?? this.#start()
    } catch {
      // Everybody looks for himself on the interval meanwhile.
      const timer = setTimeout(changed, look.intervalMs)
      return () => clearTimeout(timer)
    }
    const id = this.#nextId++
    this.#looks.set(id, changed)
    host.post({ call: 'look', id, look } satisfies LookOrder)
    return () => {
      if (this.#looks.delete(id)) host.post({ call: 'forget', id } satisfies LookOrder)
    }
  }

  /** Whoever has something looked at is woken, and has it looked at elsewhere. */
  endLooks(): void {
    for (const id of this.#looks.keys()) {
      this.#host?.post({ call: 'forget', id } satisfies LookOrder)
      this.#tellChanged(id)
    }
  }

  /** Rejects when what was opened in that life is closed, as its host has died. Resolves at an abort. */
  async untilDeath(life: number, signal: AbortSignal): Promise<void> {
    if (life === this.#life) {
      await wokenOrAborted(signal, (done) => {
        this.#mourners.add(done)
        return () => this.#mourners.delete(done)
      })
    }
    if (life !== this.#life && this.#failure !== undefined) throw this.#failure
  }

  #start(): SqliteHost {
    const now = performance.now()
    if (this.#failure !== undefined && now - this.#startedAt < leastRestartMs) throw this.#failure
    this.#startedAt = now
    const { start = startThread } = this.#options
    let host: SqliteHost
    try {
      host = start({
        said: (reply) => {
          if ('changed' in reply) this.#tellChanged(reply.changed)
          else this.#answer(reply)
        },
        died: (error, underWay) => this.#bury(host, error, underWay),
        ended: () => this.#running.delete(host),
      })
    } catch (error) {
      this.#failure = this.#ended(error)
      throw this.#failure
    }
    this.#running.add(host)
    this.#host = host
    return host
  }

  #answer(reply: SqliteReply): void {
    const waiting = this.#waiting.get(reply.id)
    this.#waiting.delete(reply.id)
    if (this.#options.endsAtRest === true && this.#waiting.size === 0) {
      clearTimeout(this.#rest)
      this.#rest = setTimeout(() => this.#endAtRest(), restMs).unref()
    }
    if (waiting === undefined) return
    if (reply.ok) waiting.resolve(reply.value)
    else waiting.reject(translated(reply.message, reply.code))
  }

  #tellChanged(id: number): void {
    const changed = this.#looks.get(id)
    this.#looks.delete(id)
    changed?.()
  }

  /** No death: nothing was open, and nobody waits. */
  #endAtRest(): void {
    const host = this.#host
    this.#host = undefined
    void host?.end()
  }

  /** `underWay`: see {@link SqliteHostEvents}. */
  #bury(host: SqliteHost, cause: unknown, underWay: number | undefined): void {
    if (host !== this.#host) return
    this.#host = undefined
    clearTimeout(this.#rest)
    this.#life += 1
    const { blame } = this.#options
    // Calls are made in order.
    const [first] = this.#waiting.values()
    const culprit = underWay ?? first?.database ?? nothing
    this.#failure = this.#ended(cause)
    if (blame !== undefined && culprit !== nothing) {
      blame(culprit, messageOf(cause))
      // Who is held back hears why at the next call. The others are none the worse for it.
      this.#failure = new LostReaderError(this.#failure.message, { cause })
    }
    for (const waiting of this.#waiting.values()) waiting.reject(this.#failure)
    this.#waiting.clear()
    for (const id of [...this.#looks.keys()]) this.#tellChanged(id)
    for (const done of [...this.#mourners]) done()
  }

  #ended(cause: unknown): DatabaseError {
    const kind = this.#options.start === undefined ? 'thread' : 'process'
    const why = messageOf(cause)
    return new DatabaseError(`the ${kind} that makes SQLite calls has ended: ${why}`, { cause })
  }

  /** Resolves when it has ended, which a call that hangs in the operating system holds up. Nobody calls it any more. */
  async [Symbol.asyncDispose](): Promise<void> {
    clearTimeout(this.#rest)
    await Promise.all([...this.#running].map((host) => host.end()))
  }
}

function translated(message: string, code: string | undefined): DatabaseError {
  if (
    code === 'SQLITE_BUSY' ||
    code?.startsWith('SQLITE_BUSY_') === true ||
    code === 'SQLITE_LOCKED'
  ) {
    return new LockedError('database is locked', {
      hint: 'another process holds it exclusively (locking_mode=EXCLUSIVE, or a transaction in rollback mode)',
    })
  }
  if (code === 'UNTOLD') return new LockedError(message)
  if (code === 'JOURNAL') {
    return new LockedError(message, {
      hint: 'SQLite would open what lies there: if no application writes the database, remove what is no file; else open the database once in its application, or in sqlite3',
    })
  }
  if (code === 'EMPTY') {
    return new LockedError(message, {
      hint: 'is another file being copied over it? its -wal is left as it is, and it is looked at again shortly',
    })
  }
  if (code === 'SQLITE_NOTADB') {
    return new DatabaseError('file is not a database', {
      hint: 'check the path; an encrypted database cannot be replicated',
    })
  }
  return new DatabaseError(code === undefined ? message : `${message} (${code})`)
}
