import { afterEach, test } from 'vitest'
import { cleanUp } from '../../support/cli.ts'
import { killAtRandom } from '../../support/random-kills.ts'

afterEach(cleanUp)

const seconds = Number(process.env['TSREPLICATE_THREADS_SECONDS'] ?? 600)
const seed = Number(process.env['TSREPLICATE_SEED'] ?? Date.now() % 1_000_000)

test(`threads and children that are killed at random for ${seconds} s beside load cost no commit`, () =>
  killAtRandom({ seconds, everyMs: 2000, seed }))
