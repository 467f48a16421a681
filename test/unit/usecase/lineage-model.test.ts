import { expect, test } from 'vitest'
import { runHistories } from '../../support/lineage-model.js'

const count = 60

test(`a restore is the newest commit of the rightful history, or refused naming what is lost: ${count} random ones`, async () => {
  const { failures, outcome } = await runHistories({ from: 1, count })
  expect(failures).toEqual([])
  // Of each kind there was enough to mean something.
  expect(outcome.generations).toBeGreaterThan(3 * count)
  expect(outcome.takeovers).toBeGreaterThan(count)
  expect(outcome.forks).toBeGreaterThan(count / 10)
  expect(outcome.refused).toBeGreaterThan(count)
})
