import { afterEach, expect, test } from 'vitest'
import { cleanUp } from '../../support/cli.ts'
import { actNames, Episode, whyNoOperators } from '../../support/operators.ts'

afterEach(() => cleanUp())

const seconds = Number(process.env['TSREPLICATE_OPERATOR_SECONDS'] ?? 1800)
const seed = Number(process.env['TSREPLICATE_SEED'] ?? Date.now() % 1_000_000)
test.skipIf(whyNoOperators !== undefined)(
  `whatever operators do to the file for ${seconds} s, nothing is silent`,
  async () => {
    const endMs = performance.now() + seconds * 1000
    const counts = new Map<string, number>()
    const silent: string[] = []
    for (let i = 0; performance.now() < endMs; i += 1) {
      // Each act once at least, then at random, several in a row.
      const named = actNames[i]
      try {
        const done = await new Episode(seed + i).run(named === undefined ? 1 + (i % 3) : 1, named)
        for (const name of done) counts.set(name, (counts.get(name) ?? 0) + 1)
      } catch (error) {
        silent.push(`seed ${seed + i}: ${String(error)}`)
      }
      await cleanUp()
    }
    console.log(
      [`seed ${seed}:`, ...[...counts].map(([what, n]) => `${n} × ${what}`).sort()].join('\n'),
    )
    expect(silent).toEqual([])
  },
  (seconds + 600) * 1000,
)
