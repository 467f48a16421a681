import { type CorruptionError } from '../../domain/errors.js'
import {
  type ChainEnd,
  type GenerationListing,
  type StoredSegment,
  type StoredSnapshot,
} from '../../domain/stored/restore-plan.js'
import { type SnapshotTrailer, type WalSegmentTrailer } from '../../domain/stored/trailer.js'
import { type Generation } from '../../domain/wal/generation.js'
import { formatPosition, type WalPosition } from '../../domain/wal/position.js'
import { type ReplicaClient } from '../ports/replica-client.js'

/** One replica that a restore may read. */
export interface RestoreSource {
  readonly name: string
  readonly client: ReplicaClient
}

/** Which commit is wanted. */
export type RestoreTarget =
  | { readonly kind: 'latest' }
  | {
      readonly kind: 'index'
      /** The last commit of this WAL index (inclusive). */
      readonly index: number
    }
  | {
      readonly kind: 'position'
      /** The commit that ends here. */
      readonly position: WalPosition
    }
  | {
      readonly kind: 'timestamp'
      /** The last commit at or before this moment, milliseconds since 1970. */
      readonly timeMs: number
    }

export interface RestoreRequest {
  readonly sources: readonly RestoreSource[]
  readonly generation: Generation | undefined
  readonly target: RestoreTarget
  /** Absolute path of the database to create. */
  readonly outputPath: string
  /** WAL segments fetched at once, and ranges of the snapshot beside them. At least 1. */
  readonly parallelism: number
  readonly integrityCheck: 'none' | 'quick' | 'full'
  /** Plan and report only. */
  readonly dryRun: boolean
  /** The command that restores the same from one of the replicas with other flags, for people. */
  readonly command?: (flags: readonly string[], replica: string) => string
}

/** The command that restores from a replica what the flags say, for people. */
export function restoreCommand(
  { command, outputPath }: RestoreRequest,
  { name, client }: RestoreSource,
  flags: readonly string[],
): string {
  if (command !== undefined) return command(flags, name)
  return ['tsreplicate restore', ...flags, '-o', outputPath, client.location].join(' ')
}

/** The flags that say which commit is wanted. */
export function targetFlags({ target }: Pick<RestoreRequest, 'target'>): readonly string[] {
  switch (target.kind) {
    case 'latest':
      return []
    case 'index':
      return ['-index', target.index.toString(16)]
    case 'position':
      return ['-index', `${target.position.index.toString(16)}:${target.position.offset}`]
    case 'timestamp':
      return ['-timestamp', new Date(target.timeMs).toISOString()]
  }
}

/** Where something ends, and when that was committed, for people. */
export function describeEnd(
  generation: Generation,
  { index, offset }: WalPosition,
  timeMs?: number,
): string {
  const time = timeMs === undefined ? '' : ` of ${new Date(timeMs).toISOString()}`
  return `${formatPosition({ generation, index, offset })}${time}`
}

/** What a restore reads, and where it ends. */
export interface Backup {
  readonly source: RestoreSource
  readonly listing: GenerationListing
  readonly snapshot: StoredSnapshot
  readonly snapshotTrailer: SnapshotTrailer | undefined
  readonly segments: readonly StoredSegment[]
  readonly storedBytes: number
  readonly end: ChainEnd
  /** The last segment is to be cut at `position`. */
  readonly isCut: boolean
  /** Nothing is stored of the generation after it. */
  readonly isAtEnd: boolean
  readonly lastTrailer: WalSegmentTrailer | undefined
  readonly position: WalPosition
  readonly commitTimeMs: number
  readonly timeIsApproximate: boolean
  readonly notes: readonly string[]
  /** The same error, with what is left when the backup turns out to be damaged, and how to get that. */
  readonly explainDamage: (error: CorruptionError) => Promise<Error>
}

/** What is known to have been stored, and cannot be restored. */
export interface Loss {
  readonly source: RestoreSource
  readonly generation: Generation
  /** Undefined: it is not known how far it went. */
  readonly position: WalPosition | undefined
  readonly timeMs: number
  /** What is missing. */
  readonly problem: string
  /** An error that says what is missing, what is left, and how to get that. */
  readonly explain: () => Promise<Error>
}

export interface Moment {
  readonly timeMs: number
  readonly approximate: boolean
}

/** What a generation comes to for a restore. */
export type Judged =
  | { readonly kind: 'backup'; readonly backup: Backup }
  | { readonly kind: 'loss'; readonly loss: Loss }
  /** The target lies before it. */
  | { readonly kind: 'none' }

/** What a restored database is, or with `dryRun` would be. */
export interface RestoredDatabase {
  /** The commit that was restored ends here. */
  readonly position: WalPosition
  /** Bytes of a page; undefined in a dry run where no trailer says it. */
  readonly pageSizeBytes: number | undefined
  /** How many pages the database has; undefined as above. */
  readonly pageCount: number | undefined
  /** What the user should know: replicas passed over, unreadable trailers, a time after the newest commit. */
  readonly notes: readonly string[]
}

/** What was (or with `dryRun` would be) restored, and from what. */
export interface RestoreReport extends RestoredDatabase {
  /** Name of the replica; of one given by its URL, what kind of store it is. */
  readonly replica: string
  /** The history that the commit is of. */
  readonly generation: Generation
  /** Of the WAL from which the snapshot that was taken is replayed. */
  readonly snapshotIndex: number
  /** When that commit was made, as captured, milliseconds since 1970; undefined when no time is known. */
  readonly commitTimeMs: number | undefined
  /** The time comes from the store, not from the commit. */
  readonly timeIsApproximate: boolean
  /** WAL segments that were replayed on the snapshot, or are to be. */
  readonly segmentCount: number
  /** Stored bytes read, or to be read. */
  readonly storedBytes: number
  /** How long it took, milliseconds. */
  readonly durationMs: number
}

/** How far a restore has got. */
export interface RestoreProgress {
  /** `plan`: it is known what is to be read. `snapshot` and `wal`: that is read. `check`: SQLite checks what came of it. */
  readonly phase: 'plan' | 'snapshot' | 'wal' | 'check'
  /** Stored bytes that were read. */
  readonly doneBytes: number
  /** Stored bytes that are to be read in all. */
  readonly totalBytes: number
}
