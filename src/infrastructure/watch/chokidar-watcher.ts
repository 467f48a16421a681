import { type FSWatcher, watch } from 'chokidar'
import path from 'node:path'
import { type ChangeWatcher } from '../../usecase/ports/change-watcher.js'

/** A folder that is not being watched by then is looked at on the interval. */
const readyWithinMs = 1000

/**
 * Watches the folder of a database for its two files. The folder, not the files: a database file opened and closed here
 * would drop SQLite's locks. Armed before it is waited for; {@link disarm} it under load, where every write is an event.
 */
export class ChokidarWatcher implements ChangeWatcher {
  readonly #path: string
  #watcher: FSWatcher | undefined
  #wake: (() => void) | undefined
  /** A sign that came while nobody waited. */
  #isWoken = false

  constructor(databasePath: string) {
    this.#path = databasePath
  }

  async arm(signal: AbortSignal): Promise<void> {
    if (this.#watcher !== undefined || signal.aborted) return
    this.#isWoken = false
    const watcher = this.#watch()
    await new Promise<void>((resolve) => {
      const done = (): void => {
        clearTimeout(timer)
        signal.removeEventListener('abort', done)
        resolve()
      }
      const timer = setTimeout(done, readyWithinMs)
      signal.addEventListener('abort', done, { once: true })
      watcher.once('ready', done)
    })
  }

  async waitForChange(timeoutMs: number, signal: AbortSignal): Promise<void> {
    await this.arm(signal)
    if (signal.aborted) return
    if (!this.#isWoken) {
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
    this.#isWoken = false
  }

  #watch(): FSWatcher {
    const folder = path.dirname(this.#path)
    const wanted = new Set([folder, this.#path, `${this.#path}-wal`])
    const watcher = watch(folder, {
      depth: 0,
      ignoreInitial: true,
      ignored: (file) => !wanted.has(path.resolve(file)),
    })
    this.#watcher = watcher
    const wake = (): void => {
      this.#isWoken = true
      this.#wake?.()
    }
    watcher.on('all', wake)
    // chokidar compares modification times, which a database mapped into memory may not change: the raw event is enough.
    watcher.on('raw', wake)
    watcher.on('error', wake)
    return watcher
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
