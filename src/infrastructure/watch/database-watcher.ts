import path from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { wokenOrAborted } from '../../kit/abort.js'
import { type ChangeWatcher } from '../../usecase/ports/change-watcher.js'
import { type FolderWatches } from './folder-watches.js'

/** Looks at the files of idle databases in a thread, so that the main thread sleeps and a disk that hangs does not hold it up. */
export interface LooksAtFiles {
  /** Calls `changed` once when the fingerprint is no longer `before`, or may not be. Returns what ends that. */
  look(
    files: {
      readonly path: string
      /** Where the path leads to. */
      readonly file: string
      readonly before: string
      readonly intervalMs: number
    },
    changed: () => void,
  ): () => void
}

/** Watches the two files of one database: events make it prompt, the looks make it right. */
export class DatabaseWatcher implements ChangeWatcher {
  readonly #path: string
  /** Where the path leads to. */
  #file: string
  readonly #watches: FolderWatches
  readonly #looks: LooksAtFiles
  #disarm: (() => void) | undefined
  #wake: (() => void) | undefined
  /** A sign that came while nobody waited. */
  #isWoken = false

  constructor(databasePath: string, parts: { watches: FolderWatches; looks: LooksAtFiles }) {
    this.#path = this.#file = databasePath
    this.#watches = parts.watches
    this.#looks = parts.looks
  }

  follow(file: string): void {
    this.#file = file
  }

  async arm(signal: AbortSignal): Promise<void> {
    if (this.#disarm !== undefined) return
    // As root SQLite changes the owner of the WAL, to what it is, whenever a connection is opened, and ours are no sign of
    // life. All that has happened is told once a turn of the event loop has begun and ended.
    await setImmediate()
    await setImmediate()
    if (!signal.aborted) {
      this.#isWoken = false
      const name = path.basename(this.#file)
      this.#disarm = this.#watches.listen(path.dirname(this.#file), [name, `${name}-wal`], () => {
        this.#isWoken = true
        this.#wake?.()
      })
    }
  }

  disarm(): Promise<void> {
    this.#disarm?.()
    this.#disarm = undefined
    return Promise.resolve()
  }

  async waitForChange(timeoutMs: number, signal: AbortSignal): Promise<void> {
    await this.#wait(signal, (wake) => {
      const timer = setTimeout(wake, timeoutMs)
      return () => clearTimeout(timer)
    })
  }

  async waitForSign(
    look: { readonly before: string; readonly intervalMs: number },
    signal: AbortSignal,
  ): Promise<void> {
    await this.#wait(signal, (wake) =>
      this.#looks.look({ path: this.#path, file: this.#file, ...look }, wake),
    )
  }

  async #wait(signal: AbortSignal, begin: (wake: () => void) => () => void): Promise<void> {
    await this.arm(signal)
    if (signal.aborted) return
    if (!this.#isWoken) {
      await wokenOrAborted(signal, (wake) => {
        const end = begin(wake)
        this.#wake = wake
        return () => {
          end()
          this.#wake = undefined
        }
      })
    }
    this.#isWoken = false
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#wake?.()
    await this.disarm()
  }
}
