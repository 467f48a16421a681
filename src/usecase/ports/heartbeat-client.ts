/** The port to what watches from outside that we are alive and all is well. */
import { type Secret } from '../../domain/settings/secret.js'

export interface HeartbeatClient {
  /** Asks for the URL. `failed`: it did not answer, or not with success. */
  send(
    url: Secret,
    signal: AbortSignal,
  ): Promise<{ readonly kind: 'sent' } | { readonly kind: 'failed'; readonly problem: string }>
}
