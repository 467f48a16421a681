import { cpSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, test } from 'vitest'
import { cleanUp, listObjects } from '../../support/cli.ts'
import { expectMomentsHit, recordHistory } from '../../support/point-in-time.ts'

afterEach(cleanUp)

test('at a sync interval of 5 s, 50 moments of two minutes are hit, and 50 of a copy without file times', async () => {
  const history = await recordHistory({ seconds: 120, rate: 8 })
  console.log(`${history.commits.length} commits in ${listObjects(history.replica).length} objects`)
  await expectMomentsHit(history, history.replica, 50)
  const copy = join(history.folder, 'copy')
  cpSync(history.replica, copy, { recursive: true })
  await expectMomentsHit(history, copy, 50)
})
