/**
 * Tells systemd by its own program `systemd-notify`, one process a message: Node has no datagram sockets for Unix paths.
 * It waits until systemd has read the message, so that systemd still sees whose it is. The unit needs NotifyAccess=all.
 */
import { spawn } from 'node:child_process'
import { type Logger } from '../../usecase/ports/logger.js'
import { type ServiceManager } from '../../usecase/ports/service-manager.js'

type Environment = Record<string, string | undefined>

/** Messages that wait while one is sent; a manager that takes none is not told the rest. */
const maxWaiting = 16

export class SystemdNotifier implements ServiceManager {
  readonly watchdogMs: number | undefined
  readonly #socket: string
  readonly #logger: Logger
  #waiting = 0
  #last: Promise<void> = Promise.resolve()
  #hasFailed = false

  private constructor(options: { socket: string; watchdogMs: number | undefined; logger: Logger }) {
    this.#socket = options.socket
    this.watchdogMs = options.watchdogMs
    this.#logger = options.logger
  }

  /**
   * Undefined where no service manager listens. Takes the variables out of the environment: programs that are started
   * from here are not to speak for us.
   */
  static fromEnvironment(env: Environment, logger: Logger): SystemdNotifier | undefined {
    const socket = env['NOTIFY_SOCKET']
    const watchdogUs = Number(env['WATCHDOG_USEC'] ?? '')
    for (const name of ['NOTIFY_SOCKET', 'WATCHDOG_USEC', 'WATCHDOG_PID']) {
      Reflect.deleteProperty(env, name)
    }
    if (socket === undefined || socket === '') return undefined
    const watchdogMs = watchdogUs > 0 ? watchdogUs / 1000 : undefined
    return new SystemdNotifier({ socket, watchdogMs, logger })
  }

  notify(assignments: readonly string[]): void {
    if (this.#waiting >= maxWaiting) return
    this.#waiting += 1
    this.#last = this.#last.then(async () => {
      await this.#send(assignments)
      this.#waiting -= 1
    })
  }

  flush(): Promise<void> {
    return this.#last
  }

  async #send(assignments: readonly string[]): Promise<void> {
    const problem = await new Promise<string | undefined>((resolve) => {
      const child = spawn('systemd-notify', assignments, {
        env: { PATH: process.env['PATH'], NOTIFY_SOCKET: this.#socket },
        stdio: 'ignore',
        timeout: 10_000,
      })
      child.on('error', (error) => resolve(error.message))
      child.on('exit', (code, signal) =>
        resolve(code === 0 ? undefined : `it ended with ${code ?? signal}`),
      )
    })
    if (problem === undefined) {
      this.#hasFailed = false
    } else if (!this.#hasFailed) {
      this.#hasFailed = true
      const hint = 'install the package systemd, or use Type=simple without WatchdogSec in the unit'
      this.#logger.warn({ problem, hint }, 'systemd-notify failed: systemd is not notified')
    }
  }
}
