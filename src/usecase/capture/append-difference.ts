/**
 * Goes on in a generation whose WAL does not prove to continue: what the database differs in from what is stored is found
 * by the page map, and appended as one transaction in an index of our own.
 *
 * The file is read once, as for a snapshot, while the application writes, checkpoints and restarts its WAL, and what is
 * committed meanwhile is captured. A page that no captured frame has was not written meanwhile: the file shows it as it is
 * at the end, and it is equal to what is stored, or sent. One that a frame has is sent as the last frame has it: frames
 * come in their order, and once a page has one, what the file says of it is left out. So after the transaction, and nowhere
 * before, the chain is the database at one commit, the last one that was captured. As only its last frame commits, nobody
 * can restore a part of it, this program or another.
 */
import { type Generation } from '../../domain/wal/generation.js'
import { maxIndex } from '../../domain/wal/position.js'
import { endOf } from '../../domain/stored/segment-chain.js'
import { type ChainPlace } from '../../domain/pages/page-map.js'
import { type SegmentPages } from '../../domain/pages/segment-pages.js'
import { type Clock } from '../ports/clock.js'
import { type Compressor } from '../ports/compressor.js'
import {
  type CapturedRun,
  type CaptureResult,
  type ManagedDatabase,
  type OwnIndex,
} from '../ports/managed-database.js'
import { type Spool, type SpooledSegment } from '../ports/spool.js'
import { type Logger } from '../ports/logger.js'
import { type CaptureReport } from './capture-report.js'
import { DifferenceFrames } from './difference-frames.js'
import { type KeepPageMap, type PageComparison } from './keep-page-map.js'
import { type LocalHistory } from './local-history.js'
import { SegmentAssembly } from './segment-assembly.js'

/** What captures, into what it is told, and renews the reader. */
export type CaptureInto = (
  keep: (result: CaptureResult) => Promise<void>,
  kill: AbortSignal,
) => Promise<CaptureResult>

export interface AppendDifferenceOptions {
  readonly database: ManagedDatabase
  readonly spool: Spool
  readonly compressor: Compressor
  readonly clock: Clock
  readonly logger: Logger
  readonly report: CaptureReport
  readonly history: LocalHistory
  readonly pages: KeepPageMap
  readonly captureInto: CaptureInto
  /** Looks at the file, captures, and tells whether somebody has written it past its WAL since it was first asked. */
  readonly isWritten: (capture: () => Promise<void>) => Promise<boolean>
  /** Fills the salts of an index. */
  readonly randomBytes: (count: number) => Uint8Array
  /** Room in the spool. */
  readonly maxBytes: number
}

interface Appended {
  readonly scannedPages: number
  readonly changedPages: number
  /** Undefined: nothing differs. */
  readonly segment: SpooledSegment | undefined
  /** Of the segment. */
  readonly gathered: SegmentPages | undefined
  /** Since when its first commit waits, by the monotonic clock. */
  readonly sinceMs: number
}

/** Why the generation cannot go on. */
interface NotAppended {
  readonly why: string
  /** Somebody wrote the file past its WAL while it was read: it can when that has ended. */
  readonly isWritten?: true
}

/** How often it is said how far the file is compared. */
const progressEveryMs = 10_000
/** How often what is committed is captured while the file is read. */
const captureEveryMs = 25
/** An application that restarts its WAL at that moment may do so again. */
const maxLooks = 10
/** Where more than this share of the pages differs, a snapshot is worth more; a small database is always worth it. */
const maxShare = 0.3
const alwaysPages = 1000
/** A transaction of ours must leave its index room to grow. */
const maxWalBytes = 1024 * 1024 * 1024
/** Of this page, SQLite never writes anything: its locks are there. */
const lockByte = 0x4000_0000

export interface DifferenceOf {
  readonly generation: Generation
  readonly pageSizeBytes: number
  /** What the chain ends with; undefined: nothing was committed in the generation yet. */
  readonly last: SpooledSegment | undefined
}

export async function appendDifference(
  options: AppendDifferenceOptions,
  of: DifferenceOf,
  kill: AbortSignal,
): Promise<Appended | NotAppended> {
  const { last } = of
  if (last !== undefined && last.index + 1 >= maxIndex) return { why: 'no index is left' }
  await using comparison = await options.pages.compare(last && placeBehind(last))
  if (comparison === undefined) return { why: 'the page map does not know every page' }
  for (let looks = 1; ; looks += 1) {
    await using difference = new Difference(options, of, comparison)
    const why = await difference.look(kill)
    if (why === undefined) return await difference.append(kill)
    if (looks === maxLooks) return { why }
  }
}

