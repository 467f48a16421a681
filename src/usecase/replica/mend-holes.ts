import { endOf, nextInLog } from '../../domain/stored/segment-chain.js'
import { comparePositions, formatPosition, type WalPosition } from '../../domain/wal/position.js'
import { type SpooledSegment } from '../ports/spool.js'
import { type CheckTiling, type Hole } from './check-tiling.js'
import { type Place } from './replica-standing.js'
import { sendSegment } from './send-segment.js'
import { type SendSnapshots } from './send-snapshots.js'
import { type LoopParts } from './loop-parts.js'

type MendHolesParts = LoopParts & { readonly snapshots: SendSnapshots }

/** Finds out whether the segments on a replica follow each other, and sees to it that they do, or need not. */
export class MendHoles {
  readonly #parts: MendHolesParts

  constructor(parts: MendHolesParts) {
    this.#parts = parts
  }

  /** Looks a bit further. Where they do not follow each other, that is mended. */
  async step(place: Place, tiling: CheckTiling, kill: AbortSignal): Promise<void> {
    const { standing, remembered, secondLook } = this.#parts
    if (!tiling.isComplete) {
      await tiling.readSome(kill)
      return
    }
    const { holes, runs } = tiling.result
    if (holes.length > 0) {
      await this.#mend(place, tiling, kill)
      return
    }
    secondLook.clear()
    place.tiling = undefined
    standing.acknowledge(place)
    await remembered.begin(runs, kill)
  }

  /**
   * What is missing is sent again if the spool has it. Else a snapshot makes everything behind it restorable, in this
   * generation if all of the index is there that is being captured, and Litestream can still read it.
   */
  async #mend(place: Place, tiling: CheckTiling, kill: AbortSignal): Promise<void> {
    const { feed, client, logger, spool, standing, secondLook, snapshots } = this.#parts
    const { current } = feed
    const { holes } = tiling.result
    const [first] = holes
    const last = holes.at(-1)
    if (current?.generation !== place.generation || first === undefined || last === undefined) {
      return
    }
    const format = (position: WalPosition): string =>
      formatPosition({ generation: place.generation, ...position })
    const range = `${format(first.from)} to ${format(first.to)}`
    standing.isKnownRestorable = false
    if (await secondLook.isDue(range, kill)) {
      standing.forget()
      return
    }
    const lost = holes.map((hole) => spooledBetween(current.segments, hole))
    logger.error(
      {
        location: client.location,
        missing: range,
        holes: holes.length,
        hint: 'find out who removes or replaces objects there: nothing but tsreplicate may',
      },
      lost.includes(undefined)
        ? 'commits are missing on the replica: a new snapshot is taken, from which the commits after them can be restored again'
        : 'commits are missing on the replica: they are sent again',
    )
    if (!lost.includes(undefined)) {
      for (const segment of lost.flatMap((segments) => segments ?? [])) {
        await sendSegment({ client, spool, isNew: false }, segment, kill)
      }
      standing.forget()
      return
    }
    place.tiling = undefined
    const isBehindUs = comparePositions(last.to, { index: current.end.index, offset: 0 }) <= 0
    if (isBehindUs && !tiling.lacksBeginning) {
      // What is behind the hole is looked at when the snapshot is there.
      standing.loseSnapshot(place)
      await snapshots.take(place, 'generation', kill)
      return
    }
    feed.requestNewGeneration(
      'replica missed segments that the spool no longer has',
      `${client.location} lacks ${range}`,
    )
    standing.forget()
    await feed.waitForChange(kill)
  }
}

/** Spooled segments that fill a hole; undefined: there are none, or not all. */
function spooledBetween(
  segments: readonly SpooledSegment[],
  { from, to }: Hole,
): readonly SpooledSegment[] | undefined {
  const found: SpooledSegment[] = []
  let end: WalPosition = from
  while (comparePositions(end, to) < 0) {
    const next = nextInLog(segments, end)
    if (next === undefined) return undefined
    found.push(next)
    // A hole may end where an index does.
    const isAtEnd = next.index + 1 === to.index && to.offset === 0
    end = endOf(next)
    if (isAtEnd && nextInLog(segments, end)?.index === to.index) return found
  }
  return comparePositions(end, to) === 0 ? found : undefined
}
