import { type NotStored } from '../../domain/errors.js'
import {
  type DatabaseConfig,
  type HeartbeatConfig,
  type ReplicaConfig,
} from '../../domain/settings/config.js'
import { type KnownDatabase } from '../../domain/settings/known-database.js'
import { sameSettings } from '../../domain/settings/same-settings.js'
import {
  areSafe,
  type CaptureStatus,
  type DatabaseDetails,
  type ReplicaDetails,
} from '../../domain/status.js'
import { onAbort } from '../../kit/abort.js'
import { type Barrier, type GenerationFeed } from '../backlog/generation-feed.js'
import { type ValidatedRestores } from '../verify/validated-restores.js'
import { type SendHeartbeats } from './send-heartbeats.js'
import { type ScheduleRetention } from '../retention/schedule-retention.js'
import { type ScheduleValidation } from '../verify/schedule-validation.js'
import { type ScrubDatabase } from '../capture/scrub-database.js'
import { type CaptureSettings, type SyncDatabase } from '../capture/sync-database.js'
import { type Clock } from '../ports/clock.js'
import { type SyncReplica } from '../replica/sync-replica.js'
import { CommitWaits } from './commit-waits.js'
import { waitForBarrier } from './wait-until-stored.js'

export interface ReplicaParts {
  readonly sync: SyncReplica
  /** Undefined: nothing is ever deleted. */
  readonly retention: ScheduleRetention | undefined
  readonly validated: ValidatedRestores
  /** Undefined: it is not validated now and then. */
  readonly validation: ScheduleValidation | undefined
}

/** What one database is made of. Disposed, it lets go of the database and of the local state. */
export interface DatabaseParts extends AsyncDisposable {
  /** The folder of the local state, wherever it was to be. */
  readonly metaPath: string
  readonly clock: Clock
  readonly spool: AsyncDisposable
  readonly feed: GenerationFeed
  readonly capture: SyncDatabase
  /** Undefined: no page map is kept. */
  readonly scrub: ScrubDatabase | undefined
  openReplica(config: ReplicaConfig): Promise<ReplicaParts>
  /** Heartbeats of the database, or of one replica. */
  openHeartbeats(config: HeartbeatConfig, of: HeartbeatSubject): SendHeartbeats
}

export interface HeartbeatSubject {
  /** Undefined: all replicas. */
  readonly replica: string | undefined
  readonly isSafe: () => boolean
}

interface RunningReplica extends ReplicaParts {
  readonly config: ReplicaConfig
  readonly leave: AbortController
  readonly kill: AbortController
  readonly done: Promise<unknown>
}

export function captureSettings(config: KnownDatabase): CaptureSettings {
  return {
    sealIntervalMs: Math.min(...config.replicas.map((replica) => replica.syncIntervalMs), 60_000),
    monitorIntervalMs: config.monitorIntervalMs,
    checkpointIntervalMs: config.checkpointIntervalMs,
    minCheckpointPageCount: config.minCheckpointPageCount,
    maxCheckpointPageCount: config.maxCheckpointPageCount,
    maxSpoolBytes: config.maxSpoolBytes,
    scrubIntervalMs: config.scrubIntervalMs ?? Number.POSITIVE_INFINITY,
    waitsForOthers: config.replicas.some(({ leaseMs }) => leaseMs !== undefined),
    standsBy: config.standsBy === true,
    comesAndGoes: config.comesAndGoes === true,
  }
}

/** One database being replicated: its capture and its replicas, which come and go while it runs. */
export class ReplicatedDatabase {
  readonly #parts: DatabaseParts
  readonly #stop = new AbortController()
  readonly #kill = new AbortController()
  readonly #replicas = new Map<string, RunningReplica>()
  readonly #captured: Promise<unknown>
  #config: KnownDatabase
  #heartbeats = new AbortController()
  /** Those who wait for their commits. */
  readonly waits: CommitWaits

