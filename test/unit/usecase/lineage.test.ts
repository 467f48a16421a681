/** Which commit a restore gives after changes of host, clock, file and local state: by the real loops, see lineage-world. */
import { describe, expect, test } from 'vitest'
import { ReplicaError } from '../../../src/domain/errors.js'
import { type StoredRecord } from '../../../src/domain/stored/replica-owner.js'
import { never } from '../../../src/kit/abort.ts'
import {
  type Commit,
  hourMs,
  minuteMs,
  ownershipOf,
  secondMs,
  World,
} from '../../support/lineage-world.js'

function placeOf(stored: StoredRecord | undefined): string {
  return `${stored?.generation}/${stored?.position?.index}:${stored?.position?.offset}`
}

/** A commit a second. */
async function write(host: ReturnType<World['host']>, count: number): Promise<Commit> {
  let last = host.commit()
  for (let i = 1; i < count; i += 1) {
    await host.world.pass(secondMs)
    last = host.commit()
  }
  await host.world.pass(5 * secondMs)
  return last
}

async function restored(world: World): Promise<number | undefined> {
  const found = await world.restore()
  if (found.kind === 'refused') throw found.error
  return found.commit.number
}

test.each([60 * secondMs, 25 * secondMs, hourMs, -hourMs])(
  'fail-over from a host whose clock is %i ms ahead: the newest commit is the one of the host that took over',
  async (offsetMs) => {
    const world = new World()
    const a = world.host('a', { offsetMs })
    a.place()
    a.start()
    const last = await write(a, 10)
    expect(await restored(world)).toBe(last.number)
    await a.kill()
    const b = world.host('b')
    expect(await b.restore()).toBe(true)
    expect(b.file?.head).toBe(last)
    b.start()
    expect(await restored(world)).toBe(last.number)
    const newest = await write(b, 5)
    expect(await restored(world)).toBe(newest.number)
    await b.stop()
    expect(await restored(world)).toBe(newest.number)
  },
)

test.each([
  { state: 'with local state', loses: false },
  { state: 'without local state', loses: true },
])(
  'a clock an hour ahead that was corrected: a restart into a new generation, $state, loses nothing',
  async ({ loses }) => {
    const world = new World()
    const a = world.host('a', { offsetMs: hourMs })
    a.place()
    a.start()
    await write(a, 10)
    await a.stop()
    a.offsetMs = 0
    if (loses) a.loseState()
    // The WAL does not go on from what was captured.
    a.commit()
    a.checkpoint()
    const first = a.start()
    await write(a, 2)
    const newest = await write(a, 5)
    expect(first.isStored).toBe(true)
    expect(await restored(world)).toBe(newest.number)
    expect(a.said('new commits get its time')).toHaveLength(1)
  },
)

test.each(Array.from({ length: 8 }, (_, seed) => seed + 1))(
  'a file that is moved over the database under the daemon is what is restored, without any later commit (%i)',
  async (seed) => {
    const world = new World(seed)
    const a = world.host('a')
    a.place()
    a.start()
    await write(a, 3)
    a.place({ number: world.next(), parent: undefined })
    await world.pass(10 * secondMs)
    expect(world.begun).toHaveLength(2)
    expect(await restored(world)).toBe(a.file?.head.number)
    await a.stop()
    expect(await restored(world)).toBe(a.file?.head.number)
  },
)

test('a host that is rolled back, disk and database, goes on in a generation of its own and says what it does not hold', async () => {
  const world = new World()
  const a = world.host('a')
  a.place()
  a.start()
  await write(a, 3)
  await a.stop()
  const former = a.copy()
  a.start()
  await write(a, 5)
  await a.stop()
  const [old] = world.begun
  Object.assign(a, former)
  a.start()
  const newest = await write(a, 2)
  expect(await restored(world)).toBe(newest.number)
  expect(world.begun).toHaveLength(2)
  expect(world.overwritten).toEqual([])
  expect(a.said('does not have')).toMatchObject([
    { level: 'warn', fields: { generation: old?.generation } },
  ])
})

