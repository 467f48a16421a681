/**
 * A replica in a folder. An object is written under a temporary name, synced and renamed, and its folder synced: it is
 * there whole, or not at all.
 */
import assert from 'node:assert/strict'
import { randomInt } from 'node:crypto'
import { type FileHandle, link, readdir, rename, rm, rmdir, stat } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { ObjectExistsError, ObjectNotFoundError, TsreplicateError } from '../../../domain/errors.js'
import { type Generation, parseGeneration } from '../../../domain/wal/generation.js'
import { isBefore } from '../../../domain/wal/position.js'
import { isAbortError } from '../../../kit/abort.js'
import { codeOf } from '../../../kit/error-text.js'
import {
  formatObjectPath,
  generationFolder,
  generationsFolder,
  objectFolder,
  type ObjectRef,
  parseSnapshotName,
  parseWalSegmentName,
} from '../../../domain/stored/replica-layout.js'
import {
  type ByteRange,
  type ListOptions,
  type ObjectPart,
  type ObjectUpload,
  type OwnerObject,
  type ReplicaClient,
  type SnapshotInfo,
  type UploadOptions,
  type WalSegmentInfo,
} from '../../../usecase/ports/replica-client.js'
import { createFile, createFolder, syncFolder } from '../../files/durable-files.js'
import { type FileOwnership } from '../../files/ownership.js'
import { isAlive } from '../../files/process-lives.js'
import { openRegularFile } from '../../files/regular-files.js'
import { toReplicaError } from './file-errors.js'
import { isOwnerFile, linkOwnerFile, ownerFilePath, readOwnerFile } from './owner-file.js'

const chunkBytes = 1024 * 1024
const uploadPartBytes = 4 * 1024 * 1024
/** Temporary files of the original, which has no way to tell whose they are, are left alone for this long. */
const foreignTemporaryAgeMs = 60 * 60 * 1000

/** What a temporary file's name ends with: whose it is, and what nobody can guess. */
const temporarySuffix = (): string => `.${process.pid}-${randomInt(2 ** 47)}.tsr.tmp`

/** The temporary files that this process is writing now. */
const livePaths = new Set<string>()

export class FileReplicaClient implements ReplicaClient {
  readonly type = 'file'
  readonly isEncrypted = false
  readonly location: string
  readonly #root: string
  readonly #owner: () => FileOwnership

  /** `owner` says what is created from now on gets; undefined: it is this process's own. */
  constructor(options: { path: string; owner: (() => FileOwnership) | undefined }) {
    this.#root = options.path
    this.location = options.path
    this.#owner = options.owner ?? (() => ({}))
  }

