import { seeded } from '../random.ts'
import { type Faults, type FaultyRequest, type ReadFault, type WriteFault } from './faulty-s3.ts'

/** How likely each is, for a request. */
export interface FaultChances {
  readonly write: number
  readonly read: number
  /** Listings lag by up to this. */
  readonly maxListingLagMs: number
  readonly maxAheadMs: number
  /** Writes land after at most this. */
  readonly maxLateMs: number
}

/** All kinds of faults, the same ones for the same seed and the same requests. */
export function randomFaults(seed: number, chances: FaultChances): Faults {
  const random = seeded(seed)
  const upTo = (limit: number): number => Math.floor(random() * limit)
  const pick = <T>(choices: readonly (() => T)[]): T | undefined =>
    choices[upTo(choices.length)]?.()
  /** Soon, as a rule. */
  const late = (): number => (random() < 0.7 ? upTo(1000) : upTo(chances.maxLateMs))
  return {
    write: ({ sizeBytes }: FaultyRequest): WriteFault | undefined =>
      random() < chances.write
        ? pick<WriteFault>([
            () => ({ kind: 'lost' }),
            () => ({ kind: 'late', afterMs: late() }),
            () => ({ kind: 'doubled', afterMs: late() }),
            () => ({ kind: 'cut', atBytes: upTo(sizeBytes) }),
            () => ({ kind: 'failed though done', how: random() < 0.5 ? 'said' : 'reset' }),
            () => ({ kind: 'hangs', landsAfterMs: random() < 0.5 ? late() : undefined }),
            () => ({ kind: 'refused' }),
          ])
        : undefined,
    read: (): ReadFault | undefined =>
      random() < chances.read
        ? pick<ReadFault>([
            () => ({ kind: 'cut', atBytes: upTo(1000) }),
            () => ({ kind: 'in pieces', pieceBytes: 1 + upTo(1460) }),
            () => ({ kind: 'refused' }),
          ])
        : undefined,
    listingLagMs: () => upTo(chances.maxListingLagMs),
    aheadMs: Math.round((2 * random() - 1) * chances.maxAheadMs),
  }
}

/** This fault, once, for the n-th request to write an object of the kind. */
export function onlyFor(
  fault: WriteFault,
  wanted: { readonly of: FaultyRequest['of']; readonly number: number },
): (request: FaultyRequest) => WriteFault | undefined {
  let seen = 0
  return ({ of }) => {
    if (of !== wanted.of) return undefined
    seen += 1
    return seen === wanted.number + 1 ? fault : undefined
  }
}
