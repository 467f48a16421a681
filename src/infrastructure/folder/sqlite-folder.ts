import { type FSWatcher } from 'chokidar'
import { type Dirent } from 'node:fs'
import { lstat, readdir } from 'node:fs/promises'
import path from 'node:path'
import { type DatabaseFolder } from '../../domain/settings/config.js'
import { isMeant, isStateFolder, mayBeDatabase } from '../../domain/settings/database-folder.js'
import { type KnownDatabase } from '../../domain/settings/known-database.js'
import { DatabaseError } from '../../domain/errors.js'
import { wokenOrAborted } from '../../kit/abort.js'
import { codeOf, messageOf } from '../../kit/error-text.js'
import {
  type FolderScan,
  type UnreadableFolder,
  type WatchedFolder,
} from '../../usecase/ports/watched-folder.js'
import { kindByContent } from '../files/sqlite-header.js'
import { removeLeft } from './left-state.js'

type Replicated = Parameters<WatchedFolder['scan']>[0]

/** A folder of SQLite databases. Folders are watched, never files. */
export class SqliteFolder implements WatchedFolder {
  readonly #config: DatabaseFolder
  #watcher: FSWatcher | undefined
  #isReadable = false
  #wake: (() => void) | undefined
  #isWoken = false
  /** Files that are no databases, as they were at the last look. */
  #others: ReadonlyMap<string, string> = new Map()
  /** Why comings and goings are not announced. */
  #watchProblem: string | undefined

  constructor(config: DatabaseFolder) {
    this.#config = config
  }

  async scan(replicated: Replicated, signal: AbortSignal): Promise<FolderScan> {
    this.#isWoken = false
    try {
      const scan = await this.#look(replicated, signal)
      this.#isReadable = true
      return scan
    } catch (error) {
      if (!(error instanceof DatabaseError)) throw error
      // What is there later under this name is another folder: it is watched anew.
      this.#isReadable = false
      await this.#watcher?.close()
      this.#watcher = undefined
      throw error
    }
  }

  async #look(replicated: Replicated, signal: AbortSignal): Promise<FolderScan> {
    const found: string[] = []
    const unreadable: string[] = []
    let hasEmpty = false
    const problems = new Map<string, UnreadableFolder>()
    const others = new Map<string, string>()
    const within = (subfolder: string): readonly string[] => {
      const start = `${this.#config.path}/${subfolder}/`
      const inside = [...replicated.paths].filter((file) => file.startsWith(start))
      return inside.map((file) => file.slice(this.#config.path.length + 1))
    }
    const keep = (subfolder: string, err: DatabaseError): void => {
      const [top = subfolder] = subfolder.split('/')
      if (!problems.has(top)) problems.set(top, { dir: `${this.#config.path}/${subfolder}`, err })
      found.push(...within(subfolder))
    }
    for await (const relativePath of this.#files('', keep)) {
      signal.throwIfAborted()
      const kind = await this.#kindOf(relativePath, replicated, others)
      if (kind === 'database') found.push(relativePath)
      if (kind === 'unreadable') unreadable.push(`${this.#config.path}/${relativePath}`)
      hasEmpty ||= kind === 'empty'
    }
    this.#others = others
    return {
      found: found.toSorted(),
      hasEmpty,
      unreadable,
      unreadableFolders: [...problems.values()],
    }
  }

  /** What cannot be read below is somebody's, and not to be in the way of the others. */
  async *#files(
    subfolder: string,
    onUnreadable: (subfolder: string, error: DatabaseError) => void,
  ): AsyncIterable<string> {
    const { path: folder, recursive } = this.#config
    for (const entry of await entriesOf(folder, subfolder, onUnreadable)) {
      const relativePath = subfolder === '' ? entry.name : `${subfolder}/${entry.name}`
      if (entry.isDirectory()) {
        if (recursive && !isStateFolder(entry.name)) yield* this.#files(relativePath, onUnreadable)
      } else if (entry.isFile() && isMeant(this.#config, relativePath)) {
        yield relativePath
      }
    }
  }

  async #kindOf(
    relativePath: string,
    replicated: Replicated,
    others: Map<string, string>,
  ): Promise<'database' | 'empty' | 'other' | 'unreadable'> {
    const file = `${this.#config.path}/${relativePath}`
    if (replicated.paths.has(file)) return 'database'
    const stat = await lstat(file).catch(() => undefined)
    if (stat?.isFile() !== true) return 'other'
    if (stat.size === 0) return 'empty'
    const signs = `${stat.ino}:${stat.size}:${stat.mtimeMs}`
    const isKnown = this.#others.get(file) === signs
    const kind = isKnown
      ? 'other'
      : await kindByContent(file, ({ dev, ino }) => replicated.has({ device: dev, inode: ino }))
    // Another name of a database that is replicated already, or one that is being renamed.
    if (kind === 'in use') return 'empty'
    if (kind === 'other') others.set(file, signs)
    return kind
  }

