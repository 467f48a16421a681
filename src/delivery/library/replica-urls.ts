/** How an application names a replica: by its URL, or as a configuration has it, with its keys. */
import { openReplicaClient, parseReplicaUrl } from '../../compose/commands.js'
import { type ReplicaConfig } from '../../domain/settings/config.js'
import { type ReplicaClient } from '../../usecase/ports/replica-client.js'
import { type RestoreSource } from '../../usecase/restore/restore-types.js'

/** Rejects with `ConfigError` for a URL that is wrong. */
export async function openReplica(replica: string | ReplicaConfig): Promise<ReplicaClient> {
  if (typeof replica !== 'string') return openReplicaClient(replica.target, replica.age)
  return openReplicaClient(await parseReplicaUrl(replica))
}

/** The same of several, each with the name that a report says. */
export async function openReplicas(
  replicas: readonly (string | ReplicaConfig)[],
): Promise<RestoreSource[]> {
  return Promise.all(
    replicas.map(async (replica) => {
      const client = await openReplica(replica)
      return { name: typeof replica === 'string' ? client.type : replica.name, client }
    }),
  )
}
