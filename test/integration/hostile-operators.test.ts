/** A few of the things that operators do to a database file; `npm run test:hostile` does all of them, at random. */
import { afterEach, expect, test } from 'vitest'
import { cleanUp } from '../support/cli.ts'
import { Episode, whyNoOperators } from '../support/operators.ts'

afterEach(() => cleanUp())

test
  .skipIf(whyNoOperators !== undefined)
  .each([
    'mv new.db app.db; rm app.db-wal app.db-shm',
    'truncate app.db-wal',
    'a symbolic link, to which the application writes',
    'the clock is set',
  ])('%s is not silent', async (act) => {
  expect(await new Episode(5).run(1, act)).toHaveLength(1)
})
