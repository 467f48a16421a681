import { type Worker } from 'node:worker_threads'

/** The threads that are started in this process while it is open, whoever starts them: those that still run end with it. */
export class StartedThreads implements AsyncDisposable {
  readonly #running = new Set<Worker>()
  readonly #onWorker = (worker: Worker): void => {
    this.#running.add(worker)
    worker.once('exit', () => this.#running.delete(worker))
  }

  constructor() {
    process.on('worker', this.#onWorker)
  }

  /** Resolves when they have ended, which a call that hangs in the operating system holds up. */
  async [Symbol.asyncDispose](): Promise<void> {
    process.off('worker', this.#onWorker)
    await Promise.all([...this.#running].map((worker) => worker.terminate()))
  }
}
