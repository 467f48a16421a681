import { type DatabaseConfig, type DatabaseFolder } from '../../domain/settings/config.js'
import { databaseIn, folderOf } from '../../domain/settings/database-folder.js'
import { sameSettings } from '../../domain/settings/same-settings.js'
import { aborted, isAbortError } from '../../kit/abort.js'
import { messageOf } from '../../kit/error-text.js'
import { Complaints } from '../complaints.js'
import { type Clock } from '../ports/clock.js'
import { type Logger } from '../ports/logger.js'
import { type FileIdentity } from '../ports/managed-database.js'
import { type FolderScan, type WatchedFolder } from '../ports/watched-folder.js'

export interface FollowFoldersOptions {
  readonly open: (folder: DatabaseFolder) => WatchedFolder
  /** Databases that run, which must not be looked into. */
  readonly replicated: () => {
    readonly paths: ReadonlySet<string>
    has(file: FileIdentity): boolean
  }
  /** What was found is no longer what it was. */
  readonly changed: () => void
  readonly clock: Clock
  readonly logger: Logger
}

interface Unreadable {
  readonly dir: string
  readonly problem: string
}

interface Followed {
  readonly folder: DatabaseFolder
  readonly stop: AbortController
  readonly scanned: Promise<void>
  /** Those who wait until it is looked at once more; undefined: nobody does. */
  asked: PromiseWithResolvers<undefined> | undefined
  /** Ends the pause before the next look. */
  wake: AbortController
  isOver: boolean
  found: readonly DatabaseConfig[]
  /** Files that cannot be looked into, when it was last looked. */
  unreadableFiles: ReadonlySet<string>
  /** It, or folders below it, that could not be read when it was last looked at. */
  unreadable: readonly Unreadable[]
}

/** What no event announced is found after this long, and a file that is still empty is looked at again after that. */
const rescanMs = 30_000
const emptyRescanMs = 1000
/** How soon that is where nothing announces anything. */
const unwatchedRescanMs = 5000
/** A folder that cannot be read is tried this soon. */
const unreadableRescanMs = 1000
/** After a look nothing is done for this many times as long as it took, whatever comes and goes, up to {@link rescanMs}. */
const restShare = 20
/** Local state of a database that is gone stays this long, should it come back, and is looked for this often. */
const stateGraceMs = 3_600_000
const sweepEveryMs = 600_000
/** Files that come together are found together. */
const gatherMs = 100

/** Finds the databases in folders, and goes on looking. A folder that cannot be read keeps what was found in it. */
export class FollowFolders {
  readonly #options: FollowFoldersOptions
  #followed: readonly Followed[] = []

  constructor(options: FollowFoldersOptions) {
    this.#options = options
  }

