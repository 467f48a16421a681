/**
 * Proves now and then that database and stored chain are equal page by page, without a restore: the whole file is compared
 * with the page map while the application writes. Where no page map is whole, the same reading makes it so.
 *
 * A page that differs may only be newer or older there: a frame that is captured and not copied back, or copied back and
 * not noted yet. So it is looked at again when everything that was noted at the look before is copied back. One that the
 * chain has not changed since, and that still differs, was written by something other than SQLite, or by a disk that fails. The
 * generation then goes on with what the file has: that look is exact, this one only finds where to look.
 */
import { ignoreAbort } from '../../kit/abort.js'
import { type DigestPage } from '../../domain/pages/segment-pages.js'
import { sameBytes } from '../../domain/pages/page-map.js'
import { type Barrier, type GenerationFeed } from '../backlog/generation-feed.js'
import { type Clock } from '../ports/clock.js'
import { type Logger } from '../ports/logger.js'
import { type ManagedDatabase } from '../ports/managed-database.js'
import { type KeepPageMap } from './keep-page-map.js'

export interface ScrubDatabaseOptions {
  readonly database: ManagedDatabase
  readonly feed: GenerationFeed
  readonly pages: KeepPageMap
  readonly digestPage: DigestPage
  readonly clock: Clock
  readonly logger: Logger
  /** Counts how one ended. */
  readonly ended: (outcome: ScrubOutcome) => void
  /** How often; infinite: only to make a map whole. */
  readonly intervalMs: () => number
  /** In [0, 1): many databases take turns. */
  readonly random: () => number
}

/** After a start, and after each try to make a map whole. */
const firstMs = 60_000
/** Reading takes no more than this share of the time. */
const readingShare = 0.25
/** More pages that differ at the first look are those of a database that is written everywhere: it is looked at later. */
const maxSuspects = 10_000
/** How long it is waited until what was noted is copied back, and how often that is looked at. */
const settleMs = 10 * 60_000
const settleLookMs = 5000
/** So many pages are named. */
const namedPages = 20

/**
 * `equal`: each page is what is stored, or something was written there all the time. `unsettled`: too much was written to tell.
 * `different`: a page is not. `made whole`: the page map was.
 */
export type ScrubOutcome = 'equal' | 'different' | 'unsettled' | 'made whole'

/** A page, and its digest in the chain at the look before. */
type Suspects = ReadonlyMap<number, Uint8Array>

export class ScrubDatabase {
  readonly #options: ScrubDatabaseOptions

  constructor(options: ScrubDatabaseOptions) {
    this.#options = options
  }

  /** Until `stop`. What fails is tried again. */
  async run(stop: AbortSignal): Promise<void> {
    const { clock, logger, ended } = this.#options
    const isStopped = (): boolean => stop.aborted
    let dueAtMs = clock.monotonic() + this.#firstMs
    while (!isStopped()) {
      const waitMs = dueAtMs - clock.monotonic()
      if (waitMs > 0) {
        await clock.sleep(Math.min(waitMs, firstMs), stop).catch(ignoreAbort)
        continue
      }
      dueAtMs = clock.monotonic() + this.#firstMs
      try {
        const outcome = await this.#scrub(stop)
        if (outcome === undefined) continue
        ended(outcome)
        logger.debug({ outcome }, 'database compared with what is stored')
        if (outcome !== 'made whole') dueAtMs = clock.monotonic() + this.#options.intervalMs()
      } catch (err) {
        if (isStopped()) return
        logger.debug({ err }, 'the database was not compared with what is stored')
      }
    }
  }