  get watchProblem(): string | undefined {
    return this.#watchProblem
  }

  async removeLeftState(beforeMs: number): Promise<readonly string[]> {
    const { path: folder, metaPath, recursive } = this.#config
    const { stateBase }: Omit<KnownDatabase, 'path' | 'metaPath'> = this.#config.database
    const bases = [
      metaPath ?? folder,
      ...(stateBase === undefined ? [] : [path.join(stateBase, folder)]),
    ]
    const removed = await Promise.all(
      bases.map((base) => removeLeft({ folder, base, recursive }, beforeMs)),
    )
    return removed.flat()
  }

  async waitForChange(timeoutMs: number, signal: AbortSignal): Promise<void> {
    try {
      if (this.#isReadable) this.#watcher ??= await this.#watch()
    } catch (error) {
      // Such as the package being replaced meanwhile: the folder is looked at on the interval.
      this.#watchProblem = messageOf(error)
    }
    if (this.#isWoken) return
    await wokenOrAborted(signal, (wake) => {
      const timer = setTimeout(wake, timeoutMs)
      this.#wake = wake
      return () => {
        clearTimeout(timer)
        this.#wake = undefined
      }
    })
  }

  async #watch(): Promise<FSWatcher> {
    // Loaded when a folder is watched: most configurations have none.
    const { watch } = await import('chokidar')
    const { path: folder, recursive } = this.#config
    const watcher = watch(folder, {
      ignoreInitial: true,
      followSymlinks: false,
      ...(recursive ? {} : { depth: 0 }),
      ignored: (file, stats) => stats?.isFile() === true || isStateFolder(path.basename(file)),
    })
    const wake = (): void => {
      this.#isWoken = true
      this.#wake?.()
    }
    // What came between the look and the watch is not announced.
    watcher.on('ready', wake)
    watcher.on('addDir', wake)
    watcher.on('unlinkDir', wake)
    // A write is `change`; what comes and goes is `rename`.
    watcher.on('raw', (event: string, name: string | null) => {
      if (event === 'rename' && (name === null || mayBeDatabase(name))) wake()
    })
    watcher.on('error', (error) => {
      this.#watchProblem = messageOf(error)
      wake()
    })
    return watcher
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#wake?.()
    await this.#watcher?.close()
  }
}

/** A subfolder that vanishes, or becomes something else, while the others are looked through has nothing in it. */
async function entriesOf(
  folder: string,
  subfolder: string,
  onUnreadable: (subfolder: string, error: DatabaseError) => void,
): Promise<Dirent[]> {
  const whole = path.join(folder, subfolder)
  try {
    return await readdir(whole, { withFileTypes: true })
  } catch (cause) {
    const code = codeOf(cause)
    if (subfolder !== '' && (code === 'ENOENT' || code === 'ENOTDIR')) return []
    const why = code === 'ENOENT' ? 'it does not exist' : String(cause)
    const error = new DatabaseError(`cannot read folder ${whole}: ${why}`, { cause })
    if (subfolder === '') throw error
    onUnreadable(subfolder, error)
    return []
  }
}
