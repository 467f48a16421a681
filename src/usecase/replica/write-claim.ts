import { endOf, startOf } from '../../domain/stored/segment-chain.js'
import { type Generation } from '../../domain/wal/generation.js'
import { comparePositions, type WalPosition } from '../../domain/wal/position.js'
import { type Claimed } from './own-replica.js'
import { type LoopParts } from './loop-parts.js'

export type WriteClaimOptions = Pick<LoopParts, 'client' | 'feed' | 'owner'>

/**
 * The right to write to a replica, generation by generation: once the replica is claimed, to one that nobody else writes
 * to. Where somebody else may, a new one has to begin first.
 */
export class WriteClaim {
  readonly #options: WriteClaimOptions
  #claimed: Claimed | undefined
  /** The claim is made, and the generation is one that we may write to. */
  #mayWrite: boolean
  /** One that another is asked for in place of. */
  #unwanted: Generation | undefined
  /** One that somebody else with our claim may write to. */
  #shared: Generation | undefined

  constructor(options: WriteClaimOptions) {
    this.#options = options
    this.#mayWrite = options.owner === undefined
  }

  get mayWrite(): boolean {
    return this.#mayWrite
  }

  /** Whether somebody else was found to have our claim, too: it is to be made anew. */
  get isCopied(): boolean {
    return this.#options.owner?.isCopied === true && this.#mayWrite
  }

  /** Somebody else has our claim, too, and may write to the generation that we write to. */
  doubt(shared: Generation | undefined): void {
    this.#mayWrite = false
    this.#claimed = undefined
    this.#shared = shared
  }

  /** Sees to it that nobody else writes where we do. False: a new generation has to begin first. */
  async obtain(generation: Generation, kill: AbortSignal): Promise<boolean> {
    const { owner, feed, client } = this.#options
    this.#claimed ??= await owner?.claim(kill)
    if (this.#claimed === 'another writer') {
      // What an earlier process of ours began, the other may have gone on with.
      const isEarlier = generation === feed.continued || generation === this.#shared
      if (isEarlier && !this.#isHandedOver(generation)) {
        if (this.#unwanted !== generation) {
          feed.requestNewGeneration('replica taken over from another writer', client.location)
        }
        this.#unwanted = generation
        return false
      }
      await owner?.begun(kill)
    }
    this.#mayWrite = true
    return true
  }

  /** Whether the writer before has ended, and what it stored last is where ours goes on, as after a restore of all of it. */
  #isHandedOver(generation: Generation): boolean {
    const { owner, feed } = this.#options
    const left = owner?.handedOver
    const { current } = feed
    if (left?.generation !== generation || generation === this.#shared) return false
    if (current?.generation !== generation || !left.hasSnapshot) return false
    const { position } = left
    const [first] = current.segments
    if (position === undefined) return first === undefined || isAt(startOf(first), beginning)
    return current.segments.some((segment) => isAt(endOf(segment), position))
  }
}

const beginning: WalPosition = { index: 0, offset: 0 }

function isAt(a: WalPosition, b: WalPosition): boolean {
  return comparePositions(a, b) === 0
}
