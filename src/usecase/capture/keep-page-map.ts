import {
  digestBytes,
  type DigestPage,
  type PageChanges,
  SegmentPages,
} from '../../domain/pages/segment-pages.js'
import { type ChainPlace, isKnown, sameBytes } from '../../domain/pages/page-map.js'
import { endOf, startOf } from '../../domain/stored/segment-chain.js'
import { comparePositions, type WalPosition } from '../../domain/wal/position.js'
import { frameBytes, sameChecksum, walHeaderBytes } from '../../domain/wal/wal-format.js'
import { type SnapshotDigests } from '../backlog/generation-feed.js'
import { type Logger } from '../ports/logger.js'
import {
  type OfPageMap,
  type PageMapBody,
  type PageMapReader,
  type PageMapStore,
} from '../ports/page-map-store.js'
import { type Spool, type SpooledSegment } from '../ports/spool.js'
import { DigestSnapshot } from './digest-snapshot.js'

export interface KeepPageMapOptions {
  readonly store: PageMapStore
  readonly spool: Spool
  readonly decode: (source: AsyncIterable<Uint8Array>) => AsyncIterable<Uint8Array>
  readonly digestPage: DigestPage
  readonly logger: Logger
}

/** The page map at a place of the chain. */
export interface PageComparison extends AsyncDisposable {
  readonly sizePages: number
  /** Which of the whole pages in a piece of the file, from page `first` on, differ from the chain, or may. */
  differing(first: number, piece: Uint8Array): Promise<readonly number[]>
}

/**
 * Keeps the page map of the generation that is captured. What happens to it happens in order and beside capturing, which
 * never waits for it; whatever fails, it is given up, and costs no more than a generation some day.
 */
export class KeepPageMap {
  readonly #options: KeepPageMapOptions
  /** Undefined: none is kept. */
  #of: OfPageMap | undefined
  #end: ChainPlace | undefined
  #isWhole = false
  #work: Promise<void> = Promise.resolve()
  #isReadingSnapshot = false

  constructor(options: KeepPageMapOptions) {
    this.#options = options
  }

