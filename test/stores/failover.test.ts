/** Fail-overs of two hosts with clocks apart, on each real store and on a folder: `npm run test:failover`. */
import { join } from 'node:path'
import { afterEach, expect, inject, test } from 'vitest'
import { cleanUp, temporaryFolder } from '../support/cli.js'
import { failOver } from '../support/failovers.js'
import { whyNoHosts } from '../support/hosts.js'
import { placesOf } from '../support/stores/places.js'

afterEach(() => cleanUp())

const rounds = Number(process.env.TSREPLICATE_FAILOVERS ?? 2)
const seed = Number(process.env.TSREPLICATE_SEED ?? Date.now() % 1_000_000)
const timeoutMs = 60_000 + rounds * 60_000

test.skipIf(whyNoHosts !== undefined)(
  `${rounds} fail-overs on a folder end with the newest commit each`,
  async () => {
    const folder = temporaryFolder()
    const place = {
      env: {},
      replica: (path: string) => ({ type: 'file', path: join(folder, path) }),
    }
    const summary = await failOver({ place, storePort: undefined, rounds, seed })
    console.log(`folder, seed ${seed}: ${JSON.stringify(summary)}`)
    expect(summary.rounds).toBe(rounds)
  },
  timeoutMs,
)

for (const [name, place] of Object.entries(placesOf(inject('stores')))) {
  if ('unavailable' in place) {
    test.skip(`${name} is not reached: ${place.unavailable}`, () => undefined)
    continue
  }
  test.skipIf(whyNoHosts !== undefined)(
    `${rounds} fail-overs on ${name} end with the newest commit each`,
    async () => {
      const storePort = Number(new URL(place.endpoint).port)
      const summary = await failOver({ place, storePort, rounds, seed })
      console.log(`${name}, seed ${seed}: ${JSON.stringify(summary)}`)
      expect(summary.rounds).toBe(rounds)
    },
    timeoutMs,
  )
}
