import {
  digestBytes,
  type DigestPage,
  type PageChanges,
  SegmentPages,
} from '../../domain/pages/segment-pages.js'
import { type ChainPlace, isKnown, sameBytes } from '../../domain/pages/page-map.js'
import { endOf, headOf, startOf, succession } from '../../domain/stored/segment-chain.js'
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
  /** What the chain makes of a page; undefined: that is not known. */
  digestOf(page: number): Promise<Uint8Array | undefined>
}

/** What there is of a map. */
interface Kept {
  /** Nothing is known of what the chain had in front of it, but by what a snapshot reads of the file later. */
  readonly beginning: WalPosition
  readonly end: ChainPlace
  /** Whether a snapshot was read whole. */
  readonly isWhole: boolean
}

/** Where no frame is. */
const noChecksum = { s0: 0, s1: 0 }
const beginningOfChain: ChainPlace = { position: { index: 0, offset: 0 }, checksum: noChecksum }

/**
 * Keeps the page map of the generation that is captured. What happens to it happens in order and beside capturing, which
 * never waits for it. Whatever fails, it is given up, and begins anew with the next index, or with the one that the spool
 * has all of: what lies in front of that is in the file, as a snapshot then reads it.
 */
export class KeepPageMap {
  readonly #options: KeepPageMapOptions
  /** The generation that is captured. */
  #of: OfPageMap | undefined
  /** Undefined: there is no map now. */
  #kept: Kept | undefined
  /** Whether segments that begin now are to be noted. */
  #gathers = false
  #work: Promise<void> = Promise.resolve()
  #isReadingSnapshot = false
  #isLossSaid = false

  constructor(options: KeepPageMapOptions) {
    this.#options = options
  }

