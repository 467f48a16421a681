/**
 * Those of an application who wait for their commits, over all lives of the engine: what one did not answer the next one
 * is asked again, which tells at least as much.
 */
import { NotStoredError } from '../../domain/errors.js'
import { onAbort } from '../../kit/abort.js'
import { formatDuration } from '../../kit/duration.js'
import { type Stored } from '../../usecase/daemon/commit-waits.js'
import { type SyncRequest } from '../daemon/sync-request.js'
import { type FromEngine, type ToEngine } from './messages.js'

type Answer = Extract<FromEngine, { kind: 'stored' | 'refused' }>

interface Waiter {
  readonly request: SyncRequest
  /** By the monotonic clock. */
  readonly endsAtMs: number
  readonly resolve: (stored: Stored) => void
  readonly reject: (error: unknown) => void
}

/** The engine keeps the time, and knows what is missing: it has so much longer to say that. */
const graceMs = 1000
const hint = 'The commit itself is safe in the database, and is stored once an engine runs.'

export class StoredWaits {
  readonly #waiters = new Map<number, Waiter>()
  #lastId = 0
  /** Undefined: no engine runs. */
  #send: ((message: ToEngine) => void) | undefined
  #ending: string | undefined
  #isOver = false

  async wait(request: SyncRequest, signal: AbortSignal): Promise<Stored> {
    signal.throwIfAborted()
    if (this.#isOver) throw this.#gone()
    const { promise, resolve, reject } = Promise.withResolvers<Stored>()
    const id = (this.#lastId += 1)
    using _listening = onAbort(signal, () => {
      reject(signal.reason)
      this.#send?.({ kind: 'forget', id })
    })
    const endsAtMs = performance.now() + request.timeoutMs
    let timer = setTimeout(() => {
      if (this.#send === undefined) reject(this.#gone())
      else timer = setTimeout(() => reject(this.#silent(request)), graceMs)
    }, request.timeoutMs)
    this.#waiters.set(id, { request, endsAtMs, resolve, reject })
    this.#ask(id)
    try {
      return await promise
    } finally {
      clearTimeout(timer)
      this.#waiters.delete(id)
    }
  }

  /** An engine runs, and takes these messages. */
  engineRuns(send: (message: ToEngine) => void): void {
    this.#send = send
    for (const id of this.#waiters.keys()) this.#ask(id)
  }

  /** It has ended; whether there will be another one. */
  engineEnded(how: string, { isLast }: { readonly isLast: boolean }): void {
    this.#send = undefined
    this.#ending = how
    this.#isOver = isLast
    if (isLast) for (const { reject } of this.#waiters.values()) reject(this.#gone())
  }

  answered(answer: Answer): void {
    const waiter = this.#waiters.get(answer.id)
    if (answer.kind === 'stored') waiter?.resolve(answer.stored)
    else waiter?.reject(answer.error)
  }

  #ask(id: number): void {
    const waiter = this.#waiters.get(id)
    if (waiter === undefined) return
    const { request, endsAtMs } = waiter
    const timeoutMs = Math.max(1, Math.ceil(endsAtMs - performance.now()))
    this.#send?.({ kind: 'await', id, request: { ...request, timeoutMs } })
  }

  #gone(): NotStoredError {
    const how = this.#ending === undefined ? 'does not run yet' : `ended by ${this.#ending}`
    return new NotStoredError(`not stored: the engine ${how}`, { hint })
  }

  #silent({ timeoutMs }: SyncRequest): NotStoredError {
    return new NotStoredError(
      `not known to be stored: the engine did not answer within ${formatDuration(timeoutMs)}`,
      { hint },
    )
  }
}
