/** Durable steps on local files: what is written stays after a power cut, and its errors name the path. */
import { type FileHandle, chown, mkdir, open, rename, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { LocalStateError, TsreplicateError } from '../../domain/errors.js'
import { isAbortError } from '../../kit/abort.js'
import { codeOf } from '../../kit/error-text.js'

/** Mode and owner of what is created. */
export interface Ownership {
  readonly fileMode?: number
  readonly directoryMode?: number
  readonly uid?: number
  readonly gid?: number
}

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

const hints: Readonly<Record<string, string>> = {
  ENOSPC: 'free some space on that disk',
  EDQUOT: 'raise the quota or free some space',
  EACCES: 'give the user that runs tsreplicate access to it',
  EPERM: 'give the user that runs tsreplicate access to it',
  EROFS: 'put the meta folder on a writable file system with `meta-path`',
}

const phrases: Readonly<Record<string, string>> = {
  ENOSPC: 'no space left on device',
  EDQUOT: 'disk quota exceeded',
  EACCES: 'permission denied',
  EPERM: 'operation not permitted',
  EROFS: 'read-only file system',
  ENOENT: 'no such file or folder',
  ENOTDIR: 'a part of the path is no folder',
  EIO: 'input/output error',
}

function describe(code: string): string {
  const phrase = phrases[code]
  return phrase === undefined ? code : `${phrase} (${code})`
}

/** Gives a created file or folder its owner; that only root may do so is no error. */
export async function giveTo(path: string, owner: Ownership): Promise<void> {
  if (owner.uid === undefined || owner.gid === undefined) return
  await chown(path, owner.uid, owner.gid).catch(() => undefined)
}

/** Creates a folder and those above it, durably. Existing ones are left as they are. */
export async function createFolder(path: string, owner: Ownership): Promise<void> {
  try {
    await makeFolder(path, owner)
  } catch (error) {
    if (codeOf(error) !== 'ENOENT' || dirname(path) === path) throw error
    await createFolder(dirname(path), owner)
    // Once: where nothing can be created, as in /proc, the answer is ENOENT for ever.
    await makeFolder(path, owner)
  }
}

async function makeFolder(path: string, owner: Ownership): Promise<void> {
  try {
    await mkdir(path, { mode: owner.directoryMode ?? 0o700 })
  } catch (error) {
    if (codeOf(error) === 'EEXIST') return
    throw error
  }
  await giveTo(path, owner)
  await syncFolder(dirname(path))
}

/** Makes what was created, renamed or removed in a folder durable. */
export async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r')
  try {
    await folder.sync()
  } finally {
    await folder.close()
  }
}

/** Writes all of the chunks at the file's current position. */
export async function writeAll(file: FileHandle, ...chunks: readonly Uint8Array[]): Promise<void> {
  let left = chunks.filter((chunk) => chunk.byteLength > 0)
  while (left.length > 0) {
    let { bytesWritten } = await file.writev(left)
    left = left.flatMap((chunk) => {
      const written = Math.min(bytesWritten, chunk.byteLength)
      bytesWritten -= written
      return written === chunk.byteLength ? [] : [chunk.subarray(written)]
    })
  }
}

/** Puts `content` in the place of the file, so that a crash leaves the old one or the new one. */
export async function replaceFile(
  path: string,
  content: Uint8Array,
  owner: Ownership,
): Promise<void> {
  const temporary = `${path}.tmp`
  try {
    const file = await open(temporary, 'w', owner.fileMode ?? 0o600)
    try {
      await writeAll(file, content)
      await file.sync()
    } finally {
      await file.close()
    }
    await giveTo(temporary, owner)
    await rename(temporary, path)
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => undefined)
    throw error
  }
  await syncFolder(dirname(path))
}

/** Reads `length` bytes at `offset`; fewer only at the file's end. */
export async function readAt(
  file: FileHandle,
  offset: number,
  length: number,
): Promise<Uint8Array> {
  const bytes = new Uint8Array(length)
  let filled = 0
  while (filled < length) {
    const { bytesRead } = await file.read(bytes, filled, length - filled, offset + filled)
    if (bytesRead === 0) break
    filled += bytesRead
  }
  return bytes.subarray(0, filled)
}
