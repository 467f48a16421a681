import { isAbortError } from '../../kit/abort.js'
import { LevelAlarm, sizeLevels } from '../../kit/level-alarm.js'
import { type DatabaseDetails, type FileSizes, type FileSystemUse } from '../../domain/status.js'
import { mapAtOnce } from '../../kit/map-at-once.js'
import { type Clock } from '../ports/clock.js'
import { type LocalDisk } from '../ports/local-disk.js'
import { type Logger } from '../ports/logger.js'

export interface WatchDiskOptions {
  readonly disk: LocalDisk
  /** The databases of the moment. */
  readonly databases: () => readonly DatabaseDetails[]
  readonly clock: Clock
  readonly logger: Logger
}

/** What was measured. */
export interface DiskMeasurement {
  /** By the path of the database. */
  readonly sizes: ReadonlyMap<string, FileSizes>
  readonly fileSystems: readonly FileSystemUse[]
}

/** The first time, databases are only being opened. */
const firstMs = 5000
const intervalMs = 30_000
/** A measurement of this age is as good as a new one. */
const freshMs = 1000
const atOnce = 16
const hourMs = 3_600_000
/** Growth is judged over this long. */
const growthWindowMs = 10 * 60_000
/** A database that grew by less than this part of its size grew slowly. */
const suddenGrowth = 0.5

/** The alarms of one database, and its size at the beginning of the window in which growth is judged. */
interface Watched {
  readonly wal: LevelAlarm
  readonly growth: LevelAlarm
  readonly spool: LevelAlarm
  base: { readonly bytes: number; readonly atMs: number } | undefined
}

/** Measures files and disks now and then, and warns before they are a problem. */
export class WatchDisk {
  readonly #options: WatchDiskOptions
  #latest: DiskMeasurement = { sizes: new Map(), fileSystems: [] }
  #measuredAt = Number.NEGATIVE_INFINITY
  #measuring: Promise<DiskMeasurement> | undefined
  readonly #watched = new Map<string, Watched>()
  readonly #disks = new Map<string, LevelAlarm>()

  constructor(options: WatchDiskOptions) {
    this.#options = options
  }

  get latest(): DiskMeasurement {
    return this.#latest
  }

