/** Restores, with what the command takes for granted. */
import { resolve } from 'node:path'
import { restoreMissing, restore as runRestore } from '../../compose/commands.js'
import { type Config, type ReplicaConfig } from '../../domain/settings/config.js'
import { parseGeneration } from '../../domain/wal/generation.js'
import { never } from '../../kit/abort.js'
import { type Logger } from '../../usecase/ports/logger.js'
import {
  type RestoreProgress,
  type RestoreReport,
  type RestoreTarget,
} from '../../usecase/restore/restore-types.js'
import { takeConfig } from './configuration.js'
import { type Defined } from './options.js'
import { openReplicas } from './replica-urls.js'
import {
  checkMissingOptions,
  checkRestoreOptions,
  checkUrlRestoreOptions,
} from './restore-options.js'

/** How a database is restored that does not exist. Undefined is the default. */
export interface MissingOptions {
  /** Which of SQLite's own checks the database has to pass; by default `quick`. */
  readonly integrityCheck?: 'none' | 'quick' | 'full' | undefined
  /** Is called now and then. What it throws ends the restore. */
  readonly onProgress?: ((progress: RestoreProgress) => void) | undefined
  /** An abort leaves nothing behind. */
  readonly signal?: AbortSignal | undefined
}

/** Which commit is restored, and where to. Undefined is the default. */
export interface UrlRestoreOptions extends MissingOptions {
  /** Path of the database to create. */
  readonly to: string
  /** The newest commit that had been made by then; by default the newest of all. */
  readonly at?: Date | undefined
  /** 16 lower-case hex digits; by default the newest generation that has what is wanted. */
  readonly generation?: string | undefined
  /** WAL segments that are fetched at once, at least 1; by default 64. */
  readonly parallelism?: number | undefined
  /** Whether it is only planned and reported; by default false. */
  readonly dryRun?: boolean | undefined
}

/** Which commit of which replicas is restored, and where to. Undefined is the default. */
export interface RestoreOptions extends Omit<UrlRestoreOptions, 'to' | 'at'> {
  /** URLs of replicas, or replicas as a configuration has them: the one that has the newest commit that is wanted is taken. */
  readonly sources: readonly (string | ReplicaConfig)[]
  /** Path of the database to create. */
  readonly outputPath: string
  /** Which commit; by default the newest. */
  readonly target?: RestoreTarget | undefined
}

/**
 * Restores a database from the replica at a URL. Never overwrites a file. Rejects with `UsageError` for options that it does
 * not know or understand, `ConfigError` for a URL that is wrong, `NoBackupError`, `AmbiguousBackupError`, `CorruptionError`,
 * `OutputExistsError`, `OutputError`, `CheckTimeoutError` or `ReplicaError`; then there is no output.
 */
export async function restore(url: string, options: UrlRestoreOptions): Promise<RestoreReport>
/** The same from the one of several replicas that has the newest commit that is wanted. Rejects with what it does for one URL. */
export async function restore(options: RestoreOptions): Promise<RestoreReport>
export async function restore(
  first: string | RestoreOptions,
  options?: UrlRestoreOptions,
): Promise<RestoreReport> {
  const given = typeof first === 'string' ? fromUrl(first, options) : checkRestoreOptions(first)
  const { sources, outputPath, generation, onProgress, signal = never, ...request } = given
  return runRestore(
    {
      target: { kind: 'latest' },
      parallelism: 64,
      integrityCheck: 'quick',
      dryRun: false,
      ...request,
      sources: await openReplicas(sources),
      generation: generation === undefined ? undefined : parseGeneration(generation),
      outputPath: resolve(outputPath),
    },
    onProgress === undefined ? {} : { onProgress },
    signal,
  )
}

function fromUrl(url: string, options?: UrlRestoreOptions): Defined<RestoreOptions> {
  const { to, at, ...request } = checkUrlRestoreOptions(options)
  return {
    ...request,
    sources: [url],
    outputPath: to,
    target: at === undefined ? { kind: 'latest' } : { kind: 'timestamp', timeMs: at.getTime() },
  }
}

/**
 * Restores a database from the replica at a URL, or the one of several that has the newest commit, if its file does not exist: for
 * an application, before it opens the database. Resolves with what was restored, or undefined: the file is there, or nothing has
 * been stored yet. While another process of this machine restores it, it waits for that. Rejects as {@link restore} does where
 * something is stored and cannot be restored: do not open the database then.
 */
export async function restoreIfMissing(
  path: string,
  urls: string | readonly string[],
  options?: MissingOptions,
): Promise<RestoreReport | undefined>
/**
 * The same for each database of a configuration, but for those of folders. Resolves with what was restored, by the path of the
 * database. Rejects with what it does for one database.
 */
export async function restoreIfMissing(
  config: Config,
  options?: MissingOptions,
): Promise<ReadonlyMap<string, RestoreReport>>
export async function restoreIfMissing(
  first: Config | string,
  second?: MissingOptions | string | readonly string[],
  third?: MissingOptions,
): Promise<RestoreReport | undefined | ReadonlyMap<string, RestoreReport>> {
  const { config, options = {} } = await takeConfig('restoreIfMissing', [first, second, third])
  const { signal = never, integrityCheck = 'quick', ...others } = checkMissingOptions(options)
  const wanted = config.databases.map((each) => ({ ...each, restoreIfDbNotExists: true }))
  const reports = await restoreMissing(
    wanted,
    { ...others, integrityCheck, logger: silent },
    signal,
  )
  return typeof first === 'string' ? [...reports.values()][0] : reports
}

/** What a restore logs is in its report. */
const silent: Logger = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
  child: () => silent,
}
