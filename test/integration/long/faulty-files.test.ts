/** Each kind of call on local state and folder replica, in each way in which it can go wrong: all of them, and the n-th. */
import { afterEach, describe, test } from 'vitest'
import { cleanUp } from '../../support/cli.ts'
import { endure, type Fault, places } from '../../support/faulty-files.ts'
import { hasCompiler } from '../../support/kill-at-call.ts'

afterEach(() => cleanUp())

const calls = ['create', 'link', 'rename', 'replace', 'unlink', 'write', 'sync'] as const
const ways: readonly Pick<Fault, 'moment' | 'error'>[] = [
  { moment: 'fail', error: 'EIO' },
  { moment: 'fail', error: 'ENOSPC' },
  { moment: 'fail', error: 'EMFILE' },
  { moment: 'done', error: 'EIO' },
  { moment: 'slow' },
]
const maxNth = 8

describe.skipIf(!hasCompiler).each(Object.entries(places))('calls on the %s', (_, path) => {
  describe.each(calls)('%s', (call) => {
    const all = call === 'write' ? [...ways, { moment: 'short' as const }] : ways
    test.each(all)('all $moment $error', async (way) => {
      await endure({ calls: call, path, ...way })
    })

    test.each([
      { moment: 'fail', error: 'EIO' },
      { moment: 'done', error: 'EIO' },
    ] as const)('the n-th $moment, for every n', async (way) => {
      for (let nth = 1; nth <= maxNth; nth += 1) {
        // There are no more in that second.
        if ((await endure({ calls: call, path, nth, ...way })) === 0) break
        await cleanUp()
      }
    })
  })
})
