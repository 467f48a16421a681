import { parseReplicaOwner } from '../domain/replica-owner.js'
import { describeOwner } from './own-replica.js'
import { type ClaimRecord } from './ports/claim-record.js'
import { type ReplicaClient } from './ports/replica-client.js'

/** Who writes to a replica that is not this local state, for people; undefined: nobody, as far as the replica says. */
export async function findOtherOwner(
  { client, record }: { readonly client: ReplicaClient; readonly record: ClaimRecord },
  signal: AbortSignal,
): Promise<string | undefined> {
  const found = await client.readOwner(signal)
  const owner = found === undefined ? undefined : parseReplicaOwner(found.content)
  if (owner === undefined || owner.released) return undefined
  const remembered = await record.load(signal)
  return remembered?.tokens.includes(owner.token) === true ? undefined : describeOwner(owner)
}
