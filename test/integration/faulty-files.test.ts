/** A part of `npm run test:faulty-files` that is quick: all calls in both places fail for a second, in three ways. */
import { afterEach, expect, test } from 'vitest'
import { cleanUp } from '../support/cli.ts'
import { endure, everyCall } from '../support/faulty-files.ts'
import { hasCompiler } from '../support/kill-at-call.ts'

afterEach(() => cleanUp())

test
  .skipIf(!hasCompiler)
  .each([
    { moment: 'fail', error: 'ENOSPC' },
    { moment: 'done', error: 'EIO' },
    { moment: 'short' },
  ] as const)('all calls $moment $error for a second', async (how) => {
  const calls = how.moment === 'short' ? 'write' : everyCall
  expect(await endure({ calls, path: '/(state|replica)/', ...how })).toBeGreaterThan(0)
})
