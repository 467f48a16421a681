import { existsSync } from 'node:fs'

import { restore } from '../../../compose/commands.js'
import { type DatabaseConfig } from '../../../domain/settings/config.js'
import { formatPosition } from '../../../domain/wal/position.js'
import { type Logger } from '../../../usecase/ports/logger.js'
import { type RestoreRequest, type RestoreSource } from '../../../usecase/restore/restore-types.js'
import { openReplicas } from '../context.js'
import { writeRestore } from '../restore-command.js'
import { isNothingStored, nothingStored } from './restore.js'

export interface RestoreMissingOptions {
  readonly integrityCheck: RestoreRequest['integrityCheck']
  /** Undefined: the databases and replicas are those of the command line. */
  readonly configPath: string | undefined
  readonly logger: Logger
}

/**
 * Restores the databases that are to be restored when their file does not exist. One without any backup is begun anew by
 * its application; a backup that is there and cannot be restored, or a replica that cannot be asked, is an error.
 */
export async function restoreMissing(
  databases: readonly DatabaseConfig[],
  options: RestoreMissingOptions,
  signal: AbortSignal,
): Promise<void> {
  for (const database of databases) {
    if (database.restoreIfDbNotExists) {
      const logger = options.logger.child({ db: database.path })
      await restoreIfMissing(database, { ...options, logger }, signal)
    }
  }
}

async function restoreIfMissing(
  database: DatabaseConfig,
  { integrityCheck, configPath, logger }: RestoreMissingOptions,
  signal: AbortSignal,
): Promise<void> {
  const { path: outputPath } = database
  if (existsSync(outputPath)) {
    logger.info({}, 'database already exists, skipping')
    return
  }
  const sources = await openReplicas(database, {})
  const request = {
    sources,
    outputPath,
    generation: undefined,
    target: { kind: 'latest' },
    parallelism: 64,
    integrityCheck,
    dryRun: false,
    command: (flags: readonly string[], replica: string): string =>
      configPath === undefined
        ? writeRestore({ outputPath, subject: urlOf(sources, replica) }, flags, replica)
        : writeRestore(
            { configPath, hasReplicas: sources.length > 1, subject: outputPath },
            flags,
            replica,
          ),
  } as const
  logger.info({}, 'database does not exist, restoring it')
  try {
    const report = await restore(request, {}, signal)
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
  } catch (error) {
    if (!isNothingStored(error)) throw error
    logger.info({}, nothingStored)
  }
}

/** Where there is no configuration, the database was started with URLs. */
function urlOf(sources: readonly RestoreSource[], replica: string): string {
  const client = sources.find(({ name }) => name === replica)?.client
  if (client === undefined) return replica
  return client.type === 'file' ? `file://${client.location}` : client.location
}