test('a former owner that comes back is the owner again, and says what somebody else has written since', async () => {
  const world = new World()
  const a = world.host('a')
  a.place()
  a.start()
  await write(a, 3)
  await a.stop()
  const b = world.host('b')
  await b.restore()
  b.start()
  await write(b, 4)
  await b.stop()
  a.start()
  const newest = await write(a, 2)
  expect(world.begun.map(({ host }) => host)).toEqual(['a', 'b', 'a'])
  expect(await restored(world)).toBe(newest.number)
  expect(a.said('does not have')).toMatchObject([
    { level: 'warn', fields: { generation: world.begun[1]?.generation } },
  ])
  // It says so once, and a restart that goes on says nothing.
  await a.stop()
  a.start()
  await write(a, 1)
  expect(a.said('does not have')).toHaveLength(1)
})

test('a former owner that was only away, and writes on until it looks, is not taken for the newest', async () => {
  const world = new World()
  const a = world.host('a', { offsetMs: minuteMs })
  a.place()
  a.start()
  await write(a, 3)
  a.freeze()
  const b = world.host('b')
  await b.restore()
  b.start()
  const newest = await write(b, 4)
  a.thaw()
  a.commit()
  await world.pass(minuteMs)
  a.commit()
  await world.pass(minuteMs)
  expect(await restored(world)).toBe(newest.number)
  expect(a.daemon?.sync.standing.takenBy).toBeDefined()
})

test('a new generation in place of one of which nothing was stored is no fork', async () => {
  const world = new World()
  const a = world.host('a')
  a.place()
  a.start()
  await write(a, 3)
  world.client.beforeOperation = () => {
    throw new ReplicaError('it is down', { retryable: true })
  }
  for (let i = 0; i < 2; i += 1) {
    await a.kill()
    a.commit()
    a.checkpoint()
    a.start()
    await world.pass(5 * secondMs)
  }
  world.client.beforeOperation = undefined
  const newest = await write(a, 30)
  expect(world.begun).toHaveLength(2)
  expect(await restored(world)).toBe(newest.number)
  expect(a.said('does not have')).toEqual([])
})

describe('the owner object says what is stored', () => {
  const recorded = (world: World) => ownershipOf(world)?.stored

  test('when a generation begins, when its first snapshot is there, now and then, and at the end', async () => {
    const world = new World()
    const a = world.host('a')
    a.place()
    let writes = 0
    let atFirst: unknown
    world.client.beforeOperation = (operation) => {
      if (operation === 'upload') atFirst ??= recorded(world)
      if (operation === 'writeOwner') writes += 1
    }
    const daemon = a.start()
    await write(a, 5)
    const generation = daemon.generation
    expect(atFirst).toMatchObject({
      generation,
      ordinal: 1,
      hasSnapshot: false,
      position: undefined,
    })
    expect(recorded(world)).toMatchObject({ generation, ordinal: 1, hasSnapshot: true })
    // The claim and its probe, the beginning, and the snapshot.
    expect(writes).toBe(4)
    let last = a.commit()
    for (let i = 0; i < 30; i += 1) {
      await world.pass(minuteMs)
      last = a.commit()
    }
    await world.pass(secondMs)
    expect(writes).toBe(7)
    await world.pass(11 * minuteMs)
    expect(writes).toBe(8)
    expect(world.commits.get(placeOf(recorded(world)))?.number).toBe(last.number)
    await world.pass(5 * hourMs)
    expect(writes).toBe(8)
    const end = await write(a, 2)
    await a.stop()
    expect(world.commits.get(placeOf(recorded(world)))?.number).toBe(end.number)
  })

  test('and goes on saying it after a takeover, until the next generation can be restored', async () => {
    const world = new World()
    const a = world.host('a')
    a.place()
    a.start()
    await write(a, 3)
    await a.stop()
    const before = recorded(world)
    const b = world.host('b')
    await b.restore()
    // Segments of another generation are kept back until its snapshot is sent, which is held up.
    let isHeld = true
    world.client.beforeOperation = async (operation, path) => {
      if (operation === 'finish' && path.includes('snapshot') && isHeld)
        await b.clock.sleep(hourMs, never)
    }
    const daemon = b.start()
    await write(b, 3)
    expect(recorded(world)).toMatchObject({
      generation: daemon.generation,
      hasSnapshot: false,
      ordinal: 2,
      before,
    })
    isHeld = false
    await world.pass(2 * hourMs)
    expect(recorded(world)).toMatchObject({ hasSnapshot: true, ordinal: 2, before: undefined })
  })
})
