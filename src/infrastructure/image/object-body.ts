import { parseTrailer, type TrailerTail } from '../../domain/stored/trailer.js'
import { copyOf, freeMemory } from '../../kit/free-memory.js'

/** This much of a body's end is kept, for the trailer. */
const keptTailBytes = 64 * 1024

/** The body of one object, as it comes in from the main thread. A chunk is freed when the next is asked for. */
export class ObjectBody implements AsyncIterable<Uint8Array> {
  readonly #parts: { readonly chunks: readonly Uint8Array[]; readonly isLast: boolean }[] = []
  readonly #onUsed: (sizeBytes: number) => void
  #wake: (() => void) | undefined
  #tail: Uint8Array = new Uint8Array(0)
  #sizeBytes = 0

  /** `onUsed` is told the size of every part but the last, once it has been read. */
  constructor(onUsed: (sizeBytes: number) => void) {
    this.#onUsed = onUsed
  }

  push(chunks: readonly Uint8Array[], isLast: boolean): void {
    this.#parts.push({ chunks, isLast })
    this.#wake?.()
  }

  /** What the end of the body says, once all of it has been read. */
  get trailer(): TrailerTail {
    return parseTrailer(this.#tail, this.#sizeBytes)
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array> {
    for (;;) {
      const part = this.#parts.shift()
      if (part === undefined) {
        await new Promise<void>((resolve) => (this.#wake = resolve))
        continue
      }
      let sizeBytes = 0
      for (const chunk of part.chunks) {
        sizeBytes += chunk.length
        this.#sizeBytes += chunk.length
        this.#keepEnd(chunk)
        yield chunk
        freeMemory(chunk)
      }
      if (part.isLast) return
      this.#onUsed(sizeBytes)
    }
  }

  #keepEnd(chunk: Uint8Array): void {
    const keptBytes = Math.min(this.#tail.length, Math.max(0, keptTailBytes - chunk.length))
    if (keptBytes === 0) {
      this.#tail = copyOf(chunk.subarray(-keptTailBytes))
      return
    }
    const tail = new Uint8Array(keptBytes + chunk.length)
    tail.set(this.#tail.subarray(this.#tail.length - keptBytes))
    tail.set(chunk, keptBytes)
    this.#tail = tail
  }
}
