/** What of a file tells from outside that it may have changed. */
export interface FileSigns {
  readonly ino: number
  readonly size: number
  readonly mtimeMs: number
  /** How many names it has: hard links. */
  readonly nlink: number
}

/** One line for a database file and its WAL; undefined: there is no such file. */
export function formatFingerprint(
  database: FileSigns | undefined,
  wal: FileSigns | undefined,
): string {
  return `${formatFile(database)} ${formatFile(wal)}`
}

function formatFile(file: FileSigns | undefined): string {
  return file === undefined ? '-' : `${file.ino}:${file.size}:${file.mtimeMs}:${file.nlink}`
}
