import { availableParallelism } from 'node:os'
import { Worker } from 'node:worker_threads'
import { DatabaseError } from '../../domain/errors.js'
import { wokenOrAborted } from '../../kit/abort.js'
import { messageOf } from '../../kit/error-text.js'
import {
  type Look,
  type LookOrder,
  type LookReply,
  type SqliteCall,
  type SqliteReply,
} from './sqlite-messages.js'

/** What a call allocates is short-lived and small, but for WAL pages, which lie outside the heap. By default, it grows to some 50. */
const maxYoungGenerationSizeMb = 2

/** Another process is in the way, for the moment perhaps. */
export class LockedError extends DatabaseError {}

interface Waiting {
  readonly resolve: (value: unknown) => void
  readonly reject: (error: Error) => void
}

/** One that died is started again no sooner than this after its start: what it died of may last. */
const leastRestartMs = 1000

/** One that is needed now and then, and has nothing to do for so long, ends: it takes some 10 MB, and its start some 50 ms. */
const restMs = 5000

/** A thread that makes SQLite calls, seen from the main thread. One that died is replaced at the next call. */
export class SqliteThread implements AsyncDisposable {
  #worker: Worker | undefined
  #life = 0
  #startedAt = Number.NEGATIVE_INFINITY
  #failure: DatabaseError | undefined
  readonly #waiting = new Map<number, Waiting>()
  readonly #looks = new Map<number, () => void>()
  readonly #mourners = new Set<() => void>()
  readonly #running = new Set<Worker>()
  readonly #endsAtRest: boolean
  #rest: NodeJS.Timeout | undefined
  #nextId = 1

  /** `endsAtRest`: nothing is open in it between calls, and without any it ends after a while. It starts again at the next one. */
  constructor({ endsAtRest = false } = {}) {
    this.#endsAtRest = endsAtRest
  }

  /** Another number with each thread that takes the place of a dead one: what was open in that one is closed. */
  get life(): number {
    return this.#life
  }

  /** Makes a call. It cannot be interrupted: SQLite decides how long it takes. Rejects if the thread dies meanwhile. */
  async call(request: SqliteCall): Promise<unknown> {
    const worker = this.#worker ?? this.#start()
    clearTimeout(this.#rest)
    const id = this.#nextId++
    const answered = new Promise<unknown>((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject })
    })
    worker.postMessage({ ...request, id })
    return answered
  }

  /** Calls `changed` once when the files are no longer as they were, or nobody looks at them. Returns what ends that. */
  look(look: Look, changed: () => void): () => void {
    let worker: Worker
    try {
      worker = this.#worker ?? this.#start()
    } catch {
      // Everybody looks for himself on the interval meanwhile.
      const timer = setTimeout(changed, look.intervalMs)
      return () => clearTimeout(timer)
    }
    const id = this.#nextId++
    this.#looks.set(id, changed)
    worker.postMessage({ call: 'look', id, look } satisfies LookOrder)
    return () => {
      if (this.#looks.delete(id)) worker.postMessage({ call: 'forget', id } satisfies LookOrder)
    }
  }

  /** Whoever has something looked at is woken, and has it looked at elsewhere. */
  endLooks(): void {
    for (const id of this.#looks.keys()) {
      this.#worker?.postMessage({ call: 'forget', id } satisfies LookOrder)
      this.#tellChanged(id)
    }
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
    worker.on('message', (reply: SqliteReply | LookReply) => {
      if ('changed' in reply) this.#tellChanged(reply.changed)
      else this.#answer(reply)
    })
    worker.on('error', (error) => this.#bury(worker, error))
    worker.on('exit', (code) => {
      this.#running.delete(worker)
      this.#bury(worker, new Error(`its exit code is ${code}`))
    })
    this.#running.add(worker)
    this.#worker = worker
    return worker
  }

  #answer(reply: SqliteReply): void {
    const waiting = this.#waiting.get(reply.id)
    this.#waiting.delete(reply.id)
    if (this.#endsAtRest && this.#waiting.size === 0) {
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
    const worker = this.#worker
    this.#worker = undefined
    void worker?.terminate()
  }

  #bury(worker: Worker, cause: unknown): void {
    if (worker !== this.#worker) return
    this.#worker = undefined
    clearTimeout(this.#rest)
    this.#life += 1
    this.#failure = ended(cause)
    for (const waiting of this.#waiting.values()) waiting.reject(this.#failure)
    this.#waiting.clear()
    for (const id of [...this.#looks.keys()]) this.#tellChanged(id)
    for (const done of [...this.#mourners]) done()
  }

  /** Resolves when it has ended, which a call that hangs in the operating system holds up. Nobody calls it any more. */
  async [Symbol.asyncDispose](): Promise<void> {
    clearTimeout(this.#rest)
    await Promise.all([...this.#running].map((worker) => worker.terminate()))
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

/** The threads that a database is to use, and its number there. */
export interface AssignedThreads {
  readonly capture: SqliteThread
  readonly checkpoint: SqliteThread
  readonly lock: SqliteThread
  readonly looks: Pick<SqliteThread, 'look'>
  readonly database: number
}

/**
 * The threads that all databases of the process share: a few for readers, and others for checkpoints, so that a disk
 * that syncs slowly does not hold up the readers, for writer locks, which are fought for, and for looks at the files of idle
 * databases, so that a disk that hangs holds up no other database. Each starts when it is needed. Who disposes of them
 * has disposed of all that makes calls to them.
 */
export class SqliteThreads implements AsyncDisposable {
  readonly #captures: SqliteThread[] = []
  readonly #checkpoints = new SqliteThread({ endsAtRest: true })
  readonly #locks = new SqliteThread({ endsAtRest: true })
  readonly #looks = new SqliteThread()
  #next = 0

  assign(): AssignedThreads {
    const database = this.#next++
    const at = database % maxCaptureThreads
    const capture = (this.#captures[at] ??= new SqliteThread())
    // The look of the first one has been where it holds up nobody.
    if (database === 1) this.#captures[0]?.endLooks()
    return {
      capture,
      checkpoint: this.#checkpoints,
      lock: this.#locks,
      looks: { look: (...args) => this.#lookingFor(capture).look(...args) },
      database,
    }
  }

  /** Where there is but one database, its looks need no thread of their own. */
  #lookingFor(capture: SqliteThread): SqliteThread {
    return this.#next === 1 ? capture : this.#looks
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const all = [...this.#captures, this.#checkpoints, this.#locks, this.#looks]
    await Promise.all(all.map((thread) => thread[Symbol.asyncDispose]()))
  }
}
