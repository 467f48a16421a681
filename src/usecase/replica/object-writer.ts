import { freeMemory } from '../../kit/free-memory.js'
import { type ObjectUpload } from '../ports/replica-client.js'

/**
 * Cuts a stream of chunks into the parts of an upload and sends them, several at once where the store takes that. It
 * holds no more than the parts in flight, one that is being put together, and the latest chunk.
 */
export class ObjectWriter {
  readonly #upload: ObjectUpload
  readonly #inFlight = new Set<Promise<void>>()
  #chunks: Uint8Array[] = []
  #pendingBytes = 0
  #nextNumber = 0
  /** A store may send it no earlier than on finish. */
  #lastPart: Uint8Array | undefined
  #failure: { readonly error: unknown } | undefined

  constructor(upload: ObjectUpload) {
    this.#upload = upload
  }

  /** Takes the next bytes, and their memory with them; resolves when more may come. */
  async write(chunk: Uint8Array): Promise<void> {
    const { partSizeBytes } = this.#upload
    let rest = chunk
    // A part that is full waits for a byte after it, because until then it may be the last.
    while (this.#pendingBytes + rest.byteLength > partSizeBytes) {
      const fitting = partSizeBytes - this.#pendingBytes
      this.#add(rest.subarray(0, fitting))
      rest = rest.subarray(fitting)
      await this.#send(false)
    }
    this.#add(rest)
    this.#throwFailure()
  }

  /** Sends what is left; resolves when every part is sent. */
  async end(): Promise<void> {
    await this.#send(true)
    await Promise.all(this.#inFlight)
    this.#throwFailure()
  }

  /** Makes the object visible, after `end`. */
  async finish(): Promise<void> {
    await this.#upload.finish()
    if (this.#lastPart !== undefined) freeMemory(this.#lastPart)
  }

  #add(chunk: Uint8Array): void {
    if (chunk.byteLength === 0) return
    this.#chunks.push(chunk)
    this.#pendingBytes += chunk.byteLength
  }

  async #send(last: boolean): Promise<void> {
    while (this.#inFlight.size >= this.#upload.maxConcurrentParts) {
      await Promise.race(this.#inFlight)
    }
    this.#throwFailure()
    const part = { number: this.#nextNumber, bytes: this.#takePending(), last }
    this.#nextNumber += 1
    const sending = this.#upload
      .sendPart(part)
      .then(
        () => {
          if (last) this.#lastPart = part.bytes
          else freeMemory(part.bytes)
        },
        (error: unknown) => {
          this.#failure ??= { error }
        },
      )
      .finally(() => this.#inFlight.delete(sending))
    this.#inFlight.add(sending)
  }

  #takePending(): Uint8Array {
    const [first, ...others] = this.#chunks
    this.#chunks = []
    const sizeBytes = this.#pendingBytes
    this.#pendingBytes = 0
    if (first === undefined) return new Uint8Array(0)
    if (others.length === 0) return first
    const bytes = new Uint8Array(sizeBytes)
    bytes.set(first)
    let at = first.byteLength
    for (const chunk of others) {
      bytes.set(chunk, at)
      at += chunk.byteLength
      freeMemory(chunk)
    }
    freeMemory(first)
    return bytes
  }

  #throwFailure(): void {
    if (this.#failure !== undefined) throw this.#failure.error
  }
}
