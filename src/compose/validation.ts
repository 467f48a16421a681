/** What verifies replicas. Loaded only when that is asked for. */
import { createHash } from 'node:crypto'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { type DatabaseConfig } from '../domain/settings/config.js'
import { restore } from './restore.js'
import { systemClock } from '../infrastructure/clock/system-clock.js'
import { forkedComparison } from '../infrastructure/comparison/forked-comparison.js'
import { decodeFrame } from '../infrastructure/lz4/frame-decoder.js'
import { FolderScratch } from '../infrastructure/scratch/folder-scratch.js'
import { findState } from '../infrastructure/spool/state-place.js'
import { type ReplicaClient } from '../usecase/ports/replica-client.js'
import { type RestoreSource } from '../usecase/restore/restore-types.js'
import {
  validateReplica,
  type ValidateReplicaOptions,
  type ValidationReport,
} from '../usecase/verify/validate-replica.js'
import { type VerifiedGeneration, verifyReplica } from '../usecase/verify/verify-replica.js'

const comparisonProcess = new URL('./threads/comparison-process.js', import.meta.url)

/** Verifies by listings and tails of objects (`structure`), or by reading all of them (`full`). */
export function verify(
  options: { readonly client: ReplicaClient; readonly level: 'structure' | 'full' },
  signal: AbortSignal,
): Promise<readonly VerifiedGeneration[]> {
  return verifyReplica({ ...options, decode: decodeFrame }, signal)
}

export interface ValidationOptions {
  readonly source: RestoreSource
  /** The live database; undefined: there is none here. */
  readonly databasePath: string | undefined
  readonly scratch: FolderScratch
  readonly stored?: ValidateReplicaOptions['stored']
  readonly maxMs?: ValidateReplicaOptions['maxMs']
}

/** Restores the newest commit for a test, and compares it with the live database. */
export function validate(
  { stored, maxMs, ...options }: ValidationOptions,
  signal: AbortSignal,
): Promise<ValidationReport> {
  return validateReplica(
    {
      ...options,
      stored,
      ...(maxMs === undefined ? {} : { maxMs }),
      restore: (request, aborted) => restore(request, {}, aborted),
      comparison: forkedComparison(comparisonProcess),
      decode: decodeFrame,
      clock: systemClock,
    },
    signal,
  )
}

/**
 * Where restored copies of a database are put: in a folder that is named, or else beside its local state. The folder may be
 * shared by databases of one file name.
 */
export function scratchOf(
  { metaPath, validationPath }: Pick<DatabaseConfig, 'metaPath' | 'validationPath'>,
  replica: string,
): FolderScratch {
  const name = `${basename(metaPath)}-validation-${encodeURIComponent(replica)}`
  if (validationPath === undefined) return new FolderScratch(join(dirname(metaPath), name))
  const which = createHash('sha256').update(metaPath).digest('hex').slice(0, 16)
  return new FolderScratch(join(validationPath, `${name}-${which}`))
}

/** Where a command puts a restored copy. */
export async function scratchFor(options: {
  readonly source: RestoreSource
  readonly database: DatabaseConfig | undefined
  readonly temporaryPath: string | undefined
}): Promise<FolderScratch> {
  const { source, database, temporaryPath } = options
  if (database === undefined || temporaryPath !== undefined) {
    return new FolderScratch(join(temporaryPath ?? tmpdir(), 'tsreplicate-verify'))
  }
  return scratchOf({ ...database, metaPath: await findState(database) }, source.name)
}
