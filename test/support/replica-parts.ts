/** What the loop of a replica is made of, on a store in memory, to try its parts one by one. */
import { formatGeneration } from '../../src/domain/wal/generation.ts'
import { decodeFrame } from '../../src/infrastructure/lz4/frame-decoder.ts'
import { createLz4Compressor } from '../../src/infrastructure/lz4/frame-encoder.ts'
import { type GenerationFeed } from '../../src/usecase/backlog/generation-feed.ts'
import { Permits } from '../../src/kit/permits.ts'
import { type Logger } from '../../src/usecase/ports/logger.ts'
import { type ManagedDatabase } from '../../src/usecase/ports/managed-database.ts'
import { type Spool } from '../../src/usecase/ports/spool.ts'
import { ReplicaProblems } from '../../src/usecase/replica-problems.ts'
import { ChooseSegment } from '../../src/usecase/replica/choose-segment.ts'
import { ConfirmStored } from '../../src/usecase/replica/confirm-stored.ts'
import { Confirmation } from '../../src/usecase/replica/confirmation.ts'
import { type LoopParts } from '../../src/usecase/replica/loop-parts.ts'
import { RememberStored } from '../../src/usecase/replica/remember-stored.ts'
import { type Place, ReplicaStanding } from '../../src/usecase/replica/replica-standing.ts'
import { SecondLook } from '../../src/usecase/replica/second-look.ts'
import { SendSchedule } from '../../src/usecase/replica/send-schedule.ts'
import { SendSegments } from '../../src/usecase/replica/send-segments.ts'
import { SendSnapshots } from '../../src/usecase/replica/send-snapshots.ts'
import { ManualClock } from './manual-clock.ts'
import { MemoryReplicaClient } from './memory-replica-client.ts'
import { SpooledHistory } from './spooled-history.ts'

const generation = formatGeneration(Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8))
const compressor = await createLz4Compressor()
const name = 'r'

export class ReplicaParts implements AsyncDisposable {
  readonly generation = generation
  readonly history: SpooledHistory
  readonly clock = new ManualClock()
  readonly client = new MemoryReplicaClient({ now: () => this.clock.now() })
  readonly confirmation: Confirmation
  readonly problems: ReplicaProblems
  readonly standing: ReplicaStanding
  readonly parts: LoopParts
  readonly sender: SendSegments
  readonly confirm: ConfirmStored
  readonly snapshots: SendSnapshots
  /** The phrases of all records, with their level. */
  readonly said: string[] = []
  isEnding = false
  /** Happens while the file of the database is read. */
  readFile: () => Promise<void> = () => Promise.resolve()

  private constructor(history: SpooledHistory) {
    this.history = history
    const { client, clock, logger } = this
    const { feed, spool } = history
    feed.addReplica(name)
    const confirmation = new Confirmation({ client, clock, intervalMs: 60_000 })
    const schedule = new SendSchedule({ clock, intervalMs: 1000, hurriedIntervalMs: 50 })
    const problems = new ReplicaProblems({ logger, clock, location: client.location })
    const isEnding = (): boolean => this.isEnding
    const nobody = { owner: undefined, record: undefined }
    const database = {
      fileSizeBytes: () => Promise.resolve(512),
      readFile: () => this.#read(),
    } as unknown as ManagedDatabase
    const fromOutside = { name, client, feed, spool, clock, logger, isEnding, database, ...nobody }
    const made = { ...fromOutside, confirmation, schedule, problems, compressor }
    const standing = new ReplicaStanding(made)
    const parts: LoopParts = {
      ...{ ...made, standing, decode: decodeFrame },
      remembered: new RememberStored({ record: undefined, logger }),
      secondLook: new SecondLook(clock),
      snapshotSlots: new Permits(1),
      snapshotIntervalMs: 30 * 24 * 3_600_000,
      retentionMs: undefined,
    }
    const sender = new SendSegments({ ...parts, choose: new ChooseSegment(parts) })
    const confirm = new ConfirmStored({ ...parts, sender })
    const snapshots = new SendSnapshots({ ...parts, sender, confirm })
    this.parts = parts
    this.confirmation = confirmation
    this.problems = problems
    this.standing = standing
    this.sender = sender
    this.confirm = confirm
    this.snapshots = snapshots
  }

  async *#read(): AsyncIterable<Uint8Array> {
    await this.readFile()
    yield new Uint8Array(512)
  }

  static async open(): Promise<ReplicaParts> {
    return new ReplicaParts(await SpooledHistory.begin(generation))
  }

  get feed(): GenerationFeed {
    return this.history.feed
  }

  get spool(): Spool {
    return this.history.spool
  }

  /** It was looked what is there: a snapshot, and nothing else unless it is said. */
  found(known: Partial<Place> = {}): Place {
    const place: Place = {
      generation,
      lineage: undefined,
      position: undefined,
      hasSnapshot: true,
      newestSnapshot: { index: 0, consistentFrom: { index: 0, offset: 0 }, atMs: this.clock.now() },
      tiling: undefined,
      ...known,
    }
    this.standing.found(place)
    this.confirmation.begin(place, undefined)
    this.standing.acknowledge(place)
    return place
  }

  readonly logger: Logger = {
    debug: () => undefined,
    info: (_, phrase) => void this.said.push(`info: ${phrase}`),
    warn: (_, phrase) => void this.said.push(`warn: ${phrase}`),
    error: (_, phrase) => void this.said.push(`error: ${phrase}`),
    child: () => this.logger,
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.history[Symbol.asyncDispose]()
  }
}