  want(folders: readonly DatabaseFolder[]): void {
    const staying = this.#followed.filter((one) =>
      folders.some((folder) => sameSettings(folder, one.folder)),
    )
    for (const one of this.#followed) if (!staying.includes(one)) one.stop.abort()
    this.#followed = folders.map(
      (folder) => staying.find((one) => sameSettings(folder, one.folder)) ?? this.#follow(folder),
    )
  }

  /** What has been found by now, each with the settings of the folder that it belongs to. */
  get found(): readonly DatabaseConfig[] {
    const folders = this.#followed.map(({ folder }) => folder)
    if (folders.length === 1) return this.#followed.flatMap(({ found }) => found)
    return this.#followed.flatMap(({ folder, found }) =>
      found.filter(({ path }) => folderOf(folders, path)?.folder === folder),
    )
  }

  get unreadable(): readonly Unreadable[] {
    return this.#followed.flatMap(({ unreadable }) => unreadable)
  }

  async scanned(): Promise<void> {
    await Promise.all(this.#followed.map(({ scanned }) => scanned))
  }

  /** Resolves when each of them was looked at once more. One that is not watched, and was read, is not. */
  async lookAgain(): Promise<void> {
    await Promise.all(
      this.#followed.map(async (one) => {
        if (one.isOver) return
        one.asked ??= Promise.withResolvers()
        one.wake.abort()
        await one.asked.promise
      }),
    )
  }

  stop(): void {
    for (const { stop } of this.#followed) stop.abort()
  }

  #follow(folder: DatabaseFolder): Followed {
    const stop = new AbortController()
    const first = new AbortController()
    // One that takes the place of another of this path goes on with its databases until it has looked.
    const former = this.#followed.find((one) => one.folder.path === folder.path)
    const found = (former?.found ?? []).map(({ path }) =>
      databaseIn(folder, path.slice(folder.path.length + 1)),
    )
    const scanned = aborted(first.signal)
    const followed: Followed = {
      folder,
      stop,
      scanned,
      asked: undefined,
      wake: new AbortController(),
      isOver: false,
      found,
      unreadable: [],
      unreadableFiles: new Set(),
    }
    void this.#run(followed, () => first.abort()).finally(() => {
      followed.isOver = true
      followed.asked?.resolve(undefined)
    })
    return followed
  }

  async #run(followed: Followed, scanned: () => void): Promise<void> {
    const { open, clock, logger } = this.#options
    const { folder, stop } = followed
    const complaints = new FolderComplaints({ logger, clock })
    await using opened = open(folder)
    let sweptAtMs = Number.NEGATIVE_INFINITY
    let isFirst = true
    let watchProblem: string | undefined
    while (!stop.signal.aborted) {
      let pauseMs = rescanMs
      const startedAt = clock.monotonic()
      const { asked } = followed
      followed.asked = undefined
      followed.wake = new AbortController()
      try {
        const { hasEmpty, unreadableFolders } = await this.#scan(followed, opened)
        if (hasEmpty) pauseMs = emptyRescanMs
        if (isFirst && followed.found.length === 0) this.#warnOfNone(folder)
        isFirst = false
        if (clock.monotonic() - sweptAtMs > sweepEveryMs) {
          sweptAtMs = clock.monotonic()
          await this.#sweep(opened)
        }
        followed.unreadable = complaints.report(unreadableFolders)
      } catch (err) {
        if (!isAbortError(err)) {
          followed.unreadable = complaints.report([{ dir: folder.path, err }])
        }
        pauseMs = unreadableRescanMs
      }
      scanned()
      asked?.resolve(undefined)
      if (!folder.watch && followed.unreadable.length === 0) return
      const lookedAt = clock.monotonic()
      const restMs = Math.min(rescanMs, restShare * (lookedAt - startedAt))
      if (opened.watchProblem !== undefined) {
        pauseMs = Math.min(pauseMs, unwatchedRescanMs)
        const everyMs = Math.max(pauseMs, restMs)
        if (watchProblem === undefined) this.#warnOfNoWatch(folder, opened.watchProblem, everyMs)
        watchProblem = opened.watchProblem
      }
      const over = AbortSignal.any([stop.signal, followed.wake.signal])
      await opened.waitForChange(pauseMs, over)
      const restLeftMs = lookedAt + restMs - clock.monotonic()
      await clock.sleep(Math.max(gatherMs, restLeftMs), over).catch(() => undefined)
    }
    scanned()
  }

  #warnOfNone({ path: dir, pattern, recursive, watch }: DatabaseFolder): void {
    const next = watch ? 'waiting for them to be created' : 'the folder is read again at a reload'
    this.#options.logger.warn({ dir, pattern, recursive }, `no databases in the folder: ${next}`)
  }

  #warnOfNoWatch({ path: dir }: DatabaseFolder, problem: string, everyMs: number): void {
    this.#options.logger.warn(
      { dir, problem, 'every-ms': everyMs },
      'the folder cannot be watched: it is read at intervals instead',
    )
  }

  async #sweep(opened: WatchedFolder): Promise<void> {
    const { clock, logger } = this.#options
    for (const path of await opened.removeLeftState(clock.now() - stateGraceMs)) {
      logger.info({ path }, 'local state of a deleted database removed: everything in it is stored')
    }
  }

  async #scan(
    followed: Followed,
    opened: WatchedFolder,
  ): Promise<Pick<FolderScan, 'hasEmpty' | 'unreadableFolders'>> {
    const { logger, replicated, changed } = this.#options
    const { folder, stop } = followed
    const scan = await opened.scan(replicated(), stop.signal)
    const { found, unreadable } = scan
    if (stop.signal.aborted) return scan
    for (const file of unreadable) {
      if (!followed.unreadableFiles.has(file)) {
        logger.warn(
          { dir: folder.path, file },
          'no permission to read the file, which may be a database',
        )
      }
    }
    followed.unreadableFiles = new Set(unreadable)
    const former = new Set(followed.found.map(({ path }) => path))
    followed.found = found.map((relativePath) => databaseIn(folder, relativePath))
    const now = new Set(followed.found.map(({ path }) => path))
    for (const db of now)
      if (!former.has(db)) logger.info({ dir: folder.path, db }, 'database found')
    for (const db of former)
      if (!now.has(db)) logger.info({ dir: folder.path, db }, 'database gone')
    changed()
    return scan
  }
}

/** Tells the operator of each folder by itself that it cannot be read, and that it can be again. */
class FolderComplaints {
  readonly #options: Pick<FollowFoldersOptions, 'logger' | 'clock'>
  readonly #ofFolders = new Map<string, Complaints>()

  constructor(options: Pick<FollowFoldersOptions, 'logger' | 'clock'>) {
    this.#options = options
  }

  /** All that cannot be read now. */
  report(
    folders: readonly { readonly dir: string; readonly err: unknown }[],
  ): readonly Unreadable[] {
    for (const [dir, complaints] of this.#ofFolders) {
      if (folders.some((folder) => folder.dir === dir)) continue
      complaints.recovered()
      this.#ofFolders.delete(dir)
    }
    return folders.map(({ dir, err }) => {
      this.#of(dir).report(err)
      return { dir, problem: messageOf(err) }
    })
  }

  #of(dir: string): Complaints {
    const known = this.#ofFolders.get(dir)
    if (known !== undefined) return known
    const phrases = { failed: 'folder cannot be read', recovered: 'folder can be read again' }
    const complaints = new Complaints({ ...this.#options, fields: { dir }, phrases })
    this.#ofFolders.set(dir, complaints)
    return complaints
  }
}
