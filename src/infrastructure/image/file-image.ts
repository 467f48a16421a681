import { type FileHandle, lstat, open, readdir, rename, rm } from 'node:fs/promises'
import { availableParallelism } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { CorruptionError, OutputError, OutputExistsError } from '../../domain/errors.js'
import { type SegmentStart } from '../../domain/wal/segment-verifier.js'
import { onAbort } from '../../kit/abort.js'
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
import { ImageThreads } from './image-threads.js'

const companions = ['', '-wal', '-shm', '-journal'] as const
/** Writing goes on in one of them at a time; more would only hold more memory. */
const maxThreads = 3

/** Restores into a temporary file in the output's folder. `threadEntry` is the module that threads run. */
export function fileImages(threadEntry: URL): DatabaseImageFactory {
  return {
    inTheWay: findExisting,
    async create(outputPath) {
      await refuseExisting(outputPath)
      const folder = dirname(outputPath)
      const temporaryPath = join(folder, temporaryName(basename(outputPath), process.pid))
      const file = await attempt(outputPath, async () => {
        await createFolder(folder, {}, { isDurable: false })
        await sweep(folder, basename(outputPath))
        // SQLite may read it while we write it, for the check.
        return open(temporaryPath, 'wx+', 0o600)
      })
      const count = Math.min(maxThreads, availableParallelism())
      const threads = new ImageThreads({ entry: threadEntry, count, outputPath })
      threads.open(file.fd)
      return new FileImage({ outputPath, temporaryPath, file, threads })
    },
  }
}

class FileImage implements DatabaseImage {
  readonly #outputPath: string
  readonly #temporaryPath: string
  readonly #file: FileHandle
  readonly #threads: ImageThreads
  #finished = false

  constructor(parts: {
    outputPath: string
    temporaryPath: string
    file: FileHandle
    threads: ImageThreads
  }) {
    this.#outputPath = parts.outputPath
    this.#temporaryPath = parts.temporaryPath
    this.#file = parts.file
    this.#threads = parts.threads
  }

  startSnapshot(): ImageInput<DecodedSnapshot> {
    return this.#threads.snapshot()
  }

  startSegment(start: SegmentStart, { endsIndex }: { endsIndex: boolean }): Promise<SegmentInput> {
    return this.#threads.segment({ kind: 'segment', start, endsIndex })
  }

  async finish(
    sizeBytes: number,
    check: IntegrityCheck,
    signal: AbortSignal,
  ): Promise<readonly string[]> {
    signal.throwIfAborted()
    await attempt(this.#outputPath, () => this.#file.truncate(sizeBytes))
    const synced = attempt(this.#outputPath, () => this.#file.sync())
    const [remarks] = await Promise.all([
      check === 'none' ? [] : this.#check(check, signal),
      synced,
    ])
    await this.#close()
    // The folder may have changed while we worked.
    await refuseExisting(this.#outputPath)
    signal.throwIfAborted()
    await attempt(this.#outputPath, async () => {
      for (const suffix of companions) {
        if (suffix !== '') await rm(this.#temporaryPath + suffix, { force: true })
      }
    })
    await this.#giveName()
    return remarks
  }

  /** With its name it is whole and durable, or there is no such name. */
  async #giveName(): Promise<void> {
    await attempt(this.#outputPath, async () => {
      await using folder = await open(dirname(this.#outputPath), 'r')
      await rename(this.#temporaryPath, this.#outputPath)
      this.#finished = true
      try {
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
    await removeAll(this.#temporaryPath)
  }

  async #check(kind: 'quick' | 'full', signal: AbortSignal): Promise<readonly string[]> {
    const pragma = kind === 'quick' ? 'quick_check' : 'integrity_check'
    // The check of a file without content ends at once.
    using _cut = onAbort(signal, () => void this.#file.truncate(0).catch(() => undefined))
    const result = await this.#threads.check(this.#temporaryPath, pragma)
    signal.throwIfAborted()
    switch (result.verdict) {
      case 'sound':
        return result.remarks
      case 'failed':
        throw new OutputError(`cannot run ${pragma} on ${this.#outputPath}: ${result.detail}`, {
          hint: 'Restore to another path with -o, or without the check.',
        })
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
  if (first === undefined) return
  const all = others.length === 0 ? 'it' : `it and ${others.join(', ')}`
  throw new OutputExistsError(`cannot restore, output path already exists: ${first}`, {
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

function temporaryName(output: string, pid: number): string {
  return `.${output}.tsreplicate-restore-${pid}.tmp`
}

/** Removes what restores to the same output left behind that were killed: each can be as large as the database. */
async function sweep(folder: string, output: string): Promise<void> {
  for (const name of await readdir(folder).catch(() => [])) {
    const pid = /\.tsreplicate-restore-([1-9][0-9]{0,9})\.tmp$/.exec(name)?.[1]
    if (pid === undefined || name !== temporaryName(output, Number(pid))) continue
    if (Number(pid) === process.pid || !isAlive(Number(pid))) await removeAll(join(folder, name))
  }
}

async function removeAll(path: string): Promise<void> {
  for (const suffix of companions) await rm(path + suffix, { force: true })
}
