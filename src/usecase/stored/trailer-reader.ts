import { formatObjectPath } from '../../domain/stored/replica-layout.js'
import { type StoredSegment, type StoredSnapshot } from '../../domain/stored/restore-plan.js'
import {
  type SnapshotTrailer,
  type Trailer,
  type WalSegmentTrailer,
} from '../../domain/stored/trailer.js'
import { type ReplicaClient } from '../ports/replica-client.js'
import { readTrailer } from './read-trailer.js'

/** Reads trailers from the ends of stored objects, each once. */
export class TrailerReader {
  readonly #client: ReplicaClient
  readonly #notes: string[]
  readonly #signal: AbortSignal
  readonly #known = new Map<string, Trailer | undefined>()

  constructor(client: ReplicaClient, notes: string[], signal: AbortSignal) {
    this.#client = client
    this.#notes = notes
    this.#signal = signal
  }

  /** Undefined: it has none, or none of its own that can be read. */
  async segment(segment: StoredSegment): Promise<WalSegmentTrailer | undefined> {
    const trailer = await this.#trailer(segment)
    const isItsOwn =
      trailer?.kind === 'wal-segment' &&
      trailer.index === segment.index &&
      trailer.startOffset === segment.offset
    return isItsOwn ? trailer : undefined
  }

  async snapshot(snapshot: StoredSnapshot): Promise<SnapshotTrailer | undefined> {
    const trailer = await this.#trailer(snapshot)
    const isItsOwn = trailer?.kind === 'snapshot' && trailer.index === snapshot.index
    return isItsOwn ? trailer : undefined
  }

  async #trailer(object: StoredSegment | StoredSnapshot): Promise<Trailer | undefined> {
    const path = formatObjectPath(object)
    if (this.#known.has(path)) return this.#known.get(path)
    const { sizeBytes } = object
    const tail = await readTrailer(this.#client, { ref: object, sizeBytes }, this.#signal)
    if (tail.kind === 'unreadable') {
      this.#notes.push(`${path} has an unreadable trailer: ${tail.problem}`)
    }
    const isItsOwn = tail.kind === 'trailer' && tail.trailer.generation === object.generation
    const trailer = isItsOwn ? tail.trailer : undefined
    this.#known.set(path, trailer)
    return trailer
  }
}
