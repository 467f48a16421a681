/**
 * Verifies what a replica holds: `structure` by listings and the tails of objects, `full` by reading every object, decoding
 * it and following the chain of checksums from the oldest snapshot of each generation to its last commit.
 */
import {
  ChainVerifier,
  type SegmentFacts,
  type SnapshotFacts,
} from '../../domain/stored/chain-verifier.js'
import { CorruptionError, ObjectNotFoundError, ReplicaError } from '../../domain/errors.js'
import { type Generation } from '../../domain/wal/generation.js'
import { type WalPosition } from '../../domain/wal/position.js'
import {
  mostPages,
  mostSnapshotBytes,
  refusePages,
  snapshotPageSize,
} from '../../domain/stored/content-bounds.js'
import { formatObjectPath, type ObjectRef } from '../../domain/stored/replica-layout.js'
import {
  type GenerationListing,
  type StoredSegment,
  type StoredSnapshot,
} from '../../domain/stored/restore-plan.js'
import { SegmentVerifier } from '../../domain/wal/segment-verifier.js'
import {
  indexHeaderOf,
  ownTrailer,
  type Trailer,
  type TrailerTail,
} from '../../domain/stored/trailer.js'
import {
  checkStructure,
  type Finding,
  type KnownOfGeneration,
  type Tails,
} from '../../domain/stored/verification.js'
import { highestPage, type WalHeader } from '../../domain/wal/wal-format.js'
import { mapAtOnce } from '../../kit/map-at-once.js'
import { type ReplicaClient } from '../ports/replica-client.js'
import { refuseEncrypted } from '../stored/refuse-encrypted.js'
import {
  inOrder,
  isUnderWay,
  listGeneration,
  readHistory,
  type ReplicaHistory,
} from '../stored/replica-history.js'
import { readTrailerOrDamage, TrailerReader } from '../stored/trailers.js'

export type Decode = (source: AsyncIterable<Uint8Array>) => AsyncIterable<Uint8Array>

export interface VerifyReplicaOptions {
  readonly client: ReplicaClient
  readonly decode: Decode
  readonly level: 'structure' | 'full'
}

/** What a replica holds of one generation, and what is wrong with that. */
export interface VerifiedGeneration {
  /** Its name. */
  readonly generation: Generation
  /** How many there are. */
  readonly snapshots: number
  /** How many WAL segments there are. */
  readonly segments: number
  /** Bytes of all of them as they are stored: compressed. */
  readonly storedBytes: number
  /** The first moment that can be restored, milliseconds since 1970, as the trailers say; undefined: they don't. */
  readonly firstCommitMs: number | undefined
  /** The last one, milliseconds since 1970; undefined as above. */
  readonly lastCommitMs: number | undefined
  /** Where the last segment ends; undefined where no trailer says it. */
  readonly end: WalPosition | undefined
  /** What is wrong, or to be known; none: it is as it should be. */
  readonly findings: readonly Finding[]
}

/** Requests at once. */
const parallelism = 32
/** Objects read at once: each is decoded in memory block by block. */
const maxObjectsAtOnce = 8
/** Objects that are read before the first of them is put to the chain: an index can have very many. */
const maxWaitingFacts = 256
/** The first of them is what all generations were found by, which may have been long before. */
const maxListings = 4

/**
 * Verifies all generations, the newest last. An abort ends it between two objects. Throws a `ReplicaError` when none of them
 * may be read, as where they are encrypted and the client has no key: nothing is known of them then.
 */