  async *listGenerations(signal: AbortSignal): AsyncIterable<Generation> {
    for (const name of await listFolder(join(this.#root, generationsFolder), signal)) {
      const generation = parseGeneration(name)
      if (generation !== undefined) yield generation
    }
  }

  async *listSnapshots(generation: Generation, signal: AbortSignal): AsyncIterable<SnapshotInfo> {
    const folder = join(this.#root, objectFolder(generation, 'snapshot'))
    for (const name of await listFolder(folder, signal)) {
      const index = parseSnapshotName(name)
      if (index === undefined) continue
      const facts = await statObject(join(folder, name), signal)
      if (facts !== undefined) yield { kind: 'snapshot', generation, index, ...facts }
    }
  }

  async *listWalSegments(
    generation: Generation,
    signal: AbortSignal,
    { from }: ListOptions = {},
  ): AsyncIterable<WalSegmentInfo> {
    const folder = join(this.#root, objectFolder(generation, 'wal-segment'))
    for (const name of await listFolder(folder, signal)) {
      const position = parseWalSegmentName(name)
      if (position === undefined || isBefore(position, from)) continue
      const facts = await statObject(join(folder, name), signal)
      if (facts !== undefined) yield { kind: 'wal-segment', generation, ...position, ...facts }
    }
  }

  async startUpload(
    ref: ObjectRef,
    { file, expectedBytes, isNew = false }: UploadOptions,
    signal: AbortSignal,
  ): Promise<ObjectUpload> {
    signal.throwIfAborted()
    const path = this.#pathOf(ref)
    const temporaryPath = `${path}${temporarySuffix()}`
    livePaths.add(temporaryPath)
    try {
      const isLinked =
        file !== undefined && (await this.#linkFile(file, expectedBytes, temporaryPath))
      const opened = isLinked ? undefined : await this.#createFile(temporaryPath)
      return new FileUpload(opened, { path, temporaryPath, isNew, signal })
    } catch (error) {
      livePaths.delete(temporaryPath)
      throw toReplicaError(`create ${temporaryPath}`, error)
    }
  }

  async *read(ref: ObjectRef, range: ByteRange, signal: AbortSignal): AsyncIterable<Uint8Array> {
    const path = this.#pathOf(ref)
    signal.throwIfAborted()
    const file = await openObject(path)
    try {
      const { size } = await attempt(`read ${path}`, () => file.stat())
      const end = range.length === undefined ? size : Math.min(size, range.offset + range.length)
      for (let at = range.offset; at < end;) {
        signal.throwIfAborted()
        const chunk = new Uint8Array(Math.min(chunkBytes, end - at))
        const { bytesRead } = await attempt(`read ${path}`, () =>
          file.read(chunk, 0, chunk.byteLength, at),
        )
        if (bytesRead === 0) throw toReplicaError(`read ${path}: it became shorter`, undefined)
        at += bytesRead
        yield chunk.subarray(0, bytesRead)
      }
    } finally {
      await file.close()
    }
  }

  contentBytes({ sizeBytes }: { readonly sizeBytes: number }): Promise<number> {
    return Promise.resolve(sizeBytes)
  }

  isMarked(): Promise<undefined> {
    return Promise.resolve(undefined)
  }

  async delete(refs: readonly ObjectRef[], signal: AbortSignal): Promise<void> {
    const failures: unknown[] = []
    const folders = new Set<string>()
    for (const ref of refs) {
      signal.throwIfAborted()
      const path = this.#pathOf(ref)
      try {
        await attempt(`delete ${path}`, () => rm(path, { force: true }))
        folders.add(dirname(path))
      } catch (error) {
        failures.push(error)
      }
    }
    for (const folder of folders) {
      // A generation without objects has no folder.
      if (await removeIfEmpty(folder)) await removeIfEmpty(dirname(folder))
    }
    if (failures.length > 0) throw failures[0]
  }

  readOwner(signal: AbortSignal): Promise<OwnerObject | undefined> {
    signal.throwIfAborted()
    return attempt(`read the owner of ${this.#root}`, () => readOwnerFile(this.#root))
  }

  writeOwner(
    { content, replaces }: { readonly content: string; readonly replaces: string | undefined },
    signal: AbortSignal,
  ): Promise<string | undefined> {
    signal.throwIfAborted()
    const ordinal = Number(replaces ?? 0) + 1
    const temporaryPath = `${ownerFilePath(this.#root, ordinal)}${temporarySuffix()}`
    return attempt(`write the owner of ${this.#root}`, async () => {
      try {
        const file = await this.#createFile(temporaryPath)
        try {
          await file.writeFile(content)
          await file.sync()
        } finally {
          await file.close()
        }
        const isWritten = await linkOwnerFile(this.#root, { ordinal, temporaryPath })
        if (isWritten) await syncFolder(this.#root)
        return isWritten ? String(ordinal) : undefined
      } finally {
        await rm(temporaryPath, { force: true }).catch(() => undefined)
      }
    })
  }

  async sweep(signal: AbortSignal): Promise<void> {
    for (const name of await listFolder(this.#root, signal)) {
      const path = join(this.#root, name)
      if (isOwnerFile(name) || !(await isLeftover(path))) continue
      await attempt(`delete ${path}`, () => rm(path, { force: true }))
    }
    for await (const generation of this.listGenerations(signal)) {
      for (const kind of ['snapshot', 'wal-segment'] as const) {
        const folder = join(this.#root, objectFolder(generation, kind))
        for (const name of await listFolder(folder, signal)) {
          signal.throwIfAborted()
          const path = join(folder, name)
          if (await isLeftover(path)) {
            await attempt(`delete ${path}`, () => rm(path, { force: true }))
          }
        }
        await removeIfEmpty(folder)
      }
      await removeIfEmpty(join(this.#root, generationFolder(generation)))
    }
  }

  #pathOf(ref: ObjectRef): string {
    return join(this.#root, formatObjectPath(ref))
  }

  async #createFile(path: string): Promise<FileHandle> {
    // The folder can be removed between the two steps, as empty, by a deletion; not time after time.
    for (let tries = 1; ; tries += 1) {
      const owner = this.#owner()
      await createFolder(dirname(path), owner)
      try {
        return await createFile(path, owner)
      } catch (error) {
        if (codeOf(error) !== 'ENOENT' || tries === 3) throw error
      }
    }
  }

  /** Gives a file another name, which costs no copy; false: it is of another file system, or that cannot be done. */
  async #linkFile(file: string, sizeBytes: number, path: string): Promise<boolean> {
    const { uid, fileMode, ...owner } = this.#owner()
    // What is given away would be given away there, too.
    if (uid !== undefined) return false
    await createFolder(dirname(path), owner)
    try {
      await link(file, path)
    } catch {
      return false
    }
    await using linked = await openRegularFile(path)
    if (fileMode !== undefined) await linked.chmod(fileMode)
    // A file that is not what it was is for its reader to find out.
    if ((await linked.stat()).size === sizeBytes) return true
    await rm(path, { force: true })
    return false
  }
}

/** Its parts are written where they belong, so that one may come again. Without a file it is one that was linked. */
class FileUpload implements ObjectUpload {
  readonly partSizeBytes = uploadPartBytes
  readonly maxConcurrentParts = 1
  readonly isWhole: boolean
  readonly #file: FileHandle | undefined
  readonly #path: string
  readonly #temporaryPath: string
  readonly #isNew: boolean
  readonly #signal: AbortSignal
  #state: 'open' | 'closed' | 'renamed' | 'finished' | 'given up'
  #running: Promise<void> = Promise.resolve()

  constructor(
    file: FileHandle | undefined,
    options: { path: string; temporaryPath: string; isNew: boolean; signal: AbortSignal },
  ) {
    this.isWhole = file === undefined
    this.#state = file === undefined ? 'closed' : 'open'
    this.#file = file
    this.#path = options.path
    this.#temporaryPath = options.temporaryPath
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
    if (before !== 'renamed') {
      // What cannot be removed now is swept later.
      await rm(this.#temporaryPath, { force: true }).catch(() => undefined)
    }
    livePaths.delete(this.#temporaryPath)
    const folder = dirname(this.#path)
    if (await removeIfEmpty(folder)) await removeIfEmpty(dirname(folder))
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
      if (this.#isNew) await this.#link()
      else await rename(this.#temporaryPath, this.#path)
      // Two names of one file stay both: it had been linked here before, by a process that died.
      if (this.isWhole || this.#isNew) await rm(this.#temporaryPath, { force: true })
      livePaths.delete(this.#temporaryPath)
      this.#state = 'renamed'
    }
    if (this.#state === 'renamed') {
      await syncFolder(dirname(this.#path))
      this.#state = 'finished'
    }
  }

  /** Gives it its name, unless there is a file of that name. */
  async #link(): Promise<void> {
    try {
      await link(this.#temporaryPath, this.#path)
    } catch (error) {
      if (codeOf(error) === 'EEXIST') {
        throw new ObjectExistsError(`cannot write ${this.#path}: it already exists`)
      }
      // File systems without links.
      await rename(this.#temporaryPath, this.#path)
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

/** Runs `action`; what the file system throws becomes a `ReplicaError` that begins with `cannot <what>`. */
async function attempt<T>(what: string, action: () => Promise<T>): Promise<T> {
  try {
    return await action()
  } catch (error) {
    if (error instanceof TsreplicateError || isAbortError(error)) throw error
    throw toReplicaError(what, error)
  }
}

async function openObject(path: string): Promise<FileHandle> {
  try {
    return await openRegularFile(path)
  } catch (error) {
    if (codeOf(error) === 'ENOENT') {
      throw new ObjectNotFoundError(`${path} does not exist`, { cause: error })
    }
    throw toReplicaError(`read ${path}`, error)
  }
}

/** The names in a folder; none if it does not exist. */
async function listFolder(path: string, signal: AbortSignal): Promise<string[]> {
  signal.throwIfAborted()
  try {
    return await readdir(path)
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return []
    throw toReplicaError(`list ${path}`, error)
  }
}

/** Size and time of an object, or undefined if it is gone or no file. */
async function statObject(
  path: string,
  signal: AbortSignal,
): Promise<{ sizeBytes: number; createdAtMs: number } | undefined> {
  signal.throwIfAborted()
  try {
    const facts = await stat(path)
    // Upwards: a moment before it by less than a millisecond does not include it.
    return facts.isFile()
      ? { sizeBytes: facts.size, createdAtMs: Math.ceil(facts.mtimeMs) }
      : undefined
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined
    throw toReplicaError(`look at ${path}`, error)
  }
}

/** Whether the file is temporary and nobody writes it any more. */
async function isLeftover(path: string): Promise<boolean> {
  const name = basename(path)
  const own = /^(.+)\.([1-9][0-9]*)-[0-9]+\.tsr\.tmp$/.exec(name)
  if (own?.[1] !== undefined && own[2] !== undefined) {
    if (!isObjectName(own[1])) return false
    const pid = Number(own[2])
    return pid === process.pid ? !livePaths.has(path) : !isAlive(pid)
  }
  if (!name.endsWith('.tmp') || !isObjectName(name.slice(0, -'.tmp'.length))) return false
  try {
    return (await stat(path)).mtimeMs < Date.now() - foreignTemporaryAgeMs
  } catch {
    return false
  }
}

function isObjectName(name: string): boolean {
  return (
    parseSnapshotName(name) !== undefined ||
    parseWalSegmentName(name) !== undefined ||
    isOwnerFile(name)
  )
}

/** Removes a folder if there is nothing in it, and says whether it did. */
async function removeIfEmpty(path: string): Promise<boolean> {
  try {
    await rmdir(path)
    return true
  } catch {
    return false
  }
}
