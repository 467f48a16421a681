/** Objects that somebody removes from a replica, or replaces, while nobody looks: by the real loops, see lineage-world. */
import { beforeEach, describe, expect, test } from 'vitest'
import { type Generation } from '../../../src/domain/wal/generation.js'
import { type Commit, type Host, minuteMs, secondMs, World } from '../../support/lineage-world.js'

let world: World
let host: Host
let operations: string[]

beforeEach(() => {
  world = new World()
  host = world.host('a')
  host.place()
  operations = []
  world.client.beforeOperation = (operation, path) => void operations.push(`${operation} ${path}`)
})

/** A commit a second. */
async function write(count: number): Promise<Commit> {
  let last = host.commit()
  for (let i = 1; i < count; i += 1) {
    await world.pass(secondMs)
    last = host.commit()
  }
  await world.pass(5 * secondMs)
  return last
}

const segments = (generation?: Generation): string[] =>
  [...world.client.objects.keys()]
    .filter((path) => path.includes(`${generation ?? ''}/wal/`))
    .sort()

const isKnownRestorable = (): boolean => {
  const { capture, sync } = host.daemon!
  return sync.standing.status(capture.status()).isKnownRestorable
}

async function restored(): Promise<number | undefined> {
  const found = await world.restore()
  return found.kind === 'refused' ? undefined : found.commit.number
}

/** Litestream refuses a generation in which an index lacks its beginning, wherever its snapshots are. */
function expectBeginnings(): void {
  const starts = new Map<string, string>()
  for (const path of segments(host.state.spool!.generation)) {
    const [, index = '', offset = ''] = /(\w{8})_(\w{8})\.wal/.exec(path) ?? []
    if (!starts.has(index)) starts.set(index, offset)
  }
  expect(new Set(starts.values())).toEqual(new Set(['00000000']))
}

const reads = (): number => operations.filter((operation) => operation.startsWith('read ')).length

/** Several indexes, all of it confirmed, and the daemon stopped. */
async function fill(): Promise<void> {
  host.start()
  for (let index = 0; index < 4; index += 1) {
    await write(10)
    host.checkpoint()
  }
  await write(10)
  await world.pass(2 * minuteMs)
  await host.kill()
}

describe('at a start', () => {
  test('what is as it was costs no reading, however much there is', async () => {
    await fill()
    operations.length = 0
    host.start()
    await world.pass(10 * secondMs)
    expect(isKnownRestorable()).toBe(true)
    // The newest snapshot's and the last segment's.
    expect(reads()).toBeLessThanOrEqual(4)
  })

  test('without what is remembered the trailers are read, and what is there is proven', async () => {
    await fill()
    host.state.stored = undefined
    operations.length = 0
    host.start()
    await world.pass(10 * secondMs)
    expect(isKnownRestorable()).toBe(true)
    expect(reads()).toBeGreaterThan(30)
    expect(host.said('commits are missing')).toEqual([])
  })

  describe.each([
    ['with what is remembered', true],
    ['without what is remembered', false],
  ])('%s', (_, remembers) => {
    test.each([
      ['the first segment', 0],
      ['one within an index', 4],
      ['the last of an index', 9],
      ['the first of an index', 10],
      ['one of the index that is captured', 44],
    ])('%s that is gone is noticed, and the newest commit can be restored again', async (_, at) => {
      await fill()
      const paths = segments()
      expect(paths.length).toBeGreaterThan(45)
      world.client.objects.delete(paths[at]!)
      if (!remembers) host.state.stored = undefined
      host.start()
      await world.pass(2 * secondMs)
      expect(isKnownRestorable()).toBe(false)
      await world.pass(30 * secondMs)
      expect(host.said('commits are missing on the replica')).toHaveLength(1)
      const last = await write(3)
      await world.pass(10 * secondMs)
      expect(isKnownRestorable()).toBe(true)
      expect(await restored()).toBe(last.number)
      expect(world.overwritten).toEqual([])
      expectBeginnings()
    })

    test('one in whose place an older copy is, of another size', async () => {
      await fill()
      const paths = segments()
      const { objects } = world.client
      objects.delete(paths[4]!)
      objects.set(paths[4]!, { bytes: new Uint8Array(7), createdAtMs: 0 })
      if (!remembers) host.state.stored = undefined
      host.start()
      await world.pass(30 * secondMs)
      const last = await write(3)
      await world.pass(10 * secondMs)
      expect(isKnownRestorable()).toBe(true)
      expect(await restored()).toBe(last.number)
    })
  })

  test('an index without its beginning, behind which the rest is gone, too', async () => {
    await fill()
    for (const path of segments().slice(15)) world.client.objects.delete(path)
    world.client.objects.delete(segments()[10]!)
    host.start()
    await world.pass(30 * secondMs)
    const last = await write(3)
    await world.pass(10 * secondMs)
    expect(await restored()).toBe(last.number)
    expectBeginnings()
  })

  test('what the spool still has is sent again', async () => {
    host.start()
    await write(10)
    await host.kill()
    const paths = segments()
    const lost = paths.at(-4)!
    const { bytes } = world.client.objects.get(lost)!
    world.client.objects.delete(lost)
    const { generation } = host.state.spool!
    host.start()
    await world.pass(30 * secondMs)
    expect(world.client.objects.get(lost)?.bytes).toEqual(bytes)
    expect(segments(generation)).toHaveLength(paths.length)
    expect(isKnownRestorable()).toBe(true)
  })

  test('a listing that lags is no loss', async () => {
    await fill()
    const [, lost] = segments()
    const object = world.client.objects.get(lost!)!
    world.client.objects.delete(lost!)
    host.start()
    await world.pass(2 * secondMs)
    world.client.objects.set(lost!, object)
    await world.pass(20 * secondMs)
    expect(isKnownRestorable()).toBe(true)
    expect(host.said('commits are missing')).toEqual([])
  })
})

test('a running daemon notices at its daily listing', async () => {
  host.start()
  await write(10)
  host.checkpoint()
  await write(10)
  await world.pass(2 * minuteMs)
  world.client.objects.delete(segments()[3]!)
  await world.pass(24 * 60 * minuteMs + 5 * minuteMs)
  expect(host.said('commits are missing on the replica')).toHaveLength(1)
  const last = await write(3)
  expect(await restored()).toBe(last.number)
})
