import { type Logger } from '../../usecase/ports/logger.js'

const mebibyte = 1024 * 1024
/** With one database, or for a restore: both were run within it, the files of the program and of Node.js included. */
const leastBytes = 128 * mebibyte
/** For each other database. */
const databaseBytes = mebibyte / 4

/** Warns of a limit, as of a container or a unit of systemd, in which there may not be room: the kernel ends a process without a word. */
export function warnOfMemoryLimit(
  logger: Logger,
  { databases = 1 }: { readonly databases?: number } = {},
): void {
  // 0, or more than any machine has: there is none.
  const limitBytes = process.constrainedMemory()
  const neededBytes = leastBytes + Math.max(0, databases - 1) * databaseBytes
  if (limitBytes === 0 || limitBytes >= neededBytes) return
  logger.warn(
    { limitBytes, neededBytes, hint: 'Raise the memory limit of the container or the unit.' },
    'the memory limit is low: this may become slow, or be killed without a word',
  )
}
