import { type Barrier } from '../../src/usecase/backlog/generation-feed.ts'

/** Everything is captured up to a place, and copied back, in a generation that was never broken. */
export function barrierAt(
  place: Pick<Barrier, 'generation' | 'position'>,
  other: Partial<Barrier> = {},
): Barrier {
  return {
    ...place,
    schemaCookie: 1,
    commitTimeMs: 1,
    breaks: 0,
    isWithinWal: false,
    isAllCopied: true,
    ...other,
  }
}
