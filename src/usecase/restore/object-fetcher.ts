/**
 * Fetches objects in parts, several at once and in order, ahead of their use and within a bound of memory. Every part is
 * read to its end as soon as it has been asked for: a body that waits for its reader is cut by some stores.
 */
import { copyOf } from '../../kit/free-memory.js'
import { type ObjectRef } from '../../domain/stored/replica-layout.js'
import { type ReplicaClient } from '../ports/replica-client.js'

export interface FetchedPart {
  /** Nobody else uses their memory. */
  readonly chunks: readonly Uint8Array[]
  readonly sizeBytes: number
  /** The last one of its object. */
  readonly isLast: boolean
}

export interface FetchOptions {
  /** Requests at once. */
  readonly parallelism: number
  /** Bytes that are being fetched or wait for their use. As many are only where parts come later than they are wanted. */
  readonly maxBytes: number
  /** An abort ends what is in flight. */
  readonly signal: AbortSignal
}

type StoredObject = ObjectRef & { readonly sizeBytes: number }

interface Part {
  readonly object: StoredObject
  readonly offset: number
  readonly length: number
  readonly isLast: boolean
}

interface Started {
  readonly part: Part
  readonly fetched: Promise<FetchedPart>
  isThere: boolean
}

/** Larger objects are read in ranges of this size. */
export const partBytes = 2 * 1024 * 1024
/** Fetched parts that wait behind a slow one, as a multiple of those in flight: small ones fill no memory. */
const waitingFactor = 4
/**
 * What is fetched ahead at least; how much more each time that a part came late, and how much less each time that it was
 * there: a folder is read faster than it is used, and a far store needs many on their way.
 */
const leastBytes = 2 * partBytes
const moreBytes = partBytes / 2
const lessBytes = partBytes / 8

export class ObjectFetcher {
  readonly #client: ReplicaClient
  readonly #options: FetchOptions
  readonly #parts: Iterator<Part>
  readonly #started: Started[] = []
  #next: Part | undefined
  #inFlight = 0
  #bytes = 0
  #maxBytes: number

  constructor(client: ReplicaClient, objects: readonly StoredObject[], options: FetchOptions) {
    this.#client = client
    this.#options = options
    this.#maxBytes = Math.min(leastBytes, options.maxBytes)
    this.#parts = partsOf(objects)
    this.#advance()
    this.#fetchAhead()
  }

  /** The next part, in the order of objects and offsets. */
  async take(): Promise<FetchedPart> {
    this.#fetchAhead()
    const first = this.#started[0]
    if (first === undefined) throw new RangeError('there is no other part')
    const wanted = this.#maxBytes + (first.isThere ? -lessBytes : moreBytes)
    this.#maxBytes = Math.min(Math.max(wanted, leastBytes), this.#options.maxBytes)
    this.#fetchAhead()
    const fetched = await first.fetched
    this.#started.shift()
    this.#bytes -= first.part.length
    this.#fetchAhead()
    return fetched
  }

  /** Resolves when nothing is in flight. */
  async settle(): Promise<void> {
    await Promise.allSettled(this.#started.map(({ fetched }) => fetched))
  }

  #fetchAhead(): void {
    const { parallelism, signal } = this.#options
    while (
      this.#next !== undefined &&
      !signal.aborted &&
      this.#inFlight < parallelism &&
      this.#started.length < parallelism * waitingFactor &&
      (this.#started.length === 0 || this.#bytes + this.#next.length <= this.#maxBytes)
    ) {
      const part = this.#next
      const fetched = this.#fetch(part)
      const started: Started = { part, fetched, isThere: false }
      // Whoever takes it sees the failure; until then it is not unhandled.
      fetched.catch(() => undefined).finally(() => (started.isThere = true))
      this.#started.push(started)
      this.#bytes += part.length
      this.#advance()
    }
    if (this.#started.length === 0) signal.throwIfAborted()
  }

  #advance(): void {
    const next = this.#parts.next()
    this.#next = next.done === true ? undefined : next.value
  }

  async #fetch({ object, offset, isLast, length }: Part): Promise<FetchedPart> {
    this.#inFlight += 1
    const chunks: Uint8Array[] = []
    let sizeBytes = 0
    try {
      // The last part goes to the end, wherever that is: an object that has changed must not look whole.
      const range = { offset, length: isLast ? undefined : length }
      for await (const chunk of this.#client.read(object, range, this.#options.signal)) {
        chunks.push(ownMemory(chunk))
        sizeBytes += chunk.length
      }
    } finally {
      this.#inFlight -= 1
    }
    this.#fetchAhead()
    return { chunks, sizeBytes, isLast }
  }
}

function* partsOf(objects: readonly StoredObject[]): Generator<Part> {
  for (const object of objects) {
    let offset = 0
    // A part that is hardly larger than the rest of the object is not worth a request of its own.
    for (; object.sizeBytes - offset > 2 * partBytes; offset += partBytes) {
      yield { object, offset, length: partBytes, isLast: false }
    }
    yield { object, offset, length: object.sizeBytes - offset, isLast: true }
  }
}

/** Chunks of a client may be views on memory that it shares between them. */
function ownMemory(chunk: Uint8Array): Uint8Array {
  return chunk.byteLength === chunk.buffer.byteLength ? chunk : copyOf(chunk)
}
