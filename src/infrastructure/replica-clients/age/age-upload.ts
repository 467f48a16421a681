/**
 * An object that is encrypted on its way. Its parts come in order, because every byte of the payload stands where those
 * before it put it; what comes out is cut into parts of the store's size again.
 */
import { copyOf } from '../../../kit/free-memory.js'
import { type ObjectPart, type ObjectUpload } from '../../../usecase/ports/replica-client.js'
import { chunkBytes, payloadBytes, sealChunk } from './age-file.js'

export class AgeUpload implements ObjectUpload {
  readonly partSizeBytes: number
  readonly maxConcurrentParts = 1
  readonly isWhole = false
  readonly #inner: ObjectUpload
  readonly #key: Uint8Array
  readonly #headBytes: number
  #plain: Uint8Array = new Uint8Array(0)
  #chunkNumber = 0
  #sealed: Uint8Array[]
  #sealedBytes: number
  #nextNumber = 0
  #nextInnerNumber = 0
  #ended = false

  constructor(
    inner: ObjectUpload,
    { head, key }: { readonly head: Uint8Array; readonly key: Uint8Array },
  ) {
    this.#inner = inner
    this.#key = key
    this.partSizeBytes = inner.partSizeBytes
    this.#headBytes = head.length
    this.#sealed = [head]
    this.#sealedBytes = head.length
  }

  async sendPart({ number, bytes, last }: ObjectPart): Promise<void> {
    // A part that comes again has been sealed; what failed to be sent of it waits still.
    if (number === this.#nextNumber) {
      this.#nextNumber += 1
      this.#seal(bytes, last)
      this.#ended = last
    }
    await this.#flush()
  }

  storedBytes(contentBytes: number): number {
    return this.#headBytes + payloadBytes(contentBytes)
  }

  finish(): Promise<void> {
    return this.#inner.finish()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#inner[Symbol.asyncDispose]()
  }

  /** A chunk that is full waits for a byte after it, because until then it may be the last. */
  #seal(bytes: Uint8Array, last: boolean): void {
    let at = 0
    while (this.#plain.length + bytes.length - at > chunkBytes) {
      const taken = chunkBytes - this.#plain.length
      this.#sealOne(this.#joined(bytes.subarray(at, at + taken)), false)
      this.#plain = new Uint8Array(0)
      at += taken
    }
    const rest = this.#joined(bytes.subarray(at))
    this.#plain = last ? new Uint8Array(0) : copyOf(rest)
    if (last) this.#sealOne(rest, true)
  }

  #joined(bytes: Uint8Array): Uint8Array {
    return this.#plain.length === 0 ? bytes : Buffer.concat([this.#plain, bytes])
  }

  #sealOne(bytes: Uint8Array, last: boolean): void {
    const sealed = sealChunk(this.#key, bytes, { number: this.#chunkNumber, last })
    this.#chunkNumber += 1
    this.#sealed.push(...sealed)
    this.#sealedBytes += sealed.reduce((sum, { length }) => sum + length, 0)
  }

  async #flush(): Promise<void> {
    const { partSizeBytes } = this.#inner
    while (this.#sealedBytes > partSizeBytes) await this.#send(partSizeBytes, false)
    if (this.#ended && this.#sealed.length > 0) await this.#send(this.#sealedBytes, true)
  }

  async #send(lengthBytes: number, last: boolean): Promise<void> {
    const all = Buffer.concat(this.#sealed)
    this.#sealed = [all]
    await this.#inner.sendPart({
      number: this.#nextInnerNumber,
      bytes: all.subarray(0, lengthBytes),
      last,
    })
    this.#nextInnerNumber += 1
    const rest = all.subarray(lengthBytes)
    this.#sealed = rest.length === 0 ? [] : [rest]
    this.#sealedBytes = rest.length
  }
}
