/**
 * A store that is not what it says, under the daemon: what it does to one request of each kind, and at random to all. In
 * each history the daemon recovers, what is restored is a commit, and it never says ready when it isn't so.
 */
import { afterEach, describe, test } from 'vitest'
import { cleanUp } from '../../support/cli.ts'
import { runHistory } from '../../support/faulty-history.ts'
import { type FaultyRequest, type WriteFault } from '../../support/stores/faulty-s3.ts'
import { onlyFor, randomFaults } from '../../support/stores/random-faults.ts'

afterEach(cleanUp)

const histories = Number(process.env['TSREPLICATE_FAULTY_HISTORIES'] ?? 30)
const firstSeed = Number(process.env['TSREPLICATE_SEED'] ?? Date.now() % 1_000_000)

const kinds: readonly WriteFault[] = [
  { kind: 'lost' },
  { kind: 'late', afterMs: 1000 },
  { kind: 'late', afterMs: 14_000 },
  { kind: 'doubled', afterMs: 3000 },
  { kind: 'cut', atBytes: 0 },
  { kind: 'cut', atBytes: 100 },
  { kind: 'failed though done', how: 'said' },
  { kind: 'failed though done', how: 'reset' },
  { kind: 'hangs', landsAfterMs: undefined },
  { kind: 'hangs', landsAfterMs: 14_000 },
]

describe.each<[string, FaultyRequest['of'], number]>([
  ['the owner object, when it is claimed', 'owner', 0],
  ['the owner object, when the store is probed', 'owner', 1],
  ['the first snapshot', 'snapshot', 0],
  ['a later snapshot', 'snapshot', 2],
  ['the first segment', 'segment', 0],
  ['a segment in the middle', 'segment', 7],
])('%s', (_, of, number) => {
  test.each(kinds.map((fault) => [JSON.stringify(fault), fault] as const))(
    '%s',
    async (_, fault) => {
      await runHistory({
        faults: { write: onlyFor(fault, { of, number }) },
        faultsForMs: 6000,
        settings: { 'snapshot-interval': '2s' },
      })
    },
  )
})

test('the newest segment, again and again', async () => {
  let count = 0
  await runHistory({
    faults: {
      write: ({ of }) => (of === 'segment' && ++count % 10 === 0 ? { kind: 'lost' } : undefined),
    },
    faultsForMs: 15_000,
  })
})

describe('at random', () => {
  for (let i = 0; i < histories; i += 1) {
    const seed = firstSeed + i
    test(`seed ${seed}`, async () => {
      const result = await runHistory({
        faults: randomFaults(seed, {
          write: [0.02, 0.05, 0.1][i % 3] ?? 0,
          read: 0.05,
          maxListingLagMs: i % 2 === 0 ? 0 : 2000,
          maxAheadMs: i % 4 < 2 ? 0 : 3 * 3_600_000,
          maxLateMs: 15_000,
        }),
        faultsForMs: 20_000,
        settings: {
          'snapshot-interval': '3s',
          ...(i % 5 === 0 ? { retention: '8s', 'retention-check-interval': '2s' } : {}),
        },
        kills: i % 3 === 2 ? 2 : 0,
      })
      console.log(`seed ${seed}: ${JSON.stringify(result)}`)
    })
  }
})
