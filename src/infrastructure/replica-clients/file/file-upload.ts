/** One object on its way into a folder: a file under a temporary name there. */
import assert from 'node:assert/strict'
import { type FileHandle, link, rename, rm, rmdir } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { ObjectExistsError } from '../../../domain/errors.js'
import { codeOf } from '../../../kit/error-text.js'
import { type ObjectPart, type ObjectUpload } from '../../../usecase/ports/replica-client.js'
import { HeldFolder } from '../../files/held-folder.js'
import { attempt, toReplicaError } from './file-errors.js'

const uploadPartBytes = 4 * 1024 * 1024

/** The temporary files that this process is writing now. */
export const livePaths = new Set<string>()

/** Its parts are written where they belong, so that one may come again. Without a file it is one that was linked. */
export class FileUpload implements ObjectUpload {
  readonly partSizeBytes = uploadPartBytes
  readonly maxConcurrentParts = 1
  readonly isWhole: boolean
  readonly #file: FileHandle | undefined
  readonly #folder: HeldFolder
  readonly #path: string
  readonly #name: string
  readonly #temporaryName: string
  readonly #isNew: boolean
  readonly #signal: AbortSignal
  #state: 'open' | 'closed' | 'renamed' | 'finished' | 'given up'
  #running: Promise<void> = Promise.resolve()

  /** `folder` is where it gets its name, and is let go with it. */
  constructor(
    { folder, file }: { readonly folder: HeldFolder; readonly file: FileHandle | undefined },
    options: { path: string; temporaryName: string; isNew: boolean; signal: AbortSignal },
  ) {
    this.isWhole = file === undefined
    this.#state = file === undefined ? 'closed' : 'open'
    this.#file = file
    this.#folder = folder
    this.#path = options.path
    this.#name = basename(options.path)
    this.#temporaryName = options.temporaryName
    this.#isNew = options.isNew
    this.#signal = options.signal
  }

  storedBytes(contentBytes: number): number {
    return contentBytes
  }

  sendPart(part: ObjectPart): Promise<void> {
    return this.#run(() => this.#write(part))
  }

  finish(): Promise<void> {
    return this.#run(() => this.#finish())
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const before = this.#state
    if (before === 'finished' || before === 'given up') return
    this.#state = 'given up'
    // Pulling the file from under what runs would break it; its error is its caller's.
    await this.#running
    if (before === 'open') await this.#file?.close().catch(() => undefined)
    if (before === 'open' || before === 'closed') {
      // What cannot be removed now is swept later.
      await rm(this.#folder.at(this.#temporaryName), { force: true }).catch(() => undefined)
    }
    this.#forget()
    await this.#folder[Symbol.asyncDispose]()
    await removeIfEmpty(dirname(this.#path), { above: 1 })
  }

  #forget(): void {
    livePaths.delete(join(dirname(this.#path), this.#temporaryName))
  }

  async #run(action: () => Promise<void>): Promise<void> {
    if (this.#state === 'given up') throw new Error('the upload has ended')
    this.#signal.throwIfAborted()
    const running = attempt(`write ${this.#path}`, action)
    this.#running = running.catch(() => undefined)
    await running
  }

  async #write({ number, bytes }: ObjectPart): Promise<void> {
    const file = this.#file
    assert(file !== undefined && this.#state === 'open', 'a part after the end of the upload')
    const start = number * this.partSizeBytes
    for (let at = 0; at < bytes.byteLength;) {
      this.#signal.throwIfAborted()
      const { bytesWritten } = await file.write(bytes, at, bytes.byteLength - at, start + at)
      at += bytesWritten
    }
  }

  async #finish(): Promise<void> {
    if (this.#state === 'open') {
      await this.#close()
      this.#state = 'closed'
    }
    this.#signal.throwIfAborted()
    if (this.#state === 'closed') {
      const temporary = this.#folder.at(this.#temporaryName)
      if (this.#isNew) await this.#link(temporary)
      else await rename(temporary, this.#folder.at(this.#name))
      // Two names of one file stay both: it had been linked here before, by a process that died.
      if (this.isWhole || this.#isNew) await rm(temporary, { force: true })
      this.#forget()
      this.#state = 'renamed'
    }
    if (this.#state === 'renamed') {
      await this.#folder.sync()
      await this.#folder[Symbol.asyncDispose]()
      this.#state = 'finished'
    }
  }

  /** Gives it its name, unless there is a file of that name. */
  async #link(temporary: string): Promise<void> {
    const path = this.#folder.at(this.#name)
    try {
      await link(temporary, path)
    } catch (error) {
      if (codeOf(error) === 'EEXIST') {
        throw new ObjectExistsError(`cannot write ${this.#path}: it already exists`)
      }
      // File systems without links.
      await rename(temporary, path)
    }
  }

  /** After a sync that failed the kernel may have dropped what it could not write, and would call a second one good. */
  async #close(): Promise<void> {
    try {
      await this.#file?.sync()
    } catch (error) {
      throw toReplicaError(`write ${this.#path}`, error, { retryable: false })
    }
    await this.#file?.close()
  }
}

/** Removes a folder if there is nothing in it, and then as many above it. */
export async function removeIfEmpty(path: string, { above = 0 } = {}): Promise<void> {
  try {
    await using parent = await HeldFolder.find(dirname(path))
    if (parent === undefined) return
    await rmdir(parent.at(basename(path)))
  } catch {
    return
  }
  if (above > 0) await removeIfEmpty(dirname(path), { above: above - 1 })
}
