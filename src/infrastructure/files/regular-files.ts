/**
 * Opening what lies under a name in whose folder others may have put something: no link is followed, nothing is waited for, as
 * a FIFO without a writer would make us, and no more is read than such a file can have.
 */
import { constants } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { codeOf } from '../../kit/error-text.js'

/** Of a record, a lock or an owner object: thousands of times what the largest of them has. */
const mostBytes = 16 * 1024 * 1024

const readFlags =
  constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOFOLLOW | constants.O_NOCTTY

/** What is there is not what is looked for. */
export class UnfitFileError extends Error {
  readonly code: 'LINK' | 'NOT_REGULAR' | 'TOO_LARGE'

  constructor(path: string, code: UnfitFileError['code']) {
    super(`${path}: ${unfitPhrases[code]}`)
    this.code = code
  }
}

/** Why it is not read, for people, by the code of {@link UnfitFileError}. */
export const unfitPhrases = {
  LINK: 'it is a link, which is not followed',
  NOT_REGULAR: 'it is not a regular file',
  TOO_LARGE: 'it is too large for what it should be',
} as const

/** Opens a regular file for reading, or for writing, too. Throws {@link UnfitFileError} for anything else. */
export async function openRegularFile(
  path: string,
  { isWritable = false } = {},
): Promise<FileHandle> {
  const flags = isWritable ? readFlags | constants.O_RDWR : readFlags
  const file = await open(path, flags).catch((error: unknown) => {
    const code = codeOf(error)
    if (code === 'ELOOP') throw new UnfitFileError(path, 'LINK')
    // A socket cannot be opened, nor can a device that is not there.
    if (code === 'ENXIO' || code === 'ENODEV') throw new UnfitFileError(path, 'NOT_REGULAR')
    throw error
  })
  try {
    if ((await file.stat()).isFile()) return file
    throw new UnfitFileError(path, 'NOT_REGULAR')
  } catch (error) {
    await file.close()
    throw error
  }
}

/** The text of a small file of ours. Throws {@link UnfitFileError} for what cannot be one. */
export async function readSmallFile(path: string): Promise<string> {
  await using file = await openRegularFile(path)
  const { size } = await file.stat()
  if (size > mostBytes) throw new UnfitFileError(path, 'TOO_LARGE')
  return (await readAt(file, 0, size)).toString('utf8')
}

/** The same; undefined where there is none. */
export async function readSmallFileIfThere(path: string): Promise<string | undefined> {
  try {
    return await readSmallFile(path)
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined
    throw error
  }
}

/** Reads `length` bytes at `offset`; fewer only at the file's end. */
export async function readAt(file: FileHandle, offset: number, length: number): Promise<Buffer> {
  const bytes = Buffer.alloc(length)
  let filled = 0
  while (filled < length) {
    const { bytesRead } = await file.read(bytes, filled, length - filled, offset + filled)
    if (bytesRead === 0) break
    filled += bytesRead
  }
  return bytes.subarray(0, filled)
}