  get #firstMs(): number {
    const { intervalMs, random } = this.#options
    return Math.min(firstMs * (1 + random()), intervalMs())
  }

  /** Undefined: it is not its time. */
  async #scrub(stop: AbortSignal): Promise<ScrubOutcome | undefined> {
    const { feed, pages } = this.#options
    if (feed.current === undefined || feed.ended) return undefined
    const before = await feed.barrier({ rides: true })
    if (before.isWithinWal) return undefined
    if (!pages.isWhole) return await this.#makeWhole(before, stop)
    if (this.#options.intervalMs() === Number.POSITIVE_INFINITY) return undefined
    const suspects = await this.#firstLook(stop)
    if (suspects === undefined) return 'unsettled'
    return await this.#settle(before, suspects, stop)
  }

  /** As a snapshot does. */
  async #makeWhole(before: Barrier, stop: AbortSignal): Promise<ScrubOutcome | undefined> {
    const { feed, pages } = this.#options
    await using digests = pages.startSnapshot(before.position)
    if (digests === undefined) return undefined
    await this.#read((piece) => digests.add(piece), stop)
    const after = await feed.barrier()
    if (after.generation !== before.generation || after.breaks !== before.breaks) return undefined
    await digests.keep(after.position)
    return pages.isWhole ? 'made whole' : undefined
  }

  /** The pages that differ, with what the chain has of them. Undefined: too many are being written. */
  async #firstLook(stop: AbortSignal): Promise<Suspects | undefined> {
    const { pages } = this.#options
    const found: number[] = []
    const pageSizeBytes = this.#options.feed.current?.pageSizeBytes ?? 1
    let page = 1
    await using comparison = await pages.compareNow()
    await this.#read(async (piece) => {
      if (found.length <= maxSuspects) {
        found.push(...((await comparison?.differing(page, piece)) ?? []))
      }
      page += Math.floor(piece.length / pageSizeBytes)
    }, stop)
    if (comparison === undefined || found.length > maxSuspects) return undefined
    return await this.#noted(found)
  }

  async #settle(first: Barrier, suspects: Suspects, stop: AbortSignal): Promise<ScrubOutcome> {
    const { feed, clock, database } = this.#options
    const pageSizeBytes = feed.current?.pageSizeBytes ?? 0
    const lockPage = 0x4000_0000 / pageSizeBytes + 1
    let noted = new Map<number, Uint8Array>(suspects)
    noted.delete(lockPage)
    let notedAt = await feed.barrier({ rides: true })
    const untilMs = clock.monotonic() + settleMs
    while (noted.size > 0 && clock.monotonic() < untilMs) {
      const now = await feed.barrier({ rides: true })
      if (now.generation !== first.generation || now.breaks !== first.breaks) return 'unsettled'
      const isCopied = now.isAllCopied || now.position.index > notedAt.position.index
      if (!isCopied || now.isWithinWal) {
        await clock.sleep(Math.min(settleLookMs, this.#options.intervalMs()), stop)
        continue
      }
      const found = new Map<number, Uint8Array>()
      for (const page of noted.keys()) {
        const place = { offset: (page - 1) * pageSizeBytes, length: pageSizeBytes }
        found.set(page, this.#options.digestPage(await database.readPart(place, stop)))
      }
      // What was captured until now is in the map before it is asked.
      const after = await feed.barrier()
      const again = await this.#noted([...noted.keys()])
      const open = [...found].flatMap(([page, digest]) => {
        const stored = again.get(page)
        return stored === undefined || sameBytes(stored, digest) ? [] : [[page, stored] as const]
      })
      const different = open.filter(([page, stored]) => {
        const before = noted.get(page)
        return before !== undefined && sameBytes(before, stored)
      })
      if (different.length > 0) {
        this.#report(
          different.map(([page]) => page),
          after,
        )
        return 'different'
      }
      noted = new Map(open)
      notedAt = after
    }
    return noted.size === 0 ? 'equal' : 'unsettled'
  }

  #report(different: readonly number[], { generation }: Barrier): void {
    const { feed } = this.#options
    if (feed.current?.generation !== generation) return
    const named = different.slice(0, namedPages).join(', ')
    const others = different.length - namedPages
    feed.requestNewGeneration(
      'database file differs from what is stored',
      `page${different.length > 1 ? 's' : ''} ${named}${others > 0 ? ` and ${others} more` : ''}`,
    )
  }

  /** What the chain has of these pages now, where that is known. */
  async #noted(pages: readonly number[]): Promise<Map<number, Uint8Array>> {
    const digests = new Map<number, Uint8Array>()
    await using comparison = await this.#options.pages.compareNow()
    for (const page of pages) {
      const digest = await comparison?.digestOf(page)
      if (digest !== undefined) digests.set(page, digest)
    }
    return digests
  }

  /** Reads the whole file, and lets the disk to others most of the time. */
  async #read(take: (piece: Uint8Array) => Promise<void>, stop: AbortSignal): Promise<void> {
    const { database, clock } = this.#options
    let sinceMs = clock.monotonic()
    for await (const piece of database.readFile(stop)) {
      await take(piece)
      const tookMs = clock.monotonic() - sinceMs
      await clock.sleep(tookMs * (1 / readingShare - 1), stop)
      sinceMs = clock.monotonic()
    }
  }
}
