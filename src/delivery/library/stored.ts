/** What a replica holds, for a program. */
import { openReplicaClient, parseReplicaUrl, verify as runVerify } from '../../compose/commands.js'
import { UsageError } from '../../domain/errors.js'
import { never } from '../../kit/abort.js'
import { type ReplicaClient } from '../../usecase/ports/replica-client.js'
import {
  type GenerationInfo,
  listGenerations as listOfClient,
} from '../../usecase/stored/list-backups.js'
import { type VerifiedGeneration } from '../../usecase/verify/verify-replica.js'

/**
 * The generations of a replica, given by its URL or a client, with their bounds: oldest first, those without objects last.
 * Rejects with `ConfigError` for a URL that is wrong, and `ReplicaError`.
 */
export async function listGenerations(
  replica: string | ReplicaClient,
  signal: AbortSignal = never,
): Promise<GenerationInfo[]> {
  return listOfClient(typeof replica === 'string' ? await openUrl(replica) : replica, signal)
}

export interface VerifyOptions {
  /** `structure` (by default): by listings and the ends of objects. `full`: by reading every object. */
  readonly level?: 'structure' | 'full' | undefined
  /** Ends it between two objects. */
  readonly signal?: AbortSignal | undefined
}

/**
 * Verifies what is stored at the URL of a replica, generation by generation, the newest last. What is wrong is among the
 * findings of a generation. Rejects with `ConfigError` for a URL that is wrong, and `ReplicaError` where nothing can be read.
 */
export async function verify(
  url: string,
  { level = 'structure', signal = never }: VerifyOptions = {},
): Promise<readonly VerifiedGeneration[]> {
  if (!['structure', 'full'].includes(level)) {
    throw new UsageError("verify: level must be 'structure' or 'full'")
  }
  return runVerify({ client: await openUrl(url), level }, signal)
}

async function openUrl(url: string): Promise<ReplicaClient> {
  return openReplicaClient(await parseReplicaUrl(url))
}
