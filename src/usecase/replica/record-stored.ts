import { type Generation } from '../../domain/wal/generation.js'
import { following, type Lineage } from '../../domain/stored/lineage.js'
import { comparePositions, type WalPosition } from '../../domain/wal/position.js'
import { recordOfBegun, type StoredRecord } from '../../domain/stored/replica-owner.js'
import { isAbortError } from '../../kit/abort.js'
import { type OwnReplica } from './own-replica.js'
import { type Clock } from '../ports/clock.js'
import { type Logger } from '../ports/logger.js'

/** Often enough that little can be lost unseen, and next to nothing in requests. */
const intervalMs = 10 * 60_000
/** After a failure. */
const pauseMs = 60_000

/** What of a generation is known to be there. */
export interface ConfirmedGeneration {
  readonly generation: Generation
  readonly lineage: Lineage | undefined
  readonly hasSnapshot: boolean
  readonly position: WalPosition | undefined
  readonly commitTimeMs: number
}

/**
 * Says in the owner object of a replica what is stored there, so that a restore can tell that the last objects are lost:
 * when a generation begins, when its first snapshot is there, and now and then after that. Never more than is confirmed.
 */
export class RecordStored {
  readonly #owner: OwnReplica
  readonly #clock: Pick<Clock, 'monotonic'>
  readonly #logger: Logger
  #confirmed: ConfirmedGeneration | undefined
  #lastAt = Number.NEGATIVE_INFINITY
  #failedAt = Number.NEGATIVE_INFINITY

  constructor(options: { owner: OwnReplica; clock: Pick<Clock, 'monotonic'>; logger: Logger }) {
    this.#owner = options.owner
    this.#clock = options.clock
    this.#logger = options.logger
  }

  /** A generation is about to be begun: nothing of it is sent before. */
  async begin(
    begun: { readonly generation: Generation; readonly lineage: Lineage; readonly atMs: number },
    signal: AbortSignal,
  ): Promise<void> {
    const { recorded } = this.#owner
    const { generation, atMs } = begun
    this.#confirmed = undefined
    if (recorded?.generation === generation) return
    const { ordinal } = begun.lineage
    await this.#owner.record(
      recordOfBegun({ generation, ordinal, commitTimeMs: atMs }, recorded),
      signal,
    )
  }

  /** So much is known to be there. */
  confirmed(confirmed: ConfirmedGeneration): void {
    this.#confirmed = confirmed
  }

  /** How long until {@link write} has something to say; undefined: nothing has changed. */
  get dueInMs(): number | undefined {
    const next = this.#next
    if (next === undefined) return undefined
    const isFirst = this.#owner.recorded?.generation !== next.generation || !this.#isRestorable
    const dueAt = Math.max(isFirst ? 0 : this.#lastAt + intervalMs, this.#failedAt + pauseMs)
    return Math.max(0, dueAt - this.#clock.monotonic())
  }

  /** Writes it. A failure is no reason not to store. */
  async write(signal: AbortSignal): Promise<void> {
    const next = this.#next
    if (next === undefined) return
    try {
      await this.#owner.record(next, signal)
      this.#lastAt = this.#clock.monotonic()
    } catch (error) {
      if (isAbortError(error)) throw error
      this.#failedAt = this.#clock.monotonic()
      this.#logger.debug({ err: error }, 'what is stored could not be recorded')
    }
  }

  /** The end of this process's work. */
  async release(signal: AbortSignal): Promise<void> {
    await this.#owner.release(signal, this.#next)
  }

  get #isRestorable(): boolean {
    return this.#owner.recorded?.hasSnapshot === true
  }

  /** What is to be said; undefined: it is said already. */
  get #next(): StoredRecord | undefined {
    const { recorded } = this.#owner
    const confirmed = this.#confirmed
    // Without a snapshot, what was said at the beginning is all there is to say.
    if (confirmed?.hasSnapshot !== true || !this.#owner.isClaimed) return undefined
    const { generation, position, lineage, commitTimeMs } = confirmed
    const isSame = recorded?.generation === generation
    // One that an earlier version began has no place of its own: it is the newest in any case.
    const before = recorded?.ordinal ?? 0
    const ordinal = lineage?.ordinal ?? (isSame ? before : following(before))
    const isSaid = isSame && recorded.hasSnapshot && !isBehind(recorded.position, position)
    if (isSaid) return undefined
    return { generation, ordinal, hasSnapshot: true, position, commitTimeMs, before: undefined }
  }
}

function isBehind(said: WalPosition | undefined, position: WalPosition | undefined): boolean {
  if (position === undefined) return false
  return said === undefined || comparePositions(said, position) < 0
}
