import { type Secret } from '../../domain/settings/secret.js'
import { isAbortError } from '../../kit/abort.js'
import { Complaints } from '../complaints.js'
import { type Clock } from '../ports/clock.js'
import { type HeartbeatClient } from '../ports/heartbeat-client.js'
import { type Logger } from '../ports/logger.js'

export interface SendHeartbeatsOptions {
  readonly url: Secret
  readonly intervalMs: number
  /** Whether all that it stands for is stored within the limit. */
  readonly isSafe: () => boolean
  readonly client: HeartbeatClient
  readonly clock: Clock
  readonly logger: Logger
}

/** How often it is looked whether all is safe again, and how soon a failed heartbeat is sent again. */
const lookMs = 2000
const retryMs = 30_000
const sayMs = 30_000

/**
 * Asks for a URL once per interval as long as everything is stored: who watches that URL is alarmed when it stays silent,
 * be it that a replica is late, the daemon dead, or the machine gone.
 */
export class SendHeartbeats {
  readonly #options: SendHeartbeatsOptions
  readonly #complaints: Complaints

  constructor(options: SendHeartbeatsOptions) {
    this.#options = options
    this.#complaints = new Complaints({
      ...options,
      repeatMs: sayMs,
      betweenMs: sayMs,
      phrases: {
        failed: 'heartbeat could not be sent, retrying',
        recovered: 'heartbeat sent again',
      },
    })
  }

  async run(stop: AbortSignal): Promise<void> {
    const { clock } = this.#options
    while (!stop.aborted) {
      try {
        await clock.sleep(await this.#step(stop), stop)
      } catch (error) {
        if (!isAbortError(error)) throw error
      }
    }
  }

  /** Returns how long to wait. */
  async #step(stop: AbortSignal): Promise<number> {
    const { url, intervalMs, isSafe, client } = this.#options
    if (!isSafe()) return Math.min(lookMs, intervalMs)
    const result = await client.send(url, stop)
    if (result.kind === 'sent') {
      this.#complaints.recovered()
      return intervalMs
    }
    const { problem } = result
    this.#complaints.say(problem, { fields: { problem } })
    return Math.min(retryMs, intervalMs)
  }
}