export async function verifyReplica(
  options: VerifyReplicaOptions,
  signal: AbortSignal,
): Promise<readonly VerifiedGeneration[]> {
  const trailers = new TrailerReader(options.client, [], signal)
  const history = await readHistory(
    options.client,
    { only: undefined, trailers, notes: [] },
    signal,
  )
  const stored = inOrder(history)
  const verified: VerifiedGeneration[] = []
  const refusals: ReplicaError[] = []
  for (const [at, each] of stored.entries()) {
    const isNewest = at === stored.length - 1
    const known = await knownOf(each, { history, isNewest, trailers })
    try {
      verified.push(await verifyGeneration(each, options, { known, signal }))
    } catch (error) {
      if (!(error instanceof ReplicaError) || error.retryable) throw error
      refusals.push(error)
      verified.push(describeRefused(each, error))
    }
  }
  const [refused] = refusals
  if (refused !== undefined && refusals.length === stored.length) throw refused
  const [gone] = history.order.newest.filter(
    (name) => !stored.some(({ generation }) => generation === name),
  )
  return gone === undefined ? verified : [...verified, describeGone(gone)]
}

async function knownOf(
  { generation, segments }: GenerationListing,
  facts: {
    readonly history: ReplicaHistory
    readonly isNewest: boolean
    readonly trailers: TrailerReader
  },
): Promise<KnownOfGeneration> {
  const { history, isNewest, trailers } = facts
  const record = history.records.find((each) => each.generation === generation)
  const last = segments.at(-1)
  const isOurs = last !== undefined && (await trailers.segment(last)) !== undefined
  const isLost =
    record?.hasSnapshot === true || (isNewest && isOurs && history.records.length === 0)
  const isBegun = isUnderWay(generation, history)
  return {
    withoutSnapshot: isBegun ? 'under way' : isLost ? 'lost' : 'unknown',
    storedTo: record?.position,
  }
}

/** The newest generation, as the owner object says, of which nothing is left. */
function describeGone(generation: Generation): VerifiedGeneration {
  const problem = 'all of it is missing, although the owner of the replica had stored it'
  return {
    ...summarize({ generation, snapshots: [], segments: [] }, new Map()),
    findings: [{ severity: 'damage', generation, object: undefined, problem }],
  }
}

/** A generation that cannot be read, where others can. */
function describeRefused(
  listing: GenerationListing,
  { message }: ReplicaError,
): VerifiedGeneration {
  const { generation } = listing
  return {
    ...summarize(listing, new Map()),
    findings: [{ severity: 'damage', generation, object: undefined, problem: message }],
  }
}

/** Lists it again when objects were deleted meanwhile, as retention does. */
async function verifyGeneration(
  listed: GenerationListing,
  options: VerifyReplicaOptions,
  { known, signal }: { known: KnownOfGeneration; signal: AbortSignal },
): Promise<VerifiedGeneration> {
  const { client, level } = options
  let listing = listed
  for (let listings = 1; ; listings += 1) {
    try {
      const [first] = [...listing.snapshots, ...listing.segments]
      if (first !== undefined) await refuseEncrypted(client, first, signal)
      const tails = await readTails(client, listing, signal)
      const findings = [...checkStructure(listing, tails, known)]
      if (level === 'full') {
        const reading = new GenerationReading(options, { listing, tails, signal })
        const found = new Set(findings.map(({ object }) => object))
        findings.push(...(await reading.run()).filter(({ object }) => !found.has(object)))
      }
      return { ...summarize(listing, tails), findings }
    } catch (error) {
      if (!(error instanceof ObjectNotFoundError) || listings === maxListings) throw error
      listing = await listGeneration(client, listed.generation, signal)
    }
  }
}

async function readTails(
  client: ReplicaClient,
  { snapshots, segments }: GenerationListing,
  signal: AbortSignal,
): Promise<Tails> {
  const tails = new Map<string, TrailerTail>()
  await mapAtOnce([...snapshots, ...segments], parallelism, async (object) => {
    const tail = await readTrailerOrDamage(client, object, signal)
    tails.set(formatObjectPath(object), withFewCaptures(tail))
  })
  return tails
}

/** Only the first and the last moment are looked at, and 60,000 segments can have a million in between. */
function withFewCaptures(tail: TrailerTail): TrailerTail {
  if (tail.kind !== 'trailer' || tail.trailer.kind !== 'wal-segment') return tail
  const { trailer } = tail
  const { captures } = trailer
  const ends = captures.length <= 2 ? captures : [...captures.slice(0, 1), ...captures.slice(-1)]
  return { ...tail, trailer: { ...trailer, captures: ends } }
}

