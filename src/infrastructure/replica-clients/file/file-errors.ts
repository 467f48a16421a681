import { ReplicaError, TsreplicateError } from '../../../domain/errors.js'
import { isAbortError } from '../../../kit/abort.js'
import { codeOf, messageOf } from '../../../kit/error-text.js'
import { unfitPhrases } from '../../files/regular-files.js'

/** What the file system threw while we tried to do `what`, as an error for people. Abort passes through. */
export function toReplicaError(
  what: string,
  error: unknown,
  { retryable } = { retryable: true },
): unknown {
  if (isAbortError(error)) return error
  const code = codeOf(error)
  const entry = code === undefined ? undefined : known[code]
  const reason =
    entry !== undefined && code !== undefined
      ? `: ${entry.phrase} (${code})`
      : `: ${messageOf(error)}`
  return new ReplicaError(`cannot ${what}${reason}`, {
    cause: error,
    retryable,
    ...(entry?.hint === undefined ? {} : { hint: entry.hint }),
  })
}

/** Runs `action`; what the file system throws becomes a `ReplicaError` that begins with `cannot <what>`. */
export async function attempt<T>(what: string, action: () => Promise<T>): Promise<T> {
  try {
    return await action()
  } catch (error) {
    if (error instanceof TsreplicateError || isAbortError(error)) throw error
    throw toReplicaError(what, error)
  }
}

const accessHint = 'give the user that runs tsreplicate access to the replica’s folder'

const unfitHint = 'find out who put it there, and remove it'

const known: Readonly<Record<string, { readonly phrase: string; readonly hint?: string }>> = {
  ENOSPC: {
    phrase: 'no space left on device',
    hint: 'free some space on the disk of the replica, or shorten the retention',
  },
  EDQUOT: {
    phrase: 'disk quota exceeded',
    hint: 'raise the quota, or free some space on the disk of the replica',
  },
  EACCES: { phrase: 'permission denied', hint: accessHint },
  EPERM: { phrase: 'operation not permitted', hint: accessHint },
  EROFS: {
    phrase: 'read-only file system',
    hint: 'mount the disk of the replica writable, or put the replica elsewhere',
  },
  ENOENT: { phrase: 'no such file or folder' },
  ENOTDIR: { phrase: 'a part of the path is not a folder' },
  EISDIR: { phrase: 'it is a folder' },
  EIO: { phrase: 'input/output error', hint: 'check the disk of the replica' },
  LINK: { phrase: unfitPhrases.LINK, hint: unfitHint },
  NOT_REGULAR: { phrase: unfitPhrases.NOT_REGULAR, hint: unfitHint },
  TOO_LARGE: { phrase: unfitPhrases.TOO_LARGE, hint: unfitHint },
  EMFILE: { phrase: 'too many open files' },
}
