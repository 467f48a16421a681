import { expect, test } from 'vitest'
import { RetentionHistory } from '../../support/retention-model.ts'

const histories = Number(process.env['RETENTION_HISTORIES'] ?? 1000)

test(`in ${histories} random histories with crashes, lies and wrong clocks every promised moment restores`, async () => {
  const total = new Map<string, number>()
  for (let seed = 1; seed <= histories; seed += 1) {
    const history = new RetentionHistory(seed)
    try {
      const outcome = await history.run(20 + (seed % 60))
      for (const [name, count] of Object.entries<number>({ ...outcome })) {
        total.set(name, (total.get(name) ?? 0) + count)
      }
    } catch (error) {
      throw new Error(`history ${seed}: ${String(error)}`, { cause: error })
    }
  }
  console.info(
    `retention model, ${histories} histories:`,
    JSON.stringify(Object.fromEntries(total)),
  )
  expect(total.get('deleted')).toBeGreaterThan(histories)
  expect(total.get('crashes')).toBeGreaterThan(histories / 20)
  expect(total.get('commitsChecked')).toBeGreaterThan(histories)
  expect(total.get('refusals')).toBeGreaterThan(histories / 20)
})