function summarize(
  { generation, snapshots, segments }: GenerationListing,
  tails: Tails,
): Omit<VerifiedGeneration, 'findings'> {
  const [first] = snapshots
  const last = segments.at(-1)
  const tailOf = (object: ObjectRef): TrailerTail | undefined => tails.get(formatObjectPath(object))
  const snapshotMs = snapshots.map((each) => ownTrailer(each, tailOf(each))?.commitTimeMs ?? 0)
  const segment = last && ownTrailer(last, tailOf(last))
  const lastMs = Math.max(0, ...snapshotMs, segment?.captures.at(-1)?.timeMs ?? 0)
  return {
    generation,
    snapshots: snapshots.length,
    segments: segments.length,
    storedBytes: storedBytesOf([...snapshots, ...segments]),
    firstCommitMs: first && ownTrailer(first, tailOf(first))?.commitTimeMs,
    lastCommitMs: lastMs === 0 ? undefined : lastMs,
    end: segment === undefined ? undefined : { index: segment.index, offset: segment.endOffset },
  }
}

function storedBytesOf(objects: readonly { readonly sizeBytes: number }[]): number {
  return objects.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)
}

/** Whatever object it is of: the chain says of a foreign one that it is. */
function anyTrailer(tails: Tails, object: StoredSegment | StoredSnapshot): Trailer | undefined {
  const tail = tails.get(formatObjectPath(object))
  return tail?.kind === 'trailer' ? tail.trailer : undefined
}

/** Reads every object of one generation that can serve a restore. */
class GenerationReading {
  readonly #options: VerifyReplicaOptions
  readonly #listing: GenerationListing
  readonly #tails: Tails
  readonly #signal: AbortSignal
  readonly #findings: Finding[] = []
  readonly #maxPageCount: number
  /** Undefined: the chain is broken, until the next snapshot. */
  #chain: ChainVerifier | undefined

  constructor(
    options: VerifyReplicaOptions,
    generation: { listing: GenerationListing; tails: Tails; signal: AbortSignal },
  ) {
    this.#options = options
    this.#listing = generation.listing
    this.#tails = generation.tails
    this.#signal = generation.signal
    const { snapshots, segments } = generation.listing
    this.#maxPageCount = mostPages(storedBytesOf([...snapshots, ...segments]))
  }

  async run(): Promise<readonly Finding[]> {
    const { snapshots, segments } = this.#listing
    const [oldest] = snapshots
    if (oldest === undefined) return []
    const indexes = byIndex(segments.filter(({ index }) => index >= oldest.index))
    const waiting = [...snapshots]
    for (const [index, ofIndex] of indexes) {
      while (waiting[0] !== undefined && waiting[0].index <= index) {
        await this.#readSnapshot(waiting.shift())
      }
      await this.#readIndex(ofIndex)
    }
    for (const snapshot of waiting) await this.#readSnapshot(snapshot)
    this.#verifyChain(undefined, (chain) => void chain.finish())
    return this.#findings
  }