  private constructor(config: KnownDatabase, parts: DatabaseParts) {
    this.#config = config
    this.#parts = parts
    this.#captured = Promise.all([
      parts.capture.run(this.#stop.signal, this.#kill.signal),
      parts.scrub?.run(this.#stop.signal),
    ])
    this.waits = new CommitWaits({
      feed: parts.feed,
      clock: parts.clock,
      config: () => this.#config,
      standings: () =>
        new Map([...this.#replicas].map(([name, { sync }]) => [name, sync.standing] as const)),
      captureProblem: () => this.#captureProblem,
    })
  }

  static async start(config: KnownDatabase, parts: DatabaseParts): Promise<ReplicatedDatabase> {
    const replicas = await openAll(config.replicas, parts)
    const database = new ReplicatedDatabase(config, parts)
    for (const [replica, opened] of replicas) database.#startReplica(replica, opened)
    database.#startHeartbeats()
    return database
  }

  get config(): KnownDatabase {
    return this.#config
  }

  get capture(): SyncDatabase {
    return this.#parts.capture
  }

  get replicas(): readonly (ReplicaParts & { readonly config: ReplicaConfig })[] {
    return [...this.#replicas.values()]
  }

  /** Whether {@link change} can lead to this configuration; else the database is to be stopped and started again. */
  canBecome({ path, metaPath, keepsPageMap, allowNetworkFileSystem }: DatabaseConfig): boolean {
    const now = this.#config
    return (
      path === now.path &&
      metaPath === now.metaPath &&
      keepsPageMap === now.keepsPageMap &&
      allowNetworkFileSystem === now.allowNetworkFileSystem
    )
  }

  /**
   * Goes on with another configuration. Replicas that are the same in it go on untouched; the others do a last sync,
   * which `kill` ends. Resolves with what they could not store.
   */
  async change(config: KnownDatabase, kill: AbortSignal): Promise<readonly NotStored[]> {
    const isNew = (replica: ReplicaConfig): boolean =>
      !sameSettings(this.#replicas.get(replica.name)?.config, replica)
    const opened = await openAll(config.replicas.filter(isNew), this.#parts)
    const isOtherHeartbeat = !sameSettings(this.#config.heartbeat, config.heartbeat)
    this.#config = config
    this.#parts.capture.configure(captureSettings(config))
    if (isOtherHeartbeat) this.#startHeartbeats()
    const staying = new Set(config.replicas.filter((replica) => !isNew(replica)).map(nameOf))
    const leaving = [...this.#replicas.values()].filter(
      ({ config: { name } }) => !staying.has(name),
    )
    const notStored = await Promise.all(leaving.map((replica) => this.#leave(replica, kill)))
    const wanted = new Set(config.replicas.map(nameOf))
    for (const { config: former } of leaving) {
      if (!wanted.has(former.name)) this.#parts.feed.removeReplica(former.name)
    }
    for (const [replica, parts] of opened) this.#startReplica(replica, parts)
    return notStored.flat()
  }

  /** Captures and stores what is left, until `kill`. Resolves with what could not be stored. */
  async stop(kill: AbortSignal): Promise<readonly NotStored[]> {
    using _killing = onAbort(kill, () => this.#kill.abort())
    this.#stop.abort()
    const running = [...this.#replicas.values()]
    await Promise.all([this.#captured, ...running.map(({ done }) => done)])
    this.waits.end()
    return this.notStored
  }

  /** Why nothing of the database can be captured now; undefined: it can. */
  get #captureProblem(): string | undefined {
    const { state, fileProblem, lastFailure } = this.#parts.capture.status()
    if (state === 'waiting' || state === 'gone') return 'there is no database file'
    if (fileProblem !== undefined) return fileProblem
    return lastFailure?.isOver === false ? `nothing is captured: ${lastFailure.message}` : undefined
  }

  /** What is not stored at this moment. */
  get notStored(): readonly NotStored[] {
    const { uncaptured } = this.#parts.capture
    return [...this.#replicas.values()].flatMap((replica) =>
      this.#notStored(replica.config.name, uncaptured ?? replica.sync.standing.missing),
    )
  }

  status(): DatabaseDetails {
    const captured = this.#parts.capture.status()
    return {
      ...captured,
      path: this.#config.path,
      metaPath: this.#parts.metaPath,
      replicas: this.replicas.map((replica) => replicaStatus(replica, captured)),
    }
  }

  /** Resolves when every replica has all that is committed now, when there is no database, or at an abort. */
  async stored(signal: AbortSignal): Promise<void> {
    const { feed, capture } = this.#parts
    const isStored = (barrier: Barrier): boolean =>
      this.replicas.every(({ sync }) => sync.standing.hasStored(barrier))
    await waitForBarrier({ feed, isStored, isOver: () => capture.isAbsent }, signal)
  }

  /** After {@link stop}, when the process ends: SQLite's connections are left open, see the port to the database. */
  async releaseState(): Promise<void> {
    await this.#parts.spool[Symbol.asyncDispose]()
  }

  /** After {@link stop}: lets go of the files. */
  async close(): Promise<void> {
    await this.#parts[Symbol.asyncDispose]()
  }

  #startReplica(config: ReplicaConfig, parts: ReplicaParts): void {
    const { sync, retention, validation } = parts
    const leave = new AbortController()
    const kill = new AbortController()
    const stop = AbortSignal.any([this.#stop.signal, leave.signal])
    const killed = AbortSignal.any([this.#kill.signal, kill.signal])
    const heartbeats =
      config.heartbeat &&
      this.#parts.openHeartbeats(config.heartbeat, {
        replica: config.name,
        isSafe: () => {
          const captured = this.capture.status()
          return areSafe(captured, [replicaStatus({ config, ...parts }, captured)])
        },
      })
    const done = Promise.all([
      sync.run(stop, killed, leave.signal),
      retention?.run(stop),
      validation?.run(stop),
      heartbeats?.run(stop),
    ])
    this.#replicas.set(config.name, { ...parts, config, leave, kill, done })
  }

  /** In the place of those before. */
  #startHeartbeats(): void {
    this.#heartbeats.abort()
    this.#heartbeats = new AbortController()
    const { heartbeat } = this.#config
    if (heartbeat === undefined) return
    const stop = AbortSignal.any([this.#stop.signal, this.#heartbeats.signal])
    const isSafe = (): boolean => {
      const status = this.status()
      return areSafe(status, status.replicas)
    }
    void this.#parts.openHeartbeats(heartbeat, { replica: undefined, isSafe }).run(stop)
  }

  async #leave(replica: RunningReplica, kill: AbortSignal): Promise<readonly NotStored[]> {
    using _killing = onAbort(kill, () => replica.kill.abort())
    replica.leave.abort()
    await replica.done
    this.#replicas.delete(replica.config.name)
    return replica.kill.signal.aborted
      ? this.#notStored(replica.config.name, replica.sync.standing.missing)
      : []
  }

  #notStored(replica: string, detail: string | undefined): readonly NotStored[] {
    return detail === undefined ? [] : [{ database: this.#config.path, replica, detail }]
  }
}

function replicaStatus(
  { config, sync, retention, validated }: ReplicaParts & { readonly config: ReplicaConfig },
  captured: CaptureStatus,
): ReplicaDetails {
  const { totals, ...status } = sync.standing.status(captured)
  const { lastAtMs, deletedSnapshots = 0, deletedSegments = 0 } = retention?.status ?? {}
  return {
    ...status,
    // An object is sent once per interval.
    maxLagMs: config.maxLagMs + config.syncIntervalMs,
    refusal:
      sync.standing.takenBy === undefined ? undefined : `taken over by ${sync.standing.takenBy}`,
    lastRetentionAtMs: lastAtMs,
    lastValidatedAtMs: validated.lastValidatedAtMs,
    totals: {
      ...totals,
      deletedSnapshots,
      deletedSegments,
      passedValidations: validated.valid,
      failedValidations: validated.failed,
    },
  }
}

function nameOf({ name }: ReplicaConfig): string {
  return name
}

async function openAll(
  configs: readonly ReplicaConfig[],
  parts: DatabaseParts,
): Promise<readonly (readonly [ReplicaConfig, ReplicaParts])[]> {
  const opened: (readonly [ReplicaConfig, ReplicaParts])[] = []
  for (const config of configs) opened.push([config, await parts.openReplica(config)])
  return opened
}
