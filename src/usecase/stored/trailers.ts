/** Trailers, read from the ends of stored objects. */
import { CorruptionError, ObjectNotFoundError } from '../../domain/errors.js'
import { formatObjectPath, type ObjectRef } from '../../domain/stored/replica-layout.js'
import { type StoredSegment, type StoredSnapshot } from '../../domain/stored/restore-plan.js'
import {
  ownTrailer,
  parseTrailer,
  type SnapshotTrailer,
  trailerTailBytes,
  type TrailerTail,
  type WalSegmentTrailer,
} from '../../domain/stored/trailer.js'
import { type ReplicaClient } from '../ports/replica-client.js'

/** What an object's end says. */
export type FoundTrailer = Exclude<TrailerTail, { kind: 'longer' }>

/** Reads an object's trailer by one ranged read of its tail, or two when it is long. Objects without one: `none`. */
export async function readTrailer(
  client: ReplicaClient,
  object: ObjectRef & { readonly sizeBytes: number },
  signal: AbortSignal,
): Promise<FoundTrailer> {
  const stored = { ref: object, sizeBytes: object.sizeBytes }
  return readTail(
    client,
    { ...stored, sizeBytes: await client.contentBytes(stored, signal) },
    signal,
  )
}

/** The same, where the damage of one object is to be that object's alone: of one that cannot be decrypted it is `unreadable`. */
export async function readTrailerOrDamage(
  client: ReplicaClient,
  object: ObjectRef & { readonly sizeBytes: number },
  signal: AbortSignal,
): Promise<FoundTrailer> {
  try {
    return await readTrailer(client, object, signal)
  } catch (error) {
    if (!(error instanceof CorruptionError)) throw error
    return { kind: 'unreadable', problem: error.message }
  }
}

/**
 * The same of an object that is in no listing, of which no size is known: all of it is read. `contentBytes` are those that
 * reading yields. Undefined: there is no object of that name.
 */
export async function readTrailerByName(
  client: ReplicaClient,
  ref: ObjectRef,
  signal: AbortSignal,
): Promise<{ readonly contentBytes: number; readonly found: FoundTrailer } | undefined> {
  let contentBytes = 0
  let tail: Uint8Array = new Uint8Array(0)
  try {
    for await (const chunk of client.read(ref, { offset: 0, length: undefined }, signal)) {
      contentBytes += chunk.length
      tail = lastBytes(tail, chunk)
    }
  } catch (error) {
    if (error instanceof ObjectNotFoundError) return undefined
    throw error
  }
  const parsed = parseTrailer(tail, contentBytes)
  const found =
    parsed.kind === 'longer'
      ? await readTail(client, { ref, sizeBytes: contentBytes }, signal)
      : parsed
  return { contentBytes, found }
}

/** A longer trailer is read again when it is asked for again: its captures can take 20 MB, and a replica can have many such. */
const maxKeptBytes = 64 * 1024

/** Reads trailers from the ends of stored objects, each once. */
export class TrailerReader {
  readonly #client: ReplicaClient
  readonly #notes: string[]
  readonly #signal: AbortSignal
  readonly #known = new Map<string, FoundTrailer>()

  constructor(client: ReplicaClient, notes: string[], signal: AbortSignal) {
    this.#client = client
    this.#notes = notes
    this.#signal = signal
  }

  /** Undefined: it has none, or none of its own that can be read. */
  async segment(segment: StoredSegment): Promise<WalSegmentTrailer | undefined> {
    return ownTrailer(segment, await this.#tail(segment))
  }

  async snapshot(snapshot: StoredSnapshot): Promise<SnapshotTrailer | undefined> {
    return ownTrailer(snapshot, await this.#tail(snapshot))
  }

  async #tail(object: StoredSegment | StoredSnapshot): Promise<FoundTrailer> {
    const path = formatObjectPath(object)
    const known = this.#known.get(path)
    if (known !== undefined) return known
    const tail = await readTrailerOrDamage(this.#client, object, this.#signal)
    if (tail.kind === 'unreadable') {
      this.#notes.push(`${path} has an unreadable trailer: ${tail.problem}`)
    }
    const isLong = tail.kind === 'trailer' && tail.lengthBytes > maxKeptBytes
    if (!isLong) this.#known.set(path, tail)
    return tail
  }
}

async function readTail(
  client: ReplicaClient,
  { ref, sizeBytes }: { readonly ref: ObjectRef; readonly sizeBytes: number },
  signal: AbortSignal,
): Promise<FoundTrailer> {
  let wanted = trailerTailBytes
  for (;;) {
    const offset = Math.max(0, sizeBytes - wanted)
    const tail = await collect(client.read(ref, { offset, length: wanted }, signal))
    const parsed = parseTrailer(tail, sizeBytes)
    if (parsed.kind !== 'longer') return parsed
    if (parsed.lengthBytes > sizeBytes || parsed.lengthBytes <= wanted) {
      return { kind: 'unreadable', problem: 'it is longer than the object' }
    }
    wanted = parsed.lengthBytes
  }
}

async function collect(chunks: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const parts: Uint8Array[] = []
  let length = 0
  for await (const chunk of chunks) {
    parts.push(chunk)
    length += chunk.length
  }
  const whole = new Uint8Array(length)
  let at = 0
  for (const part of parts) {
    whole.set(part, at)
    at += part.length
  }
  return whole
}

/** Of two runs of bytes, the end that a trailer is looked for in. */
function lastBytes(before: Uint8Array, chunk: Uint8Array): Uint8Array {
  if (chunk.length >= trailerTailBytes) return chunk.slice(-trailerTailBytes)
  const both = new Uint8Array(before.length + chunk.length)
  both.set(before)
  both.set(chunk, before.length)
  return both.slice(-trailerTailBytes)
}
