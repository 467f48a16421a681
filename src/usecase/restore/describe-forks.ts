import { type Generation } from '../../domain/wal/generation.js'
import { ancestorsOf, type FollowedGeneration } from '../../domain/stored/lineage.js'
import { comparePositions, formatPosition, type WalPosition } from '../../domain/wal/position.js'
import { type ReplicaHistory, type StoredGeneration } from '../stored/replica-history.js'
import { type TrailerReader } from '../stored/trailers.js'

export interface ChosenCommit {
  readonly generation: Generation
  readonly position: WalPosition
  readonly commitTimeMs: number
}

/** Says what a replica has of other histories than the chosen commit's, and where times contradict the order. */
export async function describeForks(
  chosen: ChosenCommit,
  history: ReplicaHistory,
  options: {
    readonly trailers: TrailerReader
    /** How another generation is restored. */
    readonly command: (generation: Generation) => string
  },
): Promise<readonly string[]> {
  const forks = new Forks(chosen, history, options.command)
  return [
    ...forks.behindFollowed(),
    ...forks.beside(),
    ...(await forks.laterByTime(options.trailers)),
  ]
}

class Forks {
  readonly #chosen: ChosenCommit
  readonly #history: ReplicaHistory
  readonly #command: (generation: Generation) => string
  /** The newest generation of the history that is described. */
  readonly #head: Generation

  constructor(
    chosen: ChosenCommit,
    history: ReplicaHistory,
    command: (generation: Generation) => string,
  ) {
    this.#chosen = chosen
    this.#history = history
    this.#command = command
    this.#head = history.order.newest[0] ?? chosen.generation
  }

  /** What was stored of a generation after another one had left it. */
  behindFollowed(): string[] {
    const head = this.#stored(this.#head)
    const isHead = this.#head === this.#chosen.generation
    return (head?.newestTrailer?.lineage?.follows ?? []).flatMap((followed) => {
      if (!isHead) return this.#isHeld(followed) ? [] : [this.#notHeld()]
      const last = this.#stored(followed.generation)?.segments.at(-1)
      const { generation, end } = followed
      if (last === undefined || end === undefined || comparePositions(last, end) < 0) return []
      return [
        `generation ${generation} has commits after ${formatPosition({ generation, ...end })} that generation ${this.#head}, which follows it, does not have; to restore them: ${this.#command(generation)}`,
      ]
    })
  }

  /** Generations that the newest one does not follow, though all that it follows is known. */
  beside(): string[] {
    const { facts } = this.#history
    const byName = new Map(facts.map((each) => [each.generation, each]))
    const head = byName.get(this.#head)
    if (head?.lineage === undefined) return []
    const ancestors = ancestorsOf(head, byName)
    const isWhole = [...ancestors].every((each) => byName.has(each))
    if (!isWhole) return []
    const isChosen = (generation: Generation): boolean => generation === this.#chosen.generation
    return facts
      .filter(({ generation, lineage }) => {
        const isOther = generation !== this.#head && !ancestors.has(generation)
        return isOther && lineage !== undefined
      })
      .map(({ generation }) =>
        isChosen(generation)
          ? this.#notHeld()
          : `generation ${generation} belongs to another history than ${this.#head}, which is newer; to restore it: ${this.#command(generation)}`,
      )
  }

  /** The clocks of writers differ: what comes before by lineage may be later by its times. */
  async laterByTime(trailers: TrailerReader): Promise<string[]> {
    const { facts, order } = this.#history
    const { generation: chosen, commitTimeMs } = this.#chosen
    if (chosen !== this.#head) return []
    const others = facts.map(({ generation }) => generation).filter((each) => each !== chosen)
    const before = others.filter((each) => !others.some((other) => order.isBefore(each, other)))
    const notes: string[] = []
    for (const generation of before) {
      const last = this.#stored(generation)?.segments.at(-1)
      const timeMs = last && (await trailers.segment(last))?.captures.at(-1)?.timeMs
      if (timeMs === undefined || timeMs <= commitTimeMs) continue
      notes.push(
        `generation ${generation} ends at ${new Date(timeMs).toISOString()} by the clock of its writer, later than generation ${chosen}, which follows it: the clocks differed; to restore the other: ${this.#command(generation)}`,
      )
    }
    return notes
  }

  /** Whether the newest history holds the chosen commit, by what it says to follow. */
  #isHeld({ generation, end }: FollowedGeneration): boolean {
    if (generation !== this.#chosen.generation || end === undefined) return true
    return comparePositions(this.#chosen.position, end) <= 0
  }

  #notHeld(): string {
    const { generation, position } = this.#chosen
    return `${formatPosition({ generation, ...position })} is not in the history of generation ${this.#head}, the newest; to restore that: ${this.#command(this.#head)}`
  }

  #stored(generation: Generation): StoredGeneration | undefined {
    return this.#history.generations.find((each) => each.generation === generation)
  }
}
