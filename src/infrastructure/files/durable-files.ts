/** Durable steps on files: what is written stays after a power cut. */
import { type FileHandle, mkdir, open, rename, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { codeOf } from '../../kit/error-text.js'
import { giveTo, type FileOwnership } from './ownership.js'

/**
 * Creates a folder and those above it. Existing ones are left as they are. Not Node's own, which never ends where nothing
 * can be created, as in /proc: there the answer is ENOENT for ever. Without `isDurable` a crash may take them away again.
 */
export async function createFolder(
  path: string,
  owner: FileOwnership,
  { isDurable } = { isDurable: true },
): Promise<void> {
  const make = async (): Promise<void> => {
    try {
      await mkdir(path, { mode: owner.directoryMode ?? 0o700 })
    } catch (error) {
      if (codeOf(error) === 'EEXIST') return
      throw error
    }
    await giveTo(path, owner)
    if (isDurable) await syncFolder(dirname(path))
  }
  try {
    await make()
  } catch (error) {
    if (codeOf(error) !== 'ENOENT' || dirname(path) === path) throw error
    await createFolder(dirname(path), owner, { isDurable })
    await make()
  }
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
  owner: FileOwnership,
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
