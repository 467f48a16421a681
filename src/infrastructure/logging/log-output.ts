/**
 * Where log lines go. Nobody ever waits for it: a line that is not taken at once, because the disk is full or nobody
 * reads, waits in memory; beyond a bound lines are dropped and counted, and the count is a line of its own later.
 */
import { pauseAfter } from '../../kit/pause.js'

export interface LogSink {
  /** Takes as many of the bytes as it can at once, and says how many; throws where it can take none. */
  write(bytes: Uint8Array): number
  /** Lets go of what would keep the process alive. It takes bytes still. */
  end(): void
}

const maxWaitingBytes = 1024 * 1024
/** When it is tried again. */
const pauses = { firstMs: 50, mostMs: 1000 }

export class LogOutput implements Disposable {
  readonly #sink: LogSink
  readonly #sayLost: (lines: number) => void
  /** The first one may be the rest of a line. */
  readonly #waiting: Uint8Array[] = []
  #waitingBytes = 0
  #lost = 0
  #failures = 1
  #timer: NodeJS.Timeout | undefined
  #endsWithProcess = false

  /** `sayLost` writes a line that says how many were lost. */
  constructor(sink: LogSink, sayLost: (lines: number) => void) {
    this.#sink = sink
    this.#sayLost = sayLost
  }

  write(line: string): void {
    if (this.#lost > 0 && this.#waitingBytes <= maxWaitingBytes / 2) this.#tellLost()
    const bytes = Buffer.from(line)
    const written = this.#waiting.length === 0 ? this.#attempt(bytes) : 0
    if (written === bytes.length) return
    if (written === 0 && (this.#lost > 0 || this.#waitingBytes + bytes.length > maxWaitingBytes)) {
      this.#lost += 1
      return
    }
    this.#waiting.push(bytes.subarray(written))
    this.#waitingBytes += bytes.length - written
    this.#tryLater()
  }

  [Symbol.dispose](): void {
    this.#writeWaiting()
    this.#sink.end()
  }

  #tellLost(): void {
    const lines = this.#lost
    this.#lost = 0
    this.#sayLost(lines)
  }

  #attempt(bytes: Uint8Array): number {
    try {
      return this.#sink.write(bytes)
    } catch {
      return 0
    }
  }

  #tryLater(): void {
    if (this.#timer !== undefined) return
    this.#timer = setTimeout(
      () => {
        this.#timer = undefined
        this.#writeWaiting()
      },
      pauseAfter(this.#failures, pauses),
    ).unref()
    if (this.#endsWithProcess) return
    this.#endsWithProcess = true
    // Before what the sink does at the end.
    process.prependOnceListener('exit', () => this.#writeWaiting())
  }

  #writeWaiting(): void {
    this.#failures += 1
    for (let next = this.#waiting[0]; next !== undefined; next = this.#waiting[0]) {
      const written = this.#attempt(next)
      this.#waitingBytes -= written
      if (written > 0) this.#failures = 1
      if (written < next.length) {
        this.#waiting[0] = next.subarray(written)
        this.#tryLater()
        return
      }
      this.#waiting.shift()
    }
    if (this.#lost > 0) this.#tellLost()
  }
}