  get #hasMap(): boolean {
    return this.#kept !== undefined
  }

  /** Whether it is known of each page what is stored of it. */
  get isWhole(): boolean {
    return this.#kept?.isWhole === true
  }

  /** A generation begins, of which nothing is captured yet. */
  begin(of: OfPageMap): void {
    this.#of = of
    this.#gathers = true
    this.#then(of, () => this.#begin(of, { index: 0, offset: 0 }))
  }

  /** Goes on with the map of an earlier process, at the end of what it has spooled. */
  async resume(of: OfPageMap, segments: readonly SpooledSegment[]): Promise<void> {
    await this.#work
    if (this.#of?.generation === of.generation) return
    this.#of = of
    this.#kept = undefined
    this.#gathers = true
    this.#then(of, async () => {
      const opened = await this.#options.store.open(of)
      if (opened !== undefined) {
        const { end, isWhole } = opened
        this.#kept = { beginning: end.position, end, isWhole }
        await this.#catchUp(segments)
      }
    })
    await this.#work
    if (this.#hasMap) return
    const last = segments.at(-1)
    const first = segments.find(({ index }) => index === last?.index)
    this.#gathers = first === undefined || first.startOffset === 0
    if (!this.#gathers) return
    this.#then(of, async () => {
      await this.#begin(of, first === undefined ? { index: 0, offset: 0 } : startOf(first))
      await this.#catchUp(segments.filter(({ index }) => index === last?.index))
    })
    await this.#work
  }

  /** Gathers what a segment changes that begins there, if it is to be noted. */
  gather(start: WalPosition): SegmentPages | undefined {
    if (this.#of === undefined) return undefined
    this.#gathers ||= start.offset === 0
    return this.#gathers ? new SegmentPages(this.#options.digestPage) : undefined
  }

  /** A segment is durable, in order. */
  sealed(segment: SpooledSegment, pages: SegmentPages | undefined): void {
    const of = this.#of
    if (of?.generation !== segment.generation || pages === undefined) return
    this.#then(of, async () => {
      const kept = this.#kept
      const isBehind = kept !== undefined && continues(kept.end, segment)
      if (!isBehind && segment.startOffset === 0) await this.#begin(of, startOf(segment))
      if (this.#kept !== undefined) await this.#append(this.#kept, segment, pages.changes)
    })
  }

  /** See {@link SnapshotDigests}. */
  startSnapshot(from: WalPosition): SnapshotDigests | undefined {
    const of = this.#of
    if (of === undefined || this.#kept?.isWhole === true || this.#isReadingSnapshot)
      return undefined
    this.#isReadingSnapshot = true
    const start = async (): Promise<PageMapBody | undefined> => {
      let body: PageMapBody | undefined
      this.#then(of, async () => {
        if (this.#kept !== undefined) body = await this.#options.store.startBody()
      })
      await this.#work
      return body
    }
    return new DigestSnapshot({
      pageSizeBytes: of.pageSizeBytes,
      digestPage: this.#options.digestPage,
      start,
      keep: async (body, upTo) => {
        this.#then(of, () => this.#keepSnapshot(body, { from, upTo }))
        await this.#work
      },
      ended: () => (this.#isReadingSnapshot = false),
    })
  }

  async #keepSnapshot(
    body: PageMapBody,
    { from, upTo }: { readonly from: WalPosition; readonly upTo: WalPosition },
  ): Promise<void> {
    const kept = this.#kept
    // One that has begun anew meanwhile lacks what was committed since the first page was read.
    if (kept === undefined || comparePositions(kept.beginning, from) > 0) return
    if (comparePositions(kept.end.position, upTo) < 0) {
      throw new Error('the page map lacks what was committed while the snapshot was read')
    }
    await body.keep()
    this.#kept = { ...kept, isWhole: true }
    if (this.#isLossSaid) this.#options.logger.info({}, 'page map is whole again')
    this.#isLossSaid = false
  }

  /**
   * Compares the file with the chain as it is at a place, by default the beginning of the generation; undefined: what is stored there is
   * not known of each page.
   */
  async compare(place = beginningOfChain): Promise<PageComparison | undefined> {
    await this.#work
    const [of, kept] = [this.#of, this.#kept]
    if (of === undefined || kept?.isWhole !== true || !isAt(kept.end, place)) return undefined
    let reader: PageMapReader | undefined
    this.#then(of, async () => {
      reader = await this.#options.store.openReader()
    })
    await this.#work
    if (reader === undefined) return undefined
    return new Comparison(reader, of.pageSizeBytes, this.#options.digestPage)
  }

  /** As {@link compare}, at the end of what is noted. */
  async compareNow(): Promise<PageComparison | undefined> {
    await this.#work
    return this.compare(this.#kept?.end)
  }

  async #begin(of: OfPageMap, position: WalPosition): Promise<void> {
    await this.#options.store.begin(of, { position, checksum: noChecksum })
    const opened = await this.#options.store.open(of)
    this.#kept = opened && { beginning: position, end: opened.end, isWhole: false }
  }

  /** What an earlier process has spooled and not noted, as it was killed in between, or the power was cut. */
  async #catchUp(segments: readonly SpooledSegment[]): Promise<void> {
    for (const segment of segments) {
      const kept = this.#kept
      if (kept === undefined) return
      if (comparePositions(endOf(segment), kept.end.position) <= 0) continue
      if (!continues(kept.end, segment)) {
        throw new Error('the spool no longer has what the page map lacks')
      }
      const pages = new SegmentPages(this.#options.digestPage)
      await this.#addStored(segment, pages)
      await this.#append(kept, segment, pages.changes)
    }
    const last = segments.at(-1)
    if (last === undefined || this.#kept === undefined) return
    const place = { position: endOf(last), checksum: last.trailer.checksumAfter }
    if (!isAt(this.#kept.end, place)) throw new Error('the page map is not of what was spooled')
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

  async #append(kept: Kept, segment: SpooledSegment, changes: PageChanges): Promise<void> {
    if (!continues(kept.end, segment)) throw new Error('the page map lacks what was captured')
    const end = { position: endOf(segment), checksum: segment.trailer.checksumAfter }
    await this.#options.store.append({ ...end, from: kept.end.position, changes })
    this.#kept = { ...kept, end }
  }

  /** Does something with the map of a generation, after all that was begun before. */
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
    this.#kept = undefined
    this.#gathers = false
    const { store, logger } = this.#options
    if (!this.#isLossSaid) {
      logger.warn(
        { generation: of.generation, err },
        'page map lost: until the file was read once more, a WAL that is restarted unseen has the whole database stored again',
      )
    }
    this.#isLossSaid = true
    await store.remove(of).catch(() => undefined)
  }
}

function isAt(end: ChainPlace, { position, checksum }: ChainPlace): boolean {
  return comparePositions(end.position, position) === 0 && sameChecksum(end.checksum, checksum)
}

/** Whether all of a segment behind a place is known to follow what ends there. */
function continues({ position, checksum }: ChainPlace, segment: SpooledSegment): boolean {
  const { index, startOffset, trailer } = segment
  const tail = { ...position, isExact: true, checksum, salts: undefined }
  const { kind } = succession(tail, headOf({ index, offset: startOffset }, trailer))
  // One that was merged of those that are noted and others.
  const isAround = index === position.index && startOffset < position.offset
  return isAround || kind === 'continues'
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

  async digestOf(page: number): Promise<Uint8Array | undefined> {
    const digest = await this.#reader.read(page, 1)
    return isKnown(digest) ? digest : undefined
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#reader[Symbol.asyncDispose]()
  }
}
