import { CorruptionError, ObjectNotFoundError } from '../../domain/errors.js'
import { type NewestSnapshot } from '../../domain/policy/snapshot-schedule.js'
import { type Lineage } from '../../domain/stored/lineage.js'
import { formatObjectPath } from '../../domain/stored/replica-layout.js'
import { ownTrailer, type SnapshotTrailer } from '../../domain/stored/trailer.js'
import { type StoredSnapshot } from '../../domain/stored/restore-plan.js'
import { type Confirmation } from './confirmation.js'
import { type Logger } from '../ports/logger.js'
import { type ReplicaClient } from '../ports/replica-client.js'
import { readTrailer } from '../stored/trailers.js'

/** A snapshot that is there, and what it says of itself. */
export interface DescribedSnapshot {
  readonly info: StoredSnapshot
  readonly snapshot: NewestSnapshot
  readonly lineage: Lineage | undefined
}

/**
 * The newest snapshot that is as it was sent. One that the store has cut does not count: another is taken, and nothing
 * is restorable from here until then. Of one that is encrypted nothing but its size may be known, which `confirmation` judges.
 */
export async function newestSnapshot(
  {
    client,
    logger,
    confirmation,
  }: {
    readonly client: ReplicaClient
    readonly logger: Logger
    readonly confirmation: Pick<Confirmation, 'isDamaged'>
  },
  snapshots: readonly StoredSnapshot[],
  signal: AbortSignal,
): Promise<DescribedSnapshot | undefined> {
  for (const info of snapshots.toReversed()) {
    const trailer = await trailerOf(client, info, signal)
    const isUnreadable = trailer === undefined && !client.isEncrypted
    if (isUnreadable || confirmation.isDamaged(info)) {
      logger.error(
        {
          location: client.location,
          object: formatObjectPath(info),
          hint: 'check what the store does with the objects that it is sent, and who else may write there',
        },
        'a snapshot on the replica is damaged: another one is taken',
      )
      continue
    }
    return {
      info,
      snapshot: {
        index: info.index,
        consistentFrom: trailer?.consistentFrom,
        atMs: trailer?.endTimeMs ?? info.createdAtMs,
      },
      lineage: trailer?.lineage,
    }
  }
  return undefined
}

async function trailerOf(
  client: ReplicaClient,
  info: StoredSnapshot,
  signal: AbortSignal,
): Promise<SnapshotTrailer | undefined> {
  try {
    return ownTrailer(info, await readTrailer(client, info, signal))
  } catch (error) {
    if (error instanceof CorruptionError || error instanceof ObjectNotFoundError) return undefined
    throw error
  }
}
