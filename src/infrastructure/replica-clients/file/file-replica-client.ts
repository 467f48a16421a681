/**
 * A replica in a folder. An object is written under a temporary name, synced and renamed, and its folder synced: it is
 * there whole, or not at all. Folders of it may be somebody else's, who can put links in their place: each is opened, and what
 * is done is done in what was opened.
 */
import { randomInt } from 'node:crypto'
import { type FileHandle, link, lstat, rm } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { ObjectNotFoundError } from '../../../domain/errors.js'
import { type Generation, parseGeneration } from '../../../domain/wal/generation.js'
import { isBefore } from '../../../domain/wal/position.js'
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
  type ObjectUpload,
  type OwnerObject,
  type ReplicaClient,
  type SnapshotInfo,
  type UploadOptions,
  type WalSegmentInfo,
} from '../../../usecase/ports/replica-client.js'
import { createFile } from '../../files/durable-files.js'
import { HeldFolder } from '../../files/held-folder.js'
import { type FileOwnership } from '../../files/ownership.js'
import { isAlive } from '../../files/process-lives.js'
import { openRegularFile } from '../../files/regular-files.js'
import { attempt, toReplicaError } from './file-errors.js'
import { FileUpload, livePaths, removeIfEmpty } from './file-upload.js'
import { isOwnerFile, linkOwnerFile, ownerFileName, readOwnerFile } from './owner-file.js'
import { SharedFolders } from './shared-folders.js'

const chunkBytes = 1024 * 1024
/** Temporary files of the original, which has no way to tell whose they are, are left alone for this long. */
const foreignTemporaryAgeMs = 60 * 60 * 1000

/** What a temporary file's name ends with: whose it is, and what nobody can guess. */
const temporarySuffix = (): string => `.${process.pid}-${randomInt(2 ** 47)}.tsr.tmp`

/** What has a name in a folder of the replica. */
interface Entry {
  readonly folder: HeldFolder
  readonly name: string
  readonly path: string
}

export class FileReplicaClient implements ReplicaClient {
  readonly type = 'file'
  readonly isEncrypted = false
  readonly location: string
  readonly #root: string
  readonly #owner: () => FileOwnership
  readonly #folders = new SharedFolders()

  /** `owner` says what is created from now on gets; undefined: it is this process's own. */
  constructor(options: { path: string; owner: (() => FileOwnership) | undefined }) {
    this.#root = options.path
    this.location = options.path
    this.#owner = options.owner ?? (() => ({}))
  }

  async *listGenerations(signal: AbortSignal): AsyncIterable<Generation> {
    for await (const { name } of this.#list(generationsFolder, signal)) {
      const generation = parseGeneration(name)
      if (generation !== undefined) yield generation
    }
  }

  async *listSnapshots(generation: Generation, signal: AbortSignal): AsyncIterable<SnapshotInfo> {
    for await (const entry of this.#list(objectFolder(generation, 'snapshot'), signal)) {
      const index = parseSnapshotName(entry.name)
      if (index === undefined) continue
      const facts = await statObject(entry, signal)
      if (facts !== undefined) yield { kind: 'snapshot', generation, index, ...facts }
    }
  }

  async *listWalSegments(
    generation: Generation,
    signal: AbortSignal,
    { from }: ListOptions = {},
  ): AsyncIterable<WalSegmentInfo> {
    for await (const entry of this.#list(objectFolder(generation, 'wal-segment'), signal)) {
      const position = parseWalSegmentName(entry.name)
      if (position === undefined || isBefore(position, from)) continue
      const facts = await statObject(entry, signal)
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
      const linked =
        file === undefined ? undefined : await this.#linkFile(file, expectedBytes, temporaryPath)
      const made =
        linked === undefined
          ? await this.#createFile(temporaryPath)
          : { folder: linked, file: undefined }
      return new FileUpload(made, { path, temporaryName: basename(temporaryPath), isNew, signal })
    } catch (error) {
      livePaths.delete(temporaryPath)
      throw toReplicaError(`create ${temporaryPath}`, error)
    }
  }

