/** Puts a restore together. Loaded only when there is one. */
import { systemClock } from '../infrastructure/clock/system-clock.js'
import { followLinks } from '../infrastructure/config/paths.js'
import { fileImages } from '../infrastructure/image/file-image.js'
import { restoreDatabase } from '../usecase/restore/restore-database.js'
import {
  type RestoreProgress,
  type RestoreReport,
  type RestoreRequest,
} from '../usecase/restore/restore-types.js'

const restoreThread = new URL('./threads/restore-thread.js', import.meta.url)

/** Restores a database, or plans to. */
export function restore(
  request: RestoreRequest,
  { onProgress = () => undefined }: { readonly onProgress?: (progress: RestoreProgress) => void },
  signal: AbortSignal,
): Promise<RestoreReport> {
  return restoreDatabase(
    // The link stays: the application finds its database behind it.
    { ...request, outputPath: followLinks(request.outputPath) },
    { image: fileImages(restoreThread), clock: systemClock, onProgress },
    signal,
  )
}
