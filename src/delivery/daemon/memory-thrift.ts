import { setFlagsFromString } from 'node:v8'

const lookMs = 2000
/** Of one processor, by all threads: below it the process is quiet, above it busy. */
const quietShare = 0.05
const busyShare = 0.15
/** As long as V8 takes to begin by itself, and to end. */
const thriftMs = 10_000

/**
 * Lets V8 give memory back when there is little to do after a busy time. By itself it keeps for minutes what that took:
 * of the start of a thousand databases, more than the rest of the daemon. Told that size matters, it collects in all
 * threads when they are idle, in steps. It is told so for a moment only: told from the start, a thousand databases took two
 * thirds more processor until they were stored. V8 looks at this flag whenever it decides, so it can be
 * changed as the process runs.
 */
export class MemoryThrift {
  readonly #timer: NodeJS.Timeout
  #wasBusy = true
  #thriftySince: number | undefined
  #before = process.cpuUsage()
  #at = performance.now()

  constructor() {
    this.#timer = setInterval(() => this.#look(), lookMs)
    this.#timer.unref()
  }

  #look(): void {
    const now = performance.now()
    const { user, system } = process.cpuUsage(this.#before)
    const share = (user + system) / 1000 / (now - this.#at)
    this.#before = process.cpuUsage()
    this.#at = now
    if (this.#thriftySince !== undefined) {
      // Collecting is work, too: it does not count as a busy time.
      if (now - this.#thriftySince >= thriftMs) this.#set(undefined)
    } else if (share > busyShare) {
      this.#wasBusy = true
    } else if (share < quietShare && this.#wasBusy) {
      this.#wasBusy = false
      this.#set(now)
    }
  }

  #set(thriftySince: number | undefined): void {
    this.#thriftySince = thriftySince
    setFlagsFromString(
      thriftySince === undefined ? '--no-optimize-for-size' : '--optimize-for-size',
    )
  }

  end(): void {
    clearInterval(this.#timer)
  }
}
