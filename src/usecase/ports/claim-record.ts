/** The port to what the local state remembers of its claims on one replica, so that it is known to be the same after a restart. */
import { type RememberedClaims } from '../../domain/stored/replica-owner.js'

export interface ClaimRecord {
  /** Undefined: nothing. Throws {@link LocalStateError}. */
  load(signal: AbortSignal): Promise<RememberedClaims | undefined>
  /** Durably. */
  save(claims: RememberedClaims, signal: AbortSignal): Promise<void>
}
