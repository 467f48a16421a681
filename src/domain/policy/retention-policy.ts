/**
 * Which stored objects may go. What is promised: the database as it was at every moment of the last `retention` can be
 * restored, by commit times. So the newest snapshot that is older than that window stays, with all the WAL behind it.
 *
 * The plan is made from a listing and the trailers of snapshots alone. Whatever is in doubt stays: a snapshot whose
 * chain of segments has a hole takes nobody's place, and an object takes another's place only after a grace period, so
 * that a restore that has chosen the older one can finish.
 *
 * Clocks are in doubt, too. The window ends at the earliest of our clock, the newest commit, and when the store says its
 * newest object was created; it is longer by what our clock was set ahead within it; and something is out of it only when
 * both say so, the time of its commit and the time at which the store has got it. So one clock that is wrong, ours or the
 * store's, costs no moment of the true window.
 */
import { type Generation } from '../wal/generation.js'
import { type GenerationOrder, type Lineage, orderGenerations } from '../stored/lineage.js'
import { comparePositions, type WalPosition } from '../wal/position.js'
import { chainSegments, type StoredSegment, type StoredSnapshot } from '../stored/restore-plan.js'
import { type ClockLeap, stampBefore } from './wall-clock.js'

export interface RetainedSnapshot extends StoredSnapshot {
  /** Where it is consistent from; undefined: it is the original's, and holds nothing behind the start of its index. */
  readonly consistentFrom: WalPosition | undefined
  /** Time of the commit there; of the original's, when the store says it was created. */
  readonly commitTimeMs: number
  /** When it was finished, by our clock and by the store's: the later of the two. */
  readonly finishedAtMs: number
  /** Its trailer is damaged, or segments that it needs are known to be missing: it restores nothing. */
  readonly broken: boolean
}

export interface RetainedGeneration {
  readonly generation: Generation
  /** Undefined: no snapshot tells it. */
  readonly lineage: Lineage | undefined
  readonly snapshots: readonly RetainedSnapshot[]
  readonly segments: readonly StoredSegment[]
  readonly endMs: number
  /** When the newest of its objects was created, as the store says. */
  readonly newestObjectMs: number
  /** Where its last segment ends; undefined: not known. */
  readonly endPosition: WalPosition | undefined
}

/** How many hours, days, weeks and months before the window keep one snapshot each. */
export interface KeepRules {
  /** Hours. */
  readonly hourly: number
  /** Days. */
  readonly daily: number
  /** Weeks. */
  readonly weekly: number
  /** Months. */
  readonly monthly: number
}

/** What stays: every moment of the window, and some snapshots before it. */
export interface RetentionRules {
  /** How long the window is, milliseconds. */
  readonly retentionMs: number
  /** What stays before the window. */
  readonly keep: KeepRules
}

export interface RetentionMoment {
  /** By our clock. */
  readonly nowMs: number
  /** When our clock was set ahead, as far as that is known. */
  readonly leaps: readonly ClockLeap[]
  /** The generation that is being written; undefined: nobody knows, and the newest is taken for it. */
  readonly current: Generation | undefined
  /** Generations whose deletion was decided before, and may be half done. */
  readonly condemned: ReadonlySet<Generation>
}

export interface Deletion {
  readonly generation: Generation
  /** All of the generation goes. */
  readonly whole: boolean
  readonly reason: string
  /** Gone before any of the segments is touched. */
  readonly snapshots: readonly RetainedSnapshot[]
  /** Whole indexes: first those at offsets above 0, then those at 0. */
  readonly segments: readonly StoredSegment[]
}

/** A snapshot with what is replayed on it, or a generation without any, that stays. */
export interface Kept {
  readonly generation: Generation
  readonly snapshot: RetainedSnapshot | undefined
  readonly reason: string
}

export interface RetentionPlan {
  /** Oldest generation first. */
  readonly deletions: readonly Deletion[]
  readonly kept: readonly Kept[]
  /** Snapshots that the deletions rely on: they take the place of others, or stay for a period. */
  readonly reliedOn: readonly RetainedSnapshot[]
  /** Until then, the same listing gives the same plan; undefined: for ever. */
  readonly nextChangeMs: number | undefined
}

const maxGraceMs = 10 * 60_000
/** Segments without a snapshot are left alone for this long: their snapshot may be under way. */
const minOrphanAgeMs = 24 * 3_600_000

/** The order in which segments go: all of a pass are gone before the next begins, oldest first within it. */
export function deletionPasses(
  segments: readonly StoredSegment[],
): readonly (readonly StoredSegment[])[] {
  return [
    segments.filter(({ offset }) => offset > 0),
    segments.filter(({ offset }) => offset === 0),
  ].filter((pass) => pass.length > 0)
}

