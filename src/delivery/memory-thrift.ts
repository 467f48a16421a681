import { setFlagsFromString } from 'node:v8'

const lookMs = 5000
/** Of one processor, by all threads: below it the process is quiet, above it busy; in between it stays what it was. */
const quietShare = 0.05
const busyShare = 0.15

/**
 * Lets V8 give memory back while there is little to do. By itself it keeps what a busy time took, such as the start of a
 * thousand databases: more than the rest of the daemon. Told that size matters, it collects in all threads when they
 * are idle, in steps. While there is much to do it is not told so: capturing would take a tenth to a fifth more
 * processor. V8 looks at this flag whenever it decides, so it can be changed as the process runs.
 */
export class MemoryThrift {
  readonly #timer: NodeJS.Timeout
  #isThrifty = false
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
    if (share < quietShare) this.#set(true)
    else if (share > busyShare) this.#set(false)
  }

  #set(isThrifty: boolean): void {
    if (isThrifty === this.#isThrifty) return
    this.#isThrifty = isThrifty
    setFlagsFromString(isThrifty ? '--optimize-for-size' : '--no-optimize-for-size')
  }

  end(): void {
    clearInterval(this.#timer)
  }
}
