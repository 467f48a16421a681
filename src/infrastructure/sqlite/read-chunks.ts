/**
 * Reads a database file from its beginning to its end. Of one that is mostly holes, Node cannot ask where they are (SEEK_DATA). As
 * usual, each page of a hole becomes one of the system's cache, full of zeros: up to 3 s of processor time a GiB where memory
 * is fresh, and what others had in the cache is gone. Read past the cache (O_DIRECT), a GiB of hole takes 30 ms.
 */
import { constants, type Stats } from 'node:fs'
import { type FileHandle } from 'node:fs/promises'
import { freeMemory } from '../../kit/free-memory.js'

/**
 * In the cache, a read brings its neighbours along, which past it are waited for one by one; so this is for what has little else than
 * holes. A file system that compresses what is written seldom makes so little of it.
 */
const largeBytes = 256 * 1024 * 1024
const mostPartOnDisk = 0.1

/** Not among the types of Node. */
declare const WebAssembly: {
  readonly Memory: new (size: { readonly initial: number }) => { readonly buffer: ArrayBuffer }
}

/** The unit of memory in WebAssembly, which begins at a whole page: past the cache, no other will do. */
const wasmPageBytes = 64 * 1024

/** What a file is opened with, beside what it is to be read with, to be read past the cache. None where there is no such thing. */
export const pastCacheFlag = constants.O_DIRECT as number | undefined

export function isMostlyHoles({ size, blocks }: Pick<Stats, 'size' | 'blocks'>): boolean {
  const onDiskBytes = blocks * 512
  // There are file systems that do not say what is on the disk.
  return size >= largeBytes && onDiskBytes > 0 && onDiskBytes < size * mostPartOnDisk
}

/**
 * Each chunk is valid until the next is asked for. `pastCache`: the same file, opened so; not every file system reads it then, and
 * from there on `file` is read.
 */
export async function* readChunks(
  file: FileHandle,
  {
    pastCache,
    chunkBytes,
    signal,
  }: {
    readonly pastCache: FileHandle | undefined
    /** Whole units of 64 KiB. */
    readonly chunkBytes: number
    readonly signal: AbortSignal
  },
): AsyncIterable<Uint8Array> {
  // One piece of memory for all: the garbage collector would leave many lying about before it looks.
  const chunk =
    pastCache === undefined
      ? new Uint8Array(chunkBytes)
      : new Uint8Array(new WebAssembly.Memory({ initial: chunkBytes / wasmPageBytes }).buffer)
  let from = pastCache ?? file
  try {
    for (let at = 0; ;) {
      signal.throwIfAborted()
      let bytesRead: number
      try {
        bytesRead = (await from.read(chunk, 0, chunk.length, at)).bytesRead
      } catch (error) {
        if (from === file) throw error
        from = file
        continue
      }
      if (bytesRead === 0) return
      at += bytesRead
      yield chunk.subarray(0, bytesRead)
    }
  } finally {
    if (pastCache === undefined) freeMemory(chunk)
  }
}
