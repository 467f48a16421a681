import { afterEach, beforeEach, expect, test } from 'vitest'
import { ReplicaError } from '../../../../src/domain/errors.js'
import { never } from '../../../../src/kit/abort.js'
import { ReplicaParts } from '../../../support/replica-parts.js'
import { segmentBytes } from '../../../support/spooled-history.js'

const minuteMs = 60_000

let parts: ReplicaParts

beforeEach(async () => {
  parts = await ReplicaParts.open()
})

afterEach(() => parts[Symbol.asyncDispose]())

test('nothing sent is nothing to look for; what was sent is looked for once a minute', async () => {
  const { confirm, sender, history, clock, feed } = parts
  const place = parts.found()
  expect(confirm.dueInMs(undefined)).toBeUndefined()
  expect(confirm.dueInMs(place)).toBeUndefined()
  await history.add(3)
  await sender.sendNext(place, never)
  expect(confirm.dueInMs(place)).toBe(minuteMs)
  expect(await confirm.step(place, never)).toBe(false)
  await clock.advance(minuteMs)
  expect(await confirm.step(place, never)).toBe(true)
  expect(confirm.dueInMs(place)).toBeUndefined()
  expect(feed.releasable({ isFull: false })).toEqual([])
  expect(parts.standing.missing).toBeUndefined()
})

test.each([
  ['a snapshot waits for it', () => void (parts.confirm.awaited = { index: 0, offset: 0 })],
  ['it is the end', () => void (parts.isEnding = true)],
  ['the spool is filling up', () => void (parts.feed.maxSpoolBytes = 1)],
  [
    'nothing is known to be restorable yet',
    () => {
      const position = { index: 0, offset: segmentBytes }
      parts.feed.firstLook = { generation: parts.generation, position }
    },
  ],
])('it is looked at once when %s', async (_, happens) => {
  const { confirm, sender, history } = parts
  const place = parts.found()
  await history.add(1)
  await sender.sendNext(place, never)
  expect(confirm.dueInMs(place)).toBe(minuteMs)
  happens()
  expect(confirm.dueInMs(place)).toBe(0)
})

test('what the store has lost is sent again, and is there at the next look', async () => {
  const { confirm, sender, history, clock, client, confirmation } = parts
  const place = parts.found()
  await history.add(1)
  await sender.sendNext(place, never)
  const [object] = client.objects.values()
  client.objects.clear()
  await clock.advance(minuteMs)
  await confirm.step(place, never)
  await clock.advance(5000)
  await expect(confirm.step(place, never)).rejects.toThrow('acknowledged by the store')
  expect(await confirm.step(place, never)).toBe(true)
  expect(client.objects.get(history.nameOf(0))?.bytes).toEqual(object?.bytes)
  await clock.advance(minuteMs)
  await confirm.step(place, never)
  expect(confirmation.isComplete).toBe(true)
})

test('while a snapshot is taken, a failure of the moment is said and waited out, and any other is thrown', async () => {
  const { confirm, sender, history, clock, client, problems } = parts
  const place = parts.found()
  await history.add(1)
  await sender.sendNext(place, never)
  await clock.advance(minuteMs)
  client.beforeOperation = () => {
    throw new ReplicaError('the store is away', { retryable: true })
  }
  const looking = confirm.stepMeanwhile(place, never)
  await clock.advance(1000)
  expect(await looking).toBe(true)
  expect(problems.log.last?.message).toBe('the store is away')
  client.beforeOperation = () => {
    throw new ReplicaError('access denied', { retryable: false })
  }
  await clock.advance(minuteMs)
  await expect(confirm.stepMeanwhile(place, never)).rejects.toThrow('access denied')
})

test('it is proven when all of the first look and a snapshot were seen there', async () => {
  const { confirm, sender, history, standing, feed, generation } = parts
  const place = parts.found()
  confirm.noteRestorable(place)
  expect(standing.isKnownRestorable).toBe(false)
  await history.add(1)
  feed.firstLook = { generation, position: { index: 0, offset: segmentBytes } }
  await sender.sendNext(place, never)
  confirm.noteRestorable(place)
  expect(standing.isKnownRestorable).toBe(false)
  await confirm.step(place, never)
  confirm.noteRestorable(place)
  expect(standing.isKnownRestorable).toBe(true)
})
