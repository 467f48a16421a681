import { type FileHandle, lstat } from 'node:fs/promises'
import { availableParallelism } from 'node:os'
import { dirname } from 'node:path'
import {
  CheckTimeoutError,
  CorruptionError,
  OutputError,
  OutputExistsError,
} from '../../domain/errors.js'
import { type Verified } from '../../domain/stored/chain-verifier.js'
import { statedPageCount } from '../../domain/stored/content-bounds.js'
import { type SegmentStart } from '../../domain/wal/segment-verifier.js'
import { databasePageSize } from '../../domain/wal/wal-format.js'
import { codeOf, messageOf } from '../../kit/error-text.js'
import {
  type DatabaseImage,
  type DatabaseImageFactory,
  type DecodedSnapshot,
  type ImageInput,
  type IntegrityCheck,
  type SegmentInput,
} from '../../usecase/ports/database-image.js'
import { createFolder } from '../files/durable-files.js'
import { checkInProcess } from './forked-check.js'
import { ImageThreads } from './image-threads.js'
import { type FileState, isSame, PrivateFolder } from './private-folder.js'

const companions = ['', '-wal', '-shm', '-journal'] as const
/** Writing goes on in one of them at a time; more would only hold more memory. */
const maxThreads = 3

const uncheckedHint =
  'All that is stored of it was verified by its checksums: `restore -integrity-check none` takes it as it is.'

/** The modules that are run: by the threads that build an image, and by the process that checks it. */
export interface ImageEntries {
  readonly thread: URL
  readonly check: URL
}

/** Restores into a file in a folder of its own, which nobody else can enter, beside the output. */
export function fileImages(entries: ImageEntries): DatabaseImageFactory {
  return {
    inTheWay: findExisting,
    async create(outputPath, { maxPageCount }) {
      await refuseExisting(outputPath)
      const folder = await attempt(outputPath, async () => {
        await createFolder(dirname(outputPath), {}, { isDurable: false })
        return PrivateFolder.make(outputPath)
      })
      const file = await attempt(outputPath, () => folder.createDatabase()).catch(
        async (error: unknown) => {
          await folder.remove()
          await folder[Symbol.asyncDispose]()
          throw error
        },
      )
      const count = Math.min(maxThreads, availableParallelism())
      const threads = new ImageThreads({ entry: entries.thread, count, outputPath })
      threads.open({ fd: file.fd, maxPageCount })
      return new FileImage({ outputPath, folder, file, threads, checkEntry: entries.check })
    },
  }
}

class FileImage implements DatabaseImage {
  readonly #outputPath: string
  readonly #folder: PrivateFolder
  readonly #file: FileHandle
  readonly #threads: ImageThreads
  readonly #checkEntry: URL
  #finished = false

  constructor(parts: {
    outputPath: string
    folder: PrivateFolder
    file: FileHandle
    threads: ImageThreads
    checkEntry: URL
  }) {
    this.#outputPath = parts.outputPath
    this.#folder = parts.folder
    this.#file = parts.file
    this.#threads = parts.threads
    this.#checkEntry = parts.checkEntry
  }

  startSnapshot({ mostBytes }: { mostBytes: number }): ImageInput<DecodedSnapshot> {
    return this.#threads.snapshot({ kind: 'snapshot', mostBytes })
  }

  startSegment(start: SegmentStart, { endsIndex }: { endsIndex: boolean }): Promise<SegmentInput> {
    return this.#threads.segment({ kind: 'segment', start, endsIndex })
  }

