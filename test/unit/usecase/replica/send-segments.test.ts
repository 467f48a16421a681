import { afterEach, beforeEach, expect, test } from 'vitest'
import { never } from '../../../../src/kit/abort.js'
import { formatGeneration } from '../../../../src/domain/wal/generation.js'
import { ChooseSegment } from '../../../../src/usecase/replica/choose-segment.js'
import { type SentSegment } from '../../../../src/usecase/replica/confirmation.js'
import { GenerationEndedError } from '../../../../src/usecase/replica/take-snapshot.js'
import { ReplicaParts } from '../../../support/replica-parts.js'
import { segmentBytes } from '../../../support/spooled-history.js'

let parts: ReplicaParts

beforeEach(async () => {
  parts = await ReplicaParts.open()
})

afterEach(() => parts[Symbol.asyncDispose]())

const at = (number: number): { index: number; offset: number } => ({
  index: 0,
  offset: number * segmentBytes,
})

/** What is acknowledged and not confirmed. */
function sentOf(number: number): SentSegment {
  const segment = parts.history.segments[number]
  if (segment === undefined) throw new Error(`no segment ${number}`)
  return { segment, storedBytes: segment.sizeBytes, sinceMs: 0 }
}

test('what is pending is sent as one, once an interval, and then there is nothing to send', async () => {
  const { sender, history, client, clock } = parts
  const place = parts.found()
  expect(sender.dueInMs(place)).toBeUndefined()
  expect(sender.dueInMs(undefined)).toBeUndefined()
  await history.add(2)
  expect(sender.dueInMs(place)).toBe(0)
  expect(await sender.sendNext(place, never)).toBe(true)
  expect(place.position).toEqual(at(2))
  expect([...client.objects.keys()]).toEqual([history.nameOf(0)])
  expect(await sender.sendNext(place, never)).toBe(false)
  await history.add(1)
  expect(sender.dueInMs(place)).toBe(1000)
  expect(await sender.sendNext(place, never)).toBe(false)
  await clock.advance(1000)
  expect(await sender.sendNext(place, never)).toBe(true)
  expect(parts.said).toEqual(['info: wal segment written', 'info: wal segment written'])
})

test('at the end, and before a first snapshot, no interval is waited for', async () => {
  const { sender, history } = parts
  const place = parts.found()
  await history.add(1)
  await sender.sendNext(place, never)
  await history.add(1)
  expect(sender.dueInMs(place)).toBe(1000)
  parts.isEnding = true
  expect(sender.dueInMs(place)).toBe(0)
  parts.isEnding = false
  place.hasSnapshot = false
  expect(sender.dueInMs(place)).toBe(0)
})

test('what the spool does not have any more cannot be sent', async () => {
  const { sender, history, feed } = parts
  const place = parts.found()
  await history.add(2)
  if (feed.current !== undefined) feed.current.segments = feed.current.segments.slice(1)
  await expect(sender.sendNext(place, never)).rejects.toThrow('the spool does not have what')
})

test('a segment that is gone with its generation asks for no other one', async () => {
  const { history, feed, parts: made } = parts
  await history.add(1)
  const [segment] = history.segments
  if (segment === undefined) throw new Error('there is no segment')
  const identity = { device: 1, inode: 2 }
  const generation = formatGeneration(Uint8Array.of(8, 7, 6, 5, 4, 3, 2, 1))
  await history.spool.beginGeneration({ generation, identity }, never)
  const choose = new ChooseSegment(made)
  await expect(choose.mustBeWhole([segment], never)).rejects.toThrow('is gone')
  expect(feed.takeNewGeneration()?.reason).toBe('local state has lost a segment')
  feed.begin({ generation, pageSizeBytes: 512, end: { index: 0, offset: 0 }, segments: [] }, 0)
  await expect(choose.mustBeWhole([segment], never)).rejects.toThrow(GenerationEndedError)
  expect(feed.takeNewGeneration()).toBeUndefined()
})

test('what is there already is passed over, with what follows it, and is confirmed as if it had been sent', async () => {
  const { sender, history, client, clock, confirmation } = parts
  await history.add(1)
  await sender.sendNext(parts.found(), never)
  await history.add(1)
  await clock.advance(1000)
  await sender.sendNext(parts.found({ position: at(1) }), never)
  const before = client.objects.size
  await clock.advance(1000)
  const place = parts.found()
  expect(await sender.sendNext(place, never)).toBe(true)
  expect(place.position).toEqual(at(2))
  expect(client.objects.size).toBe(before)
  expect(confirmation.from).toEqual(at(0))
})

test('what the store has lost is sent again from the spool; without it, another generation is asked for', async () => {
  const { sender, history, client, feed } = parts
  await history.add(1)
  const place = parts.found()
  await sender.sendNext(place, never)
  const [object] = client.objects.values()
  client.objects.clear()
  const lost = sentOf(0)
  await sender.sendAgain(place, lost, never)
  expect(client.objects.get(history.nameOf(0))?.bytes).toEqual(object?.bytes)
  expect(parts.said.at(-1)).toBe('warn: wal segment that the store had lost was sent again')
  if (feed.current !== undefined) feed.current.segments = []
  const asking = sender.sendAgain(place, lost, never)
  expect(feed.takeNewGeneration()?.reason).toBe(
    'replica missed segments that the spool no longer has',
  )
  feed.announce()
  await asking
})
