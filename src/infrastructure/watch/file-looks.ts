import { Worker } from 'node:worker_threads'
import { type LookReply, type LookRequest } from './look-messages.js'

/** A thread that died is started again no sooner than this after its start: what it died of may last. */
const leastRestartMs = 1000

/** Looks at the files of idle databases, in a thread of its own. One that died is replaced at the next look. */
export class FileLooks {
  #worker: Worker | undefined
  #startedAt = Number.NEGATIVE_INFINITY
  readonly #waiting = new Map<number, () => void>()
  #nextId = 1

  /** Calls `changed` once when the fingerprint is no longer `before`. Returns what ends that. */
  look(
    options: Omit<Extract<LookRequest, { kind: 'look' }>, 'kind' | 'id'>,
    changed: () => void,
  ): () => void {
    const worker = this.#worker ?? this.#start()
    if (worker === undefined) {
      const timer = setTimeout(changed, options.intervalMs)
      return () => clearTimeout(timer)
    }
    const id = this.#nextId++
    this.#waiting.set(id, changed)
    worker.postMessage({ kind: 'look', id, ...options } satisfies LookRequest)
    return () => {
      if (this.#waiting.delete(id)) worker.postMessage({ kind: 'forget', id } satisfies LookRequest)
    }
  }

  /** Undefined: there is none now, and everybody looks for himself on the interval. */
  #start(): Worker | undefined {
    const now = performance.now()
    if (now - this.#startedAt < leastRestartMs) return undefined
    this.#startedAt = now
    let worker: Worker
    try {
      worker = new Worker(new URL('./look-worker.js', import.meta.url), {
        resourceLimits: { maxYoungGenerationSizeMb: 2 },
      })
    } catch {
      return undefined
    }
    worker.on('message', ({ id }: LookReply) => {
      const changed = this.#waiting.get(id)
      this.#waiting.delete(id)
      changed?.()
    })
    const bury = (): void => {
      if (worker !== this.#worker) return
      this.#worker = undefined
      const waiting = [...this.#waiting.values()]
      this.#waiting.clear()
      for (const changed of waiting) changed()
    }
    worker.on('error', bury)
    worker.on('exit', bury)
    worker.unref()
    this.#worker = worker
    return worker
  }
}