/** For how long something stays after it has fallen out of the window: a restore that needs it may be under way. */
export function graceOf(retentionMs: number): number {
  return Math.min(maxGraceMs, retentionMs)
}

/** Why each object stays or goes. Deterministic, and free of any look at the world. */
export function planRetention(
  listing: readonly RetainedGeneration[],
  rules: RetentionRules,
  moment: RetentionMoment,
): RetentionPlan {
  const generations = listing.map(examine).sort(byEnd)
  const order = orderByLineage(generations)
  const protectedNames = protect(generations, order, moment.current)
  const facts = factsOf(rules, moment, clockLimitMs(generations, protectedNames))
  const byRule = keepByRules(generations, rules.keep)
  const deletions: Deletion[] = []
  const kept: Kept[] = []
  const reliedOn = new Set<RetainedSnapshot>()
  for (const each of generations) {
    const laterOnes = generations.filter((other) => isLater(other, each, order))
    const verdict = judge(each, laterOnes, protectedNames, facts)
    const parts = split(each, verdict, byRule)
    kept.push(...parts.kept)
    if (parts.deletion === undefined) continue
    deletions.push(parts.deletion)
    if (verdict.replacement !== undefined) reliedOn.add(verdict.replacement)
  }
  const nextChangeMs = nextChange(generations, facts)
  if (deletions.length > 0 && !leavesAChain(generations, kept)) {
    const reason = 'nothing is deleted, because no generation that can be restored would be left'
    return {
      deletions: [],
      kept: generations.flatMap((each) => keepAll(each, reason)),
      reliedOn: [],
      nextChangeMs,
    }
  }
  // One that stays for a period is why others of that period go.
  if (deletions.length > 0) for (const snapshot of byRule.keys()) reliedOn.add(snapshot)
  return { deletions, kept, reliedOn: [...reliedOn], nextChangeMs }
}

interface Facts {
  /** The earliest of our clock, the store's and the newest commit. */
  readonly nowMs: number
  /** Our clock counts up to this moment: nothing that is stored says that it is later. */
  readonly clockLimitMs: number
  /** What was needed only for moments before this is out of the window, and has been for the grace period. */
  readonly cutOffMs: number
  /** Segments without a snapshot that were stored before this get none any more. */
  readonly orphanCutOffMs: number
  readonly condemned: ReadonlySet<Generation>
}

function factsOf(
  { retentionMs }: RetentionRules,
  { nowMs: clockMs, leaps, condemned }: RetentionMoment,
  clockLimitMs: number,
): Facts {
  const graceMs = graceOf(retentionMs)
  const nowMs = Math.min(clockMs, clockLimitMs)
  const before = (durationMs: number): number => stampBefore(nowMs, { durationMs, leaps })
  return {
    nowMs,
    clockLimitMs,
    cutOffMs: before(retentionMs + graceMs),
    orphanCutOffMs: before(Math.max(retentionMs + graceMs, minOrphanAgeMs)),
    condemned,
  }
}

/** Up to when our clock counts: the newest commit, and the newest object by the clock of the store. */
function clockLimitMs(
  generations: readonly Examined[],
  protectedNames: ReadonlySet<Generation>,
): number {
  const current = generations.filter(({ generation }) => protectedNames.has(generation))
  const commitsMs = (current.length > 0 ? current : generations.slice(-1)).map(({ endMs }) => endMs)
  const objectsMs = generations.map(({ newestObjectMs }) => newestObjectMs)
  return Math.min(...commitsMs, Math.max(...objectsMs))
}

/** A generation with its snapshots from which a restore can start. */
interface Examined extends RetainedGeneration {
  readonly usable: readonly RetainedSnapshot[]
}

function examine(generation: RetainedGeneration): Examined {
  return {
    ...generation,
    usable: generation.snapshots.filter((each) => isUsable(each, generation)),
  }
}

/** Whether the listing has what a snapshot needs: no index is missing up to where it is consistent. */
function isUsable(snapshot: RetainedSnapshot, generation: RetainedGeneration): boolean {
  if (snapshot.broken) return false
  const needed = snapshot.consistentFrom
  if (needed === undefined || (needed.index === snapshot.index && needed.offset === 0)) return true
  // A generation may have 100,000 segments, and a snapshot needs a few: the listing is cut first.
  const start: WalPosition = { index: snapshot.index, offset: 0 }
  const segments = generation.segments.slice(
    firstAtOrAfter(generation.segments, start),
    firstAtOrAfter(generation.segments, needed),
  )
  const chain = chainSegments({ ...generation, segments }, snapshot.index, {
    kind: 'position',
    position: needed,
  })
  const last = chain.kind === 'whole' ? chain.segments.at(-1) : undefined
  if (last === undefined || last.index < needed.index - (needed.offset === 0 ? 1 : 0)) return false
  const isLast = generation.segments.at(-1) === last
  const end = generation.endPosition
  return !isLast || end === undefined || comparePositions(end, needed) >= 0
}

