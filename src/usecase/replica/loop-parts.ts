import { type Slots } from '../../kit/permits.js'
import { type GenerationFeed } from '../backlog/generation-feed.js'
import { type Clock } from '../ports/clock.js'
import { type Compressor } from '../ports/compressor.js'
import { type Logger } from '../ports/logger.js'
import { type ManagedDatabase } from '../ports/managed-database.js'
import { type ReplicaClient } from '../ports/replica-client.js'
import { type Spool } from '../ports/spool.js'
import { type ReplicaProblems } from '../replica-problems.js'
import { type Confirmation } from './confirmation.js'
import { type OwnReplica } from './own-replica.js'
import { type RecordStored } from './record-stored.js'
import { type RememberStored } from './remember-stored.js'
import { type ReplicaStanding } from './replica-standing.js'
import { type SecondLook } from './second-look.js'
import { type SendSchedule } from './send-schedule.js'

/** What the loop of a replica is given. */
export interface GivenParts {
  /** Of the replica. */
  readonly name: string
  readonly database: ManagedDatabase
  readonly client: ReplicaClient
  readonly spool: Spool
  readonly compressor: Compressor
  readonly decode: (source: AsyncIterable<Uint8Array>) => AsyncIterable<Uint8Array>
  readonly feed: GenerationFeed
  readonly clock: Clock
  readonly logger: Logger
  readonly snapshotIntervalMs: number | undefined
  /** A snapshot is due when the newest is this old, so that older ones can be deleted; undefined: nothing is. */
  readonly retentionMs: number | undefined
  /** Shared by all replicas of the process. */
  readonly snapshotSlots: Slots
  readonly problems: ReplicaProblems
}

/** What the loop of a replica is made of, and what its parts share. */
export interface LoopParts extends GivenParts {
  /** Undefined: nobody else writes there. */
  readonly owner: OwnReplica | undefined
  /** Undefined: nothing is said in an owner object. */
  readonly record: RecordStored | undefined
  readonly confirmation: Confirmation
  readonly standing: ReplicaStanding
  readonly schedule: SendSchedule
  readonly remembered: RememberStored
  readonly secondLook: SecondLook
  /** Whether this is the end, at which nothing is waited for any more. */
  readonly isEnding: () => boolean
}
