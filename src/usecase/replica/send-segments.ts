import { LocalStateError, ObjectExistsError } from '../../domain/errors.js'
import { formatObjectPath } from '../../domain/stored/replica-layout.js'
import { isPieceOf, nextInLog } from '../../domain/stored/segment-chain.js'
import { formatPosition } from '../../domain/wal/position.js'
import { type SpooledSegment } from '../ports/spool.js'
import { type ChooseSegment } from './choose-segment.js'
import { isSame, type SentSegment } from './confirmation.js'
import { type Place } from './replica-standing.js'
import { sendSegment, type StoredSent } from './send-segment.js'
import { readBehind, readByName, type StoredSegment } from './stored-end.js'
import { type LoopParts } from './loop-parts.js'

type SendSegmentsParts = LoopParts & { readonly choose: ChooseSegment }

/** Sends the spooled segments to a replica, in order, each when it is due, and goes on behind what is there already. */
export class SendSegments {
  readonly #parts: SendSegmentsParts

  constructor(parts: SendSegmentsParts) {
    this.#parts = parts
  }

  /** How long until something is to be sent; undefined: there is nothing. */
  dueInMs(place: Place | undefined): number | undefined {
    const { name, feed, confirmation, schedule, isEnding } = this.#parts
    const { current } = feed
    if (place === undefined || current?.generation !== place.generation) return undefined
    // Behind a hole nothing can be restored.
    if (confirmation.isMending) return undefined
    const isUrgent = isEnding() || !place.hasSnapshot
    const hurriedTo = feed.hurriedTo(name, place.generation)
    return schedule.dueInMs({ position: place.position, end: current.end }, { isUrgent, hurriedTo })
  }

  /** Sends the next segment, if one is due. False: none is. */
  async sendNext(place: Place, kill: AbortSignal): Promise<boolean> {
    const { feed, clock, client, logger, owner, standing, confirmation } = this.#parts
    const { schedule, choose } = this.#parts
    const current = feed.current
    if (current === undefined || this.dueInMs(place) !== 0) return false
    if (nextInLog(current.segments, place.position) === undefined) {
      throw new LocalStateError(`the spool does not have what ${client.location} needs next`)
    }
    schedule.begin({ position: place.position, end: current.end })
    const segment = await choose.after(place, kill)
    if (segment === undefined) return true
    await choose.mustBeWhole([segment], kill)
    const began = { wallMs: clock.now(), monotonicMs: clock.monotonic() }
    const stored = await this.#send(place, segment, kill)
    if (stored === undefined) return true
    standing.sent(place, segment, began)
    const sinceMs = feed.sinceMs(segment) ?? clock.monotonic()
    confirmation.acknowledged({ segment, storedBytes: stored.storedBytes, sinceMs })
    standing.acknowledge(place)
    owner?.stored()
    // Listings lag, and what follows it may be there, too.
    if (stored.wasThere) {
      this.#passOver(place, await readBehind(this.#where(place), place.position, kill))
    }
    logger.info(
      {
        position: formatStart(segment),
        elapsed: `${Math.round(clock.monotonic() - began.monotonicMs)}ms`,
        sz: segment.walBytes,
      },
      'wal segment written',
    )
    return true
  }

  /** Sends once more what the store acknowledged and does not have. */
  async sendAgain(place: Place, lost: SentSegment, kill: AbortSignal): Promise<void> {
    const { feed, client, spool, logger, choose, confirmation } = this.#parts
    const { generation, index, startOffset } = lost.segment
    const path = formatObjectPath({ kind: 'wal-segment', generation, index, offset: startOffset })
    const segment = feed.current?.segments.find((each) => isSame(each, lost.segment))
    if (feed.current?.generation !== place.generation) return
    if (segment === undefined) {
      feed.requestNewGeneration(
        'replica missed segments that the spool no longer has',
        `the store acknowledged ${path} on ${client.location} and does not have it`,
      )
      await feed.waitForChange(kill)
      return
    }
    await choose.mustBeWhole([segment], kill)
    const { storedBytes } = await sendSegment({ client, spool, isNew: false }, segment, kill)
    confirmation.acknowledged({ ...lost, storedBytes })
    logger.warn({ object: path }, 'wal segment that the store had lost was sent again')
  }

  /** It is there already, and is to be confirmed as if it had been sent now. */
  noteStored({ segment, storedBytes }: StoredSegment): void {
    const { clock, logger, confirmation } = this.#parts
    confirmation.acknowledged({ segment, storedBytes, sinceMs: clock.monotonic() })
    logger.info({ position: formatStart(segment) }, 'wal segment was already there')
  }

  /** Undefined: the object that is there has what we have, and only ends elsewhere. */
  async #send(
    place: Place,
    segment: SpooledSegment,
    kill: AbortSignal,
  ): Promise<StoredSent | undefined> {
    const { client, spool } = this.#parts
    try {
      return await sendSegment({ client, spool, isNew: true }, segment, kill)
    } catch (error) {
      if (!(error instanceof ObjectExistsError)) throw error
      const { index, startOffset: offset } = segment
      const found = await readByName(this.#where(place), { index, offset }, kill)
      if (found === undefined || !this.#passOver(place, [found])) throw error
      return undefined
    }
  }

  /** Goes on behind what is there already, as far as it is a piece of what we have. False: it is not, or there is nothing. */
  #passOver(place: Place, found: readonly StoredSegment[]): boolean {
    const spooled = this.#parts.feed.current?.segments ?? []
    const isOurs = found.map(({ segment }) => isPieceOf(spooled, segment.trailer))
    const count = isOurs.indexOf(false) === -1 ? found.length : isOurs.indexOf(false)
    for (const each of found.slice(0, count)) {
      this.noteStored(each)
      place.position = each.position
    }
    this.#parts.standing.acknowledge(place)
    return count > 0
  }

  #where({ generation }: Place): Parameters<typeof readByName>[0] {
    const { client, feed } = this.#parts
    return { client, generation, spooled: feed.current?.segments ?? [] }
  }
}

function formatStart({ generation, index, startOffset: offset }: SpooledSegment): string {
  return formatPosition({ generation, index, offset })
}
