import {
  type FollowedGeneration,
  type Fork,
  type FoundGeneration,
  type Lineage,
  lineageAfter,
} from '../../domain/stored/lineage.js'
import { type Generation } from '../../domain/wal/generation.js'
import { type StoredRecord } from '../../domain/stored/replica-owner.js'
import { mapAtOnce } from '../../kit/map-at-once.js'
import { type ReplicaClient } from '../ports/replica-client.js'
import { lineageOfRecord } from '../stored/replica-history.js'
import { readGeneration } from '../stored/read-generation.js'

/** Generations that are read at the same time. */
const generationsAtOnce = 8

/** The year 10,000. No clock says it, and who forges it is not to keep the next generation from beginning. */
const noClocksMs = 253_402_300_800_000

export interface FoundLineage {
  readonly lineage: Lineage
  /** Of all other generations there; undefined: there is none that a clock may have said. */
  readonly lastMomentMs: number | undefined
  readonly forks: readonly Fork[]
}

/** Looks at all other generations of a replica, before the first object of one is stored there. */
export async function findLineage(
  options: {
    readonly client: ReplicaClient
    /** The one that begins. */
    readonly generation: Generation
    /** Those before it in the local state. */
    readonly follows: readonly FollowedGeneration[]
    /** Of our claim; 0: there is none. */
    readonly epoch: number
    /** What the owner object says. */
    readonly recorded: StoredRecord | undefined
  },
  signal: AbortSignal,
): Promise<FoundLineage> {
  const { client, generation, follows, epoch, recorded } = options
  const names = await Array.fromAsync(client.listGenerations(signal))
  const others = names.filter((name) => name !== generation)
  const read = await mapAtOnce(others, generationsAtOnce, (name) =>
    readGeneration(client, name, signal),
  )
  const found = read.filter((each) => each !== undefined)
  const isOwn = recorded?.generation === generation
  const all = recorded === undefined || isOwn ? found : withRecord(found, recorded)
  const moments = all.map(({ lastMomentMs }) => lastMomentMs).filter((ms) => ms < noClocksMs)
  const recordedOrdinal = (recorded?.ordinal ?? 0) - (isOwn ? 1 : 0)
  return {
    ...lineageAfter(all, { epoch, follows, recordedOrdinal }),
    lastMomentMs: moments.length === 0 ? undefined : moments.reduce((a, b) => Math.max(a, b)),
  }
}

/**
 * A generation that was stored beside or after one of ours, or a part of it, and that is not in its lineage because it has
 * none itself: another program wrote here, as Litestream, that claims nothing.
 */
export async function findStranger(
  options: {
    readonly client: ReplicaClient
    readonly generation: Generation
    readonly lineage: Lineage
    /** When the first object of ours that is there was stored. */
    readonly firstStoredMs: number
  },
  signal: AbortSignal,
): Promise<Generation | undefined> {
  const { client, generation, lineage, firstStoredMs } = options
  const known = new Set([generation, ...lineage.follows.map((each) => each.generation)])
  const names = await Array.fromAsync(client.listGenerations(signal))
  for (const name of names) {
    if (known.has(name)) continue
    const found = await readGeneration(client, name, signal)
    if (found === undefined || found.lineage !== undefined) continue
    if (found.lastStoredMs >= firstStoredMs) return name
  }
  return undefined
}

/** What the owner object knows of a generation stands in for what nothing there tells, and for what is gone. */
function withRecord(
  found: readonly FoundGeneration[],
  record: StoredRecord,
): readonly FoundGeneration[] {
  const { generation, hasSnapshot, position, commitTimeMs } = record
  const recorded = lineageOfRecord(record)
  const isThere = found.some((each) => each.generation === generation)
  if (!isThere && hasSnapshot) {
    const gone: FoundGeneration = {
      generation,
      lineage: recorded,
      firstStoredMs: commitTimeMs,
      lastStoredMs: commitTimeMs,
      end: position,
      lastMomentMs: commitTimeMs,
    }
    return [...found, gone]
  }
  return found.map((each) => {
    if (each.generation !== generation) return each
    const lastMomentMs = Math.max(each.lastMomentMs, commitTimeMs)
    return { ...each, lineage: each.lineage ?? recorded, end: each.end ?? position, lastMomentMs }
  })
}
