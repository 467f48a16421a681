/** Fail-overs of two hosts with clocks apart; `npm run test:failover` does many, on object stores too. */
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { cleanUp, temporaryFolder } from '../support/cli.ts'
import { failOver } from '../support/failovers.ts'
import { whyNoHosts } from '../support/hosts.ts'

afterEach(() => cleanUp())

test.skipIf(whyNoHosts !== undefined)(
  'a host that takes over with its clock behind is the one that is restored, each time',
  async () => {
    const folder = temporaryFolder()
    const place = {
      env: {},
      replica: (path: string) => ({ type: 'file', path: join(folder, path) }),
    }
    const { rounds } = await failOver({ place, storePort: undefined, rounds: 2, seed: 11 })
    expect(rounds).toBe(2)
  },
)
