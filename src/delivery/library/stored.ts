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
import { checkOptions, isConfig, isReplicaConfig, oneOf, type RulesOf, signal } from './options.js'
import { openReplica } from './replica-urls.js'

/** How generations are listed. */
export interface ListOptions {
  /** Ends it between two requests. */
  readonly signal?: AbortSignal | undefined
}

/**
 * The generations of a replica, given by its URL or as a configuration has it, with their bounds: oldest first, those without
 * objects last. Rejects with `UsageError` for options that are wrong, `ConfigError` for a URL that is wrong, `ReplicaError`, and the
 * signal's reason at an abort.
 */
export async function listGenerations(
  replica: string | ReplicaConfig,
  options: ListOptions = {},
): Promise<readonly GenerationInfo[]> {
  const of = 'listGenerations'
  const { signal = never } = checkOptions(options, { of, rules: listRules })
  if (!isReplica(replica)) throw new UsageError(`${of} takes ${replicaText}`)
  return listOfClient(await openReplica(replica), signal)
}

const listRules: RulesOf<ListOptions> = { signal }
const replicaText = 'the URL of a replica, or one of a configuration'

function isReplica(value: unknown): value is string | ReplicaConfig {
  return typeof value === 'string' || isReplicaConfig(value)
}

/** How thoroughly a replica is verified. */
export interface VerifyOptions {
  /** `structure` (by default): by listings and the ends of objects. `full`: by reading every object. */
  readonly level?: 'structure' | 'full' | undefined
  /** Ends it between two objects. */
  readonly signal?: AbortSignal | undefined
}

const verifyRules: RulesOf<VerifyOptions> = { level: oneOf(['structure', 'full']), signal }

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
  options: VerifyOptions = {},
): Promise<readonly VerifiedGeneration[] | readonly VerifiedReplica[]> {
  const checked = checkOptions(options, { of: 'verify', rules: verifyRules })
  const { level = 'structure', signal = never } = checked
  const verifyOne = async (
    replica: string | ReplicaConfig,
  ): Promise<readonly VerifiedGeneration[]> =>
    runVerify({ client: await openReplica(replica), level }, signal)
  if (isReplica(subject)) return verifyOne(subject)
  if (!isConfig(subject)) throw new UsageError(`verify takes ${replicaText}, or a configuration`)

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