  /** A generation begins, of which nothing is captured yet. */
  begin(of: OfPageMap): void {
    this.#of = of
    this.#isWhole = false
    this.#then(of, async () => {
      await this.#options.store.begin(of)
      this.#end = (await this.#options.store.open(of))?.end
    })
  }

  /** Goes on with the map of an earlier process, at the end of what it has spooled. */
  async resume(of: OfPageMap, segments: readonly SpooledSegment[]): Promise<void> {
    await this.#work
    if (this.#of?.generation === of.generation) return
    this.#of = of
    this.#then(of, async () => {
      const opened = await this.#options.store.open(of)
      if (opened === undefined) {
        this.#of = undefined
        return
      }
      this.#end = opened.end
      this.#isWhole = opened.isWhole
      await this.#catchUp(segments)
    })
    await this.#work
  }

  /** Gathers what a segment changes, while a map is kept. */
  gather(): SegmentPages | undefined {
    return this.#of === undefined ? undefined : new SegmentPages(this.#options.digestPage)
  }

  /** A segment is durable, in order. */
  sealed(segment: SpooledSegment, pages: SegmentPages | undefined): void {
    const of = this.#of
    if (of?.generation !== segment.generation) return
    this.#then(of, async () => {
      if (pages === undefined) throw new Error('the pages of a segment were not gathered')
      await this.#append(segment, startOf(segment), pages.changes)
    })
  }

  /** See {@link SnapshotDigests}. */
  startSnapshot(): SnapshotDigests | undefined {
    const of = this.#of
    if (of === undefined || this.#isWhole || this.#isReadingSnapshot) return undefined
    this.#isReadingSnapshot = true
    const start = async (): Promise<PageMapBody | undefined> => {
      let body: PageMapBody | undefined
      this.#then(of, async () => void (body = await this.#options.store.startBody()))
      await this.#work
      return body
    }
    return new DigestSnapshot({
      pageSizeBytes: of.pageSizeBytes,
      digestPage: this.#options.digestPage,
      start,
      keep: async (body, upTo) => {
        this.#then(of, () => this.#keepSnapshot(body, upTo))
        await this.#work
      },
      ended: () => (this.#isReadingSnapshot = false),
    })
  }

  async #keepSnapshot(body: PageMapBody, upTo: WalPosition): Promise<void> {
    if (this.#end === undefined || comparePositions(this.#end.position, upTo) < 0) {
      throw new Error('the page map lacks what was committed while the snapshot was read')
    }
    await body.keep()
    this.#isWhole = true
  }

  /** Compares the file with the chain as it is at a place; undefined: what is stored there is not known of each page. */
  async compare(place: ChainPlace): Promise<PageComparison | undefined> {
    await this.#work
    const [of, end] = [this.#of, this.#end]
    if (of === undefined || end === undefined || !this.#isWhole) return undefined
    const isThere =
      comparePositions(end.position, place.position) === 0 &&
      sameChecksum(end.checksum, place.checksum)
    if (!isThere) return undefined
    let reader: PageMapReader | undefined
    this.#then(of, async () => {
      reader = await this.#options.store.openReader()
    })
    await this.#work
    if (reader === undefined) return undefined
    return new Comparison(reader, of.pageSizeBytes, this.#options.digestPage)
  }

  /** What an earlier process has spooled and not noted, as it was killed in between, or the power was cut. */
  async #catchUp(segments: readonly SpooledSegment[]): Promise<void> {
    for (const segment of segments) {
      const end = this.#end?.position
      if (end === undefined || comparePositions(endOf(segment), end) <= 0) continue
      if (comparePositions(startOf(segment), end) > 0 && segment.startOffset > 0) {
        throw new Error('the spool no longer has what the page map lacks')
      }
      const pages = new SegmentPages(this.#options.digestPage)
      await this.#addStored(segment, pages)
      await this.#append(segment, end, pages.changes)
    }
    const last = segments.at(-1)
    if (last === undefined || this.#end === undefined) return
    const { position, checksum } = this.#end
    const isSame =
      comparePositions(position, endOf(last)) === 0 &&
      sameChecksum(checksum, last.trailer.checksumAfter)
    if (!isSame) throw new Error('the page map is not of what was spooled')
  }

  async #addStored(segment: SpooledSegment, pages: SegmentPages): Promise<void> {
    const { spool, decode } = this.#options
    const { pageSizeBytes } = segment.trailer
    const stepBytes = frameBytes(pageSizeBytes)
    let hasHeader = segment.startOffset === 0
    let rest = new Uint8Array(0)
    for await (const chunk of decode(spool.read(segment, AbortSignal.any([])))) {
      const bytes = new Uint8Array(rest.length + chunk.length)
      bytes.set(rest)
      bytes.set(chunk, rest.length)
      const headBytes = hasHeader ? walHeaderBytes : 0
      const whole = Math.floor((bytes.length - headBytes) / stepBytes)
      if (whole < 1) {
        rest = bytes
        continue
      }
      const wholeBytes = headBytes + whole * stepBytes
      pages.add(bytes.subarray(0, wholeBytes), { pageSizeBytes, hasHeader })
      hasHeader = false
      rest = bytes.slice(wholeBytes)
    }
    if (rest.length > 0) throw new Error('a segment of the spool ends within a frame')
  }

  async #append(segment: SpooledSegment, from: WalPosition, changes: PageChanges): Promise<void> {
    const end = this.#end?.position
    // The first segment of an index goes on from where the index before it ended.
    const begins = from.offset === 0 && end !== undefined && from.index === end.index + 1
    const place = { position: endOf(segment), checksum: segment.trailer.checksumAfter }
    await this.#options.store.append({ ...place, from: begins ? end : from, changes })
    this.#end = place
  }

  /** Does something with the map of a generation, after all that was begun before, unless it was given up. */
  #then(of: OfPageMap, work: () => Promise<void>): void {
    this.#work = this.#work.then(async () => {
      if (this.#of?.generation !== of.generation) return
      try {
        await work()
      } catch (err) {
        await this.#giveUp(of, err)
      }
    })
  }

  async #giveUp(of: OfPageMap, err: unknown): Promise<void> {
    this.#of = undefined
    this.#end = undefined
    this.#isWhole = false
    const { store, logger } = this.#options
    logger.warn(
      { generation: of.generation, err },
      'page map given up: should the WAL be restarted unseen, the whole database is stored again',
    )
    await store.remove(of).catch(() => undefined)
  }
}

class Comparison implements PageComparison {
  readonly #reader: PageMapReader
  readonly #pageSizeBytes: number
  readonly #digestPage: DigestPage

  constructor(reader: PageMapReader, pageSizeBytes: number, digestPage: DigestPage) {
    this.#reader = reader
    this.#pageSizeBytes = pageSizeBytes
    this.#digestPage = digestPage
  }

  get sizePages(): number {
    return this.#reader.sizePages
  }

  async differing(first: number, piece: Uint8Array): Promise<readonly number[]> {
    const size = this.#pageSizeBytes
    const count = Math.floor(piece.length / size)
    const known = await this.#reader.read(first, count)
    const pages: number[] = []
    for (let i = 0; i < count; i += 1) {
      const stored = known.subarray(i * digestBytes, (i + 1) * digestBytes)
      const found = this.#digestPage(piece.subarray(i * size, (i + 1) * size))
      if (!isKnown(stored) || !sameBytes(stored, found)) pages.push(first + i)
    }
    return pages
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#reader[Symbol.asyncDispose]()
  }
}