/** The place in the order of positions where `position` is or would be. */
function firstAtOrAfter(segments: readonly StoredSegment[], position: WalPosition): number {
  let low = 0
  let high = segments.length
  while (low < high) {
    const middle = (low + high) >> 1
    const segment = segments[middle]
    if (segment !== undefined && comparePositions(segment, position) < 0) low = middle + 1
    else high = middle
  }
  return low
}

/** Older first; a name decides between equals, so that two never take each other's place. */
function byEnd(a: Examined, b: Examined): number {
  return a.endMs - b.endMs || (a.generation < b.generation ? -1 : 1)
}

/** Of those that say what they follow. */
function orderByLineage(generations: readonly Examined[]): GenerationOrder {
  const told = generations.filter(({ lineage }) => lineage !== undefined)
  return orderGenerations(
    told.map(({ generation, lineage, newestObjectMs: storedMs }) => ({
      generation,
      lineage,
      firstStoredMs: storedMs,
      lastStoredMs: storedMs,
    })),
  )
}

/** Whether `other` comes after `each`: by lineage, or where that does not tell, by times. */
function isLater(other: Examined, each: Examined, order: GenerationOrder): boolean {
  if (order.isBefore(each.generation, other.generation)) return true
  if (order.isBefore(other.generation, each.generation)) return false
  return byEnd(each, other) < 0
}

/** The current generation; if that is not known, those that are the newest by lineage, by commits and by objects. */
function protect(
  generations: readonly Examined[],
  order: GenerationOrder,
  current: Generation | undefined,
): ReadonlySet<Generation> {
  if (current !== undefined) return new Set([current])
  const newest = generations.at(-1)
  const latest = generations.toSorted((a, b) => a.newestObjectMs - b.newestObjectMs).at(-1)
  const byTimes = [newest, latest].flatMap((each) => (each === undefined ? [] : [each.generation]))
  return new Set([...byTimes, ...order.newest])
}

interface Verdict {
  /** Everything from this index on stays; undefined: nothing does. */
  readonly from: number | undefined
  readonly base: RetainedSnapshot | undefined
  readonly keepReason: string
  readonly dropReason: string
  readonly replacement: RetainedSnapshot | undefined
}

function judge(
  each: Examined,
  laterOnes: readonly Examined[],
  protectedNames: ReadonlySet<Generation>,
  facts: Facts,
): Verdict {
  const base = each.usable.findLast((snapshot) => serves(snapshot, facts))
  const stays = (keepReason: string): Verdict => ({
    from: base?.index ?? 0,
    base,
    keepReason,
    dropReason: 'a newer snapshot is older than the retention window, too, and takes its place',
    replacement: base,
  })
  const goes = (dropReason: string, replacement?: RetainedSnapshot): Verdict => ({
    from: undefined,
    base: undefined,
    keepReason: '',
    dropReason,
    replacement,
  })
  if (protectedNames.has(each.generation)) return stays('its generation is the current one')
  if (each.snapshots.length === 0) {
    if (facts.condemned.has(each.generation)) return goes('its snapshots are already deleted')
    return Math.max(each.endMs, each.newestObjectMs) < facts.orphanCutOffMs
      ? goes('it has no snapshot, and is too old for its first one to be in progress')
      : stays('it has no snapshot yet, but its first one may be in progress')
  }
  const hasCommitInWindow =
    each.endMs >= facts.cutOffMs ||
    each.newestObjectMs >= facts.cutOffMs ||
    each.snapshots.some((snapshot) => snapshot.commitTimeMs >= facts.cutOffMs)
  if (hasCommitInWindow) return stays('it has commits within the retention window')
  const replacement = laterOnes
    .flatMap((later) => later.usable)
    .find((snapshot) => serves(snapshot, facts) && snapshot.commitTimeMs >= each.endMs)
  return replacement === undefined
    ? stays('it was current when the retention window began')
    : goes(
        'it ended before the retention window, and a newer generation covers all of it',
        replacement,
      )
}

/** Whether a snapshot serves every moment of the window, and has been there long enough to take another's place. */
function serves(snapshot: RetainedSnapshot, { cutOffMs }: Facts): boolean {
  return snapshot.commitTimeMs <= cutOffMs && snapshot.finishedAtMs <= cutOffMs
}

