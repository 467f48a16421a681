import { expect, test } from 'vitest'
import { never } from '../../../../src/kit/abort.js'
import { GenerationFeed } from '../../../../src/usecase/backlog/generation-feed.js'
import { changeOrDue } from '../../../../src/usecase/replica/change-or-due.js'
import { ManualClock } from '../../../support/manual-clock.js'

test.each<[string, (scene: Scene) => unknown]>([
  ['the feed changes', ({ feed }) => feed.announce()],
  ['the first thing is due', ({ clock }) => clock.advance(1)],
  ['it is told to', ({ told }) => told.abort()],
])('the wait is over when %s, and no earlier', async (_, happens) => {
  const scene = {
    feed: new GenerationFeed(),
    clock: new ManualClock(),
    told: new AbortController(),
  }
  let isOver = false
  const waiting = changeOrDue(scene, [5000, undefined, 1000], scene.told.signal).then(() => {
    isOver = true
  })
  await scene.clock.advance(999)
  expect(isOver).toBe(false)
  await happens(scene)
  await waiting
})

test('where nothing is ever due, a change is waited for', async () => {
  const feed = new GenerationFeed()
  const clock = new ManualClock()
  let isOver = false
  const waiting = changeOrDue({ feed, clock }, [undefined], never).then(() => {
    isOver = true
  })
  await clock.advance(24 * 3_600_000)
  expect(isOver).toBe(false)
  feed.announce()
  await waiting
})

interface Scene {
  readonly feed: GenerationFeed
  readonly clock: ManualClock
  readonly told: AbortController
}
