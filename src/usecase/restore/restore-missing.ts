import { InUseError, NoBackupError } from '../../domain/errors.js'
import { isAbortError } from '../../kit/abort.js'
import { type DatabaseConfig } from '../../domain/settings/config.js'
import { formatPosition } from '../../domain/wal/position.js'
import { type Clock } from '../ports/clock.js'
import { type Logger } from '../ports/logger.js'
import { type RestoreReport, type RestoreRequest, type RestoreSource } from './restore-types.js'

export interface RestoreMissingOptions {
  readonly integrityCheck: RestoreRequest['integrityCheck']
  readonly exists: (path: string) => boolean
  /**
   * The right to restore to a path, until it is disposed of. Rejects with {@link InUseError} while another process has it. Undefined: it
   * cannot be had there, and the restore says what is wrong.
   */
  readonly tryTurn: (path: string) => Promise<AsyncDisposable | undefined>
  readonly openReplicas: (database: DatabaseConfig) => Promise<readonly RestoreSource[]>
  readonly restore: (request: RestoreRequest, signal: AbortSignal) => Promise<RestoreReport>
  /** Leaves local state of what was restored, so that its generation goes on. Returns why that cannot be; undefined: it does. */
  readonly leaveState: (
    database: DatabaseConfig,
    restored: { readonly report: RestoreReport; readonly sources: readonly RestoreSource[] },
    signal: AbortSignal,
  ) => Promise<string | undefined>
  /** The command that restores a database with other flags, for people. Absent: the library's user writes none. */
  readonly commandFor?: CommandFor
  readonly clock: Clock
  readonly logger: Logger
}

/** How often whoever waits for the restore of another process looks whether that has ended. */
const turnMs = 100

/** See {@link RestoreRequest.command}. */
export type CommandFor = (
  database: DatabaseConfig,
  sources: readonly RestoreSource[],
) => NonNullable<RestoreRequest['command']>

/** What a restore says when no replica holds anything. */
export const nothingStored = 'no matching backups found'

/** Only where there is nothing at all: a backup that is there and cannot be used is never passed over in silence. */
export function isNothingStored(error: unknown): boolean {
  return error instanceof NoBackupError && error.message === nothingStored
}

/**
 * Restores the databases that are to be restored when their file does not exist, and resolves with what was restored, by path. One
 * without any backup is begun anew by its application; a backup that is there and cannot be restored, or a replica that cannot be
 * asked, is an error.
 */
export async function restoreMissing(
  databases: readonly DatabaseConfig[],
  options: RestoreMissingOptions,
  signal: AbortSignal,
): Promise<ReadonlyMap<string, RestoreReport>> {
  const reports = new Map<string, RestoreReport>()
  for (const database of databases) {
    if (!database.restoreIfDbNotExists) continue
    const logger = options.logger.child({ db: database.path })
    const report = await restoreIfMissing(database, { ...options, logger }, signal)
    if (report !== undefined) reports.set(database.path, report)
  }
  return reports
}

async function restoreIfMissing(
  database: DatabaseConfig,
  options: RestoreMissingOptions,
  signal: AbortSignal,
): Promise<RestoreReport | undefined> {
  const { integrityCheck, exists, openReplicas, restore, commandFor, logger } = options
  const { path: outputPath } = database
  const isThere = (): boolean => {
    if (!exists(outputPath)) return false
    logger.info({}, 'database already exists, skipping')
    return true
  }
  if (isThere()) return undefined
  // Processes of one application start at once. What the first has restored is in use when the next one is done.
  await using _turn = await takeTurn(outputPath, options, signal)
  if (isThere()) return undefined
  const sources = await openReplicas(database)
  const request = {
    sources,
    outputPath,
    generation: undefined,
    target: { kind: 'latest' },
    parallelism: 64,
    integrityCheck,
    dryRun: false,
    ...(commandFor === undefined ? {} : { command: commandFor(database, sources) }),
  } as const
  logger.info({}, 'database does not exist, restoring it')
  try {
    const report = await restore(request, signal)
    for (const note of report.notes) logger.warn({}, note)
    const { generation, position, replica, durationMs } = report
    logger.info(
      {
        replica,
        position: formatPosition({ generation, ...position }),
        elapsed: `${Math.round(durationMs)}ms`,
      },
      'database restored',
    )
    if (database.keepsPageMap) await leaveState(database, { report, sources }, options, signal)
    return report
  } catch (error) {
    if (!isNothingStored(error)) throw error
    logger.info({}, nothingStored)
    return undefined
  }
}

async function takeTurn(
  path: string,
  { tryTurn, clock, logger }: Pick<RestoreMissingOptions, 'tryTurn' | 'clock' | 'logger'>,
  signal: AbortSignal,
): Promise<AsyncDisposable | undefined> {
  for (let isSaid = false; ; isSaid = true) {
    try {
      return await tryTurn(path)
    } catch (error) {
      if (!(error instanceof InUseError)) throw error
      if (!isSaid) logger.info({ reason: error.message }, 'waiting until it is restored')
    }
    await clock.sleep(turnMs, signal)
  }
}

/** What fails costs a generation, no more. */
async function leaveState(
  database: DatabaseConfig,
  restored: { readonly report: RestoreReport; readonly sources: readonly RestoreSource[] },
  { logger, leaveState: leave }: Pick<RestoreMissingOptions, 'logger' | 'leaveState'>,
  signal: AbortSignal,
): Promise<void> {
  const { generation } = restored.report
  const text = 'a new generation begins with what was restored'
  try {
    const why = await leave(database, restored, signal)
    if (why === undefined)
      logger.debug({ generation }, 'generation can go on with what was restored')
    else logger.info({ generation, why }, text)
  } catch (err) {
    if (isAbortError(err)) throw err
    logger.warn({ generation, err }, text)
  }
}
