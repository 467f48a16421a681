import { formatObjectPath, type ObjectRef } from '../domain/replica-layout.js'
import { type StoredSegment, type StoredSnapshot } from '../domain/restore-plan.js'
import {
  type SnapshotTrailer,
  type TrailerTail,
  type WalSegmentTrailer,
} from '../domain/trailer.js'
import { type ReplicaClient } from './ports/replica-client.js'
import { readTrailer } from './read-trailer.js'

/** Reads trailers from the ends of stored objects, each once. */
export class TrailerReader {
  readonly #client: ReplicaClient
  readonly #notes: string[]
  readonly #signal: AbortSignal
  readonly #known = new Map<string, WalSegmentTrailer | undefined>()

  constructor(client: ReplicaClient, notes: string[], signal: AbortSignal) {
    this.#client = client
    this.#notes = notes
    this.#signal = signal
  }

  async segment(segment: StoredSegment): Promise<WalSegmentTrailer | undefined> {
    const path = formatObjectPath(segment)
    if (this.#known.has(path)) return this.#known.get(path)
    const tail = await this.#read(segment, segment.sizeBytes)
    const trailer =
      tail.kind === 'trailer' &&
      tail.trailer.kind === 'wal-segment' &&
      tail.trailer.index === segment.index &&
      tail.trailer.startOffset === segment.offset
        ? tail.trailer
        : undefined
    this.#known.set(path, trailer)
    return trailer
  }

  async snapshot(snapshot: StoredSnapshot): Promise<SnapshotTrailer | undefined> {
    const tail = await this.#read(snapshot, snapshot.sizeBytes)
    return tail.kind === 'trailer' && tail.trailer.kind === 'snapshot' ? tail.trailer : undefined
  }

  async #read(ref: ObjectRef, sizeBytes: number): Promise<TrailerTail> {
    const tail = await readTrailer(this.#client, { ref, sizeBytes }, this.#signal)
    if (tail.kind === 'unreadable') {
      this.#notes.push(`${formatObjectPath(ref)} has an unreadable trailer: ${tail.problem}`)
    }
    return tail
  }
}
