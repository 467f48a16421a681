/** What is wrapped around the client of a store. */
import { openStore } from './adapters.js'
import {
  type AgeKeys,
  type Config,
  type ReplicaConfig,
  type ReplicaTarget,
} from '../domain/settings/config.js'
import { systemClock } from '../infrastructure/clock/system-clock.js'
import { type FileOwnership } from '../infrastructure/files/ownership.js'
import { countOperations } from '../infrastructure/replica-clients/around/count-operations.js'
import { guardWrites } from '../infrastructure/replica-clients/around/guard-writes.js'
import { limitOperations } from '../infrastructure/replica-clients/around/limit-operations.js'
import {
  type RetryOptions,
  retryOperations,
} from '../infrastructure/replica-clients/around/retry-operations.js'
import { type OwnReplica } from '../usecase/replica/own-replica.js'
import { Permits } from '../kit/permits.js'
import { type Logger } from '../usecase/ports/logger.js'
import { type ReplicaClient } from '../usecase/ports/replica-client.js'
import { type ReplicaMetrics } from '../usecase/ports/replica-metrics.js'
import { type UploadRecord } from '../usecase/ports/upload-record.js'
import { ReplicaProblems } from '../usecase/replica-problems.js'
import { type RestoreSource } from '../usecase/restore/restore-types.js'

/** More at once than this helps no store, and takes memory and descriptors. */
const maxOperations = 64

/** A replica for a command: what fails for a moment is tried again, a bounded number of times. */
export async function openReplicaClient(
  target: ReplicaTarget,
  age: AgeKeys | undefined,
): Promise<ReplicaClient> {
  const adapter = await openStore(target)
  // Some ten seconds: a restore must not fail because the store is busy for a moment.
  const policy = { attempts: 10, baseDelayMs: 200, maxDelayMs: 2000 }
  return withEncryption(withRetries(limited(adapter), policy), age)
}

export function openReplicas(replicas: readonly ReplicaConfig[]): Promise<RestoreSource[]> {
  return Promise.all(
    replicas.map(async ({ name, target, age }) => ({
      name,
      client: await openReplicaClient(target, age),
    })),
  )
}

/** Throws the {@link ConfigError} of a replica that cannot even be opened. Nothing is asked of any store. */
export async function checkReplicas(config: Config): Promise<void> {
  const inFolders = config.folders.map(({ database }) => database)
  for (const { replicas } of [...config.databases, ...inFolders]) {
    for (const { target, age } of replicas) await withEncryption(await openStore(target), age)
  }
}

async function withEncryption(
  client: ReplicaClient,
  age: AgeKeys | undefined,
): Promise<ReplicaClient> {
  if (age === undefined) return client
  const [{ encryptObjects }, { parseIdentities, parseRecipients }] = await Promise.all([
    import('../infrastructure/replica-clients/age/encrypt-objects.js'),
    import('../infrastructure/replica-clients/age/age-keys.js'),
  ])
  return encryptObjects(client, {
    recipients: await parseRecipients(age.recipients),
    identities: await parseIdentities(age.identities),
  })
}

export interface DaemonReplicaOptions {
  /** Mode and owner of the files of a folder replica that are made from now on. */
  readonly ownership: () => FileOwnership
  /** Remembers uploads under way, where a store needs that. */
  readonly uploads: UploadRecord
  readonly metrics: ReplicaMetrics | undefined
  readonly logger: Logger
  /** What keeps the replica behind a client to one writer. */
  readonly own: (client: ReplicaClient) => OwnReplica
}

/**
 * A replica for the daemon, and where its failures are reported. A few attempts are made here, and the daemon's loop goes
 * on for ever; only the parts of a large object are tried for ever here.
 */
export async function openDaemonReplica(
  { target, age }: { readonly target: ReplicaTarget; readonly age: AgeKeys | undefined },
  { ownership, uploads, metrics, logger, own }: DaemonReplicaOptions,
): Promise<{
  readonly client: ReplicaClient
  readonly problems: ReplicaProblems
  readonly owner: OwnReplica
}> {
  const adapter = await openStore(target, { owner: ownership, uploads })
  const counted = metrics === undefined ? adapter : countOperations(adapter, metrics)
  const problems = new ReplicaProblems({ logger, clock: systemClock, location: adapter.location })
  const plain = limited(counted)
  const owner = own(plain)
  const client = withRetries(guardWrites(plain, owner), {
    attempts: 4,
    baseDelayMs: 250,
    maxDelayMs: 10_000,
    patience: problems,
  })
  return { client: await withEncryption(client, age), problems, owner }
}

function limited(client: ReplicaClient): ReplicaClient {
  return limitOperations(client, new Permits(maxOperations))
}

function withRetries(
  client: ReplicaClient,
  policy: Omit<RetryOptions, 'clock' | 'random'>,
): ReplicaClient {
  return retryOperations(client, {
    ...policy,
    clock: systemClock,
    random: Math.random,
  })
}
