import { expect, test } from 'vitest'
import { GenerationFeed } from '../../../../src/usecase/backlog/generation-feed.js'

test('a wish is noticed by who waits for one later, while it goes into idleness', async () => {
  const feed = new GenerationFeed()
  const waiting = AbortSignal.timeout(5000)
  const barrier = feed.barrier()
  await feed.waitForWish(waiting)
  expect(waiting.aborted).toBe(false)
  feed.takeBarriers().reject(new Error('done'))
  await expect(barrier).rejects.toThrow('done')
  feed.requestNewGeneration('no wal', 'gone')
  await feed.waitForWish(waiting)
  expect(waiting.aborted).toBe(false)
})
