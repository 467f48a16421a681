/** What a daemon says of itself: the read model behind metrics, health checks and `tsreplicate status`. */
import { formatDuration } from '../kit/duration.js'
import { type Position } from './wal/position.js'
import { type SnapshotReason } from './policy/snapshot-schedule.js'

/** A failure, the last one or the one that lasts. */
export interface Failure {
  readonly message: string
  /** The error's code, or `OTHER`. */
  readonly kind: string
  /** When it was seen last, milliseconds since 1970. */
  readonly atMs: number
  readonly isOver: boolean
}

/**
 * `opening`: nothing is known yet. `waiting`: there is no database file. `gone`: there is none any more, and nobody said that
 * it would go. `replicating`: what is committed is captured. `failing`: it cannot be captured now. `ended`: the daemon stops.
 */
export type CaptureState = 'opening' | 'waiting' | 'gone' | 'replicating' | 'failing' | 'ended'

/** How a replica is. Moments are milliseconds since 1970 (undefined: not yet, or not since the start), ages milliseconds. */
export interface ReplicaStatus {
  readonly name: string
  readonly type: string
  readonly location: string
  /** Up to where it has the current generation; undefined: nothing of it is known to be stored. */
  readonly position: Position | undefined
  /** Age of the oldest commit that the store has not acknowledged; 0: it has acknowledged all. */
  readonly lagMs: number
  /** Age of the oldest commit that was not seen in the store after it had acknowledged it; never below `lagMs`. */
  readonly confirmedLagMs: number
  /** From this age on a commit makes the daemon not ready. */
  readonly maxLagMs: number
  /** Bytes of WAL that are captured and not stored there. */
  readonly pendingBytes: number
  readonly lastFailure: Failure | undefined
  /** Why this process may not write to it; undefined: it may. */
  readonly refusal: string | undefined
  readonly lastStoredAtMs: number | undefined
  readonly lastSnapshotAtMs: number | undefined
  /** When retention last looked at it without a failure. */
  readonly lastRetentionAtMs: number | undefined
  readonly lastValidatedAtMs: number | undefined
}

/** How a database is. */
export interface DatabaseStatus extends FileSizes {
  readonly path: string
  /** The folder of the local state. */
  readonly metaPath: string
  readonly state: CaptureState
  readonly lastFailure: Failure | undefined
  /** Up to where it is captured; undefined: it is not. */
  readonly position: Position | undefined
  /** Bytes of a page; undefined: not known yet. */
  readonly pageSizeBytes: number | undefined
  /** Bytes that the spool holds. */
  readonly spoolBytes: number
  /** Bytes that it may hold before replicas that are behind are given up. */
  readonly maxSpoolBytes: number
  readonly replicas: readonly ReplicaStatus[]
}

/** Bytes on the disk, as they were seen last; undefined: not yet, or there is no file. */
export interface FileSizes {
  readonly databaseBytes: number | undefined
  readonly walBytes: number | undefined
}

/** Something for which a daemon is not ready. */
export interface NotReady {
  /** Its path, or that of a folder whose databases are not known. */
  readonly database: string
  /** Undefined: all of them are meant. */
  readonly replica: string | undefined
  readonly reason: string
}

/** How full a file system is. */
export interface FileSystemUse {
  /** One that lies on it. */
  readonly folder: string
  /** Bytes in use, whoever uses them. */
  readonly usedBytes: number
  /** Bytes that this user can still write. */
  readonly availableBytes: number
}

/** How a daemon, or the engine of an application, is at this moment. */
export interface DaemonStatus {
  /** Of tsreplicate. */
  readonly version: string
  /** Of its process. */
  readonly pid: number
  /** Milliseconds since 1970. */
  readonly startedAtMs: number
  /** The configuration file; undefined: the command line. */
  readonly source: string | undefined
  /** None: it is ready. */
  readonly notReady: readonly NotReady[]
  /** Those of the configuration, and of its folders. */
  readonly databases: readonly DatabaseStatus[]
  /** Those on which the databases and the local state lie. */
  readonly fileSystems: readonly FileSystemUse[]
}

/** Counts since the start of the process. */
export type Counts = Readonly<Record<string, number>>

/** How it was last gone on after a start, or after nothing proved that no commit was missed. */
export interface Resumption {
  /**
   * `proven`: the WAL proves that nothing was missed. By the page map: `scanned`, nothing differs from what is stored; `appended`,
   * what differed is stored. `new`: a generation began.
   */
  readonly how: 'proven' | 'scanned' | 'appended' | 'new'
  /** Why the WAL did not prove it; undefined: it did. */
  readonly reason: string | undefined
  /** Pages of the file that were compared with what is stored, and those that differed. */
  readonly scannedPages: number
  readonly changedPages: number
  /** Of what was appended, compressed. */
  readonly storedBytes: number
  readonly durationMs: number
  /** Milliseconds since 1970. */
  readonly atMs: number
}

