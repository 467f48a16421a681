import { type FSWatcher, statSync, watch } from 'node:fs'
import path from 'node:path'

interface FolderWatch {
  /** Undefined: the folder cannot be watched, and is looked at on the interval. */
  readonly watcher: FSWatcher | undefined
  readonly inode: number | undefined
  readonly listeners: Map<string, Set<() => void>>
}

/**
 * Listens for changes of files, with one watch for each folder, however many of its files somebody listens for: an
 * event costs a look into a map. The folder is watched, not the files: a database file opened and closed here would drop
 * SQLite's locks.
 */
export class FolderWatches implements Disposable {
  readonly #folders = new Map<string, FolderWatch>()

  /** Calls `listener` whenever something happens to one of these files of one folder. Returns what ends that. */
  listen(folder: string, names: readonly string[], listener: () => void): () => void {
    const { listeners } = this.#watchOf(folder)
    for (const name of names) {
      const those = listeners.get(name) ?? new Set()
      listeners.set(name, those.add(listener))
    }
    return () => {
      for (const name of names) {
        const those = listeners.get(name)
        those?.delete(listener)
        if (those?.size === 0) listeners.delete(name)
      }
      if (listeners.size === 0) this.#close(folder, listeners)
    }
  }

  #watchOf(folder: string): FolderWatch {
    const inode = statSync(folder, { throwIfNoEntry: false })?.ino
    const former = this.#folders.get(folder)
    // Another folder may have taken its name.
    if (former?.inode === inode && former?.watcher !== undefined) return former
    former?.watcher?.close()
    const listeners = former?.listeners ?? new Map<string, Set<() => void>>()
    const opened = { inode, listeners, watcher: openWatcher(folder, listeners) }
    this.#folders.set(folder, opened)
    return opened
  }

  #close(folder: string, listeners: FolderWatch['listeners']): void {
    const now = this.#folders.get(folder)
    if (now?.listeners !== listeners) return
    now.watcher?.close()
    this.#folders.delete(folder)
  }

  [Symbol.dispose](): void {
    for (const { watcher } of this.#folders.values()) watcher?.close()
    this.#folders.clear()
  }
}

function openWatcher(folder: string, listeners: FolderWatch['listeners']): FSWatcher | undefined {
  const wakeAll = (): void => {
    for (const those of [...listeners.values()]) for (const listener of [...those]) listener()
  }
  try {
    const watcher = watch(folder, { persistent: false }, (_event, name) => {
      if (name === null) wakeAll()
      else for (const listener of [...(listeners.get(path.basename(name)) ?? [])]) listener()
    })
    watcher.on('error', wakeAll)
    return watcher
  } catch {
    return undefined
  }
}