class Difference implements AsyncDisposable {
  readonly #options: AppendDifferenceOptions
  readonly #of: DifferenceOf
  readonly #comparison: PageComparison
  readonly #frames: DifferenceFrames
  readonly #assembly: SegmentAssembly
  readonly #lockPage: number
  /** As the last captured commit says; 0: nothing was captured. */
  #sizePages = 0
  #changedPages = 0
  #lastTimeMs = 0
  #capturedAt = Number.NEGATIVE_INFINITY
  #broken: string | undefined

  constructor(options: AppendDifferenceOptions, of: DifferenceOf, comparison: PageComparison) {
    const { generation, pageSizeBytes, last } = of
    const words = new DataView(options.randomBytes(8).slice().buffer)
    const start = { index: last === undefined ? 0 : last.index + 1, offset: 0 }
    this.#options = options
    this.#of = of
    this.#comparison = comparison
    this.#frames = new DifferenceFrames({
      pageSizeBytes,
      index: start.index,
      salts: { salt1: words.getUint32(0), salt2: words.getUint32(4) },
      previousIndexEnd: last && { offset: last.endOffset, checksum: last.trailer.checksumAfter },
    })
    this.#assembly = new SegmentAssembly({
      spool: options.spool,
      compressor: options.compressor,
      generation,
      start,
      pages: options.pages.gather(start),
    })
    this.#lockPage = lockByte / pageSizeBytes + 1
  }

  /** The first look. Returns why it failed: what was captured in it is then worth nothing. */
  async look(kill: AbortSignal): Promise<string | undefined> {
    const begun = await this.#options.database.begin(undefined, kill)
    if (begun.kind === 'broken') return begun.detail
    await this.#capture(kill)
    return this.#broken
  }

  async append(kill: AbortSignal): Promise<Appended | NotAppended> {
    const { clock, history, isWritten } = this.#options
    const capture = (): Promise<void> => this.#capture(kill)
    await isWritten(capture)
    const scanned = await this.#scan(kill)
    if (await isWritten(capture)) {
      return { why: 'its file was written past its WAL while it was read', isWritten: true }
    }
    if ('why' in scanned) return scanned
    const why = this.#broken ?? this.#tooMuch
    if (why !== undefined) return { why }
    // Without a captured commit nothing was written since the first look: the file is all there is.
    const sizePages = this.#sizePages > 0 ? this.#sizePages : scanned.pageCount
    if (this.#frames.isEmpty && sizePages !== this.#comparison.sizePages) {
      await this.#put(this.#frames.addPages([{ page: 1, content: scanned.firstPage }]), kill)
    }
    const counts = { scannedPages: scanned.pageCount, changedPages: this.#changedPages }
    if (this.#frames.isEmpty) {
      const { last } = this.#of
      // Without a frame before it, whatever comes next begins the first index.
      const problem = last && (await this.#continueAs(indexAfter(last), kill))
      if (typeof problem === 'string') return { why: problem }
      const sinceMs = clock.monotonic()
      return { ...counts, segment: undefined, gathered: undefined, sinceMs }
    }
    const { index, run } = this.#frames.end(sizePages)
    const source = await this.#continueAs(index, kill)
    if (typeof source === 'string') return { why: source }
    const timeMs = history.stamp(this.#sizePages > 0 ? this.#lastTimeMs : clock.now())
    await this.#assembly.append({ ...run, timeMs, source }, timeMs, kill)
    this.#options.report.sealing(this.#assembly.walBytes)
    const segment = await this.#assembly.seal(kill)
    const sinceMs = this.#options.report.sealed()
    return { ...counts, segment, gathered: this.#assembly.pages, sinceMs }
  }

  /** Reads the file to its end, and captures what is committed meanwhile. */
  async #scan(
    kill: AbortSignal,
  ): Promise<{ readonly pageCount: number; readonly firstPage: Uint8Array } | NotAppended> {
    const { pageSizeBytes } = this.#of
    const reading = this.#options.database.readFile(kill)[Symbol.asyncIterator]()
    let firstPage: Uint8Array | undefined
    let page = 1
    let rest = new Uint8Array(0)
    let saidAtMs = this.#options.clock.monotonic()
    try {
      for (;;) {
        if (this.#options.clock.monotonic() - saidAtMs >= progressEveryMs) {
          saidAtMs = this.#options.clock.monotonic()
          this.#sayProgress(page)
        }
        const piece = await this.#captureUntil(reading.next(), kill)
        const why = this.#broken ?? this.#tooMuch
        if (why !== undefined) return { why }
        if (piece.done === true) break
        const bytes = joined(rest, piece.value)
        const count = Math.floor(bytes.length / pageSizeBytes)
        firstPage ??= bytes.slice(0, pageSizeBytes)
        await this.#compare(page, bytes.subarray(0, count * pageSizeBytes), kill)
        rest = bytes.slice(count * pageSizeBytes)
        page += count
      }
    } finally {
      await reading.return?.()
    }
    if (firstPage === undefined || rest.length > 0) return { why: 'the file ends within a page' }
    return { pageCount: page - 1, firstPage }
  }

  #sayProgress(page: number): void {
    const pageCount = Math.max(this.#comparison.sizePages, page)
    const percent = Math.floor((100 * page) / Math.max(1, pageCount))
    const fields = { percent, scannedPages: page, pageCount, changedPages: this.#changedPages }
    this.#options.logger.info(fields, 'comparing the database with what is stored')
  }

  async #compare(first: number, pages: Uint8Array, kill: AbortSignal): Promise<void> {
    const { pageSizeBytes } = this.#of
    const differing = await this.#comparison.differing(first, pages)
    const wanted = differing.filter(
      (page) => page !== this.#lockPage && this.#frames.isWanted(page),
    )
    this.#changedPages += wanted.length
    const found = wanted.map((page) => {
      const at = (page - first) * pageSizeBytes
      return { page, content: pages.subarray(at, at + pageSizeBytes) }
    })
    await this.#put(this.#frames.addPages(found), kill)
  }

  /** Waits for a piece of the file, and lets no checkpoint of the application wait for that. */
  async #captureUntil<T>(work: Promise<T>, kill: AbortSignal): Promise<T> {
    const { clock } = this.#options
    const ended = new AbortController()
    const done = work.then(
      () => ended.abort(),
      () => ended.abort(),
    )
    for (;;) {
      const waitMs = this.#capturedAt + captureEveryMs - clock.monotonic()
      if (waitMs <= 0) await this.#capture(kill)
      else await Promise.race([done, clock.sleep(waitMs, kill)])
      if (ended.signal.aborted || this.#broken !== undefined) return await work
    }
  }

  async #capture(kill: AbortSignal): Promise<void> {
    const { clock, captureInto } = this.#options
    const result = await captureInto(async ({ runs }) => {
      for (const run of runs) await this.#addCaptured(run, kill)
    }, kill)
    if (result.continuity.kind === 'broken') this.#broken = result.continuity.detail
    this.#capturedAt = clock.monotonic()
  }

  async #addCaptured(run: CapturedRun, kill: AbortSignal): Promise<void> {
    if (run.databaseSizePages > 0) this.#sizePages = run.databaseSizePages
    this.#lastTimeMs = run.timeMs
    this.#options.report.captured(run)
    await this.#put(this.#frames.addCaptured(run), kill)
  }

  async #put(run: CapturedRun | undefined, kill: AbortSignal): Promise<void> {
    if (run !== undefined) await this.#assembly.append(run, 0, kill)
  }

  get #tooMuch(): string | undefined {
    const pageCount = this.#comparison.sizePages
    if (this.#changedPages > Math.max(alwaysPages, pageCount * maxShare)) {
      return `more than ${this.#changedPages} of ${pageCount} pages differ from what is stored`
    }
    if (this.#frames.walBytes > Math.min(maxWalBytes, this.#options.maxBytes)) {
      return `what differs from what is stored takes more than ${this.#frames.walBytes} bytes`
    }
    return undefined
  }

  async #continueAs(index: OwnIndex, kill: AbortSignal): Promise<CapturedRun['source'] | string> {
    const source = await this.#options.database.continueAs(index, kill)
    return 'kind' in source ? source.detail : source
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#assembly[Symbol.asyncDispose]()
  }
}

function placeBehind(last: SpooledSegment): ChainPlace {
  return { position: endOf(last), checksum: last.trailer.checksumAfter }
}

function indexAfter(last: SpooledSegment): OwnIndex {
  const { bigEndian, salts, checksumAfter: checksum } = last.trailer
  return { position: endOf(last), bigEndian, salts, checksum }
}

function joined(rest: Uint8Array, piece: Uint8Array): Uint8Array {
  if (rest.length === 0) return piece
  const bytes = new Uint8Array(rest.length + piece.length)
  bytes.set(rest)
  bytes.set(piece, rest.length)
  return bytes
}
