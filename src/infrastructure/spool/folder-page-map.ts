/**
 * A page map as two files in the folder of its generation, see `page-map.ts`. The map is put in place whole and durably;
 * the log is only appended to, without a sync: what a power cut takes of it shows, and is taken from the spool again.
 */
import { createHash, hash } from 'node:crypto'
import { type FileHandle, rename, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import {
  type ChainPlace,
  formatLogHeader,
  formatMapHeader,
  formatRecord,
  logHeaderBytes,
  mapHeaderBytes,
  type PageMapHeader,
  PageMapOverlay,
  type PageRecord,
  type ParsedLog,
  parseLog,
  parseMapHeader,
  sameBytes,
  startOfMap,
} from '../../domain/pages/page-map.js'
import { digestBytes } from '../../domain/pages/segment-pages.js'
import { codeOf } from '../../kit/error-text.js'
import {
  type OfPageMap,
  type OpenedPageMap,
  type PageMapBody,
  type PageMapReader,
  type PageMapStore,
} from '../../usecase/ports/page-map-store.js'
import {
  createFile,
  createFolder,
  replaceFile,
  syncFolder,
  temporaryName,
  writeAll,
} from '../files/durable-files.js'
import { openRegularFile, readAt } from '../files/regular-files.js'

/** A longer log is put into the map: it is in memory whenever it is read. */
const defaultMaxLogBytes = 2 * 1024 * 1024
/** Pages whose digests are in memory at once. */
const pagesAtOnce = 16 * 1024

/** What is in memory of a map that is open. */
interface OpenMap {
  readonly folder: string
  header: PageMapHeader
  end: ChainPlace
  logBytes: number
  check: Uint8Array
}

/** 128 bits of SHA-256. */
export function digestParts(...parts: readonly Uint8Array[]): Uint8Array {
  const [only, ...others] = parts
  if (only !== undefined && others.length === 0) {
    return hash('sha256', only, 'buffer').subarray(0, digestBytes)
  }
  const running = createHash('sha256')
  for (const part of parts) running.update(part)
  return running.digest().subarray(0, digestBytes)
}

export class FolderPageMap implements PageMapStore {
  readonly #spoolPath: string
  readonly #maxLogBytes: number
  #open: OpenMap | undefined

  constructor({ path, maxLogBytes = defaultMaxLogBytes }: { path: string; maxLogBytes?: number }) {
    this.#spoolPath = join(path, 'spool')
    this.#maxLogBytes = maxLogBytes
  }

  async begin(of: OfPageMap, at: ChainPlace): Promise<void> {
    const folder = this.#folderOf(of)
    await this.remove(of)
    await createFolder(folder)
    const header = startOfMap(of, at)
    const bytes = formatMapHeader(header)
    const content = new Uint8Array(bytes.length + digestBytes)
    content.set(bytes)
    content.set(digestParts(bytes), bytes.length)
    await this.#startLog(folder, header)
    await replaceFile(join(folder, 'pages.map'), content)
  }

  async open(of: OfPageMap): Promise<OpenedPageMap | undefined> {
    const folder = this.#folderOf(of)
    this.#open = undefined
    const header = await readHeader(folder)
    if (header?.generation !== of.generation || header.pageSizeBytes !== of.pageSizeBytes) {
      return undefined
    }
    const log = await readLog(folder, header)
    if (log === undefined) return undefined
    const end = log.records.at(-1) ?? header
    const { wholeBytes: logBytes, check } = log
    this.#open = { folder, header, end, logBytes, check }
    return { end, isWhole: header.isWhole }
  }

  async append(record: PageRecord): Promise<void> {
    const map = this.#opened
    const { position } = map.end
    if (position.index !== record.from.index || position.offset !== record.from.offset) {
      throw new Error('the page map does not end where the segment begins')
    }
    const bytes = formatRecord(record, map.check, digestParts)
    const file = await openRegularFile(join(map.folder, 'pages.log'), { isWritable: true })
    try {
      // Behind what is whole: the rest of a record that was cut off would hide what follows it.
      await file.truncate(map.logBytes)
      for (let at = 0; at < bytes.length;) {
        at += (await file.write(bytes, at, bytes.length - at, map.logBytes + at)).bytesWritten
      }
    } finally {
      await file.close()
    }
    map.logBytes += bytes.length
    map.check = bytes.slice(bytes.length - digestBytes)
    map.end = { position: record.position, checksum: record.checksum }
    if (map.logBytes > this.#maxLogBytes) await this.#rewrite()
  }

  async startBody(): Promise<PageMapBody> {
    const { folder } = this.#opened
    const path = temporaryName(join(folder, 'pages.body'))
    const file = await createFile(path)
    let pageCount = 0
    return {
      add: async (digests) => {
        await writeAll(file, digests)
        pageCount += digests.length / digestBytes
      },
      keep: () => this.#rewrite({ file, pageCount }),
      async [Symbol.asyncDispose]() {
        await file.close()
        await rm(path, { force: true })
      },
    }
  }

  async openReader(): Promise<PageMapReader> {
    const { folder } = this.#opened
    const { overlay, file } = await this.#read(folder)
    const { header } = this.#opened
    try {
      await verify(file, header)
    } catch (error) {
      await file.close()
      throw error
    }
    return {
      sizePages: overlay.header.sizePages,
      read: (first, count) => readDigests({ overlay, file, header }, first, count),
      [Symbol.asyncDispose]: () => file.close(),
    }
  }

  async remove(of: OfPageMap): Promise<void> {
    this.#open = undefined
    for (const name of ['pages.map', 'pages.log']) {
      await rm(join(this.#folderOf(of), name), { force: true })
    }
  }

  /** Puts the log into the map, on top of what a snapshot read. */
  async #rewrite(body?: Body): Promise<void> {
    const map = this.#opened
    const { overlay, file } = await this.#read(map.folder)
    const path = join(map.folder, 'pages.map')
    const temporary = temporaryName(path)
    const header = body === undefined ? overlay.header : overlay.headerOnBody(body.pageCount)
    try {
      await verify(file, map.header)
      const written = await createFile(temporary)
      try {
        const running = createHash('sha256')
        const write = async (bytes: Uint8Array): Promise<void> => {
          running.update(bytes)
          await writeAll(written, bytes)
        }
        await write(formatMapHeader(header))
        for (let first = 1; first <= header.sizePages; first += pagesAtOnce) {
          const count = Math.min(pagesAtOnce, header.sizePages - first + 1)
          await write(await readDigests({ overlay, file, header: map.header, body }, first, count))
        }
        await writeAll(written, running.digest().subarray(0, digestBytes))
        await written.sync()
      } finally {
        await written.close()
      }
      await rename(temporary, path)
      await syncFolder(dirname(path))
    } finally {
      await file.close()
    }
    map.header = header
    const { logBytes, check } = await this.#startLog(map.folder, header)
    map.logBytes = logBytes
    map.check = check
  }

  /** An empty log. Died in front of it, the one before has nothing that the map has not. */
  async #startLog(
    folder: string,
    { generation }: PageMapHeader,
  ): Promise<{ readonly logBytes: number; readonly check: Uint8Array }> {
    const bytes = formatLogHeader(generation)
    await replaceFile(join(folder, 'pages.log'), bytes)
    return { logBytes: logHeaderBytes, check: digestParts(bytes) }
  }

  /** The log on the map, and the map's file, which the caller closes. */
  async #read(
    folder: string,
  ): Promise<{ readonly overlay: PageMapOverlay; readonly file: FileHandle }> {
    const { header, end } = this.#opened
    const log = await readLog(folder, header)
    const overlay = new PageMapOverlay(header, log?.records ?? [])
    const { position } = overlay.header
    if (position.index !== end.position.index || position.offset !== end.position.offset) {
      throw new Error('the log of the page map is not what was written')
    }
    return { overlay, file: await openRegularFile(join(folder, 'pages.map')) }
  }

  get #opened(): OpenMap {
    if (this.#open === undefined) throw new Error('the page map is not open')
    return this.#open
  }

  #folderOf({ generation }: OfPageMap): string {
    return join(this.#spoolPath, generation)
  }
}

interface Body {
  readonly file: FileHandle
  readonly pageCount: number
}

async function readHeader(folder: string): Promise<PageMapHeader | undefined> {
  const file = await orAbsent(openRegularFile(join(folder, 'pages.map')))
  if (file === undefined) return undefined
  try {
    const header = parseMapHeader(await readAt(file, 0, mapHeaderBytes))
    return header !== undefined && (await file.stat()).size === mapBytes(header)
      ? header
      : undefined
  } finally {
    await file.close()
  }
}

async function readLog(folder: string, header: PageMapHeader): Promise<ParsedLog | undefined> {
  const file = await orAbsent(openRegularFile(join(folder, 'pages.log')))
  if (file === undefined) return undefined
  try {
    const bytes = await readAt(file, 0, (await file.stat()).size)
    return parseLog(bytes, header, digestParts)
  } finally {
    await file.close()
  }
}

async function orAbsent<T>(work: Promise<T>): Promise<T | undefined> {
  try {
    return await work
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined
    throw error
  }
}

function mapBytes({ sizePages }: PageMapHeader): number {
  return mapHeaderBytes + (sizePages + 1) * digestBytes
}

/** Throws unless the map is, byte for byte, what was written. */
async function verify(file: FileHandle, header: PageMapHeader): Promise<void> {
  const running = createHash('sha256')
  const end = mapBytes(header) - digestBytes
  const step = pagesAtOnce * digestBytes
  for (let at = 0; at < end; at += step) {
    running.update(await readAt(file, at, Math.min(step, end - at)))
  }
  const check = running.digest().subarray(0, digestBytes)
  const isOurs = sameBytes(formatMapHeader(header), await readAt(file, 0, mapHeaderBytes))
  if (!isOurs || !sameBytes(check, await readAt(file, end, digestBytes))) {
    throw new Error('the page map is damaged')
  }
}

async function readDigests(
  from: {
    readonly overlay: PageMapOverlay
    readonly file: FileHandle
    readonly header: PageMapHeader
    readonly body?: Body | undefined
  },
  first: number,
  count: number,
): Promise<Uint8Array> {
  const { overlay, file, header, body } = from
  const own = await readSlots(
    file,
    { startAt: mapHeaderBytes, slots: header.sizePages },
    first,
    count,
  )
  const ofBody =
    body && (await readSlots(body.file, { startAt: 0, slots: body.pageCount }, first, count))
  const { sizePages } = body === undefined ? overlay.header : overlay.headerOnBody(body.pageCount)
  const digests = new Uint8Array(count * digestBytes)
  for (let i = 0; i < count && first + i <= sizePages; i += 1) {
    const [at, end] = [i * digestBytes, (i + 1) * digestBytes]
    const known = overlay.digestOf(first + i, own.subarray(at, end), ofBody?.subarray(at, end))
    if (known !== undefined) digests.set(known, at)
  }
  return digests
}

/** Digests of pages that lie one after the other in a file; zeros where there are none. */
async function readSlots(
  file: FileHandle,
  { startAt, slots }: { readonly startAt: number; readonly slots: number },
  first: number,
  count: number,
): Promise<Uint8Array> {
  const digests = new Uint8Array(count * digestBytes)
  const there = Math.max(0, Math.min(count, slots - first + 1))
  if (there > 0) {
    digests.set(await readAt(file, startAt + (first - 1) * digestBytes, there * digestBytes))
  }
  return digests
}
