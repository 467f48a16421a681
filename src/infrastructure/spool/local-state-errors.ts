/** What the file system says of the local state, as errors for people that name the path. */
import { LocalStateError, TsreplicateError } from '../../domain/errors.js'
import { isAbortError } from '../../kit/abort.js'
import { codeOf } from '../../kit/error-text.js'
import { unfitPhrases } from '../files/regular-files.js'

/** Runs `action`; what the file system throws becomes a {@link LocalStateError} that begins with `cannot <what>`. */
export async function orLocalStateError<T>(what: string, action: () => Promise<T>): Promise<T> {
  try {
    return await action()
  } catch (error) {
    throw toLocalStateError(what, error)
  }
}

export function toLocalStateError(what: string, error: unknown): unknown {
  const code = codeOf(error)
  if (error instanceof TsreplicateError || isAbortError(error) || code === undefined) return error
  const hint = hints[code]
  return new LocalStateError(`cannot ${what}: ${describe(code)}`, {
    cause: error,
    ...(hint === undefined ? {} : { hint }),
  })
}

const unfitHint = 'find out who put it there; without the local state a new generation begins'

const hints: Readonly<Record<string, string>> = {
  ENOSPC: 'free some space on that disk',
  EDQUOT: 'raise the quota or free some space',
  EACCES: 'give the user that runs tsreplicate access to it',
  EPERM: 'give the user that runs tsreplicate access to it',
  LINK: unfitHint,
  NOT_REGULAR: unfitHint,
  TOO_LARGE: unfitHint,
  EROFS: 'put the meta folder on a writable file system with `meta-path`',
}

const phrases: Readonly<Record<string, string>> = {
  ENOSPC: 'no space left on device',
  EDQUOT: 'disk quota exceeded',
  EACCES: 'permission denied',
  EPERM: 'operation not permitted',
  EROFS: 'read-only file system',
  ENOENT: 'no such file or folder',
  ENOTDIR: 'a part of the path is not a folder',
  EIO: 'input/output error',
  ...unfitPhrases,
}

function describe(code: string): string {
  const phrase = phrases[code]
  return phrase === undefined ? code : `${phrase} (${code})`
}
