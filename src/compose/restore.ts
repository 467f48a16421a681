/** Puts a restore together. Loaded only when there is one. */
import { existsSync } from 'node:fs'
import { systemClock } from '../infrastructure/clock/system-clock.js'
import { followLinks } from '../infrastructure/config/paths.js'
import { fileImages, type ImageEntries } from '../infrastructure/image/file-image.js'
import { sweepKilledRestores } from '../infrastructure/image/private-folder.js'
import { type DatabaseConfig } from '../domain/settings/config.js'
import { restoreDatabase } from '../usecase/restore/restore-database.js'
import {
  restoreMissing as restoreAll,
  type RestoreMissingOptions,
} from '../usecase/restore/restore-missing.js'
import {
  type RestoreProgress,
  type RestoreReport,
  type RestoreRequest,
  type RestoreSource,
} from '../usecase/restore/restore-types.js'
import { openSystemProcesses } from '../infrastructure/processes/system-processes.js'
import { digestParts, FolderPageMap } from '../infrastructure/spool/folder-page-map.js'
import { FolderSpool } from '../infrastructure/spool/folder-spool.js'
import { RestoredFile } from '../infrastructure/spool/restored-file.js'
import { settleState } from '../infrastructure/spool/state-place.js'
import { leaveState } from '../usecase/restore/leave-state.js'
import { packageFile } from './package-file.js'
import { RestoreTurns } from './restore-turns.js'
import { openReplicas } from './stores.js'

const threads = 'dist/compose/threads'

/** Restores a database, or plans to. */
export function restore(
  request: RestoreRequest,
  { onProgress = () => undefined }: { readonly onProgress?: (progress: RestoreProgress) => void },
  signal: AbortSignal,
): Promise<RestoreReport> {
  return restoreDatabase(
    // The link stays: the application finds its database behind it.
    { ...request, outputPath: followLinks(request.outputPath) },
    { image: fileImages(entries()), clock: systemClock, onProgress },
    signal,
  )
}

function entries(): ImageEntries {
  return {
    thread: packageFile(`${threads}/restore-thread.js`),
    check: packageFile(`${threads}/check-process.js`),
  }
}

/** What restores the databases that do not exist and are to be restored then. */
export interface MissingDatabases extends Pick<
  RestoreMissingOptions,
  'integrityCheck' | 'commandFor' | 'logger'
> {
  readonly onProgress?: (progress: RestoreProgress) => void
}

export async function restoreMissing(
  databases: readonly DatabaseConfig[],
  { onProgress = () => undefined, ...options }: MissingDatabases,
  signal: AbortSignal,
): Promise<ReadonlyMap<string, RestoreReport>> {
  for (const { path, restoreIfDbNotExists } of databases) {
    if (restoreIfDbNotExists) await sweepKilledRestores(followLinks(path))
  }
  using turns = new RestoreTurns()
  return await restoreAll(
    databases,
    {
      ...options,
      exists: existsSync,
      tryTurn: (path) => turns.tryTurn(path),
      clock: systemClock,
      openReplicas: ({ replicas }) => openReplicas(replicas),
      restore: (request, stop) => restore(request, { onProgress }, stop),
      leaveState: leaveStateOf,
    },
    signal,
  )
}

async function leaveStateOf(
  database: DatabaseConfig,
  {
    report,
    sources,
  }: { readonly report: RestoreReport; readonly sources: readonly RestoreSource[] },
  signal: AbortSignal,
): Promise<string | undefined> {
  const client = sources.find(({ name }) => name === report.replica)?.client
  if (client === undefined) return 'it is not known what it was restored from'
  await using file = await RestoredFile.open(followLinks(database.path))
  const processes = await openSystemProcesses()
  const { path } = await settleState(database, {
    owner: file.owner,
    maxBytes: 2 * database.maxSpoolBytes,
    processes,
  })
  await using spool = new FolderSpool({ path, processes })
  await spool.open(signal)
  const pages = new FolderPageMap({ path })
  return await leaveState(report, { client, spool, pages, digestPage: digestParts, file }, signal)
}
