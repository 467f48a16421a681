/**
 * How long a request may take until it is answered. Bytes that were sent can lie in buffers of the system for minutes
 * when the link is slow, and nothing tells that from a link that is dead; so a request gets time by its size and by the
 * pace of those before it.
 */

/** Until something is known: the slowest link that is expected, times the margin. */
const firstBytesPerMs = 80
const leastBytesPerMs = 4
/** Links vary, and so does what else runs over them. */
const margin = 8
/** The time that smaller requests take says nothing about the link. */
const meaningfulBytes = 64 * 1024

export class UploadPace {
  #bytesPerMs = firstBytesPerMs

  /** The time that a request of that size may take, on top of `baseMs`. */
  allowedMs(baseMs: number, sizeBytes: number): number {
    return baseMs + (sizeBytes * margin) / this.#bytesPerMs
  }

  succeeded(sizeBytes: number, durationMs: number): void {
    if (sizeBytes < meaningfulBytes) return
    this.#bytesPerMs = Math.max(leastBytesPerMs, sizeBytes / Math.max(1, durationMs))
  }

  /** Gives the next one more time: it was the link that is slow, if it was not the store that hung. */
  timedOut(sizeBytes: number): void {
    if (sizeBytes < meaningfulBytes) return
    this.#bytesPerMs = Math.max(leastBytesPerMs, this.#bytesPerMs / 4)
  }
}
