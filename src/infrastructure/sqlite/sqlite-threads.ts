import { availableParallelism } from 'node:os'
import { Worker } from 'node:worker_threads'
import { DatabaseError } from '../../domain/errors.js'
import { type SqliteCall, type SqliteReply } from './sqlite-messages.js'

/** What a call allocates is short-lived and small, but for WAL pages, which lie outside the heap. By default, it grows to some 50. */
const maxYoungGenerationSizeMb = 8

interface Waiting {
  readonly resolve: (value: unknown) => void
  readonly reject: (error: Error) => void
}

/** One thread that makes SQLite calls, seen from the main thread. */
export class SqliteThread {
  readonly #worker: Worker
  readonly #waiting = new Map<number, Waiting>()
  #nextId = 1
  #failure: Error | undefined

  constructor() {
    this.#worker = new Worker(new URL('./sqlite-thread.js', import.meta.url), {
      resourceLimits: { maxYoungGenerationSizeMb },
    })
    this.#worker.on('message', (reply: SqliteReply) => {
      const waiting = this.#waiting.get(reply.id)
      this.#waiting.delete(reply.id)
      if (waiting === undefined) return
      if (reply.ok) waiting.resolve(reply.value)
      else waiting.reject(translated(reply.message, reply.code))
    })
    this.#worker.on('error', (error: Error) => this.#fail(error))
    this.#worker.on('exit', (code) =>
      this.#fail(new Error(`the SQLite thread ended with code ${code}`)),
    )
  }

  /** Makes a call. It cannot be interrupted: SQLite decides how long it takes. */
  async call(request: SqliteCall): Promise<unknown> {
    if (this.#failure !== undefined) throw this.#failure
    const id = this.#nextId++
    const answered = new Promise<unknown>((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject })
    })
    this.#worker.postMessage({ ...request, id })
    return answered
  }

  #fail(error: Error): void {
    this.#failure ??= error
    for (const waiting of this.#waiting.values()) waiting.reject(error)
    this.#waiting.clear()
  }
}

function translated(message: string, code: string | undefined): DatabaseError {
  if (
    code === 'SQLITE_BUSY' ||
    code?.startsWith('SQLITE_BUSY_') === true ||
    code === 'SQLITE_LOCKED'
  ) {
    return new DatabaseError('database is locked', {
      hint: 'another process holds it exclusively (locking_mode=EXCLUSIVE, or a transaction in rollback mode)',
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
 * that syncs slowly does not hold up the readers.
 */
export class SqliteThreads {
  readonly #captures: SqliteThread[] = []
  readonly #checkpoints = new SqliteThread()
  #next = 0

  /** The threads that a database is to use, and its number there. */
  assign(): { capture: SqliteThread; checkpoint: SqliteThread; database: number } {
    const database = this.#next++
    const at = database % maxCaptureThreads
    const capture = (this.#captures[at] ??= new SqliteThread())
    return { capture, checkpoint: this.#checkpoints, database }
  }
}
