import { ReplicaError } from '../../domain/errors.js'
import { type Fork, type Lineage } from '../../domain/stored/lineage.js'
import { formatObjectPath } from '../../domain/stored/replica-layout.js'
import { checksumAt, lacksBeginning, nextInLog } from '../../domain/stored/segment-chain.js'
import { type StoredRuns } from '../../domain/stored/stored-runs.js'
import { broken, type Broken } from '../../domain/wal/break-reason.js'
import { type Generation } from '../../domain/wal/generation.js'
import { comparePositions, formatPosition, type WalPosition } from '../../domain/wal/position.js'
import { sameChecksum } from '../../domain/wal/wal-format.js'
import { type FeedGeneration } from '../backlog/generation-feed.js'
import { type SpooledSegment } from '../ports/spool.js'
import { CheckTiling } from './check-tiling.js'
import { findLineage, findStranger } from './find-lineage.js'
import { type DescribedSnapshot, newestSnapshot } from './newest-snapshot.js'
import { readBehind, readEnd, type StoredEnd, type StoredSegment } from './stored-end.js'
import { hasReached } from './take-snapshot.js'
import { listGeneration } from '../stored/replica-history.js'
import { type LoopParts } from './loop-parts.js'

/** What is known of a generation's end here from before; undefined: nothing of any generation is. */
export type KnownPlace =
  { readonly generation: Generation; readonly position: WalPosition | undefined } | undefined

/** What a replica has of a generation, and what the spool goes on with. */
export interface Located {
  readonly kind: 'located'
  /** End of what is stored, or where it is gone on with a snapshot; undefined: no segment is stored. */
  readonly position: WalPosition | undefined
  readonly newest: DescribedSnapshot | undefined
  /** It lacks what the spool no longer has: it needs a snapshot, from which it goes on. */
  readonly isCutOff: boolean
  /** Undefined: what is stored of the generation does not tell. */
  readonly lineage: Lineage | undefined
  /** Stored segments that no listing shows yet. */
  readonly unlisted: readonly StoredSegment[]
  /** The first segment of the spool that is not stored; undefined: all are. */
  readonly next: SpooledSegment | undefined
  /** Finds out whether the segments there follow each other. */
  readonly tiling: CheckTiling
}

/** Finds out what of a generation is stored on a replica, and whether the spool goes on from there. */
export class LocateReplica {
  readonly #parts: LoopParts
  #isSwept = false
  #saidForksOf: Generation | undefined

  constructor(parts: LoopParts) {
    this.#parts = parts
  }

  /** What interrupted uploads leave is removed once; this has it done again at the next look. */
  sweepAgain(): void {
    this.#isSwept = false
  }

