import { expect, test } from 'vitest'
import { CheckTimeoutError } from '../../../../src/domain/errors.ts'
import { parseGeneration } from '../../../../src/domain/wal/generation.ts'
import { aborted, never } from '../../../../src/kit/abort.ts'
import { type RestoreReport } from '../../../../src/usecase/restore/restore-types.ts'
import { fairValidationMs } from '../../../../src/usecase/verify/schedule-validation.ts'
import { validateReplica } from '../../../../src/usecase/verify/validate-replica.ts'
import { ManualClock } from '../../../support/manual-clock.ts'
import { MemoryReplicaClient } from '../../../support/memory-replica-client.ts'

const pageSizeBytes = 4096
const report: RestoreReport = {
  ...{ replica: 'memory', generation: parseGeneration('0123456789abcdef')!, snapshotIndex: 0 },
  ...{ position: { index: 0, offset: 32 }, commitTimeMs: 1, timeIsApproximate: false },
  ...{
    pageSizeBytes,
    pageCount: 1 << 20,
    segmentCount: 1,
    storedBytes: 1,
    durationMs: 1,
    notes: [],
  },
}

/** Of a database of 4 GiB, whose restore ends after so long. */
async function outcome(
  takesMs: number,
  stop = never,
): Promise<{ clock: ManualClock; closed: () => number; validating: Promise<unknown> }> {
  const clock = new ManualClock()
  let closed = 0
  const validating = validateReplica(
    {
      source: { name: 'memory', client: new MemoryReplicaClient() },
      databasePath: undefined,
      restore: async ({ dryRun }, signal) => {
        if (!dryRun) await clock.sleep(takesMs, signal)
        return report
      },
      scratch: {
        open: () =>
          Promise.resolve({
            path: '/',
            [Symbol.asyncDispose]: () => Promise.resolve(void (closed += 1)),
          }),
      },
      comparison: { compare: () => Promise.resolve(undefined) },
      decode: (source) => source,
      clock,
      stored: undefined,
      maxMs: fairValidationMs,
    },
    stop,
  ).catch((error: unknown) => error)
  await clock.advance(0)
  return { clock, closed: () => closed, validating }
}

const fairMs = fairValidationMs(4 * 1024 ** 3)

test('a validation has 10 minutes, and a second for each megabyte', async () => {
  expect(Math.round(fairMs / 1000)).toBe(600 + 4194)
  const { clock, validating } = await outcome(fairMs - 1)
  await clock.advance(fairMs - 1)
  expect(await validating).toMatchObject({ comparison: { verdict: 'absent' } })
})

test('one that takes longer is stopped, and leaves nothing', async () => {
  const { clock, closed, validating } = await outcome(fairMs + 1)
  await clock.advance(fairMs)
  const error = await validating
  expect(error).toBeInstanceOf(CheckTimeoutError)
  expect(error).toMatchObject({
    message: expect.stringMatching(/from replica memory could not be validated in 1h/) as unknown,
  })
  expect(closed()).toBe(1)
})

test('an abort is no timeout', async () => {
  const stop = new AbortController()
  const { validating } = await outcome(fairMs, stop.signal)
  stop.abort()
  await aborted(stop.signal).catch(() => undefined)
  expect(await validating).toBe(stop.signal.reason)
})
