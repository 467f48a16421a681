import { type Generation } from '../../domain/wal/generation.js'
import { type WalPosition } from '../../domain/wal/position.js'
import { type ReplicaClient } from '../ports/replica-client.js'

/** One replica that a restore may read. */
export interface RestoreSource {
  readonly name: string
  readonly client: ReplicaClient
}

/** Which commit is wanted. */
export type RestoreTarget =
  | { readonly kind: 'latest' }
  /** The last commit of this WAL index (inclusive). */
  | { readonly kind: 'index'; readonly index: number }
  /** The commit that ends here. */
  | { readonly kind: 'position'; readonly position: WalPosition }
  /** The last commit at or before this moment. */
  | { readonly kind: 'timestamp'; readonly timeMs: number }

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

/** What a restored database is, or with `dryRun` would be. */
export interface RestoredDatabase {
  /** The commit that was restored ends here. */
  readonly position: WalPosition
  /** Undefined in a dry run where no trailer says it. */
  readonly pageSizeBytes: number | undefined
  readonly pageCount: number | undefined
  /** What the user should know: replicas passed over, unreadable trailers, a time after the newest commit. */
  readonly notes: readonly string[]
}

/** What was (or with `dryRun` would be) restored, and from what. */
export interface RestoreReport extends RestoredDatabase {
  readonly replica: string
  readonly generation: Generation
  readonly snapshotIndex: number
  /** When that commit was made, as captured; undefined when no time is known. */
  readonly commitTimeMs: number | undefined
  /** The time comes from the store, not from the commit. */
  readonly timeIsApproximate: boolean
  readonly segmentCount: number
  /** Stored bytes read, or to be read. */
  readonly storedBytes: number
  readonly durationMs: number
}

export interface RestoreProgress {
  readonly phase: 'plan' | 'snapshot' | 'wal' | 'check'
  readonly doneBytes: number
  readonly totalBytes: number
}
