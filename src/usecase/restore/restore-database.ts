/**
 * Restores a database from a replica: chooses a backup from listings and trailers, then builds an image of it that gets
 * its name only when all of it is verified.
 */
import { mostPages } from '../../domain/stored/content-bounds.js'
import { CorruptionError, ObjectNotFoundError } from '../../domain/errors.js'
import { isAbortError } from '../../kit/abort.js'
import { messageOf } from '../../kit/error-text.js'
import { applyBackup } from './apply-backup.js'
import { chooseBackup } from './choose-backup.js'
import { type Clock } from '../ports/clock.js'
import { type DatabaseImageFactory } from '../ports/database-image.js'
import {
  type Backup,
  type Loss,
  type RestoredDatabase,
  type RestoreProgress,
  type RestoreReport,
  type RestoreRequest,
  type RestoreSource,
} from './restore-types.js'
import { refuseEncrypted } from '../stored/refuse-encrypted.js'
import { firstOf, isSourceFailure } from './source-failures.js'

export interface RestoreDependencies {
  readonly image: DatabaseImageFactory
  readonly clock: Clock
  readonly onProgress?: (progress: RestoreProgress) => void
}

const maxPlans = 3

export async function restoreDatabase(
  request: RestoreRequest,
  dependencies: RestoreDependencies,
  signal: AbortSignal,
): Promise<RestoreReport> {
  const startedMs = dependencies.clock.monotonic()
  const notes: string[] = []
  const failed = new Map<RestoreSource, unknown>()
  const losses: Loss[] = []
  let plans = 0
  for (;;) {
    signal.throwIfAborted()
    plans += 1
    const sources = request.sources.filter((source) => !failed.has(source))
    const backup = await chooseBackup(request, sources, { notes, failed, losses, signal })
    try {
      const restored = await restoreBackup(backup, request, dependencies, signal)
      return {
        ...restored,
        replica: backup.source.name,
        generation: backup.listing.generation,
        snapshotIndex: backup.snapshot.index,
        commitTimeMs: backup.commitTimeMs,
        timeIsApproximate: backup.timeIsApproximate,
        segmentCount: backup.segments.length,
        storedBytes: backup.storedBytes,
        notes: [...new Set([...notes, ...backup.notes, ...restored.notes])],
        durationMs: dependencies.clock.monotonic() - startedMs,
      }
    } catch (error) {
      if (signal.aborted || isAbortError(error)) throw error
      if (error instanceof ObjectNotFoundError && plans < maxPlans) {
        notes.push(`${error.message}: the restore is planned again`)
        continue
      }
      if (!isSourceFailure(error)) throw error
      failed.set(backup.source, error)
      // Another replica may have less than this one was known to have.
      if (error instanceof CorruptionError) losses.push(lossOf(backup, error))
      notes.push(`replica ${backup.source.name} failed, another one is tried: ${messageOf(error)}`)
      if (failed.size === request.sources.length) throw firstOf(failed)
    }
  }
}

function lossOf(backup: Backup, error: Error): Loss {
  const { source, listing, position, commitTimeMs: timeMs } = backup
  const { generation } = listing
  const explain = (): Promise<Error> => Promise.resolve(error)
  return { source, generation, position, timeMs, problem: error.message, explain }
}

async function restoreBackup(
  backup: Backup,
  request: RestoreRequest,
  dependencies: RestoreDependencies,
  signal: AbortSignal,
): Promise<RestoredDatabase> {
  const onProgress = dependencies.onProgress ?? ((): void => undefined)
  const { storedBytes } = backup
  onProgress({ phase: 'plan', doneBytes: 0, totalBytes: storedBytes })
  await refuseEncrypted(backup.source.client, backup.snapshot, signal)
  if (request.dryRun) {
    return plannedDatabase(backup, await dependencies.image.inTheWay(request.outputPath))
  }
  await using image = await dependencies.image.create(request.outputPath, {
    maxPageCount: mostPages(storedBytes),
  })
  const { parallelism } = request
  const { sizeBytes, isCommitted, ...restored } = await applyBackup(backup, {
    image,
    parallelism,
    onProgress,
    signal,
  }).catch(async (error: unknown) => {
    throw error instanceof CorruptionError ? await backup.explainDamage(error) : error
  })
  onProgress({ phase: 'check', doneBytes: storedBytes, totalBytes: storedBytes })
  const remarks = await image.finish({ sizeBytes, isCommitted }, request.integrityCheck, signal)
  return { ...restored, notes: [...restored.notes, ...remarks] }
}

function plannedDatabase(
  { position, snapshotTrailer, lastTrailer }: Backup,
  inTheWay: readonly string[],
): RestoredDatabase {
  return {
    position,
    pageSizeBytes: snapshotTrailer?.pageSizeBytes ?? lastTrailer?.pageSizeBytes,
    pageCount:
      lastTrailer?.endOffset === position.offset ? lastTrailer.databaseSizePages : undefined,
    notes:
      inTheWay.length === 0
        ? []
        : [`in the way, and to be moved before the restore: ${inTheWay.join(', ')}`],
  }
}
