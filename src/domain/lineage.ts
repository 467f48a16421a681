/**
 * Which of a replica's generations follows which. Clocks of hosts differ and are set, so times of commits don't decide it: a
 * generation says in the trailers of its snapshots what it follows, and by its ordinal that it came after everything that its
 * writer found on the replica.
 */
import { type Generation } from './generation.js'
import { type WalPosition } from './position.js'

/** A generation that another one follows. */
export interface FollowedGeneration {
  readonly generation: Generation
  /** Where it ended on the replica then: what was stored of it later is a fork. Undefined: not known. */
  readonly end: WalPosition | undefined
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
function ancestorsOf(
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