  async finish(
    { sizeBytes, isCommitted }: Pick<Verified, 'sizeBytes' | 'isCommitted'>,
    check: IntegrityCheck,
    signal: AbortSignal,
  ): Promise<readonly string[]> {
    signal.throwIfAborted()
    if (isCommitted && check !== 'none') await this.#refuseOtherSize(sizeBytes)
    await attempt(this.#outputPath, () => this.#file.truncate(sizeBytes))
    // Their memory is free for the process that checks.
    await this.#threads.end()
    const state = (): Promise<FileState> =>
      attempt(this.#outputPath, () => this.#file.stat({ bigint: true }))
    const written = await state()
    const synced = attempt(this.#outputPath, () => this.#file.sync())
    const [remarks] = await Promise.all([
      check === 'none' ? [] : this.#check(check, written, signal),
      synced,
    ])
    // SQLite, which cannot open it as immutable here, has only read it, and so has everybody else.
    if (!isSame(await state(), written))
      throw new OutputError(`${this.#outputPath} was changed while it was checked`)
    await using _pinned = await attempt(this.#outputPath, () => this.#folder.pin())
    await this.#close()
    // The folder may have changed while we worked.
    await refuseExisting(this.#outputPath)
    signal.throwIfAborted()
    await this.#giveName(written)
    return remarks
  }

  /** SQLite goes by what the database says of its size, and would not look at what a forged commit states. */
  async #refuseOtherSize(sizeBytes: number): Promise<void> {
    const start = Buffer.alloc(100)
    await attempt(this.#outputPath, () => this.#file.read(start, 0, start.length, 0))
    const pageCount = statedPageCount(start)
    const pageSizeBytes = databasePageSize(start)
    if (pageCount === undefined || pageSizeBytes === undefined) return
    if (pageCount * pageSizeBytes === sizeBytes) return
    throw new CorruptionError(
      `the last commit makes the database ${sizeBytes / pageSizeBytes} pages large, but its first page says ${pageCount}`,
      {
        hint: 'Restore an earlier moment with -timestamp, or take it as it is with -integrity-check none.',
      },
    )
  }

  /** With its name it is whole and durable, or there is no such name. */
  async #giveName(verified: FileState): Promise<void> {
    await attempt(this.#outputPath, async () => {
      const isNamed = await this.#folder.nameDatabase()
      if (!isNamed) throw alreadyExists(this.#outputPath, [])
      await this.#folder.keepIf(verified)
    })
    this.#finished = true
    await this.#folder[Symbol.asyncDispose]()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#finished) return
    this.#finished = true
    // What a thread is doing to the file ends sooner when nothing is in it.
    await this.#file.truncate(0).catch(() => undefined)
    await this.#close()
    await this.#folder.remove()
    await this.#folder[Symbol.asyncDispose]()
  }

  async #check(
    kind: 'quick' | 'full',
    { dev, ino, size }: FileState,
    signal: AbortSignal,
  ): Promise<readonly string[]> {
    const pragma = kind === 'quick' ? 'quick_check' : 'integrity_check'
    const file = { device: Number(dev), inode: Number(ino) }
    const request = { path: this.#folder.databasePath, file, pragma } as const
    const sizeBytes = Number(size)
    const result = await checkInProcess(this.#checkEntry, request, { sizeBytes, signal })
    switch (result.verdict) {
      case 'sound':
        return result.remarks
      case 'failed':
        throw new OutputError(`cannot run ${pragma} on ${this.#outputPath}: ${result.detail}`, {
          hint: 'Restore to another path with -o, or without the check.',
        })
      case 'late':
        throw new CheckTimeoutError(
          `${this.#outputPath} could not be checked in time: ${pragma} was stopped, ${result.detail}`,
          { hint: `What its schema computes may take so long, or the disk. ${uncheckedHint}` },
        )
      case 'too large':
        throw new OutputError(
          `${this.#outputPath} could not be checked: ${pragma} was stopped, ${result.detail}`,
          { hint: `What its schema computes may take so much. ${uncheckedHint}` },
        )
      case 'damaged':
        throw new CorruptionError(`the restored database fails ${pragma}: ${result.detail}`, {
          hint: 'It may have been damaged before it was backed up. Restore an earlier moment with -timestamp, or take it as it is with -integrity-check none.',
        })
    }
  }

  /** The threads write to the descriptor by its number, which another file could get once it is closed. */
  async #close(): Promise<void> {
    await this.#threads.end()
    // Closing twice is harmless.
    await this.#file.close().catch(() => undefined)
  }
}

async function attempt<T>(outputPath: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (error instanceof OutputExistsError) throw error
    const why = messageOf(error).replaceAll(/\/proc\/self\/fd\/\d+/g, dirname(outputPath))
    throw new OutputError(`cannot write ${outputPath}: ${why}`, {
      cause: error,
      hint: 'Restore to another path with -o, or make this one writable.',
    })
  }
}

async function findExisting(outputPath: string): Promise<readonly string[]> {
  const found: string[] = []
  for (const suffix of companions) {
    const path = outputPath + suffix
    if (await attempt(outputPath, () => exists(path))) found.push(path)
  }
  return found
}

async function refuseExisting(outputPath: string): Promise<void> {
  const [first, ...others] = await findExisting(outputPath)
  if (first !== undefined) throw alreadyExists(first, others)
}

function alreadyExists(path: string, others: readonly string[]): OutputExistsError {
  const all = others.length === 0 ? 'it' : `it and ${others.join(', ')}`
  return new OutputExistsError(`cannot restore, output path already exists: ${path}`, {
    hint: `Move ${all} away, or restore to another path with -o.`,
  })
}

async function exists(path: string): Promise<boolean> {
  try {
    await lstat(path)
    return true
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return false
    throw error
  }
}
