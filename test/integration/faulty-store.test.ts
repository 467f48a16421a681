/** A store that is not what it says, in short: `npm run test:faulty-store` has all that can happen to each request. */
import { afterEach, expect, test } from 'vitest'
import { cleanUp } from '../support/cli.ts'
import { runHistory } from '../support/faulty-history.ts'
import { type Faults, type FaultyRequest, type WriteFault } from '../support/stores/faulty-s3.ts'
import { onlyFor } from '../support/stores/random-faults.ts'

afterEach(cleanUp)

/** Each object has its fault, so that one history sees them all. */
function oneOfEach(): Faults {
  const choose = [
    onlyFor({ kind: 'cut', atBytes: 100 }, { of: 'owner', number: 0 }),
    onlyFor({ kind: 'lost' }, { of: 'segment', number: 0 }),
    onlyFor({ kind: 'failed though done', how: 'reset' }, { of: 'segment', number: 4 }),
    onlyFor({ kind: 'late', afterMs: 1500 }, { of: 'segment', number: 6 }),
    onlyFor({ kind: 'cut', atBytes: 1 }, { of: 'segment', number: 8 }),
    onlyFor({ kind: 'doubled', afterMs: 1000 }, { of: 'segment', number: 10 }),
  ]
  return {
    write: (request: FaultyRequest): WriteFault | undefined => {
      const found = choose.map((fault) => fault(request))
      return found.find((fault) => fault !== undefined)
    },
    read: () => ({ kind: 'in pieces', pieceBytes: 536 }),
    listingLagMs: ({ of }) => (of === 'segment' ? 500 : 0),
    aheadMs: 3 * 3_600_000,
  }
}

test('a store that loses, delays, cuts and doubles: never ready without what is older than the limit', async () => {
  const [all, snapshot, cut] = await Promise.all([
    runHistory({ faults: oneOfEach(), faultsForMs: 6000 }),
    runHistory({
      faults: { write: onlyFor({ kind: 'lost' }, { of: 'snapshot', number: 0 }) },
      faultsForMs: 3000,
    }),
    runHistory({
      faults: { write: onlyFor({ kind: 'cut', atBytes: 100 }, { of: 'snapshot', number: 0 }) },
      faultsForMs: 3000,
    }),
  ])
  console.log(JSON.stringify([all, snapshot, cut]))
  expect(all.commits).toBeGreaterThan(0)
  expect(snapshot.generations).toBe(1)
  expect(cut.generations).toBe(1)
})
