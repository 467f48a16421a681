import { type ProcessIdentity } from '../../domain/process-identity.js'
import {
  isOurClaim,
  parseReplicaOwner,
  type RememberedClaims,
} from '../../domain/stored/replica-owner.js'
import { describeOwner } from './own-replica.js'
import { type Remembered } from '../ports/remembered.js'
import { type ReplicaClient } from '../ports/replica-client.js'

/** Who writes to a replica that is not this local state, for people; undefined: nobody, as far as the replica says. */
export async function findOtherOwner(
  parts: {
    readonly client: ReplicaClient
    readonly record: Remembered<RememberedClaims>
    /** This process. */
    readonly self: ProcessIdentity
  },
  signal: AbortSignal,
): Promise<string | undefined> {
  const { client, record, self } = parts
  const found = await client.readOwner(signal)
  const owner = found === undefined ? undefined : parseReplicaOwner(found.content)
  if (owner === undefined || owner.released) return undefined
  const { tokens = [] } = (await record.load(signal)) ?? {}
  return isOurClaim(owner, { self, tokens }) ? undefined : describeOwner(owner)
}
