/** What a replica holds, for a program. */
import { listDatabases, verify as runVerify } from '../../compose/commands.js'
import { type Config, type ReplicaConfig } from '../../domain/settings/config.js'
import { TsreplicateError, UsageError } from '../../domain/errors.js'
import { never } from '../../kit/abort.js'
import {
  type GenerationInfo,
  listGenerations as listOfClient,
} from '../../usecase/stored/list-backups.js'
import { type VerifiedGeneration } from '../../usecase/verify/verify-replica.js'
import { openReplica } from './replica-urls.js'

/**
 * The generations of a replica, given by its URL or as a configuration has it, with their bounds: oldest first, those without
 * objects last. Rejects with `ConfigError` for a URL that is wrong, `ReplicaError`, and the signal's reason at an abort.
 */
export async function listGenerations(
  replica: string | ReplicaConfig,
  signal: AbortSignal = never,
): Promise<readonly GenerationInfo[]> {
  return listOfClient(await openReplica(replica), signal)
}

/** How thoroughly a replica is verified. */
export interface VerifyOptions {
  /** `structure` (by default): by listings and the ends of objects. `full`: by reading every object. */
  readonly level?: 'structure' | 'full' | undefined
  /** Ends it between two objects. */
  readonly signal?: AbortSignal | undefined
}

/** What one replica of a configuration holds. */
export interface VerifiedReplica {
  /** Path of the database. */
  readonly database: string
  /** Name of the replica. */
  readonly replica: string
  /** The newest is the last. */
  readonly generations: readonly VerifiedGeneration[]
  /** Why nothing could be read; undefined: it could. */
  readonly error: TsreplicateError | undefined
}

/**
 * Verifies what is stored at the URL of a replica, or in one of a configuration, generation by generation, the newest last. What is
 * wrong is among the findings of a generation. Rejects with `UsageError` for options that are wrong, `ConfigError` for a URL that is
 * wrong, `ReplicaError` where nothing can be read, and the signal's reason at an abort.
 */
export async function verify(
  replica: string | ReplicaConfig,
  options?: VerifyOptions,
): Promise<readonly VerifiedGeneration[]>
/**
 * The same for each replica of each database of a configuration. One that cannot be read does not hide the others. Rejects with
 * `DatabaseError` for a folder of databases that cannot be read.
 */
export async function verify(
  config: Config,
  options?: VerifyOptions,
): Promise<readonly VerifiedReplica[]>
export async function verify(
  subject: string | ReplicaConfig | Config,
  { level = 'structure', signal = never }: VerifyOptions = {},
): Promise<readonly VerifiedGeneration[] | readonly VerifiedReplica[]> {
  if (!['structure', 'full'].includes(level)) {
    throw new UsageError("verify: level must be 'structure' or 'full'")
  }
  const verifyOne = async (
    replica: string | ReplicaConfig,
  ): Promise<readonly VerifiedGeneration[]> =>
    runVerify({ client: await openReplica(replica), level }, signal)
  if (typeof subject === 'string' || 'target' in subject) return verifyOne(subject)

  const { databases, unreadable } = await listDatabases(subject)
  const [unknown] = unreadable
  if (unknown !== undefined) throw unknown.err
  const verified: VerifiedReplica[] = []
  for (const { path: database, replicas } of databases) {
    for (const each of replicas) {
      const of = { database, replica: each.name }
      try {
        verified.push({ ...of, generations: await verifyOne(each), error: undefined })
      } catch (error) {
        if (!(error instanceof TsreplicateError)) throw error
        verified.push({ ...of, generations: [], error })
      }
    }
  }
  return verified
}
