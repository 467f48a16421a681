import {
  type Config,
  type DatabaseConfig,
  type DatabaseFolder,
  type ReplicaTarget,
} from '../../domain/settings/config.js'
import { fileOf } from '../../domain/settings/database-folder.js'
import { ConfigError, InUseError, type NotStored, NotStoredError } from '../../domain/errors.js'
import { aborted, ignoreAbort, never } from '../../kit/abort.js'
import { formatDuration } from '../../kit/duration.js'
import { sameSettings } from '../../domain/settings/same-settings.js'
import { type DatabaseDetails, findSilent, type NotReady } from '../../domain/status.js'
import { messageOf } from '../../kit/error-text.js'
import { pauseAfter } from '../../kit/pause.js'
import { NoRoomError } from './descriptor-room.js'
import { FollowFolders } from './follow-folders.js'
import { type Clock } from '../ports/clock.js'
import { type LogFields, type Logger } from '../ports/logger.js'
import { type WatchedFolder } from '../ports/watched-folder.js'
import { type Refusal } from '../refusal.js'
import {
  type AwaitedDatabase,
  awaitSnapshot,
  awaitStored,
  type SnapshotRequest,
  type StoredRequest,
} from './await-stored.js'
import { type Stored, type StoredWithSnapshot } from './commit-waits.js'
import { type DatabaseParts, ReplicatedDatabase } from './replicated-database.js'

/** Databases being replicated, which come and go. */
export interface Replication {
  /**
   * Replicates these databases, and those in these folders, from now on. Those that are the same go on untouched, those that are missing here do a
   * last sync and stop.
   */
  want(config: Pick<Config, 'databases' | 'folders'>): void

  /**
   * Replicates the database of this path no longer, the others as before. Resolves with what could not be stored of it. Rejects
   * with {@link ConfigError} for one that is not among those that were named, with {@link NotStoredError} when all ends meanwhile.
   */
  remove(path: string): Promise<readonly NotStored[]>

  /** Resolves when what is wanted is so, or at an abort. `run` has to be under way. */
  settled(signal: AbortSignal): Promise<void>

  readonly databases: readonly ReplicatedDatabase[]

  /**
   * Runs until `stop`, then does a last sync of everything and resolves with what could not be stored. `kill` ends that
   * sync at once. Throws {@link InUseError} when another process replicates one of the databases.
   */
  run(stop: AbortSignal, kill: AbortSignal): Promise<readonly NotStored[]>
  /**
   * Resolves when every replica has all that is committed now in the databases that exist, or at an abort. `run` has to
   * be under way.
   */
  stored(signal: AbortSignal): Promise<void>
  /** Looks once more for databases that have just been made. Resolves when those are wanted, or at an abort. */
  lookAgain(signal: AbortSignal): Promise<void>
  /** Folders whose databases are not known, since they could not be read when it was last looked. */
  readonly unreadable: readonly NotReady[]
  /** The databases that are wanted. */
  readonly wanted: readonly DatabaseConfig[]
  /**
   * Resolves once everything that was committed before the call to the database of this path is stored, as the request
   * wants it. Rejects with {@link NotStoredError} when that is not so in time, or will not be; with {@link ConfigError} for
   * a database that is not wanted.
   */
  awaitStored(path: string, request: StoredRequest, signal: AbortSignal): Promise<Stored>
  /** As {@link awaitStored}, and has a snapshot taken, from which a restore needs nothing of earlier WALs. */
  awaitSnapshot(
    path: string,
    request: SnapshotRequest,
    signal: AbortSignal,
  ): Promise<StoredWithSnapshot>
  /** What is not stored at this moment. */
  readonly notStored: readonly NotStored[]
  /** Where everything that runs stands now. Looks at nothing outside of memory. */
  status(): readonly DatabaseDetails[]
  /** What is wanted and cannot be brought about now: it is tried again. */
  readonly failing: readonly NotReady[]
  /** What was begun and gives no sign of life since. */
  readonly neverBegun: readonly NotReady[]
}

