/**
 * The spool as a folder:
 *
 *     state.json                                     the current generation, how it began, and its database file
 *     lock, lock.kernel                              who uses the folder
 *     spool/<generation>/<index>_<offset>.wal.lz4    finished segments
 *     *.tmp                                          unfinished files, removed at the next start
 *
 * In one file because what is read at a start is what every step before it may have left, in that order.
 */
import { type FileHandle, readdir, rename, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { LocalStateError } from '../../domain/errors.js'
import { type Generation, parseGeneration } from '../../domain/wal/generation.js'
import { type FollowedGeneration, type GenerationOrigin } from '../../domain/stored/lineage.js'
import { comparePositions, formatPosition, type WalPosition } from '../../domain/wal/position.js'
import { formatWalSegmentName, parseWalSegmentName } from '../../domain/stored/replica-layout.js'
import { headOf, startOf, succession, tailOf } from '../../domain/stored/segment-chain.js'
import {
  formatTrailer,
  isTrailerOf,
  parseTrailer,
  trailerTailBytes,
  type WalSegmentTrailer,
} from '../../domain/stored/trailer.js'
import { codeOf } from '../../kit/error-text.js'
import { type Processes } from '../../usecase/ports/processes.js'
import {
  type SegmentWriter,
  type Spool,
  type SpooledSegment,
  type SpoolState,
} from '../../usecase/ports/spool.js'
import {
  createFile,
  createFolder,
  replaceFile,
  syncFolder,
  temporaryName,
  writeAll,
} from '../files/durable-files.js'
import { removeWhole } from '../files/held-folder.js'
import { openRegularFile, readAt, readSmallFileIfThere } from '../files/regular-files.js'
import { type FolderLock, takeFolderLock } from './folder-lock.js'
import { orLocalStateError, toLocalStateError } from './local-state-errors.js'

const usualChunkBytes = 1024 * 1024
const temporarySuffix = '.tmp'
const stateFileName = 'state.json'

type StateFile = Omit<SpoolState, 'segments'>

/** A segment's file whose trailer was read, or what is wrong with it. */
type ReadSegment =
  | { readonly kind: 'segment'; readonly segment: SpooledSegment }
  | { readonly kind: 'unreadable'; readonly problem: string }

export class FolderSpool implements Spool {
  readonly #path: string
  readonly #processes: Processes
  #lock: FolderLock | undefined
  #generation: Generation | undefined

  constructor(options: { path: string; processes: Processes }) {
    this.#processes = options.processes
    this.#path = options.path
  }

  async open(signal: AbortSignal): ReturnType<Spool['open']> {
    signal.throwIfAborted()
    if (this.#lock === undefined) {
      await orLocalStateError(`create the folder ${this.#path}`, () => createFolder(this.#path))
      this.#lock = await orLocalStateError(`lock the folder ${this.#path}`, () =>
        takeFolderLock(join(this.#path, 'lock'), {
          folder: this.#path,
          processes: this.#processes,
        }),
      )
    }
    return orLocalStateError(`read the local state in ${this.#path}`, () => this.#load(signal))
  }

  async #load(signal: AbortSignal): ReturnType<Spool['open']> {
    await removeTemporaries(this.#path)
    const state = await readStateFile(this.#statePath)
    if (state.kind === 'none') {
      return { state: undefined, reason: 'none', detail: `${this.#statePath} does not exist` }
    }
    if (state.kind === 'unreadable') {
      return { state: undefined, reason: 'unreadable', detail: state.problem }
    }
    const { generation } = state.file
    await this.#removeOtherGenerations(generation)
    const folder = this.#generationFolder(generation)
    await createFolder(folder)
    await removeTemporaries(folder)
    const loaded = await loadSegments(folder, generation, signal)
    if (loaded.kind === 'unreadable') {
      return { state: undefined, reason: 'unreadable', detail: loaded.problem }
    }
    this.#generation = generation
    return { state: { ...state.file, segments: loaded.segments } satisfies SpoolState }
  }

  async isIntact(signal: AbortSignal): Promise<boolean> {
    signal.throwIfAborted()
    if (!((await this.#lock?.isHeld()) ?? false)) return false
    if (this.#generation === undefined) return true
    return (
      (await isThere(this.#statePath)) && (await isThere(this.#generationFolder(this.#generation)))
    )
  }

  async beginGeneration(begun: StateFile, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted()
    const { generation } = begun
    this.#assertOpen()
    await orLocalStateError(`begin generation ${generation} in ${this.#path}`, async () => {
      await createFolder(this.#generationFolder(generation))
      await replaceFile(this.#statePath, new TextEncoder().encode(formatState(begun)))
      this.#generation = generation
      await this.#removeOtherGenerations(generation)
    })
  }

  async startSegment(position: WalPosition, signal: AbortSignal): Promise<SegmentWriter> {
    signal.throwIfAborted()
    const generation = this.#assertGeneration()
    const folder = this.#generationFolder(generation)
    const name = formatWalSegmentName(position)
    const temporaryPath = temporaryName(join(folder, name))
    return startFile({ folder, name, temporaryPath, generation, position, signal })
  }

  async *read(
    segment: SpooledSegment,
    signal: AbortSignal,
    { chunkBytes } = { chunkBytes: usualChunkBytes },
  ): AsyncIterable<Uint8Array> {
    const path = this.fileOf(segment)
    signal.throwIfAborted()
    const file = await orLocalStateError(`read ${path}`, () => openRegularFile(path))
    try {
      const { size } = await orLocalStateError(`read ${path}`, () => file.stat())
      if (size !== segment.sizeBytes) {
        throw new LocalStateError(
          `${path} has changed: ${size} bytes instead of ${segment.sizeBytes}`,
        )
      }
      for (let at = 0; at < size;) {
        signal.throwIfAborted()
        const wanted = Math.min(chunkBytes, size - at)
        const chunk = await orLocalStateError(`read ${path}`, () => readAt(file, at, wanted))
        if (chunk.byteLength < wanted) throw new LocalStateError(`${path} was cut short`)
        at += wanted
        yield chunk
      }
    } finally {
      await file.close()
    }
  }

  async isWhole(segment: SpooledSegment, signal: AbortSignal): Promise<boolean> {
    signal.throwIfAborted()
    try {
      return (await stat(this.fileOf(segment))).size === segment.sizeBytes
    } catch (error) {
      if (isAbsent(error)) return false
      throw toLocalStateError(`look at ${this.fileOf(segment)}`, error)
    }
  }

  fileOf(segment: SpooledSegment): string {
    return join(this.#generationFolder(segment.generation), nameOf(segment))
  }

  async replace(
    merged: {
      readonly parts: readonly SpooledSegment[]
      readonly writer: SegmentWriter
      readonly trailer: WalSegmentTrailer
    },
    signal: AbortSignal,
  ): Promise<SpooledSegment> {
    signal.throwIfAborted()
    const { parts, writer, trailer } = merged
    const first = parts[0]
    const last = parts.at(-1)
    if (
      first?.index !== trailer.index ||
      first.startOffset !== trailer.startOffset ||
      last?.index !== trailer.index ||
      last.endOffset !== trailer.endOffset
    ) {
      throw new RangeError('a merged segment covers its parts, from the first to the last')
    }
    const segment = await writer.finish(trailer)
    // From here on the parts are covered: if we die before they are removed, `open` removes them.
    await this.#removeFiles(parts.slice(1))
    return segment
  }

  async remove(segments: readonly SpooledSegment[], signal: AbortSignal): Promise<void> {
    signal.throwIfAborted()
    // In order, so that what a crash leaves is still one run up to the end.
    await this.#removeFiles(segments.toSorted(compareSegments))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const lock = this.#lock
    this.#lock = undefined
    this.#generation = undefined
    if (lock === undefined) return
    await orLocalStateError(`unlock the folder ${this.#path}`, () => lock.release())
  }

  get #statePath(): string {
    return join(this.#path, stateFileName)
  }

  get #spoolFolder(): string {
    return join(this.#path, 'spool')
  }

  #generationFolder(generation: Generation): string {
    return join(this.#spoolFolder, generation)
  }

  #assertOpen(): void {
    if (this.#lock === undefined) throw new Error('the spool is not open')
  }

  #assertGeneration(): Generation {
    this.#assertOpen()
    if (this.#generation === undefined) throw new Error('the spool has no current generation')
    return this.#generation
  }

  async #removeFiles(segments: readonly SpooledSegment[]): Promise<void> {
    for (const segment of segments) {
      const path = this.fileOf(segment)
      await orLocalStateError(`remove ${path}`, () => rm(path, { force: true }))
    }
  }

  async #removeOtherGenerations(generation: Generation): Promise<void> {
    for (const name of await readFolder(this.#spoolFolder)) {
      if (name !== generation) {
        await removeWhole(join(this.#spoolFolder, name))
      }
    }
  }
}

const isAbsent = (error: unknown): boolean => ['ENOENT', 'ENOTDIR'].includes(codeOf(error) ?? '')

/** What cannot be looked at may be there. */
async function isThere(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    (error: unknown) => !isAbsent(error),
  )
}

function nameOf(segment: SpooledSegment): string {
  return formatWalSegmentName({ index: segment.index, offset: segment.startOffset })
}

function compareSegments(a: SpooledSegment, b: SpooledSegment): number {
  return comparePositions(startOf(a), startOf(b))
}

/** The names in a folder; none if it does not exist. */
async function readFolder(path: string): Promise<string[]> {
  try {
    return await readdir(path)
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return []
    throw error
  }
}

async function removeTemporaries(folder: string): Promise<void> {
  for (const name of await readFolder(folder)) {
    if (name.endsWith(temporarySuffix)) await rm(join(folder, name), { force: true })
  }
}

/** The generation that the folder's owner captures, without claiming the folder; undefined: none is known. */
export async function readCurrentGeneration(path: string): Promise<Generation | undefined> {
  const state = await orLocalStateError(`read the local state in ${path}`, () =>
    readStateFile(join(path, stateFileName)),
  )
  return state.kind === 'state' ? state.file.generation : undefined
}

async function readStateFile(
  path: string,
): Promise<
  | { readonly kind: 'none' }
  | { readonly kind: 'unreadable'; readonly problem: string }
  | { readonly kind: 'state'; readonly file: StateFile }
> {
  const text = await readSmallFileIfThere(path)
  if (text === undefined) return { kind: 'none' }
  const file = parseState(text)
  return file === undefined
    ? { kind: 'unreadable', problem: `${path} is damaged or of a later version` }
    : { kind: 'state', file }
}

function formatState({ generation, identity, origin }: StateFile): string {
  return `${JSON.stringify({ version: 1, generation, ...identity, ...origin })}\n`
}

function parseState(text: string): StateFile | undefined {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return undefined
  }
  if (typeof value !== 'object' || value === null) return undefined
  if (!('version' in value) || value.version !== 1) return undefined
  if (!('generation' in value) || typeof value.generation !== 'string') return undefined
  if (!('device' in value) || typeof value.device !== 'number') return undefined
  if (!('inode' in value) || typeof value.inode !== 'number') return undefined
  const generation = parseGeneration(value.generation)
  if (generation === undefined) return undefined
  const identity = { device: value.device, inode: value.inode }
  const origin = parseOrigin(value)
  return { generation, identity, ...(origin === undefined ? {} : { origin }) }
}

/** Undefined: it is of an earlier version. */
function parseOrigin(fields: object): GenerationOrigin | undefined {
  if (!('beganAtMs' in fields) || !isCount(fields.beganAtMs)) return undefined
  if (!('follows' in fields) || !Array.isArray(fields.follows)) return undefined
  const follows = fields.follows.map(parseFollowed).filter((each) => each !== undefined)
  return { beganAtMs: fields.beganAtMs, follows }
}

function parseFollowed(value: unknown): FollowedGeneration | undefined {
  if (typeof value !== 'object' || value === null) return undefined
  if (!('generation' in value) || typeof value.generation !== 'string') return undefined
  const generation = parseGeneration(value.generation)
  if (generation === undefined) return undefined
  const end = 'end' in value ? value.end : undefined
  if (typeof end !== 'object' || end === null) return { generation, end: undefined }
  if (!('index' in end) || !isCount(end.index)) return undefined
  if (!('offset' in end) || !isCount(end.offset)) return undefined
  return { generation, end: { index: end.index, offset: end.offset } }
}

function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0
}

/**
 * The longest run of segments that tiles and ends with the last one. What does not belong to it is removed: parts that
 * a merged segment covers, and what lies before a gap.
 */
async function loadSegments(
  folder: string,
  generation: Generation,
  signal: AbortSignal,
): Promise<
  | { readonly kind: 'segments'; readonly segments: readonly SpooledSegment[] }
  | { readonly kind: 'unreadable'; readonly problem: string }
> {
  const positions = (await readFolder(folder))
    .map((name) => parseWalSegmentName(name))
    .filter((position) => position !== undefined)
    .sort(comparePositions)
  let run: SpooledSegment[] = []
  let problem: string | undefined
  const surplus: string[] = []
  for (const position of positions) {
    signal.throwIfAborted()
    const path = join(folder, formatWalSegmentName(position))
    const found = await readSegment(path, generation, position)
    const last = run.at(-1)
    if (last !== undefined && isWithin(position, last)) {
      // A part of a merged segment, whose removal a crash prevented.
      surplus.push(path)
      continue
    }
    if (found.kind === 'unreadable') {
      surplus.push(...run.map((segment) => join(folder, nameOf(segment))), path)
      run = []
      problem = found.problem
      continue
    }
    if (last !== undefined && !continues(last, found.segment)) {
      surplus.push(...run.map((segment) => join(folder, nameOf(segment))))
      run = []
    }
    problem = undefined
    run.push(found.segment)
  }
  // Nothing is removed from a spool that cannot be used: the next generation does that.
  if (problem !== undefined) return { kind: 'unreadable', problem }
  for (const path of surplus) await rm(path, { force: true })
  return { kind: 'segments', segments: run }
}

function isWithin(position: WalPosition, segment: SpooledSegment): boolean {
  return (
    position.index === segment.index &&
    position.offset > segment.startOffset &&
    position.offset < segment.endOffset
  )
}

function continues(last: SpooledSegment, next: SpooledSegment): boolean {
  const tail = tailOf(startOf(last), last.trailer)
  return succession(tail, headOf(startOf(next), next.trailer)).kind === 'continues'
}

async function readSegment(
  path: string,
  generation: Generation,
  position: WalPosition,
): Promise<ReadSegment> {
  const file = await openRegularFile(path)
  try {
    const { size } = await file.stat()
    const readTail = async (lengthBytes: number): Promise<Uint8Array> => {
      const length = Math.min(size, lengthBytes)
      return readAt(file, size - length, length)
    }
    let tail = parseTrailer(await readTail(trailerTailBytes), size)
    if (tail.kind === 'longer' && tail.lengthBytes <= size) {
      tail = parseTrailer(await readTail(tail.lengthBytes), size)
    }
    const unreadable = (problem: string): ReadSegment => ({
      kind: 'unreadable',
      problem: `${path} is damaged: ${problem}`,
    })
    if (tail.kind === 'unreadable') return unreadable(tail.problem)
    if (tail.kind !== 'trailer') return unreadable('it has no trailer')
    const { trailer } = tail
    if (!isTrailerOf({ kind: 'wal-segment', generation, ...position }, trailer)) {
      return unreadable('its trailer belongs to another object')
    }
    return { kind: 'segment', segment: describe(trailer, size) }
  } finally {
    await file.close()
  }
}

function describe(trailer: WalSegmentTrailer, sizeBytes: number): SpooledSegment {
  return {
    generation: trailer.generation,
    index: trailer.index,
    startOffset: trailer.startOffset,
    endOffset: trailer.endOffset,
    sizeBytes,
    walBytes: trailer.endOffset - trailer.startOffset,
    trailer,
  }
}

interface WriterOptions {
  readonly folder: string
  readonly name: string
  readonly temporaryPath: string
  readonly generation: Generation
  readonly position: WalPosition
  readonly signal: AbortSignal
}

async function startFile(options: WriterOptions): Promise<SegmentWriter> {
  const path = options.temporaryPath
  const file = await orLocalStateError(`create ${path}`, () => createFile(path))
  return new FileSegmentWriter(file, options)
}

class FileSegmentWriter implements SegmentWriter {
  readonly #file: FileHandle
  readonly #options: WriterOptions
  #sizeBytes = 0
  #state: 'open' | 'closed' | 'done' = 'open'
  #finishing: Promise<SpooledSegment> | undefined

  constructor(file: FileHandle, options: WriterOptions) {
    this.#file = file
    this.#options = options
  }

  async write(...chunks: readonly Uint8Array[]): Promise<void> {
    this.#assertWritable()
    await orLocalStateError(`write ${this.#options.temporaryPath}`, () =>
      writeAll(this.#file, ...chunks),
    )
    for (const chunk of chunks) this.#sizeBytes += chunk.byteLength
  }

  finish(trailer: WalSegmentTrailer): Promise<SpooledSegment> {
    this.#finishing = this.#finish(trailer)
    return this.#finishing
  }

  async #finish(trailer: WalSegmentTrailer): Promise<SpooledSegment> {
    this.#assertWritable()
    const { folder, name, temporaryPath, generation, position } = this.#options
    if (!isTrailerOf({ kind: 'wal-segment', generation, ...position }, trailer)) {
      throw new RangeError(
        `a segment at ${formatPosition({ generation, ...position })} cannot end with the trailer of another`,
      )
    }
    try {
      await this.#appendTrailer(formatTrailer(trailer))
      await this.#file.sync()
      this.#state = 'closed'
      await this.#file.close()
      this.#options.signal.throwIfAborted()
      await rename(temporaryPath, join(folder, name))
      this.#state = 'done'
      await syncFolder(folder)
    } catch (error) {
      throw toLocalStateError(`write ${join(folder, name)}`, error)
    }
    return describe(trailer, this.#sizeBytes)
  }

  /** Writes the trailer, unless the caller has sent it as the last bytes of the segment. */
  async #appendTrailer(trailer: Uint8Array): Promise<void> {
    if (this.#sizeBytes >= trailer.byteLength) {
      const tail = await readAt(
        this.#file,
        this.#sizeBytes - trailer.byteLength,
        trailer.byteLength,
      )
      if (Buffer.compare(tail, trailer) === 0) return
    }
    await writeAll(this.#file, trailer)
    this.#sizeBytes += trailer.byteLength
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // Pulling the file from under a finish that runs would break it; its error is its caller's.
    await this.#finishing?.catch(() => undefined)
    if (this.#state === 'open') await this.#file.close().catch(() => undefined)
    if (this.#state !== 'done') {
      await rm(this.#options.temporaryPath, { force: true }).catch(() => undefined)
    }
    this.#state = 'done'
  }

  #assertWritable(): void {
    if (this.#state !== 'open') throw new Error('the segment is finished')
    this.#options.signal.throwIfAborted()
  }
}
