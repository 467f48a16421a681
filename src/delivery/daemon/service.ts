import { printable } from '../../kit/printable.js'
import { type Logger } from '../../usecase/ports/logger.js'
import { type ServiceManager } from '../../usecase/ports/service-manager.js'
import { type Replication } from '../../usecase/daemon/replicated-databases.js'

/** A capture loop that has not moved for this long hangs in the operating system. */
const stuckMs = 60_000
/** How far an unfinished start or stop pushes its deadline ahead, and how often. */
const extensionMs = 60_000
const extendEveryMs = 20_000
/** How long a service manager without watchdog waits for news. */
const statusEveryMs = 60_000

type ServedReplication = Pick<Replication, 'databases' | 'notStored' | 'failing' | 'neverBegun'>

const maxNamed = 3
/** Of one of them: systemd ignores a message of 4 KB, with the READY=1 in it, and a path alone can be as long. */
const shownLength = 150

/** Keeps the service manager informed: of the start, of reloads, of the end, and that the loops move. */
export class Service {
  readonly #manager: ServiceManager | undefined
  readonly #logger: Logger
  #timer: NodeJS.Timeout | undefined
  #status = ''
  readonly #stuck = new Set<string>()
  #isReady = false

  constructor(manager: ServiceManager | undefined, logger: Logger) {
    this.#manager = manager
    this.#logger = logger
  }

  /** Until {@link ready}, what takes time is not to be taken for a failed start. */
  starting(status: string): void {
    const extend = (): void => {
      this.#manager?.notify([`EXTEND_TIMEOUT_USEC=${extensionMs * 1000}`, `STATUS=${status}`])
    }
    extend()
    this.#every(extendEveryMs, extend)
  }

  /** From now on the loops are looked at. */
  ready(replication: ServedReplication): void {
    const manager = this.#manager
    if (manager === undefined) return
    this.#isReady = true
    manager.notify(['READY=1', this.#describe(replication)])
    const { watchdogMs } = manager
    this.#every(watchdogMs === undefined ? statusEveryMs : watchdogMs / 2, () => {
      const news = this.#describe(replication)
      const messages = news === this.#status ? [] : [news]
      if (watchdogMs !== undefined && this.#allMove(replication)) messages.push('WATCHDOG=1')
      if (messages.length > 0) manager.notify(messages)
      this.#status = news
    })
  }

  async reload(work: () => Promise<void>, replication: ServedReplication): Promise<void> {
    // A start that is not over goes on.
    const manager = this.#isReady ? this.#manager : undefined
    const now = process.hrtime.bigint() / 1000n
    manager?.notify(['RELOADING=1', `MONOTONIC_USEC=${now}`, 'STATUS=reloading'])
    try {
      await work()
    } finally {
      manager?.notify(['READY=1', this.#describe(replication)])
    }
  }

  stopping(timeoutMs: number): void {
    clearInterval(this.#timer)
    const extensionUs = (timeoutMs + extensionMs) * 1000
    const status = 'STATUS=storing what is left'
    this.#manager?.notify(['STOPPING=1', status, `EXTEND_TIMEOUT_USEC=${extensionUs}`])
  }

  /** Nothing is told after this. */
  async end(): Promise<void> {
    clearInterval(this.#timer)
    await this.#manager?.flush()
  }

  #every(intervalMs: number, work: () => void): void {
    clearInterval(this.#timer)
    if (this.#manager === undefined) return
    this.#timer = setInterval(work, intervalMs)
    this.#timer.unref()
  }

  #describe({ databases, notStored, failing }: ServedReplication): string {
    const count = `${databases.length} ${databases.length === 1 ? 'database' : 'databases'}`
    const isFailing = new Set(failing.map(({ database }) => database))
    const behind = notStored.map(({ database }) => database).filter((each) => !isFailing.has(each))
    const failed = failing.map(({ database, reason }) => `${database} (${reason})`)
    return [
      `STATUS=replicating ${count}`,
      ...named(behind, 'with commits still to be stored'),
      ...named(failed, 'failing'),
    ].join(', ')
  }

  #allMove({ databases, neverBegun }: ServedReplication): boolean {
    const now = performance.now()
    const captures = databases
      .filter(
        ({ capture, config }) => now - capture.movedAt > stuckMs + 2 * config.monitorIntervalMs,
      )
      .map(({ config: { path }, capture }) => {
        const seconds = Math.round((now - capture.movedAt) / 1000)
        return { path, detail: `its capture has not moved for ${seconds} s` }
      })
    const others = neverBegun.map(({ database, reason }) => ({ path: database, detail: reason }))
    const stuck = [...captures, ...others]
    for (const { path, detail } of stuck) {
      if (this.#stuck.has(path)) continue
      this.#logger.error(
        { db: path, detail },
        'replication has hung in the operating system: the systemd watchdog is no longer notified',
      )
    }
    this.#stuck.clear()
    for (const { path } of stuck) this.#stuck.add(path)
    return stuck.length === 0
  }
}

/** How many there are, and the first of them; nothing where there is none. */
function named(names: readonly string[], what: string): string[] {
  const all = [...new Set(names)]
  if (all.length === 0) return []
  const shown = all.slice(0, maxNamed).map(shorten).join(', ')
  return [`${all.length} ${what}: ${shown}${all.length > maxNamed ? ', …' : ''}`]
}

/** On one line, and without its middle where it is long. */
function shorten(text: string): string {
  const line = printable(text.replaceAll(/\s+/g, ' '))
  const half = shownLength / 2
  return line.length <= shownLength ? line : `${line.slice(0, half)}…${line.slice(-half)}`
}
