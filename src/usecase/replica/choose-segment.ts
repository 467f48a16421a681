import { LocalStateError } from '../../domain/errors.js'
import { endOf, nextInLog } from '../../domain/stored/segment-chain.js'
import { type Generation } from '../../domain/wal/generation.js'
import { comparePositions, type WalPosition } from '../../domain/wal/position.js'
import { type FeedGeneration } from '../backlog/generation-feed.js'
import { type SpooledSegment } from '../ports/spool.js'
import { mergeSegments, planMerge } from './merge-segments.js'
import { type LoopParts } from './loop-parts.js'
import { GenerationEndedError } from './take-snapshot.js'

/** Chooses what is sent next: the segments that wait, as one, of which no other replica is being sent a part. */
export class ChooseSegment {
  readonly #parts: LoopParts

  constructor(parts: LoopParts) {
    this.#parts = parts
  }

  /** What goes on from a position; undefined if the world has changed. */
  async after(
    { generation, position }: { generation: Generation; position: WalPosition | undefined },
    kill: AbortSignal,
  ): Promise<SpooledSegment | undefined> {
    const { feed, name } = this.#parts
    while (feed.merging) {
      await feed.waitForChange(kill)
      kill.throwIfAborted()
    }
    const current = feed.current
    if (current?.generation !== generation) return undefined
    const next = nextInLog(current.segments, position)
    if (next === undefined) return undefined
    const chosen = await this.#merged(current, next, kill)
    feed.attempt(name, endOf(chosen))
    return chosen
  }

  /** Throws unless these are in the spool as they were; else nothing leads from what is stored to what is captured, unless another generation has begun. */
  async mustBeWhole(segments: readonly SpooledSegment[], kill: AbortSignal): Promise<void> {
    const { feed, spool } = this.#parts
    for (const segment of segments) {
      if (await spool.isWhole(segment, kill)) continue
      // With the end of their generation they are removed.
      if (feed.current?.generation !== segment.generation) throw new GenerationEndedError()
      const detail = `${spool.fileOf(segment)} is gone, or not what it was`
      feed.requestNewGeneration('local state has lost a segment', detail)
      throw new LocalStateError(`${detail}: a new generation begins`, {
        hint: 'nothing but tsreplicate may change the folder of the local state',
      })
    }
  }

  /** Puts consecutive segments into one object, so that one per interval is enough, and a day offline not 86,400 requests. */
  async #merged(
    current: FeedGeneration,
    first: SpooledSegment,
    kill: AbortSignal,
  ): Promise<SpooledSegment> {
    const { feed, spool, compressor, decode, schedule } = this.#parts
    const limit = feed.mayMergeUpTo({ index: first.index, offset: first.startOffset })
    const pending = planMerge(current.segments, first)
    const parts = pending.filter((part) => comparePositions(endOf(part), limit) <= 0)
    // What another replica is being sent at this moment cannot be a part, and is no object of its own.
    if (parts.length > 0 && parts.length < pending.length) schedule.defer()
    const last = parts.at(-1)
    if (parts.length < 2 || last === undefined) return first
    feed.merging = true
    try {
      await this.mustBeWhole(parts, kill)
      const merged = await mergeSegments({ parts, spool, compressor, decode }, kill)
      const sinceMs = feed.sinceMs(first)
      if (sinceMs !== undefined) feed.noteSince(merged, sinceMs)
      const at = current.segments.indexOf(first)
      // The spool may have had no room for them any more.
      if (at === -1) return first
      current.segments.splice(at, parts.length, merged)
      return merged
    } finally {
      feed.merging = false
      feed.announce()
    }
  }
}
