import { Worker } from 'node:worker_threads'
import { type LookReply, type LookRequest } from './look-messages.js'

/** Looks at the files of idle databases, in a thread of its own. */
export class FileLooks {
  #worker: Worker | undefined
  readonly #waiting = new Map<number, () => void>()
  #nextId = 1

  /** Calls `changed` once when the fingerprint is no longer `before`. Returns what ends that. */
  look(
    options: { readonly path: string; readonly before: string; readonly intervalMs: number },
    changed: () => void,
  ): () => void {
    const id = this.#nextId++
    this.#waiting.set(id, changed)
    this.#post({ kind: 'look', id, ...options })
    return () => {
      if (this.#waiting.delete(id)) this.#post({ kind: 'forget', id })
    }
  }

  #post(request: LookRequest): void {
    this.#worker ??= this.#start()
    this.#worker.postMessage(request)
  }

  #start(): Worker {
    const worker = new Worker(new URL('./look-thread.js', import.meta.url), {
      resourceLimits: { maxYoungGenerationSizeMb: 2 },
    })
    worker.on('message', ({ id }: LookReply) => {
      const changed = this.#waiting.get(id)
      this.#waiting.delete(id)
      changed?.()
    })
    // Without it everybody looks for himself, and asks a new one.
    worker.on('error', () => {
      this.#worker = undefined
      const waiting = [...this.#waiting.values()]
      this.#waiting.clear()
      for (const changed of waiting) changed()
    })
    worker.unref()
    return worker
  }
}
