/** Restores, with what the command takes for granted. */
import { resolve } from 'node:path'
import {
  openReplicaClient,
  parseReplicaUrl,
  restore as runRestore,
} from '../../compose/commands.js'
import { never } from '../../kit/abort.js'
import {
  type RestoreProgress,
  type RestoreReport,
  type RestoreRequest,
} from '../../usecase/restore/restore-types.js'
import { checkRestoreOptions, checkUrlRestoreOptions } from './restore-options.js'

/** By default the newest commit is restored, 64 segments at once, and checked with `quick_check`. */
export interface RestoreOptions extends Partial<Omit<RestoreRequest, 'sources' | 'command'>> {
  readonly sources: RestoreRequest['sources']
  /** The database to create. */
  readonly outputPath: string
  readonly onProgress?: (progress: RestoreProgress) => void
  /** An abort leaves nothing behind. */
  readonly signal?: AbortSignal
}

/** By default the newest commit is restored, 64 segments at once, and checked with `quick_check`. */
export interface UrlRestoreOptions extends Partial<
  Pick<RestoreRequest, 'generation' | 'parallelism' | 'integrityCheck' | 'dryRun'>
> {
  /** The database to create. */
  readonly to: string
  /** The newest commit that had been made by then; undefined: the newest of all. */
  readonly at?: Date | undefined
  readonly onProgress?: ((progress: RestoreProgress) => void) | undefined
  /** An abort leaves nothing behind. */
  readonly signal?: AbortSignal | undefined
}

/**
 * Restores a database from the replica at a URL. Never overwrites a file. Rejects with `UsageError` for options that it does
 * not know or understand, `ConfigError` for a URL that is wrong, `NoBackupError`, `AmbiguousBackupError`, `CorruptionError`,
 * `OutputExistsError`, `OutputError` or `ReplicaError`; then there is no output.
 */
export async function restore(url: string, options: UrlRestoreOptions): Promise<RestoreReport>
/** The same from the one of several replicas that has the newest commit that is wanted. */
export async function restore(options: RestoreOptions): Promise<RestoreReport>
export async function restore(
  first: string | RestoreOptions,
  options?: UrlRestoreOptions,
): Promise<RestoreReport> {
  const given = typeof first === 'string' ? await fromUrl(first, options) : first
  const { onProgress, signal = never, outputPath, ...request } = checkRestoreOptions(given)
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

async function fromUrl(url: string, options?: UrlRestoreOptions): Promise<RestoreOptions> {
  const { to, at, onProgress, signal, ...request } = checkUrlRestoreOptions(options)
  const target = await parseReplicaUrl(url)
  const sources = [{ name: target.type, client: await openReplicaClient(target) }]
  return {
    ...request,
    sources,
    outputPath: to,
    target: at === undefined ? { kind: 'latest' } : { kind: 'timestamp', timeMs: at.getTime() },
    ...(onProgress === undefined ? {} : { onProgress }),
    ...(signal === undefined ? {} : { signal }),
  }
}
