/** Restores, with what the command takes for granted. */
import { resolve } from 'node:path'
import { restore as runRestore } from '../../compose/commands.js'
import { never } from '../../kit/abort.js'
import {
  type RestoreProgress,
  type RestoreReport,
  type RestoreRequest,
} from '../../usecase/restore/restore-types.js'
import { checkRestoreOptions } from './restore-options.js'

/** By default the newest commit is restored, 64 segments at once, and checked with `quick_check`. */
export interface RestoreOptions extends Partial<Omit<RestoreRequest, 'sources' | 'command'>> {
  readonly sources: RestoreRequest['sources']
  /** The database to create. */
  readonly outputPath: string
  readonly onProgress?: (progress: RestoreProgress) => void
  /** An abort leaves nothing behind. */
  readonly signal?: AbortSignal
}

/**
 * Restores a database from the replica that has the newest commit that is wanted. Never overwrites a file. Rejects with
 * `UsageError` for options that it does not know or understand, `NoBackupError`, `AmbiguousBackupError`, `CorruptionError`, `OutputExistsError`,
 * `OutputError` or `ReplicaError`; then there is no output.
 */
export async function restore(options: RestoreOptions): Promise<RestoreReport> {
  const { onProgress, signal = never, outputPath, ...request } = checkRestoreOptions(options)
  return runRestore(
    {
      generation: undefined,
      target: { kind: 'latest' },
      parallelism: 64,
      integrityCheck: 'quick',
      dryRun: false,
      ...request,
      outputPath: resolve(outputPath),
    },
    onProgress === undefined ? {} : { onProgress },
    signal,
  )
}
