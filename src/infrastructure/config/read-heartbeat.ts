import { type HeartbeatConfig } from '../../domain/settings/config.js'
import { Secret } from '../../domain/settings/secret.js'

type HeartbeatKey = 'heartbeat-url' | 'heartbeat-interval'

/** What a database, or a replica, asks for as long as everything is stored. */
export function readHeartbeat(
  { url, intervalMs }: { readonly url: string | undefined; readonly intervalMs: number },
  settings: {
    has(key: HeartbeatKey): boolean
    problem(key: HeartbeatKey, problem: string): void
  },
): HeartbeatConfig | undefined {
  if (url === undefined) {
    if (settings.has('heartbeat-interval')) {
      settings.problem('heartbeat-interval', 'has no effect without heartbeat-url')
    }
    return undefined
  }
  if (!/^https?:\/\//.test(url) || !URL.canParse(url)) {
    settings.problem('heartbeat-url', 'must be an http:// or https:// URL')
    return undefined
  }
  return { url: new Secret(url), intervalMs }
}
