/**
 * A machine that is taken back to an earlier state, memory included, while its daemon runs and its store goes on, as by a
 * snapshot of a virtual machine. What the memory holds is made a second time by the same history, to the last token.
 */
import { expect, test } from 'vitest'
import { minuteMs, ownershipOf, secondMs, World } from '../../../support/lineage-world.js'

type Host = ReturnType<World['host']>

/** Up to the moment to which the machine is taken back. */
async function begin(): Promise<Host> {
  const world = new World(7)
  const host = world.host('a')
  host.place()
  host.start()
  await write(host, 10)
  return host
}

/** A commit a second. */
async function write(host: Host, count: number): Promise<number> {
  let last = 0
  for (let i = 0; i < count; i += 1) {
    last = host.commit().number
    await host.world.pass(secondMs)
  }
  await host.world.pass(5 * secondMs)
  return last
}

/** The machine as it was, on the store as it has become. What it commits from now on is other than what it did. */
async function takeBack(former: Host, offsetMs: number): Promise<Host> {
  const host = await begin()
  const { client } = former.world
  host.world.client.become(client)
  for (const [place, commit] of former.world.commits) {
    if (!host.world.commits.has(place)) host.world.commits.set(place, commit)
  }
  while (host.world.next() < 100_000);
  host.offsetMs = offsetMs
  return host
}

const histories: readonly [string, (host: Host) => Promise<unknown>][] = [
  ['stored nothing more', () => Promise.resolve()],
  ['stored some commits', (host) => write(host, 3)],
  ['stored many', (host) => write(host, 40)],
  [
    'restarted its WAL',
    async (host) => {
      host.checkpoint()
      await write(host, 3)
    },
  ],
  [
    'said in the owner object what it had stored',
    async (host) => {
      await write(host, 3)
      await host.world.pass(11 * minuteMs)
      await write(host, 3)
      await host.world.pass(2 * minuteMs)
    },
  ],
  ['ended', (host) => host.stop()],
]
const clocks = [
  ['set right since', 20 * minuteMs],
  ['taken back, too', 0],
] as const

test.each(
  histories.flatMap(([history, live]) => clocks.map((clock) => ({ history, live, clock }))),
)(
  'after a history that $history, with a clock that was $clock.0, what is committed then is what is restored',
  async ({ live, clock: [, offsetMs] }) => {
    const former = await begin()
    const owner = ownershipOf(former.world)
    await live(former)
    const host = await takeBack(former, offsetMs)
    expect(host.daemon?.owner.epoch).toBe(owner?.epoch)
    await write(host, 3)
    await host.world.pass(2 * minuteMs)
    const last = await write(host, 3)
    await host.world.pass(2 * minuteMs)
    expect(host.daemon?.isStored).toBe(true)
    const found = await host.world.restore()
    if (found.kind === 'refused') throw found.error
    expect(found.commit.number).toBe(last)
    expect(host.world.overwritten).toEqual([])
  },
)
