import { expect, test } from 'vitest'
import { RetentionHistory } from '../../support/retention-model.ts'

const histories = Number(process.env['RETENTION_HISTORIES'] ?? 300_000)

test(`in ${histories} more random histories every promised moment restores`, async () => {
  let runs = 0
  // Behind the seeds of the unit test, and longer lives.
  for (let seed = 1_000_000; seed < 1_000_000 + histories; seed += 1) {
    try {
      runs += (await new RetentionHistory(seed).run(30 + (seed % 120))).runs
    } catch (error) {
      throw new Error(`history ${seed}: ${String(error)}`, { cause: error })
    }
  }
  console.info(`${histories} histories with ${runs} runs of retention`)
  expect(runs).toBeGreaterThan(histories)
})
