import { type FSWatcher, watch } from 'chokidar'
import path from 'node:path'
import { type ChangeWatcher } from '../../usecase/ports/change-watcher.js'

/**
 * Watches the folder of a database for its two files. The folder, not the files: a database file opened and closed here
 * would drop SQLite's locks. Armed when first waited for; {@link disarm} it under load, where every write is an event.
 */
export class ChokidarWatcher implements ChangeWatcher {
  readonly #path: string
  #watcher: FSWatcher | undefined
  #wake: (() => void) | undefined

  constructor(databasePath: string) {
    this.#path = databasePath
  }

  async waitForChange(timeoutMs: number, signal: AbortSignal): Promise<void> {
    if (signal.aborted) return
    this.#arm()
    await new Promise<void>((resolve) => {
      const done = (): void => {
        clearTimeout(timer)
        signal.removeEventListener('abort', done)
        this.#wake = undefined
        resolve()
      }
      const timer = setTimeout(done, timeoutMs)
      signal.addEventListener('abort', done, { once: true })
      this.#wake = done
    })
  }

  #arm(): void {
    if (this.#watcher !== undefined) return
    const folder = path.dirname(this.#path)
    const wanted = new Set([folder, this.#path, `${this.#path}-wal`])
    this.#watcher = watch(folder, {
      depth: 0,
      ignoreInitial: true,
      ignored: (file) => !wanted.has(path.resolve(file)),
    })
    const wake = (): void => this.#wake?.()
    this.#watcher.on('all', wake)
    // chokidar compares modification times, which a database mapped into memory may not change: the raw event is enough.
    this.#watcher.on('raw', wake)
    // A folder that cannot be watched is looked at on the interval.
    this.#watcher.on('error', wake)
  }

  async disarm(): Promise<void> {
    const watcher = this.#watcher
    this.#watcher = undefined
    await watcher?.close()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#wake?.()
    await this.disarm()
  }
}
