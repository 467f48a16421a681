/**
 * Which of a replica's generations follows which. Clocks of hosts differ and are set, so times of commits don't decide it: a
 * generation says in the trailers of its snapshots what it follows, and by its ordinal that it came after everything that its
 * writer found on the replica.
 */
import { type Generation } from '../wal/generation.js'
import { comparePositions, type WalPosition } from '../wal/position.js'

/** A generation that another one follows. */
export interface FollowedGeneration {
  readonly generation: Generation
  /**
   * Up to where the history that follows holds what is stored of it: where it ended on the replica then, or in the local
   * state that captured it; of one that somebody else began meanwhile, its beginning. What is stored of it behind that is a
   * fork. Undefined: not known.
   */
  readonly end: WalPosition | undefined
}

/** How a generation began, as the local state knows it. */
export interface GenerationOrigin {
  /** Its first moment, with commits or without: all that it follows is earlier. */
  readonly beganAtMs: number
  /** Those before it in the local state, the newest first. */
  readonly follows: readonly FollowedGeneration[]
}

/** The place of a generation in the history of one replica. The same in all its snapshots there. */
export interface Lineage {
  /** At least 1; one more than the highest that was found on the replica when the generation was begun there. */
  readonly ordinal: number
  /** Of the claim under which it was begun there; 0: the replica could not be claimed. */
  readonly epoch: number
  /**
   * What its writer knows to come before it: the newest generation on the replica, those there that have no lineage, and
   * the generation before in the local state.
   */
  readonly follows: readonly FollowedGeneration[]
}

/** More than these, the newest ones, a generation does not name. */
export const maxFollowedGenerations = 100

/** What of a generation tells its place among the others on its replica. */
export interface GenerationFacts {
  readonly generation: Generation
  /** Undefined: it is the original's, or no snapshot is left that tells. */
  readonly lineage: Lineage | undefined
  /** When its first and last object were created, by the store's clock, in milliseconds since 1970. */
  readonly firstStoredMs: number
  readonly lastStoredMs: number
}

/** A generation that lies on a replica when another one is begun there. */
export interface FoundGeneration extends GenerationFacts {
  /** Where what is stored of it ends; undefined: nothing tells. */
  readonly end: WalPosition | undefined
  /** Time of its last commit, or of its beginning; by the store's clock where nothing else tells. */
  readonly lastMomentMs: number
}

/**
 * The ordinal or epoch behind one that was found. Behind the last number that can be stored, which only a forger gets to, there
 * is none: then what a generation follows tells its place.
 */
export function following(found: number): number {
  return Math.min(found + 1, Number.MAX_SAFE_INTEGER)
}

/** A generation of somebody else, or a part of one, that the history which goes on does not hold. */
export interface Fork {
  readonly generation: Generation
  /** Behind this, it is not held. */
  readonly from: WalPosition
}

