import { type Secret } from '../../domain/settings/secret.js'
import { codeOf } from '../../kit/error-text.js'
import { type HeartbeatClient } from '../../usecase/ports/heartbeat-client.js'

const timeoutMs = 10_000

/** A GET by Node's own fetch. The URL is a secret: of its place, messages show the host alone. */
export const fetchHeartbeatClient: HeartbeatClient = {
  async send(url: Secret, signal: AbortSignal) {
    const { host } = new URL(url.reveal())
    try {
      const response = await fetch(url.reveal(), {
        signal: AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]),
        headers: { 'user-agent': 'tsreplicate' },
      })
      await response.body?.cancel()
      if (response.ok) return { kind: 'sent' }
      return { kind: 'failed', problem: `${host} answered ${response.status}` }
    } catch (error) {
      signal.throwIfAborted()
      return { kind: 'failed', problem: `${host} cannot be reached: ${causeOf(error)}` }
    }
  },
}

/** Of what fetch throws, the cause says more, and no message repeats the URL. */
function causeOf(error: unknown): string {
  if (!(error instanceof Error)) return 'it failed'
  if (error.name === 'TimeoutError') return `no answer in ${timeoutMs / 1000} s`
  const { cause } = error
  return cause instanceof Error ? (codeOf(cause) ?? cause.message) : error.name
}