  async *read(ref: ObjectRef, range: ByteRange, signal: AbortSignal): AsyncIterable<Uint8Array> {
    const path = this.#pathOf(ref)
    signal.throwIfAborted()
    await using held = await attempt(`read ${path}`, () => this.#folders.hold(dirname(path)))
    const file = await openObject(held?.folder, path)
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
    const folders = new Map<string, string[]>()
    for (const path of refs.map((ref) => this.#pathOf(ref))) {
      folders.set(dirname(path), [...(folders.get(dirname(path)) ?? []), basename(path)])
    }
    for (const [folder, names] of folders) {
      try {
        failures.push(...(await deleteIn(folder, names, signal)))
      } finally {
        // A generation without objects has no folder.
        await removeIfEmpty(folder, { above: 1 })
      }
    }
    if (failures.length > 0) throw failures[0]
  }

  readOwner(signal: AbortSignal): Promise<OwnerObject | undefined> {
    signal.throwIfAborted()
    return attempt(`read the owner of ${this.#root}`, async () => {
      await using folder = await HeldFolder.find(this.#root)
      return folder && (await readOwnerFile(folder))
    })
  }

  writeOwner(
    { content, replaces }: { readonly content: string; readonly replaces: string | undefined },
    signal: AbortSignal,
  ): Promise<string | undefined> {
    signal.throwIfAborted()
    const ordinal = Number(replaces ?? 0) + 1
    const temporaryName = `${ownerFileName(ordinal)}${temporarySuffix()}`
    return attempt(`write the owner of ${this.#root}`, async () => {
      const { folder, file } = await this.#createFile(join(this.#root, temporaryName))
      try {
        try {
          await file.writeFile(content)
          await file.sync()
        } finally {
          await file.close()
        }
        const isWritten = await linkOwnerFile(folder, { ordinal, temporaryName })
        if (isWritten) await folder.sync()
        return isWritten ? String(ordinal) : undefined
      } finally {
        await rm(folder.at(temporaryName), { force: true }).catch(() => undefined)
        await folder[Symbol.asyncDispose]()
      }
    })
  }

  async sweep(signal: AbortSignal): Promise<void> {
    await this.#sweepFolder('', signal)
    for await (const generation of this.listGenerations(signal)) {
      for (const kind of ['snapshot', 'wal-segment'] as const) {
        const folder = objectFolder(generation, kind)
        await this.#sweepFolder(folder, signal)
        await removeIfEmpty(join(this.#root, folder))
      }
      await removeIfEmpty(join(this.#root, generationFolder(generation)))
    }
  }

  async #sweepFolder(relativePath: string, signal: AbortSignal): Promise<void> {
    for await (const { folder, name, path } of this.#list(relativePath, signal)) {
      signal.throwIfAborted()
      if (isOwnerFile(name) || !(await isLeftover({ folder, name, path }))) continue
      await attempt(`delete ${path}`, () => rm(folder.at(name), { force: true }))
    }
  }

  /** All that is in a folder of the replica; nothing where there is none. */
  async *#list(relativePath: string, signal: AbortSignal): AsyncIterable<Entry> {
    signal.throwIfAborted()
    const path = join(this.#root, relativePath)
    await using folder = await attempt(`list ${path}`, () => HeldFolder.find(path))
    if (folder === undefined) return
    try {
      for await (const name of folder.list()) yield { folder, name, path: join(path, name) }
    } catch (error) {
      throw toReplicaError(`list ${path}`, error)
    }
  }

  #pathOf(ref: ObjectRef): string {
    return join(this.#root, formatObjectPath(ref))
  }

  /** A new file, and its folder, which is to be let go. */
  async #createFile(path: string): Promise<{ folder: HeldFolder; file: FileHandle }> {
    // The folder can be removed between the two steps, as empty, by a deletion; not time after time.
    for (let tries = 1; ; tries += 1) {
      const owner = this.#owner()
      const folder = await HeldFolder.make(dirname(path), owner)
      try {
        return { folder, file: await createFile(folder.at(basename(path)), owner) }
      } catch (error) {
        await folder[Symbol.asyncDispose]()
        if (codeOf(error) !== 'ENOENT' || tries === 3) throw error
      }
    }
  }

  /**
   * Gives a file another name, which costs no copy. Its folder, which is to be let go; undefined: it is of another file system,
   * or that cannot be done.
   */
  async #linkFile(file: string, sizeBytes: number, path: string): Promise<HeldFolder | undefined> {
    const { uid, fileMode, ...owner } = this.#owner()
    // What is given away would be given away there, too.
    if (uid !== undefined) return undefined
    const folder = await HeldFolder.make(dirname(path), owner)
    try {
      if (await linkInto(folder, { file, name: basename(path), sizeBytes, fileMode })) return folder
    } catch (error) {
      await folder[Symbol.asyncDispose]()
      throw error
    }
    await folder[Symbol.asyncDispose]()
    return undefined
  }
}

async function linkInto(
  folder: HeldFolder,
  made: {
    readonly file: string
    readonly name: string
    readonly sizeBytes: number
    readonly fileMode: number | undefined
  },
): Promise<boolean> {
  const path = folder.at(made.name)
  await using file = await openRegularFile(made.file).catch(() => undefined)
  if (file === undefined) return false
  try {
    await link(made.file, path)
  } catch {
    return false
  }
  // What has the name by now may be what somebody has put there.
  const [{ dev, ino, size }, there] = [await file.stat(), await lstat(path)]
  if (there.dev === dev && there.ino === ino && size === made.sizeBytes) {
    if (made.fileMode !== undefined) await file.chmod(made.fileMode)
    return true
  }
  // A file that is not what it was is for its reader to find out.
  await rm(path, { force: true })
  return false
}

async function openObject(folder: HeldFolder | undefined, path: string): Promise<FileHandle> {
  try {
    if (folder !== undefined) return await openRegularFile(folder.at(basename(path)))
  } catch (error) {
    if (codeOf(error) !== 'ENOENT') throw toReplicaError(`read ${path}`, error)
  }
  throw new ObjectNotFoundError(`${path} does not exist`)
}

/** What could not be deleted. */
async function deleteIn(
  path: string,
  names: readonly string[],
  signal: AbortSignal,
): Promise<readonly unknown[]> {
  await using folder = await attempt(`delete objects of ${path}`, () => HeldFolder.find(path))
  if (folder === undefined) return []
  const failures: unknown[] = []
  for (const name of names) {
    signal.throwIfAborted()
    const remove = (): Promise<void> => rm(folder.at(name), { force: true })
    await attempt(`delete ${join(path, name)}`, remove).catch((error: unknown) =>
      failures.push(error),
    )
  }
  return failures
}

/** Size and time of an object, or undefined if it is gone or no file. */
async function statObject(
  { folder, name, path }: Entry,
  signal: AbortSignal,
): Promise<{ sizeBytes: number; createdAtMs: number } | undefined> {
  signal.throwIfAborted()
  try {
    const facts = await lstat(folder.at(name))
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
async function isLeftover({ folder, name, path }: Entry): Promise<boolean> {
  const own = /^(.+)\.([1-9][0-9]*)-[0-9]+\.tsr\.tmp$/.exec(name)
  if (own?.[1] !== undefined && own[2] !== undefined) {
    if (!isObjectName(own[1])) return false
    const pid = Number(own[2])
    return pid === process.pid ? !livePaths.has(path) : !isAlive(pid)
  }
  if (!name.endsWith('.tmp') || !isObjectName(name.slice(0, -'.tmp'.length))) return false
  try {
    return (await lstat(folder.at(name))).mtimeMs < Date.now() - foreignTemporaryAgeMs
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