export interface ReplicatedDatabasesOptions {
  readonly open: (config: DatabaseConfig) => Promise<DatabaseParts>
  readonly openFolder: (folder: DatabaseFolder) => WatchedFolder
  /** Is told of a database of a folder that is no longer replicated, when all of it is stored. */
  readonly left: (database: DatabaseConfig) => Promise<void>
  readonly refusal: Refusal
  readonly clock: Clock
  readonly logger: Logger
  /** How long the last sync may take of what is no longer wanted. */
  readonly lastSyncTimeoutMs: number
}

/** One database file: what is wanted of it, and what is. */
interface Slot {
  wanted: DatabaseConfig | undefined
  running: ReplicatedDatabase | undefined
  settling: Promise<void> | undefined
  /** Since when it is tried to bring it about; undefined: that is not tried now. */
  tryingSinceMs: number | undefined
  /** Why what is wanted could not be brought about. */
  problem: string | undefined
  /** The same, where another process has it. */
  inUse: InUseError | undefined
  /** Takes what the last sync could not store; undefined: nobody asks. */
  lost: NotStored[] | undefined
}

const pauses = { firstMs: 1000, mostMs: 60_000 }
const noRoomSilenceMs = 60_000
/** How often whoever waits for one database looks whether it cannot be opened. */
const lookMs = 100

/** Replicates databases side by side: one that is broken, or slow to stop, never holds up another. */
export class ReplicatedDatabases implements Replication {
  readonly #options: ReplicatedDatabasesOptions
  readonly #slots = new Map<string, Slot>()
  #run: { readonly stop: AbortSignal; readonly kill: AbortSignal } | undefined
  /** What was to be stopped when everything was. */
  readonly #leftBehind: NotStored[] = []

  readonly #folders: FollowFolders
  #named: readonly DatabaseConfig[] = []
  readonly #same = new Set<string>()
  /** What was said of databases without room, by the error, which is one for each owner. */
  readonly #noRoom = new Map<string, { readonly atMs: number; readonly refused: number }>()

