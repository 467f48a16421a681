/** The model of `test/unit/usecase/lineage-model.test.ts`, 10,000 histories long; `LINEAGE_SEED` begins elsewhere. */
import { expect, test } from 'vitest'
import { runHistories } from '../../support/lineage-model.js'

const first = Number(process.env['LINEAGE_SEED'] ?? 1)
const count = Number(process.env['LINEAGE_HISTORIES'] ?? 10_000)
const atOnce = 500

test(`${count} random histories from ${first} on`, async () => {
  for (let from = first; from < first + count; from += atOnce) {
    const { failures, outcome } = await runHistories({
      from,
      count: Math.min(atOnce, first + count - from),
    })
    process.stdout.write(`from ${from}: ${JSON.stringify(outcome)}\n`)
    expect(failures).toEqual([])
  }
})