/** The place of a generation that is begun on a replica, and what is there that its history does not hold. */
export function lineageAfter(
  found: readonly FoundGeneration[],
  own: {
    readonly epoch: number
    /** Those before it in the local state, the newest first. */
    readonly follows: readonly FollowedGeneration[]
    /** The highest ordinal that is known by other means. */
    readonly recordedOrdinal: number
  },
): { readonly lineage: Lineage; readonly forks: readonly Fork[] } {
  const { newest } = orderGenerations(found)
  const held = new Map(own.follows.map((each) => [each.generation, each.end]))
  // Of a file that took the place of another one, and without local state, nothing tells what it holds.
  const named = found.flatMap(({ lineage }) => lineage?.follows ?? [])
  const known = new Set([...found, ...named].map(({ generation }) => generation))
  const wasHere = own.follows.some(
    ({ generation, end }) => end !== undefined && known.has(generation),
  )
  const forks = found
    .filter(({ generation }) => wasHere && newest.includes(generation))
    .flatMap(({ generation, end }): Fork[] => {
      if (!held.has(generation)) return [{ generation, from: beginning }]
      const from = held.get(generation)
      const isAhead = from !== undefined && end !== undefined && comparePositions(end, from) > 0
      return isAhead ? [{ generation, from }] : []
    })
  const forked = new Map(forks.map(({ generation, from }) => [generation, from]))
  const follow = ({ generation, end }: FoundGeneration): FollowedGeneration => {
    const usual = held.has(generation) ? held.get(generation) : end
    return { generation, end: forked.get(generation) ?? usual }
  }
  const placed = orderGenerations(found.filter(({ lineage }) => lineage !== undefined)).newest
  const first = found
    .filter(({ generation }) => newest.includes(generation) || placed.includes(generation))
    .map(follow)
  const unplaced = found
    .filter(({ lineage }) => lineage === undefined)
    .toSorted((a, b) => b.lastStoredMs - a.lastStoredMs)
    .map(follow)
  const follows = new Map<Generation, FollowedGeneration>()
  for (const each of [...first, ...own.follows, ...unplaced]) {
    if (!follows.has(each.generation)) follows.set(each.generation, each)
  }
  const ordinals = found.map(({ lineage }) => lineage?.ordinal ?? 0)
  return {
    lineage: {
      ordinal: following(ordinals.reduce((a, b) => Math.max(a, b), own.recordedOrdinal)),
      epoch: own.epoch,
      follows: [...follows.values()].slice(0, maxFollowedGenerations),
    },
    forks,
  }
}

const beginning: WalPosition = { index: 0, offset: 0 }

/** The order of a replica's generations. */
export interface GenerationOrder {
  /** Whether one is known to come before another. */
  isBefore(a: Generation, b: Generation): boolean
  /** Those that come before no other. More than one: nothing tells which of them is the newest. */
  readonly newest: readonly Generation[]
}

/**
 * Orders the generations of one replica. What a generation says to follow decides, and all that those follow; then ordinals;
 * then, of claims with the same ordinal, epochs. Where one of two has no lineage, the store's clock decides, if all of one was
 * stored before all of the other; of two that have none, the newest object. What is equal in all this has no order.
 */
export function orderGenerations(all: readonly GenerationFacts[]): GenerationOrder {
  const facts = new Map(all.map((each) => [each.generation, each]))
  const ancestors = new Map(all.map((each) => [each.generation, ancestorsOf(each, facts)]))
  const isBefore = (a: Generation, b: Generation): boolean => {
    const [one, other] = [facts.get(a), facts.get(b)]
    if (one === undefined || other === undefined || one === other) return false
    const isFollowed = ancestors.get(b)?.has(a) === true
    const follows = ancestors.get(a)?.has(b) === true
    if (isFollowed !== follows) return isFollowed
    return isFollowed ? false : precedes(one, other)
  }
  const newest = all
    .map(({ generation }) => generation)
    .filter((each) => !all.some(({ generation }) => isBefore(each, generation)))
  // Claims of descent that go round in a circle leave none: then nothing tells.
  return { isBefore, newest: newest.length > 0 ? newest : [...facts.keys()] }
}

/** All that a generation follows, by what the generations on the replica say. */
export function ancestorsOf(
  start: GenerationFacts,
  facts: ReadonlyMap<Generation, GenerationFacts>,
): ReadonlySet<Generation> {
  const found = new Set<Generation>()
  const waiting = [start]
  for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
    for (const { generation } of next.lineage?.follows ?? []) {
      if (found.has(generation)) continue
      found.add(generation)
      const followed = facts.get(generation)
      if (followed !== undefined) waiting.push(followed)
    }
  }
  return found
}

function precedes(a: GenerationFacts, b: GenerationFacts): boolean {
  if (a.lineage !== undefined && b.lineage !== undefined) {
    return (
      a.lineage.ordinal < b.lineage.ordinal ||
      (a.lineage.ordinal === b.lineage.ordinal && a.lineage.epoch < b.lineage.epoch)
    )
  }
  if (a.lineage === undefined && b.lineage === undefined) return a.lastStoredMs < b.lastStoredMs
  return a.lastStoredMs < b.firstStoredMs
}