  /** Measures, unless that was done a moment ago. */
  measure(): Promise<DiskMeasurement> {
    const { clock } = this.#options
    if (clock.monotonic() - this.#measuredAt < freshMs) return Promise.resolve(this.#latest)
    this.#measuring ??= this.#measureAll().finally(() => {
      this.#measuring = undefined
    })
    return this.#measuring
  }

  async run(stop: AbortSignal): Promise<void> {
    const { clock } = this.#options
    for (let waitMs = firstMs; !stop.aborted; waitMs = intervalMs) {
      try {
        await clock.sleep(waitMs, stop)
      } catch (error) {
        if (isAbortError(error)) return
        throw error
      }
      this.#warn(await this.measure())
    }
  }

  async #measureAll(): Promise<DiskMeasurement> {
    const { disk, databases, clock } = this.#options
    const measured = await mapAtOnce(databases(), atOnce, async ({ path, metaPath }) => ({
      path,
      metaPath,
      databaseBytes: await disk.fileBytes(path),
      walBytes: await disk.walBytes(path),
    }))
    this.#latest = {
      sizes: new Map(measured.map((each) => [each.path, each])),
      fileSystems: await this.#measureFileSystems(new Set(measured.flatMap(foldersOf))),
    }
    this.#measuredAt = clock.monotonic()
    return this.#latest
  }

  async #measureFileSystems(folders: ReadonlySet<string>): Promise<readonly FileSystemUse[]> {
    const { disk } = this.#options
    const found = new Map<string, FileSystemUse>()
    await mapAtOnce([...folders], atOnce, async (folder) => {
      const info = await disk.fileSystem(folder)
      if (info === undefined || found.has(info.id)) return
      const { usedBytes, availableBytes } = info
      found.set(info.id, { folder, usedBytes, availableBytes })
    })
    return [...found.values()]
  }

  #warn({ sizes, fileSystems }: DiskMeasurement): void {
    const { clock, databases } = this.#options
    const nowMs = clock.monotonic()
    const seen = new Set<string>()
    for (const database of databases()) {
      seen.add(database.path)
      this.#warnOf(database, sizes.get(database.path), nowMs)
    }
    for (const path of this.#watched.keys()) if (!seen.has(path)) this.#watched.delete(path)
    for (const use of fileSystems) this.#warnOfDisk(use, nowMs)
  }

  #warnOf(database: DatabaseDetails, sizes: FileSizes | undefined, nowMs: number): void {
    const { path: db, spoolBytes, maxSpoolBytes } = database
    const logger = this.#options.logger.child({ db })
    const watched = this.#watchedOf(db)
    const { databaseBytes = 0, walBytes = 0 } = sizes ?? {}
    if (watched.wal.isDue(walBytes, nowMs)) {
      logger.warn({ walBytes, hint: whyLarge(database) }, 'the wal is large')
    }
    const grownBytes = suddenlyGrown(watched, databaseBytes, nowMs)
    if (watched.growth.isDue(grownBytes, nowMs)) {
      logger.warn({ grownBytes, databaseBytes }, 'the database is growing fast')
    }
    if (watched.spool.isDue(spoolBytes / maxSpoolBytes, nowMs)) {
      logger.warn(
        {
          spoolBytes,
          maxSpoolBytes,
          hint: 'a replica is behind; if the spool gets full, that replica starts over with a new snapshot when it can be reached',
        },
        'the spool is filling up',
      )
    }
  }

  #warnOfDisk({ folder, usedBytes, availableBytes }: FileSystemUse, nowMs: number): void {
    const alarm = this.#disks.get(folder) ?? new LevelAlarm([0.8, 0.9, 0.95, 0.99], 6 * hourMs)
    this.#disks.set(folder, alarm)
    const used = usedBytes / (usedBytes + availableBytes)
    if (!alarm.isDue(used, nowMs)) return
    this.#options.logger.warn(
      { folder, used: `${Math.floor(used * 100)}%`, availableBytes },
      'the disk is filling up',
    )
  }

  #watchedOf(db: string): Watched {
    const known = this.#watched.get(db)
    if (known !== undefined) return known
    const watched = {
      wal: new LevelAlarm(sizeLevels, hourMs),
      growth: new LevelAlarm(sizeLevels, hourMs),
      spool: new LevelAlarm([0.5, 0.8, 0.95], hourMs),
      base: undefined,
    }
    this.#watched.set(db, watched)
    return watched
  }
}

/** What is known of why a WAL is large, and what to do. */
function whyLarge({ copyingProblem, isWalPinned }: DatabaseDetails): string {
  if (copyingProblem !== undefined) return `its pages cannot be copied back: ${copyingProblem}`
  return isWalPinned
    ? 'a read transaction of the application that does not end keeps it from being reused: end that one'
    : 'the application wrote so much in one transaction, or without a pause; SQLite uses the file again, and makes it smaller only at PRAGMA wal_checkpoint(TRUNCATE)'
}

/** By how much a database has grown in the window, where that is much for its size; else 0. */
function suddenlyGrown(watched: Watched, bytes: number, nowMs: number): number {
  const base = watched.base
  if (base === undefined || bytes < base.bytes || nowMs - base.atMs > growthWindowMs) {
    watched.base = { bytes, atMs: nowMs }
  }
  // A file that was not there before did not grow.
  if (base === undefined || base.bytes === 0) return 0
  const grown = bytes - base.bytes
  return grown >= base.bytes * suddenGrowth ? grown : 0
}

/** A thousand databases in one folder, each with its local state beside it, are one look. */
function foldersOf({ path, metaPath }: Pick<DatabaseDetails, 'path' | 'metaPath'>): string[] {
  const folder = folderOf(path)
  return folderOf(metaPath) === folder ? [folder] : [folder, metaPath]
}

function folderOf(path: string): string {
  return path.slice(0, path.lastIndexOf('/')) || '/'
}
