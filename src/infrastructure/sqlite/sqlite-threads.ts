import { availableParallelism } from 'node:os'
import { Worker } from 'node:worker_threads'
import { DatabaseError } from '../../domain/errors.js'
import { wokenOrAborted } from '../../kit/abort.js'
import { messageOf } from '../../kit/error-text.js'
import { type SqliteCall, type SqliteReply } from './sqlite-messages.js'

/** What a call allocates is short-lived and small, but for WAL pages, which lie outside the heap. By default, it grows to some 50. */
const maxYoungGenerationSizeMb = 8

/** Another process is in the way, for the moment perhaps. */
export class LockedError extends DatabaseError {}

interface Waiting {
  readonly resolve: (value: unknown) => void
  readonly reject: (error: Error) => void
}

/** One that died is started again no sooner than this after its start: what it died of may last. */
const leastRestartMs = 1000

/** A thread that makes SQLite calls, seen from the main thread. One that died is replaced at the next call. */
export class SqliteThread {
  #worker: Worker | undefined
  #life = 0
  #startedAt = Number.NEGATIVE_INFINITY
  #failure: DatabaseError | undefined
  readonly #waiting = new Map<number, Waiting>()
  readonly #mourners = new Set<() => void>()
  #nextId = 1

  /** Another number with each thread that takes the place of a dead one: what was open in that one is closed. */
  get life(): number {
    return this.#life
  }

  /** Makes a call. It cannot be interrupted: SQLite decides how long it takes. Rejects if the thread dies meanwhile. */
  async call(request: SqliteCall): Promise<unknown> {
    const worker = this.#worker ?? this.#start()
    const id = this.#nextId++
    const answered = new Promise<unknown>((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject })
    })
    worker.postMessage({ ...request, id })
    return answered
  }

  /** Resolves when what was opened in that life is closed, as the thread has died, or at an abort. */
  async untilDeath(life: number, signal: AbortSignal): Promise<void> {
    if (life !== this.#life) return
    await wokenOrAborted(signal, (done) => {
      this.#mourners.add(done)
      return () => this.#mourners.delete(done)
    })
  }

  #start(): Worker {
    const now = performance.now()
    if (this.#failure !== undefined && now - this.#startedAt < leastRestartMs) throw this.#failure
    this.#startedAt = now
    let worker: Worker
    try {
      worker = new Worker(new URL('./sqlite-worker.js', import.meta.url), {
        resourceLimits: { maxYoungGenerationSizeMb },
      })
    } catch (error) {
      this.#failure = ended(error)
      throw this.#failure
    }
    worker.on('message', (reply: SqliteReply) => {
      const waiting = this.#waiting.get(reply.id)
      this.#waiting.delete(reply.id)
      if (waiting === undefined) return
      if (reply.ok) waiting.resolve(reply.value)
      else waiting.reject(translated(reply.message, reply.code))
    })
    worker.on('error', (error) => this.#bury(worker, error))
    worker.on('exit', (code) => this.#bury(worker, new Error(`its exit code is ${code}`)))
    this.#worker = worker
    return worker
  }

  #bury(worker: Worker, cause: unknown): void {
    if (worker !== this.#worker) return
    this.#worker = undefined
    this.#life += 1
    this.#failure = ended(cause)
    for (const waiting of this.#waiting.values()) waiting.reject(this.#failure)
    this.#waiting.clear()
    for (const done of [...this.#mourners]) done()
  }
}

function ended(cause: unknown): DatabaseError {
  const why = messageOf(cause)
  return new DatabaseError(`the thread that makes SQLite calls has ended: ${why}`, { cause })
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

/**
 * More than this shares no more load: SQLite's calls are short, but for a disk that is slow. A thread takes some 10 MB, and
 * more of them than processors make the start of many databases slower; with one alone, one slow disk stops all.
 */
const maxCaptureThreads = Math.min(Math.max(availableParallelism(), 2), 4)

/**
 * The threads that all databases of the process share: a few for readers, and others for checkpoints, so that a disk
 * that syncs slowly does not hold up the readers, and for writer locks, which are fought for. Each starts when it is needed.
 */
export class SqliteThreads {
  readonly #captures: SqliteThread[] = []
  readonly #checkpoints = new SqliteThread()
  readonly #locks = new SqliteThread()
  #next = 0

  /** The threads that a database is to use, and its number there. */
  assign(): {
    capture: SqliteThread
    checkpoint: SqliteThread
    lock: SqliteThread
    database: number
  } {
    const database = this.#next++
    const at = database % maxCaptureThreads
    const capture = (this.#captures[at] ??= new SqliteThread())
    return { capture, checkpoint: this.#checkpoints, lock: this.#locks, database }
  }
}