/** What the capture of a database has done and where it stands. */
export interface CaptureStatus extends Pick<
  DatabaseStatus,
  'state' | 'lastFailure' | 'position' | 'pageSizeBytes' | 'spoolBytes' | 'maxSpoolBytes'
> {
  /** Why frames can't be copied back into the database file for some time, while the WAL grows; undefined: they can. */
  readonly copyingProblem: string | undefined
  /** Whether a reader of the application kept checkpoints, when they were last tried, from copying back what there was. */
  readonly isWalPinned: boolean
  /** Why commits may pass the file that is captured; undefined: they can't. */
  readonly fileProblem: string | undefined
  /** How many generations began lately, and within which time; undefined: no more than usual. */
  readonly generationsLately: { readonly count: number; readonly withinMs: number } | undefined
  /** How long the loop has given no sign of life, beyond its monitor interval. */
  readonly silentMs: number
  /** For how long commits may have been waiting that nobody has looked for; undefined: there are none. */
  readonly blindForMs: number | undefined
  /** Undefined: not yet. */
  readonly resumed: Resumption | undefined
  /** For how long commits have been waiting for the generation to be stored, or its continuation by this process. */
  readonly generationForMs: number
  /**
   * What is captured and not durable yet: bytes of WAL, and for how long its first commit has been waiting, failures in
   * between included (undefined: there is nothing).
   */
  readonly unsealedBytes: number
  readonly unsealedForMs: number | undefined
  readonly totals: CaptureTotals
}

export interface CaptureTotals {
  readonly syncs: number
  readonly syncMs: number
  /** By kind of error. */
  readonly errors: Counts
  readonly frameBytes: number
  /** By mode: PASSIVE, and RESTART for one under the writer lock. */
  readonly checkpoints: Readonly<Record<CheckpointMode, CheckpointTotals>>
  readonly writerLocks: number
  readonly writerLockMs: number
  readonly maxWriterLockMs: number
  readonly generations: Counts
  /** By how it was known that a generation goes on. */
  readonly continued: Counts
  /** Comparisons of the whole file with what is stored, by how they ended. */
  readonly scrubs: Counts
  /** Pages that were found to be written by something other than SQLite. */
  readonly foreignPages: number
}

export type CheckpointMode = 'PASSIVE' | 'RESTART'

export interface CheckpointTotals {
  readonly count: number
  readonly errors: number
  readonly durationMs: number
}

/** A replica with what only we go by. */
export interface ReplicaDetails extends ReplicaStatus {
  /** Whether the current generation can be restored from it. */
  readonly hasSnapshot: boolean
  /** Whether it was seen there, since the start, that a generation can be restored. */
  readonly isKnownRestorable: boolean
  readonly totals: ReplicaTotals
}

export interface ReplicaTotals {
  /** Bytes of WAL sent, headers included, uncompressed. */
  readonly walBytes: number
  readonly snapshots: Readonly<Record<SnapshotReason, number>>
  readonly errors: Counts
  readonly deletedSnapshots: number
  readonly deletedSegments: number
  readonly passedValidations: number
  readonly failedValidations: number
}

/** A database with what only we go by. */
export interface DatabaseDetails extends CaptureStatus, Pick<DatabaseStatus, 'path' | 'metaPath'> {
  readonly replicas: readonly ReplicaDetails[]
}

/** All that a daemon says of itself: metrics are made of it. */
export interface DaemonDetails extends DaemonStatus {
  readonly databases: readonly (DatabaseDetails & FileSizes)[]
}

/*
 * What proves that a daemon is ready, state by state. It is never the absence of an error: with none of these known, it is
 * not ready. All ages are of the monotonic clock, from the last look that cannot have seen the commit.
 *
 * | state         | what is proven                                        | by                                               |
 * | ------------- | ----------------------------------------------------- | ------------------------------------------------ |
 * | `opening`     | nothing: not ready                                    |                                                  |
 * | `waiting`     | there is nothing to lose: ready                       | a look for the file, within the interval         |
 * | `gone`        | nothing of what comes next: not ready                 |                                                  |
 * | `replicating` | captured: all up to a moment within the limit         | the last look (`blindForMs`)                     |
 * |               | durable here: all that was captured by then           | the segment's sync (`unsealedForMs`)             |
 * |               | acknowledged: all segments by then, and a snapshot    | the store's answers (`lagMs`, `hasSnapshot`)     |
 * |               | there, and restorable: the same                       | listings: `confirmedLagMs`, `isKnownRestorable`  |
 * |               | nobody else writes there                              | the owner object, before writes (`refusal`)      |
 * | `failing`     | the same; nothing is looked for: `blindForMs` grows   | the last look that went well                     |
 * | `ended`       | as it was at the end, for who asks that late          | the last look                                    |
 *
 * A new generation needs a snapshot before it can be restored: until then what the one before lacked, and what came since
 * it began, waits (`generationForMs`); what lies before that is restored from the one before.
 */

