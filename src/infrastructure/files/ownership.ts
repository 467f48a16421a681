/** Mode and owner of files that are created. */

/** What is missing is this process's own, and nobody else may read it. */
export interface FileOwnership {
  readonly fileMode?: number
  readonly directoryMode?: number
  readonly uid?: number
  readonly gid?: number
}

/** Who may do what with a file. */
export interface FileRights {
  readonly uid: number
  readonly gid: number
  readonly mode: number
}

/**
 * What copies of a file get: its mode where it is our own. A file of somebody else is given to him with its mode if that
 * `isGiven`, and else is ours alone.
 */
export function ownershipLike(
  { uid, gid, mode }: FileRights,
  { isGiven }: { readonly isGiven: boolean },
): FileOwnership {
  if (uid !== process.geteuid?.() && !isGiven) return {}
  const fileMode = mode & 0o777
  // Whoever may read a file may look into its folder.
  const directoryMode = 0o700 | fileMode | ((fileMode & 0o444) >> 2)
  return { fileMode, directoryMode, ...(isGiven ? { uid, gid } : {}) }
}
