/** What of a file tells from outside that it may have changed. */
export interface FileSigns {
  readonly ino: number
  readonly size: number
  readonly mtimeMs: number
  /** How many names it has: hard links. */
  readonly nlink: number
}

/** One line for a database file and the files beside it; undefined: there is no such file. What `-shm` has changes nothing. */
export function formatFingerprint(
  database: FileSigns | undefined,
  wal: FileSigns | undefined,
  shm: Pick<FileSigns, 'ino'> | undefined,
): string {
  return `${formatFile(database)} ${formatFile(wal)} ${shm?.ino ?? '-'}`
}

function formatFile(file: FileSigns | undefined): string {
  return file === undefined ? '-' : `${file.ino}:${file.size}:${file.mtimeMs}:${file.nlink}`
}
