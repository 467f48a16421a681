/** Many histories, others each time: see status-histories. */
import { expect, test } from 'vitest'
import { checkStatusHistory } from '../../support/status-histories.js'

const minutes = Number(process.env.STATUS_MINUTES ?? 10)

test(
  'a daemon that is ready has all but what is within the limit where it can be restored',
  async () => {
    const untilMs = Date.now() + minutes * 60_000
    let histories = 0
    let ready = 0
    for (let seed = Math.floor(Math.random() * 2 ** 31); Date.now() < untilMs; seed += 1) {
      const result = await checkStatusHistory(seed, 100)
      expect(result.wrong, `seed ${seed}`).toEqual([])
      histories += 1
      ready += result.ready
    }
    process.stdout.write(`status: ${histories} histories, ${ready} times ready\n`)
  },
  (minutes + 1) * 60_000,
)
