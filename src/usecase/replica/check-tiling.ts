/**
 * Whether a replica's segments follow each other from its newest snapshot on. Of those that are as they are remembered
 * nothing has to be read; where others end, the spool knows or their trailers, which are read a few at a time, so that
 * everything else can go on meanwhile.
 */
import { CorruptionError, ObjectNotFoundError } from '../../domain/errors.js'
import { type Generation } from '../../domain/wal/generation.js'
import { comparePositions, type WalPosition } from '../../domain/wal/position.js'
import {
  type ChainTail,
  chainStart,
  headOf,
  lacksBeginning,
  succession,
  tailOf,
} from '../../domain/stored/segment-chain.js'
import {
  extendRuns,
  hasRun,
  type StoredRun,
  type StoredRuns,
} from '../../domain/stored/stored-runs.js'
import { ownTrailer, type WalSegmentTrailer } from '../../domain/stored/trailer.js'
import { type ReplicaClient, type WalSegmentInfo } from '../ports/replica-client.js'
import { type SpooledSegment } from '../ports/spool.js'
import { readTrailer } from '../stored/trailers.js'

/** Commits that are missing on a replica, or cannot be replayed. */
export interface Hole {
  readonly from: WalPosition
  readonly to: WalPosition
}

/** What one call reads. */
const trailersAtOnce = 16

export class CheckTiling {
  readonly #client: ReplicaClient
  readonly #start: ChainTail
  readonly #listed: readonly WalSegmentInfo[]
  readonly #generation: Generation
  /** The remembered runs that are there as they were, by the number of their first segment. */
  readonly #known = new Map<number, StoredRun>()
  readonly #runs: readonly StoredRun[]
  readonly #trailers = new Map<WalSegmentInfo, WalSegmentTrailer | undefined>()
  /** Those in which there is nothing of ours. */
  readonly #damaged = new Set<WalSegmentInfo>()
  #unread: WalSegmentInfo[] = []

  /** `listed` are all from the first segment of `firstIndex` on. */
  constructor(options: {
    readonly client: ReplicaClient
    readonly generation: Generation
    readonly firstIndex: number
    readonly listed: readonly WalSegmentInfo[]
    readonly remembered: StoredRuns | undefined
    readonly spooled: readonly SpooledSegment[]
  }) {
    const { client, generation, firstIndex, listed, remembered, spooled } = options
    this.#client = client
    this.#generation = generation
    this.#start = chainStart(firstIndex)
    this.#listed = listed.toSorted(comparePositions)
    this.#runs = remembered?.generation === generation ? remembered.runs : []
    // Encrypted, an object has another size than in the spool.
    const isPlain = !client.isEncrypted
    const spooledAt = new Map(
      spooled.map((segment) => [keyOf(segment.index, segment.startOffset), segment]),
    )
    for (const segment of isPlain ? this.#listed : []) {
      const same = spooledAt.get(keyOf(segment.index, segment.offset))
      if (same?.sizeBytes === segment.sizeBytes) this.#trailers.set(segment, same.trailer)
    }
    this.#compare()
  }

  /** Whether everything is known that can be. */
  get isComplete(): boolean {
    return this.#unread.length === 0
  }

  /** See {@link lacksBeginning}. */
  get lacksBeginning(): boolean {
    return lacksBeginning(this.#listed)
  }

  /** Reads some of the trailers that are needed. */
  async readSome(signal: AbortSignal): Promise<void> {
    const some = this.#unread.slice(0, trailersAtOnce)
    await Promise.all(some.map((segment) => this.#readOne(segment, signal)))
    this.#unread = this.#unread.slice(some.length)
  }

  async #readOne(segment: WalSegmentInfo, signal: AbortSignal): Promise<void> {
    let trailer: WalSegmentTrailer | undefined
    let isForeign = false
    try {
      const found = await readTrailer(this.#client, segment, signal)
      trailer = ownTrailer(segment, found)
      isForeign = found.kind === 'trailer' && trailer === undefined
    } catch (error) {
      if (!(error instanceof CorruptionError || error instanceof ObjectNotFoundError)) throw error
      this.#damaged.add(segment)
    }
    this.#trailers.set(segment, trailer)
    // Where objects are encrypted, those that cannot be read may all be as they should.
    const mayBeOurs = !isForeign && this.#client.isEncrypted
    if (trailer === undefined && !mayBeOurs) this.#damaged.add(segment)
  }

  /** As far as it is known: what is missing, in order, and what is to be remembered if nothing is. */
  get result(): { readonly holes: readonly Hole[]; readonly runs: StoredRuns } {
    const holes: Hole[] = []
    let runs: readonly StoredRun[] = []
    let tail = this.#start
    for (let i = 0; i < this.#listed.length;) {
      const segment = this.#listed[i]
      if (segment === undefined) break
      const run = this.#known.get(i)
      const trailer = this.#trailers.get(segment)
      const next = succession(tail, headOf(segment, trailer))
      if (this.#damaged.has(segment)) {
        const { index, offset } = segment
        const behind = this.#listed[i + 1]
        const to = behind === undefined ? { index, offset: offset + 1 } : placeOf(behind)
        holes.push({ from: { index, offset }, to })
        tail = { index, offset, isExact: false, checksum: undefined, salts: undefined }
        i += 1
        continue
      }
      const isLinked = run !== undefined && this.#isLinked(run, tail)
      if (!isLinked && next.kind !== 'continues' && next.kind !== 'unknown') {
        holes.push({ from: placeOf(tail), to: placeOf(segment) })
      }
      if (run !== undefined) {
        runs = [...runs, run]
        tail = { ...run.to, isExact: true, checksum: undefined, salts: undefined }
        i += run.count
      } else {
        tail = tailOf(segment, trailer)
        runs = extendRuns(runs, segment, placeOf(tail))
        i += 1
      }
    }
    return { holes, runs: { generation: this.#generation, runs } }
  }

  /** Finds out what is as it is remembered, and what has to be read. */
  #compare(): void {
    const runAt = new Map(this.#runs.map((run) => [keyOf(run.from.index, run.from.offset), run]))
    let before: StoredRun | undefined
    for (let i = 0; i < this.#listed.length;) {
      const segment = this.#listed[i]
      if (segment === undefined) break
      const run = runAt.get(keyOf(segment.index, segment.offset))
      const isKnown = run !== undefined && hasRun(this.#listed, i, run)
      const isFirst = i === 0 && segment.offset === 0
      const goesOn = before !== undefined && this.#runs[this.#runs.indexOf(before) + 1] === run
      // What a run goes on from is known of the run before it, else its first segment tells.
      const isNeeded = !isKnown || !(isFirst || goesOn)
      if (isNeeded && !this.#trailers.has(segment)) this.#unread.push(segment)
      if (isKnown) this.#known.set(i, run)
      before = isKnown ? run : undefined
      i += isKnown ? run.count : 1
    }
  }

  /** Whether a run goes on from what the one before it, which is there, ends with. */
  #isLinked(run: StoredRun, { index, offset }: ChainTail): boolean {
    const before = this.#runs[this.#runs.indexOf(run) - 1]
    return before !== undefined && before.to.index === index && before.to.offset === offset
  }
}

function keyOf(index: number, offset: number): string {
  return `${index}:${offset}`
}

function placeOf({ index, offset }: WalPosition): WalPosition {
  return { index, offset }
}