  constructor(options: ReplicatedDatabasesOptions) {
    this.#options = options
    this.#folders = new FollowFolders({
      open: options.openFolder,
      replicated: () => this.#replicated(),
      changed: () => {
        this.#want()
      },
      clock: options.clock,
      logger: options.logger,
    })
  }

  want({ databases, folders }: Pick<Config, 'databases' | 'folders'>): void {
    if (this.#run !== undefined) this.#options.refusal.startIsOver()
    this.#named = databases
    this.#folders.want(folders)
    this.#want()
  }

  async remove(path: string): Promise<readonly NotStored[]> {
    const named = this.#named.find((each) => each.path === path)
    if (named === undefined) throw new ConfigError(`database not replicated by its name: ${path}`)
    const slot = this.#slots.get(fileOf(named))
    this.#named = this.#named.filter((each) => each !== named)
    const lost: NotStored[] = []
    if (slot !== undefined) slot.lost = lost
    this.#want()
    // One that cannot be opened is tried again after a while, which nobody has to wait for.
    while (slot?.settling !== undefined && !hasFailed(slot)) {
      await Promise.race([slot.settling, this.#options.clock.sleep(lookMs, never)])
    }
    if (slot === undefined) return []
    if (hasFailed(slot)) return neverStartedOf({ ...slot, wanted: named })
    if (slot.running === undefined) return lost
    throw new NotStoredError(`${path}: all of the replication ends`, { missing: this.notStored })
  }

  #replicated(): ReturnType<ConstructorParameters<typeof FollowFolders>[0]['replicated']> {
    const files = new Set(
      this.databases.flatMap(({ capture: { file } }) =>
        file === undefined ? [] : `${file.device}:${file.inode}`,
      ),
    )
    return {
      paths: new Set(this.#slots.keys()),
      has: ({ device, inode }) => files.has(`${device}:${inode}`),
    }
  }

  #want(): void {
    // What is named has its own settings.
    const databases = [...this.#folders.found, ...this.#named]
    const wanted = new Map<string, DatabaseConfig>()
    for (const config of databases) {
      const file = fileOf(config)
      this.#saySame(wanted.get(file), config)
      wanted.set(file, config)
    }
    for (const path of new Set([...this.#slots.keys(), ...wanted.keys()])) {
      const slot = this.#slots.get(path) ?? {
        wanted: undefined,
        running: undefined,
        settling: undefined,
        tryingSinceMs: undefined,
        problem: undefined,
        inUse: undefined,
        lost: undefined,
      }
      slot.wanted = wanted.get(path)
      this.#slots.set(path, slot)
      this.#settle(path, slot)
    }
  }

  /** A file in a folder and a link to it that is named are one database. */
  #saySame(found: DatabaseConfig | undefined, named: DatabaseConfig): void {
    if (found === undefined || found.path === named.path) return
    const text = `${named.path} leads to ${found.path}: they are one database, replicated with the settings of the first`
    if (this.#same.has(text)) return
    this.#same.add(text)
    this.#options.logger.info({ db: named.path }, text)
  }

  get databases(): readonly ReplicatedDatabase[] {
    return [...this.#slots.values()].flatMap(({ running }) => running ?? [])
  }

  async run(stop: AbortSignal, kill: AbortSignal): Promise<readonly NotStored[]> {
    const failed = new AbortController()
    const orFailed = (signal: AbortSignal): AbortSignal => AbortSignal.any([signal, failed.signal])
    const running = this.#runUntil(orFailed(stop), orFailed(kill))
    try {
      return await this.#options.refusal.orElse(running)
    } catch (error) {
      // Nothing goes on behind the back of whoever hears of it.
      failed.abort()
      await running.catch(() => undefined)
      throw error
    }
  }

  async settled(signal: AbortSignal): Promise<void> {
    await Promise.race([this.#folders.scanned(), aborted(signal)])
    await Promise.race([Promise.all(this.#settling), aborted(signal)])
  }

  async stored(signal: AbortSignal): Promise<void> {
    await Promise.all(
      [...this.#slots.values()].map(async (slot) => {
        await Promise.race([slot.settling, aborted(signal)])
        await slot.running?.stored(signal)
      }),
    )
  }

  get wanted(): readonly DatabaseConfig[] {
    return [...this.#slots.values()].flatMap(({ wanted }) => wanted ?? [])
  }

  async awaitStored(path: string, request: StoredRequest, signal: AbortSignal): Promise<Stored> {
    const { clock } = this.#options
    return awaitStored(() => this.#awaited(path), request, { clock, signal })
  }

  async awaitSnapshot(
    path: string,
    request: SnapshotRequest,
    signal: AbortSignal,
  ): Promise<StoredWithSnapshot> {
    const { clock } = this.#options
    return awaitSnapshot(() => this.#awaited(path), request, { clock, signal })
  }

  #awaited(path: string): AwaitedDatabase {
    const slot =
      this.#slots.get(path) ?? [...this.#slots.values()].find(({ wanted }) => wanted?.path === path)
    if (slot?.wanted === undefined) {
      throw new ConfigError(`database not replicated: ${path}`, {
        hint: `Replicated are: ${this.wanted.map((each) => each.path).join(', ') || 'none'}`,
      })
    }
    const { running, settling, problem, inUse } = slot
    return { path, waits: running?.waits, changed: settling, problem, inUse }
  }

  get notStored(): readonly NotStored[] {
    return [...this.databases.flatMap(({ notStored }) => notStored), ...this.#neverStarted]
  }

  status(): readonly DatabaseDetails[] {
    return this.databases.map((database) => database.status())
  }

  async lookAgain(signal: AbortSignal): Promise<void> {
    await Promise.race([this.#folders.lookAgain(), aborted(signal)])
  }

  get unreadable(): readonly NotReady[] {
    return this.#folders.unreadable.map(({ dir, problem }) => ({
      database: dir,
      replica: undefined,
      reason: `its databases are not known: ${problem}`,
    }))
  }

  get failing(): readonly NotReady[] {
    const databases = [...this.#slots].flatMap(([file, { wanted, problem }]) =>
      problem === undefined
        ? []
        : [
            {
              database: wanted?.path ?? file,
              replica: undefined,
              reason: `it cannot be replicated: ${problem}`,
            },
          ],
    )
    return [...this.unreadable, ...databases]
  }

  get neverBegun(): readonly NotReady[] {
    const nowMs = this.#options.clock.monotonic()
    return [...this.#slots].flatMap(([file, { wanted, running, tryingSinceMs }]) => {
      const silentMs = running === undefined ? nowMs - (tryingSinceMs ?? nowMs) : 0
      return findSilent({ path: wanted?.path ?? file, silentMs })
    })
  }

  async #runUntil(stop: AbortSignal, kill: AbortSignal): Promise<readonly NotStored[]> {
    this.#run = { stop, kill }
    for (const [path, slot] of this.#slots) this.#settle(path, slot)
    await aborted(stop)
    // However soon the end comes, what is wanted is stored once.
    await Promise.race([this.#folders.scanned(), aborted(kill)])
    this.#folders.stop()
    while (this.#settling.length > 0) await Promise.all(this.#settling)
    const notStored = await Promise.all(this.databases.map((database) => database.stop(kill)))
    for (const database of this.databases) await database.releaseState()
    return [...this.#leftBehind, ...notStored.flat(), ...this.#neverStarted]
  }

  get #settling(): readonly Promise<void>[] {
    return [...this.#slots.values()].flatMap(({ settling }) => settling ?? [])
  }

  get #neverStarted(): readonly NotStored[] {
    return [...this.#slots.values()].flatMap(neverStartedOf)
  }

  /** Sees to it that what is wanted of a path becomes so: one step after the other, whatever is wanted meanwhile. */
  #settle(path: string, slot: Slot): void {
    const run = this.#run
    if (run === undefined || slot.settling !== undefined) return
    if (run.stop.aborted && !isUntried(slot)) return
    if (isSettled(slot)) {
      if (slot.wanted === undefined) this.#slots.delete(path)
      return
    }
    slot.settling = this.#stepUntilSettled(path, slot, run).finally(() => {
      slot.settling = undefined
      this.#settle(path, slot)
    })
  }

  async #stepUntilSettled(
    path: string,
    slot: Slot,
    { stop, kill }: { readonly stop: AbortSignal; readonly kill: AbortSignal },
  ): Promise<void> {
    let failures = 0
    do {
      try {
        slot.tryingSinceMs = this.#options.clock.monotonic()
        await this.#step(slot, kill).finally(() => (slot.tryingSinceMs = undefined))
        slot.problem = undefined
        slot.inUse = undefined
        failures = 0
      } catch (err) {
        failures += 1
        const problem = messageOf(err)
        slot.problem = problem
        slot.inUse = err instanceof InUseError ? err : undefined
        if (err instanceof NoRoomError) this.#sayNoRoom(path, err)
        else this.#options.logger.error({ db: path, err }, 'database cannot be replicated')
        await this.#options.clock.sleep(pauseAfter(failures, pauses), stop).catch(ignoreAbort)
      }
    } while (!stop.aborted && !isSettled(slot))
  }

  /** There may be thousands, for long: a line for each owner, and another one after a minute if their number has changed. */
  #sayNoRoom(path: string, err: NoRoomError): void {
    const { clock, logger } = this.#options
    const said = this.#noRoom.get(err.message)
    if (said !== undefined && clock.monotonic() - said.atMs < noRoomSilenceMs) return
    const problem = messageOf(err)
    const refused = [...this.#slots.values()].filter((slot) => slot.problem === problem).length
    this.#noRoom.set(err.message, { atMs: clock.monotonic(), refused })
    if (refused === said?.refused) return
    logger.error({ db: path, err, refused }, 'databases cannot be replicated for want of room')
  }

  async #step(slot: Slot, kill: AbortSignal): Promise<void> {
    const { wanted, running } = slot
    const { logger } = this.#options
    if (running === undefined) {
      if (wanted === undefined) return
      logReplicas(wanted, logger)
      slot.running = await ReplicatedDatabase.start(wanted, await this.#options.open(wanted))
    } else if (wanted !== undefined && running.canBecome(wanted)) {
      this.#lost(await this.#within(kill, (deadline) => running.change(wanted, deadline)), slot)
      logger.info({ db: wanted.path }, 'database replicated with another configuration')
      logReplicas(wanted, logger)
    } else {
      const notStored = await this.#within(kill, (deadline) => running.stop(deadline))
      this.#lost(notStored, slot)
      slot.running = undefined
      await running.close()
      if (wanted === undefined && running.config.comesAndGoes === true && notStored.length === 0) {
        await this.#options.left(running.config)
      }
      if (wanted === undefined) {
        logger.info({ db: running.config.path }, 'database no longer replicated')
      }
    }
  }

  /** Gives a last sync its time. */
  async #within<T>(kill: AbortSignal, work: (kill: AbortSignal) => Promise<T>): Promise<T> {
    const { clock, lastSyncTimeoutMs } = this.#options
    const deadline = new AbortController()
    const done = new AbortController()
    const late = clock
      .sleep(lastSyncTimeoutMs, done.signal)
      .then(() => deadline.abort())
      .catch(ignoreAbort)
    try {
      return await work(AbortSignal.any([kill, deadline.signal]))
    } finally {
      done.abort()
      await late
    }
  }

  /** What is lost while the others go on is said at once, to whoever asks or in the log; at the end it counts for the exit code. */
  #lost(notStored: readonly NotStored[], { lost }: Slot): void {
    if (lost !== undefined) {
      lost.push(...notStored)
      return
    }
    if (this.#run?.stop.aborted === true) {
      this.#leftBehind.push(...notStored)
      return
    }
    for (const { database, replica, detail } of notStored) {
      this.#options.logger.error({ db: database, replica, detail }, 'not stored')
    }
  }
}

function hasFailed({ running, problem }: Slot): boolean {
  return running === undefined && problem !== undefined
}

function neverStartedOf({
  wanted,
  running,
  problem,
}: Pick<Slot, 'wanted' | 'running' | 'problem'>): readonly NotStored[] {
  if (wanted === undefined || running !== undefined) return []
  const detail =
    problem === undefined ? 'it is not opened yet' : `it cannot be replicated: ${problem}`
  return wanted.replicas.map(({ name }) => ({ database: wanted.path, replica: name, detail }))
}

function isUntried({ wanted, running, problem }: Slot): boolean {
  return wanted !== undefined && running === undefined && problem === undefined
}

function isSettled({ wanted, running }: Slot): boolean {
  return sameSettings(wanted, running?.config)
}

function logReplicas({ path, replicas }: DatabaseConfig, logger: Logger): void {
  logger.info({ path }, 'initialized db')
  for (const { name, target, syncIntervalMs } of replicas) {
    const fields = { name, type: target.type, 'sync-interval': formatDuration(syncIntervalMs) }
    logger.info({ ...fields, ...placeFields(target) }, 'replicating to')
  }
}

function placeFields(target: ReplicaTarget): LogFields {
  if (target.type === 'file') return { path: target.path }
  const { bucket, prefix, endpoint } = target
  return { bucket, path: prefix, ...(endpoint === undefined ? {} : { endpoint }) }
}
