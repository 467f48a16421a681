import { type FileHandle, link, lstat, mkdtemp, open, readdir, rename, rm } from 'node:fs/promises'
import { availableParallelism } from 'node:os'
import { basename, dirname, join } from 'node:path'
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
import { isAlive } from '../files/process-lives.js'
import { checkInProcess } from './forked-check.js'
import { ImageThreads } from './image-threads.js'

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
      const folder = dirname(outputPath)
      const privateFolder = await attempt(outputPath, async () => {
        await createFolder(folder, {}, { isDurable: false })
        await sweepKilledRestores(outputPath)
        return mkdtemp(join(folder, `${temporaryName(basename(outputPath))}${process.pid}-`))
      })
      inUse.add(privateFolder)
      const temporaryPath = join(privateFolder, 'database.tmp')
      const file = await attempt(outputPath, () => open(temporaryPath, 'wx+', 0o600)).catch(
        async (error: unknown) => {
          await removeFolder(privateFolder)
          throw error
        },
      )
      const count = Math.min(maxThreads, availableParallelism())
      const threads = new ImageThreads({ entry: entries.thread, count, outputPath })
      threads.open({ fd: file.fd, maxPageCount })
      return new FileImage({ outputPath, temporaryPath, file, threads, checkEntry: entries.check })
    },
  }
}

class FileImage implements DatabaseImage {
  readonly #outputPath: string
  readonly #temporaryPath: string
  readonly #file: FileHandle
  readonly #threads: ImageThreads
  readonly #checkEntry: URL
  #finished = false

  constructor(parts: {
    outputPath: string
    temporaryPath: string
    file: FileHandle
    threads: ImageThreads
    checkEntry: URL
  }) {
    this.#outputPath = parts.outputPath
    this.#temporaryPath = parts.temporaryPath
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
    const synced = attempt(this.#outputPath, () => this.#file.sync())
    const [remarks] = await Promise.all([
      check === 'none' ? [] : this.#check(check, sizeBytes, signal),
      synced,
    ])
    const { dev, ino } = await attempt(this.#outputPath, () => this.#file.stat())
    await this.#close()
    // The folder may have changed while we worked.
    await refuseExisting(this.#outputPath)
    signal.throwIfAborted()
    await this.#giveName({ dev, ino })
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
  async #giveName(restored: { readonly dev: number; readonly ino: number }): Promise<void> {
    await attempt(this.#outputPath, async () => {
      await using folder = await open(dirname(this.#outputPath), 'r')
      await nameNewFile(this.#temporaryPath, this.#outputPath)
      this.#finished = true
      try {
        // What has two names is not replicated: the other one goes at once.
        await removeFolder(dirname(this.#temporaryPath))
        await refuseAnother(this.#outputPath, restored)
        await folder.sync()
      } catch (error) {
        await rm(this.#outputPath)
        throw error
      }
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#finished) return
    this.#finished = true
    // What a thread is doing to the file ends sooner when nothing is in it.
    await this.#file.truncate(0).catch(() => undefined)
    await this.#close()
    await removeFolder(dirname(this.#temporaryPath))
  }

  async #check(
    kind: 'quick' | 'full',
    sizeBytes: number,
    signal: AbortSignal,
  ): Promise<readonly string[]> {
    const pragma = kind === 'quick' ? 'quick_check' : 'integrity_check'
    const request = { path: this.#temporaryPath, pragma } as const
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
    throw new OutputError(`cannot write ${outputPath}: ${messageOf(error)}`, {
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

/**
 * Gives a file its name, unless somebody has made another file of that name meanwhile, which a rename would replace. On a file system
 * without links it is a rename: there a database that is made after the last look is lost.
 */
async function nameNewFile(temporaryPath: string, outputPath: string): Promise<void> {
  try {
    await link(temporaryPath, outputPath)
  } catch (error) {
    if (codeOf(error) === 'EEXIST') throw alreadyExists(outputPath, [])
    await rename(temporaryPath, outputPath)
  }
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

/** Who may write to the output's folder may have moved ours away, and put another one under its name. */
async function refuseAnother(
  path: string,
  { dev, ino }: { readonly dev: number; readonly ino: number },
): Promise<void> {
  const now = await lstat(path)
  if (now.dev !== dev || now.ino !== ino) {
    throw new Error('somebody has put another file in the place of what was restored')
  }
}

/** Folders that this process restores in. */
const inUse = new Set<string>()

/** How the names of the folders begin in which an output is restored; the process and some random letters follow. */
function temporaryName(output: string): string {
  return `.${output}.tsreplicate-restore-`
}

/**
 * Removes what restores to the same output left behind that were killed: each can be as large as the database, or be its second
 * name. What is somebody else's stays, and is in nobody's way.
 */
export async function sweepKilledRestores(outputPath: string): Promise<void> {
  const folder = dirname(outputPath)
  const start = temporaryName(basename(outputPath))
  for (const name of await readdir(folder).catch(() => [])) {
    const pid = /^([1-9][0-9]{0,9})-/.exec(name.slice(start.length))?.[1]
    const path = join(folder, name)
    if (!name.startsWith(start) || pid === undefined || inUse.has(path)) continue
    if (Number(pid) !== process.pid && isAlive(Number(pid))) continue
    const found = await lstat(path).catch(() => undefined)
    if (found?.isDirectory() === true && found.uid === process.geteuid?.()) await removeFolder(path)
  }
}

async function removeFolder(path: string): Promise<void> {
  await rm(path, { recursive: true, force: true }).catch(() => undefined)
  inUse.delete(path)
}