  /** A chain that is whole goes on; a broken one begins anew with the snapshot. */
  async #readSnapshot(snapshot: StoredSnapshot | undefined): Promise<void> {
    if (snapshot === undefined) return
    const facts = await this.#snapshotFacts(snapshot)
    const maxPageCount = this.#maxPageCount
    const chain = new ChainVerifier(snapshot, { target: undefined, maxPageCount })
    if (this.#attempt(formatObjectPath(snapshot), () => chain.addSnapshot(facts))) {
      this.#chain ??= chain
    }
  }

  async #readIndex(segments: readonly StoredSegment[]): Promise<void> {
    const [first, ...rest] = segments
    if (first === undefined) return
    const { facts, header } = await this.#segmentFacts(first, undefined)
    this.#addSegment(first, facts)
    for (let at = 0; at < rest.length; at += maxWaitingFacts) {
      const some = rest.slice(at, at + maxWaitingFacts)
      const read = await mapAtOnce(some, maxObjectsAtOnce, async (segment) => ({
        segment,
        ...(await this.#segmentFacts(segment, header)),
      }))
      for (const each of read) this.#addSegment(each.segment, each.facts)
    }
  }

  #addSegment(segment: StoredSegment, facts: SegmentFacts): void {
    const path = formatObjectPath(segment)
    if (this.#chain !== undefined) {
      this.#verifyChain(path, (chain) => {
        chain.addSegment(segment, facts)
      })
    } else if (facts.problem !== undefined) {
      this.#damage(path, `${path}: ${facts.problem}`)
    }
  }

  async #snapshotFacts(snapshot: StoredSnapshot): Promise<SnapshotFacts> {
    let sizeBytes = 0
    let pageSizeBytes: number | undefined
    const trailer = anyTrailer(this.#tails, snapshot)
    const mostBytes = mostSnapshotBytes(trailer)
    const problem = await this.#decode(snapshot, (block) => {
      if (sizeBytes === 0) pageSizeBytes = snapshotPageSize(block)
      sizeBytes += block.length
      if (sizeBytes > mostBytes)
        throw new CorruptionError('it has more content than its trailer says')
    })
    return { sizeBytes, pageSizeBytes, trailer, problem }
  }

  async #segmentFacts(
    segment: StoredSegment,
    indexHeader: WalHeader | undefined,
  ): Promise<{ facts: SegmentFacts; header: WalHeader | undefined }> {
    const own = ownTrailer(segment, this.#tails.get(formatObjectPath(segment)))
    const { offset } = segment
    const verifier = new SegmentVerifier({
      offset,
      header: offset === 0 ? undefined : (indexHeader ?? indexHeaderOf(own)),
      wantedEndOffset: Infinity,
      latestEndOffset: own?.endOffset ?? Infinity,
    })
    const problem = await this.#decode(
      segment,
      (block) => {
        for (const run of verifier.push(block)) {
          refusePages(highestPage(run, verifier.header?.pageSizeBytes ?? 0), this.#maxPageCount)
        }
      },
      () => {
        verifier.end()
      },
    )
    return {
      facts: { content: verifier.content, trailer: anyTrailer(this.#tails, segment), problem },
      header: verifier.header,
    }
  }

  /** Returns what is wrong with an object by itself. */
  async #decode(
    object: StoredSegment | StoredSnapshot,
    use: (block: Uint8Array) => void,
    end: () => void = () => undefined,
  ): Promise<string | undefined> {
    const { client, decode } = this.#options
    this.#signal.throwIfAborted()
    try {
      const body = client.read(object, { offset: 0, length: undefined }, this.#signal)
      for await (const block of decode(body)) use(block)
      end()
      return undefined
    } catch (error) {
      if (error instanceof CorruptionError) return error.message
      throw error
    }
  }

  #verifyChain(object: string | undefined, work: (chain: ChainVerifier) => void): void {
    const chain = this.#chain
    if (chain === undefined) return
    if (!this.#attempt(object, () => work(chain))) this.#chain = undefined
  }

  #attempt(object: string | undefined, work: () => void): boolean {
    try {
      work()
      return true
    } catch (error) {
      if (!(error instanceof CorruptionError)) throw error
      this.#damage(object, error.message)
      return false
    }
  }

  #damage(object: string | undefined, problem: string): void {
    const { generation } = this.#listing
    this.#findings.push({ severity: 'damage', generation, object, problem })
  }
}

function byIndex(segments: readonly StoredSegment[]): ReadonlyMap<number, StoredSegment[]> {
  const indexes = new Map<number, StoredSegment[]>()
  for (const segment of segments) {
    const found = indexes.get(segment.index)
    if (found === undefined) indexes.set(segment.index, [segment])
    else found.push(segment)
  }
  return indexes
}
