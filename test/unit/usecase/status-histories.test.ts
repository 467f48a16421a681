import { expect, test } from 'vitest'
import { checkStatusHistory } from '../../support/status-histories.js'

/** Many more in `npm run test:status`; of one that failed there the seed goes here. */
const count = 40
const first = 1

test('a daemon that is ready has all but what is within the limit where it can be restored', async () => {
  let ready = 0
  for (let seed = first; seed < first + count; seed += 1) {
    const result = await checkStatusHistory(seed, 60)
    expect(result.wrong, `seed ${seed}`).toEqual([])
    ready += result.ready
  }
  expect(ready).toBeGreaterThan(5 * count)
})