/** Whether the database is there, and what is committed can be restored from all of these, but for what is within the limit. */
export function areSafe(
  { state }: Pick<CaptureStatus, 'state'>,
  replicas: readonly ReplicaDetails[],
): boolean {
  return (
    state !== 'gone' &&
    replicas.length > 0 &&
    replicas.every(
      ({ hasSnapshot, isKnownRestorable, refusal, confirmedLagMs, maxLagMs }) =>
        hasSnapshot && isKnownRestorable && refusal === undefined && confirmedLagMs <= maxLagMs,
    )
  )
}

/** A loop that is silent for this long hangs. */
const maxSilenceMs = 5 * 60_000

const goneReason =
  'the database file is gone; its replicas keep what was stored of it. Stop the application (what it writes now is stored nowhere), and restore'

function stuckReason(problem: string): string {
  return `WAL pages cannot be copied back into the database file, and its -wal grows: ${problem}`
}

function blindReason({ lastFailure }: DatabaseDetails): string {
  return `no commits are captured: ${lastFailure?.message ?? 'the database cannot be opened'}`
}

function restlessReason({ count, withinMs }: { count: number; withinMs: number }): string {
  const within = formatDuration(Math.ceil(withinMs / 1000) * 1000)
  return `new generations keep beginning, ${count} in the last ${within}: the log says why`
}

/** The databases that are gone, those whose WAL cannot be copied back, those whose generations do not last, and why what is committed is not safe, replica by replica; none: all is well. */
export function findNotReady(databases: readonly DatabaseDetails[]): readonly NotReady[] {
  return databases.flatMap((database) => {
    const { path, state, copyingProblem, fileProblem, generationsLately, replicas } = database
    const gone =
      state === 'gone' ? [{ database: path, replica: undefined, reason: goneReason }] : []
    const stuck =
      copyingProblem === undefined
        ? []
        : [{ database: path, replica: undefined, reason: stuckReason(copyingProblem) }]
    const elsewhere =
      fileProblem === undefined ? [] : [{ database: path, replica: undefined, reason: fileProblem }]
    const restless =
      generationsLately === undefined
        ? []
        : [{ database: path, replica: undefined, reason: restlessReason(generationsLately) }]
    const blind =
      state === 'failing' && database.position === undefined
        ? [{ database: path, replica: undefined, reason: blindReason(database) }]
        : []
    const late = replicas.flatMap((replica) => {
      const reason = notReadyReason(database, replica)
      return reason === undefined ? [] : [{ database: path, replica: replica.name, reason }]
    })
    return [...gone, ...blind, ...elsewhere, ...stuck, ...restless, ...late]
  })
}

function notReadyReason(database: DatabaseDetails, replica: ReplicaDetails): string | undefined {
  if (replica.refusal !== undefined) return replica.refusal
  const { confirmedLagMs, lagMs, maxLagMs } = replica
  const isLate = confirmedLagMs > maxLagMs
  // Without a database there is nothing to be stored.
  if (!isLate && (replica.isKnownRestorable || database.state === 'waiting')) return undefined
  const age = (durationMs: number): string => formatDuration(Math.round(durationMs / 1000) * 1000)
  const limit = `the limit is ${formatDuration(maxLagMs)}`
  const failure = [database.lastFailure, replica.lastFailure].find(
    (candidate) => candidate?.isOver === false,
  )
  const why = failure === undefined ? '' : `: ${failure.message}`
  if (!isLate) return `nothing that can be restored has been seen there since the start${why}`
  if (lagMs <= maxLagMs) {
    return `the store acknowledged commits ${age(confirmedLagMs)} ago, but has not listed them since, ${limit}${why}`
  }
  const what = replica.hasSnapshot
    ? `commits have been waiting for ${age(lagMs)} to be stored`
    : `there has been no snapshot of the current generation for ${age(lagMs)}`
  return `${what}, ${limit}${why}`
}

/** The databases whose loop gives no sign of life. */
export function findHanging(databases: readonly DatabaseDetails[]): readonly NotReady[] {
  return databases.flatMap((status) => (status.state === 'ended' ? [] : findSilent(status)))
}

/** One whose loop gives no sign of life, or none: it may not even have begun. */
export function findSilent({
  path,
  silentMs,
}: Pick<DatabaseDetails, 'path' | 'silentMs'>): readonly NotReady[] {
  if (silentMs <= maxSilenceMs) return []
  const age = formatDuration(Math.round(silentMs / 1000) * 1000)
  return [{ database: path, replica: undefined, reason: `its loop has not moved for ${age}` }]
}

/** The longest of these times; 0 without any. */
export function longest(times: readonly (number | undefined)[]): number {
  return Math.max(0, ...times.filter((time) => time !== undefined))
}
