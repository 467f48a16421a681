import { afterEach, beforeEach, expect, test } from 'vitest'
import { formatPosition } from '../../../../src/domain/wal/position.js'
import { never } from '../../../../src/kit/abort.js'
import { CheckTiling } from '../../../../src/usecase/replica/check-tiling.js'
import { MendHoles } from '../../../../src/usecase/replica/mend-holes.js'
import { type Place } from '../../../../src/usecase/replica/replica-standing.js'
import { ReplicaParts } from '../../../support/replica-parts.js'
import { segmentBytes } from '../../../support/spooled-history.js'

let parts: ReplicaParts
let mend: MendHoles
let place: Place

/** Three objects of one segment each. */
beforeEach(async () => {
  parts = await ReplicaParts.open()
  const { clock, snapshots, sender } = parts
  mend = new MendHoles({ ...parts.parts, snapshots })
  place = parts.found()
  for (let i = 0; i < 3; i += 1) {
    await parts.history.add(1)
    await sender.sendNext(place, never)
    await clock.advance(1000)
  }
})

afterEach(() => parts[Symbol.asyncDispose]())

/** It is looked what is there, until that is known, and mended if something is missing. */
async function look(): Promise<void> {
  const { client, generation, history, clock } = parts
  const listed = await Array.fromAsync(client.listWalSegments(generation, never))
  const none = { remembered: undefined, firstIndex: 0 }
  const tiling = new CheckTiling({ client, generation, listed, spooled: history.segments, ...none })
  place = parts.found({ position: place.position, tiling })
  while (!tiling.isComplete) await mend.step(place, tiling, never)
  const mending = mend.step(place, tiling, never)
  await clock.advance(5000)
  await mending
}

test('segments that follow each other are known to, and are let go of', async () => {
  await look()
  expect(place.tiling).toBeUndefined()
  expect(parts.standing.place).toBe(place)
})

test('what is missing is looked for twice before it is sent again from the spool', async () => {
  const { client, history, standing, said } = parts
  const path = history.nameOf(1)
  const object = client.objects.get(path)
  client.objects.delete(path)
  standing.isKnownRestorable = true
  await look()
  expect(standing.isKnownRestorable).toBe(false)
  expect(standing.place).toBeUndefined()
  expect(client.objects.has(path)).toBe(false)
  await look()
  expect(client.objects.get(path)?.bytes).toEqual(object?.bytes)
  expect(said.at(-1)).toBe('error: commits are missing on the replica: they are sent again')
  await look()
  expect(place.tiling).toBeUndefined()
})

test('what the spool does not have either ends the generation, while its index is being captured', async () => {
  const { client, history, feed, standing } = parts
  const formatPlace = (number: number): string =>
    formatPosition({ generation: parts.generation, index: 0, offset: number * segmentBytes })
  client.objects.delete(history.nameOf(1))
  await look()
  if (feed.current !== undefined) feed.current.segments = history.segments.slice(2)
  const looking = look()
  await parts.clock.advance(0)
  for (let round = 0; round < 100 && !feed.hasWish; round += 1) await parts.clock.advance(0)
  expect(feed.takeNewGeneration()).toEqual({
    reason: 'replica missed segments that the spool no longer has',
    detail: `memory lacks ${formatPlace(1)} to ${formatPlace(2)}`,
  })
  feed.announce()
  await looking
  expect(standing.place).toBeUndefined()
})
