import { existsSync } from 'node:fs'

import { restore } from '../../../compose.js'
import { type DatabaseConfig } from '../../../domain/config.js'
import { formatPosition } from '../../../domain/position.js'
import { type Logger } from '../../../usecase/ports/logger.js'
import { type RestoreRequest } from '../../../usecase/restore-types.js'
import { openReplicas } from '../context.js'
import { isNothingStored, nothingStored } from './restore.js'

/**
 * Restores the databases that are to be restored when their file does not exist. One without any backup is begun anew by
 * its application; a backup that is there and cannot be restored, or a replica that cannot be asked, is an error.
 */
export async function restoreMissing(
  databases: readonly DatabaseConfig[],
  integrityCheck: RestoreRequest['integrityCheck'],
  logger: Logger,
  signal: AbortSignal,
): Promise<void> {
  for (const database of databases) {
    if (database.restoreIfDbNotExists) {
      await restoreIfMissing(database, integrityCheck, logger.child({ db: database.path }), signal)
    }
  }
}

async function restoreIfMissing(
  database: DatabaseConfig,
  integrityCheck: RestoreRequest['integrityCheck'],
  logger: Logger,
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
