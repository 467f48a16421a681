import { writevSync } from 'node:fs'
import { type FileHandle, lstat, mkdir, open, rename, rm } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import Database from 'better-sqlite3'
import { CorruptionError, OutputExistsError } from '../../domain/errors.js'
import {
  type DatabaseImage,
  type DatabaseImageFactory,
  type ImageRun,
} from '../../usecase/ports/database-image.js'

const companions = ['', '-wal', '-shm', '-journal'] as const

/** Restores into a temporary file in the output's folder. */
export const fileImages: DatabaseImageFactory = {
  async create(outputPath) {
    await refuseExisting(outputPath)
    const folder = dirname(outputPath)
    await mkdir(folder, { recursive: true, mode: 0o700 })
    const temporaryPath = join(
      folder,
      `.${basename(outputPath)}.tsreplicate-restore-${process.pid}.tmp`,
    )
    await removeAll(temporaryPath)
    return new FileImage(outputPath, temporaryPath, await open(temporaryPath, 'wx', 0o600))
  },
}

class FileImage implements DatabaseImage {
  readonly #outputPath: string
  readonly #temporaryPath: string
  readonly #file: FileHandle
  #finished = false

  constructor(outputPath: string, temporaryPath: string, file: FileHandle) {
    this.#outputPath = outputPath
    this.#temporaryPath = temporaryPath
    this.#file = file
  }

  async write(offset: number, bytes: Uint8Array): Promise<void> {
    for (let done = 0; done < bytes.length;) {
      const { bytesWritten } = await this.#file.write(
        bytes,
        done,
        bytes.length - done,
        offset + done,
      )
      done += bytesWritten
    }
  }

  /** Synchronous within a call, because it only copies to the page cache; the event loop turns between calls. */
  async writeRuns(runs: readonly ImageRun[]): Promise<void> {
    await setImmediate()
    for (const { offset, parts } of runs) {
      let at = offset
      // The limit of one writev call (IOV_MAX) is 1024.
      for (let from = 0; from < parts.length; from += 1024) {
        const batch = parts.slice(from, from + 1024)
        const length = batch.reduce((sum, part) => sum + part.length, 0)
        if (writevSync(this.#file.fd, batch, at) < length) {
          await this.write(at, Buffer.concat(batch))
        }
        at += length
      }
    }
  }

  async resize(sizeBytes: number): Promise<void> {
    await this.#file.truncate(sizeBytes)
  }

  async finish(integrityCheck: 'none' | 'quick' | 'full'): Promise<void> {
    await this.#file.sync()
    await this.#file.close()
    if (integrityCheck !== 'none') {
      checkIntegrity(this.#temporaryPath, integrityCheck)
      for (const suffix of companions) {
        if (suffix !== '') await rm(this.#temporaryPath + suffix, { force: true })
      }
    }
    // The folder may have changed while we worked.
    await refuseExisting(this.#outputPath)
    await rename(this.#temporaryPath, this.#outputPath)
    this.#finished = true
    const folder = await open(dirname(this.#outputPath), 'r')
    try {
      await folder.sync()
    } finally {
      await folder.close()
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#finished) return
    this.#finished = true
    // Closing twice is harmless.
    await this.#file.close().catch(() => undefined)
    await removeAll(this.#temporaryPath)
  }
}

function checkIntegrity(path: string, kind: 'quick' | 'full'): void {
  const pragma = kind === 'quick' ? 'quick_check' : 'integrity_check'
  let problem: unknown
  try {
    const database = new Database(path, { fileMustExist: true })
    try {
      problem = database.pragma(pragma, { simple: true })
    } finally {
      database.close()
    }
  } catch (error) {
    throw new CorruptionError(`SQLite cannot read the restored database: ${String(error)}`, {
      cause: error,
    })
  }
  if (problem !== 'ok') {
    throw new CorruptionError(`the restored database fails ${pragma}: ${String(problem)}`, {
      hint: 'It may have been damaged before it was backed up. An earlier target, or no integrity check, gets it out.',
    })
  }
}

async function refuseExisting(outputPath: string): Promise<void> {
  for (const suffix of companions) {
    const path = outputPath + suffix
    if (await exists(path)) {
      throw new OutputExistsError(`cannot restore, output path already exists: ${path}`, {
        hint: 'Move it away, or restore to another path with -o.',
      })
    }
  }
}

async function exists(path: string): Promise<boolean> {
  try {
    await lstat(path)
    return true
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return false
    throw error
  }
}

async function removeAll(path: string): Promise<void> {
  for (const suffix of companions) await rm(path + suffix, { force: true })
}