  /** `broken`: another generation has to begin. Undefined: that was seen by somebody else. */
  async locate(
    generation: Generation,
    known: KnownPlace,
    kill: AbortSignal,
  ): Promise<Located | Broken | undefined> {
    const { client, feed, logger, remembered, secondLook, confirmation } = this.#parts
    const leftovers = this.#isSwept ? undefined : await this.#sweep(kill)
    const { snapshots, segments } = await listGeneration(client, generation, kill)
    const last = segments.at(-1)
    // Said only now: where the replica cannot be listed either, that is the problem, and the sweep is tried again.
    this.#isSwept = true
    if (leftovers !== undefined) {
      logger.warn(
        { location: client.location, err: leftovers },
        'leftovers of interrupted uploads could not be removed from the replica',
      )
    }
    const current = feed.current
    if (current?.generation !== generation) return undefined
    const where = { client, generation, spooled: current.segments }
    const listedEnd = last === undefined ? undefined : await readEnd(where, last, kill)
    if (last !== undefined && listedEnd === undefined) {
      return broken(
        'replica missed segments that the spool no longer has',
        `the end of ${formatObjectPath(last)} on ${client.location} cannot be read`,
      )
    }
    const runs = await remembered.load(kill)
    const isBehind = this.#isBehind(generation, known, runs)
    const unlisted = this.#mayLag(current, known, { end: listedEnd?.position, isBehind })
      ? await readBehind(where, listedEnd?.position, kill)
      : []
    const ends = [...(listedEnd === undefined ? [] : [listedEnd]), ...unlisted]
    const position = ends.at(-1)?.position
    const format = (end: WalPosition): string => formatPosition({ generation, ...end })
    // A power cut can take frames from the WAL that were sent, and the local state with them; others are then written there.
    const other = ends.find((end) => isOther(end, current.segments))
    if (other !== undefined) {
      return broken(
        'replica differs from the local state',
        `${client.location} has other frames before ${format(other.position)} than were captured`,
      )
    }
    const newest = await newestSnapshot({ client, logger, confirmation }, snapshots, kill)
    const stranger = newest && (await this.#strangerSince(newest, known, kill))
    if (stranger !== undefined) {
      return broken(
        'replica taken over from another writer',
        `${client.location} holds generation ${stranger} of a program that does not claim replicas, such as Litestream`,
      )
    }
    if (position !== undefined && comparePositions(position, current.end) > 0) {
      return broken(
        'replica is ahead of the local state',
        `${client.location} has ${format(position)}, captured to ${format(current.end)}`,
      )
    }
    const next = nextInLog(current.segments, position)
    const isCutOff = next === undefined && !hasReached(position, current.end)
    const beginning = feed.beginningOfIndex
    if (isCutOff) {
      const end = position === undefined ? 'nothing' : format(position)
      if (isBehind(position) && (await secondLook.isDue(`stored up to ${end}`, kill))) {
        return this.locate(generation, known, kill)
      }
      // What is stored behind the beginning has the names of what would go on from there.
      const isInTheWay = position && beginning && comparePositions(position, beginning) > 0
      const isHeadless = lacksBeginning(segments.toSorted(comparePositions))
      if (beginning === undefined || isInTheWay === true || isHeadless) {
        return broken(
          'replica missed segments that the spool no longer has',
          position === undefined
            ? `${client.location} has none of them`
            : `${client.location} ends at ${format(position)}`,
        )
      }
    }
    const lineage = newest === undefined ? await this.#begin(current, kill) : newest.lineage
    if (lineage !== undefined && 'kind' in lineage) return lineage
    if (isCutOff) {
      this.#sayCutOff({
        end: position && format(position),
        goesOnAt: beginning && format(beginning),
      })
    }
    // What lies in front of the snapshot that is needed follows nothing.
    const firstIndex = isCutOff ? (beginning?.index ?? 0) : (newest?.info.index ?? 0)
    const tiling = new CheckTiling({
      client,
      generation,
      firstIndex,
      listed: segments.filter(({ index }) => index >= firstIndex),
      remembered: runs,
      spooled: current.segments,
    })
    return {
      kind: 'located',
      position: isCutOff ? beginning : position,
      ...{ newest, isCutOff, lineage, unlisted, next, tiling },
    }
  }

  #sayCutOff({
    end,
    goesOnAt,
  }: {
    readonly end: string | undefined
    readonly goesOnAt: string | undefined
  }): void {
    const { client, logger } = this.#parts
    const fields = { location: client.location, position: goesOnAt }
    if (end === undefined) {
      logger.info(fields, 'nothing of the generation is stored there: it begins with a snapshot')
      return
    }
    logger.warn(
      { ...fields, missing: `${end} to ${goesOnAt}` },
      'the replica lacks commits that are no longer kept here: it goes on with a snapshot of its own, and no moment between can be restored from it',
    )
  }

  /**
   * A generation of a program that claims nothing, which it has written here since we did: then one of ours begins that
   * follows what it wrote, for nothing else would tell which is the newer one.
   */
  async #strangerSince(
    { info, lineage }: DescribedSnapshot,
    known: KnownPlace,
    kill: AbortSignal,
  ): Promise<Generation | undefined> {
    const { client, feed } = this.#parts
    const { generation, createdAtMs } = info
    if (lineage === undefined || feed.continued !== generation || known !== undefined) {
      return undefined
    }
    return findStranger({ client, generation, lineage, firstStoredMs: createdAtMs }, kill)
  }

  /** Whether an end lies before one that is known to have been stored here. */
  #isBehind(
    generation: Generation,
    place: KnownPlace,
    remembered: StoredRuns | undefined,
  ): (end: WalPosition | undefined) => boolean {
    const recorded = this.#parts.owner?.recorded
    const known = [
      remembered?.generation === generation ? remembered.runs.at(-1)?.to : undefined,
      recorded?.generation === generation ? recorded.position : undefined,
      place?.generation === generation ? place.position : undefined,
    ]
    return (end) => known.some((each) => each !== undefined && !hasReached(end, each))
  }

  /** Whether a listing that ends there may lack the newest segments, so that their names are worth asking for. */
  #mayLag(
    { generation, segments, end: capturedEnd }: FeedGeneration,
    known: KnownPlace,
    {
      end,
      isBehind,
    }: {
      readonly end: WalPosition | undefined
      readonly isBehind: (end: WalPosition | undefined) => boolean
    },
  ): boolean {
    if (isBehind(end)) return true
    if (hasReached(end, capturedEnd)) return false
    // What an earlier process sent, and did not see confirmed, must not be merged with what follows it.
    const isFirstLook = this.#parts.feed.continued === generation && known === undefined
    return isFirstLook || nextInLog(segments, end) === undefined
  }

  /**
   * Returns why leftovers could not be removed, which is no reason not to store: a replica may allow no deletion at all.
   */
  async #sweep(kill: AbortSignal): Promise<ReplicaError | undefined> {
    try {
      await this.#parts.client.sweep(kill)
      return undefined
    } catch (error) {
      if (!(error instanceof ReplicaError) || error.retryable) throw error
      return error
    }
  }

  /**
   * Finds the place of a generation among the others here, before its first object is stored. `broken`: commits there are
   * as late as its own, so that another one has to begin.
   */
  async #begin(current: FeedGeneration, kill: AbortSignal): Promise<Lineage | Broken> {
    const { client, feed, owner, record, clock } = this.#parts
    const { generation, origin } = current
    const { lineage, lastMomentMs, forks } = await findLineage(
      {
        client,
        generation,
        follows: origin?.follows ?? [],
        epoch: owner?.epoch ?? 0,
        recorded: owner?.recorded,
      },
      kill,
    )
    const beganAtMs = origin?.beganAtMs ?? current.segments[0]?.trailer.captures[0]?.timeMs
    if (lastMomentMs === undefined || beganAtMs === undefined || lastMomentMs < beganAtMs) {
      this.#sayForks(generation, forks)
      await record?.begin({ generation, lineage, atMs: beganAtMs ?? clock.now() }, kill)
      return lineage
    }
    feed.notBeforeMs = Math.max(feed.notBeforeMs, lastMomentMs)
    return broken(
      'replica has later commit times',
      `${client.location} has commits of ${new Date(lastMomentMs).toISOString()}, and this generation begins at ${new Date(beganAtMs).toISOString()}`,
    )
  }

  /** Says once of a generation what it does not go on from. */
  #sayForks(generation: Generation, forks: readonly Fork[]): void {
    const { client, logger, owner, database } = this.#parts
    if (this.#saidForksOf === generation) return
    this.#saidForksOf = generation
    for (const { generation: other, from } of forks) {
      logger.warn(
        {
          generation: other,
          position: formatPosition({ generation: other, ...from }),
          by: owner?.formerOwner,
          hint: `tsreplicate restore -generation ${other} -o PATH ${database.path}`,
        },
        `${client.location} holds commits that this database does not have: from now on, a restore of the newest commit follows this database; the other commits stay until retention deletes them`,
      )
    }
  }
}

/** Whether an end that is stored has other frames before it than we have. */
function isOther({ position, checksum }: StoredEnd, segments: readonly SpooledSegment[]): boolean {
  const local = checksumAt(segments, position)
  return local !== undefined && checksum !== undefined && !sameChecksum(local, checksum)
}