function split(
  each: Examined,
  verdict: Verdict,
  byRule: ReadonlyMap<RetainedSnapshot, string>,
): { deletion: Deletion | undefined; kept: readonly Kept[] } {
  const { from, base } = verdict
  const { generation } = each
  const isAbove = (index: number): boolean => from !== undefined && index >= from
  const kept: Kept[] = []
  const snapshots: RetainedSnapshot[] = []
  const ranges: { first: number; last: number }[] = []
  for (const snapshot of each.snapshots) {
    const rule = byRule.get(snapshot)
    if (isAbove(snapshot.index)) {
      const reason =
        snapshot === base
          ? `${verdict.keepReason}; the beginning of the retention window is restored from it`
          : verdict.keepReason
      kept.push({ generation, snapshot, reason })
    } else if (rule === undefined) snapshots.push(snapshot)
    else {
      kept.push({ generation, snapshot, reason: rule })
      ranges.push({
        first: snapshot.index,
        last: snapshot.consistentFrom?.index ?? snapshot.index,
      })
    }
  }
  if (each.snapshots.length === 0 && from !== undefined) {
    kept.push({ generation, snapshot: undefined, reason: verdict.keepReason })
  }
  const segments = each.segments.filter(
    ({ index }) =>
      !isAbove(index) && !ranges.some(({ first, last }) => first <= index && index <= last),
  )
  if (snapshots.length === 0 && segments.length === 0) return { deletion: undefined, kept }
  const whole = kept.length === 0
  return {
    deletion: { generation, whole, reason: verdict.dropReason, snapshots, segments },
    kept,
  }
}

function keepAll({ generation, snapshots }: Examined, reason: string): readonly Kept[] {
  return snapshots.length === 0
    ? [{ generation, snapshot: undefined, reason }]
    : snapshots.map((snapshot) => ({ generation, snapshot, reason }))
}

function leavesAChain(generations: readonly Examined[], kept: readonly Kept[]): boolean {
  const usable = new Set(generations.flatMap((each) => each.usable))
  return kept.some(({ snapshot }) => snapshot !== undefined && usable.has(snapshot))
}

/** The newest snapshot of each of the last hours, days, weeks and months that have any. */
function keepByRules(
  generations: readonly Examined[],
  keep: KeepRules,
): ReadonlyMap<RetainedSnapshot, string> {
  const newestFirst = generations
    .flatMap((each) => each.usable)
    .sort((a, b) => b.commitTimeMs - a.commitTimeMs || b.index - a.index)
  const reasons = new Map<RetainedSnapshot, string>()
  for (const name of ['hourly', 'daily', 'weekly', 'monthly'] as const) {
    const seen = new Set<string>()
    for (const snapshot of newestFirst) {
      if (seen.size >= keep[name]) break
      const period = periodOf(name, snapshot.commitTimeMs)
      if (seen.has(period)) continue
      seen.add(period)
      const reason = `keep-${name}: it is the newest of ${period}`
      const other = reasons.get(snapshot)
      reasons.set(snapshot, other === undefined ? reason : `${other}; ${reason}`)
    }
  }
  return reasons
}

/** The hour, day, week or month, in UTC, that a time belongs to. */
function periodOf(rule: keyof KeepRules, timeMs: number): string {
  const text = new Date(timeMs).toISOString()
  switch (rule) {
    case 'hourly':
      return `${text.slice(0, 13)}:00Z`
    case 'daily':
      return text.slice(0, 10)
    case 'weekly': {
      const dayMs = 86_400_000
      const mondayOffset = (new Date(timeMs).getUTCDay() + 6) % 7
      return `the week of ${new Date(timeMs - mondayOffset * dayMs).toISOString().slice(0, 10)}`
    }
    case 'monthly':
      return text.slice(0, 7)
  }
}

/** The next moment at which something falls out of the window without anything being stored; undefined: there is none. */
function nextChange(
  generations: readonly Examined[],
  { nowMs, clockLimitMs, ...facts }: Facts,
): number | undefined {
  const lags = [nowMs - facts.cutOffMs, nowMs - facts.orphanCutOffMs]
  const next = Math.min(
    ...generations
      .flatMap((each) => [
        each.endMs,
        each.newestObjectMs,
        ...each.snapshots.flatMap(({ commitTimeMs, finishedAtMs }) => [commitTimeMs, finishedAtMs]),
      ])
      .flatMap((eventMs) => lags.map((lagMs) => eventMs + lagMs + 1))
      .filter((momentMs) => momentMs > nowMs && momentMs <= clockLimitMs),
  )
  return Number.isFinite(next) ? next : undefined
}
