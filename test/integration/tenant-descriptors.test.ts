/** A tenant has more databases than the process may have files open, in a folder that a daemon of root replicates. */
import { copyFileSync, chownSync, rmSync } from 'node:fs'
import { join, relative } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { type DaemonStatus } from '../../src/domain/status.ts'
import { cleanUp, listObjects, program, restore, Running, until } from '../support/cli.ts'
import { addNote, makeNotes, notesIn } from '../support/notes.ts'
import { configOf, isRoot, makeHost, type Tenant } from '../support/tenants.ts'

afterEach(() => cleanUp())

const openFiles = 700

test.skipIf(!isRoot)(
  'who has more databases than there is room for is refused, and nobody else',
  async () => {
    // The greedy one is found first.
    const host = makeHost('adam', 'bob')
    const [adam, bob] = host.tenants as [Tenant, Tenant]
    const one = join(host.folder, 'one.db')
    makeNotes(one, 'one')
    const makes = ({ home, user }: Tenant, name: string): string => {
      const path = join(home, name)
      copyFileSync(one, path)
      chownSync(path, user, user)
      return path
    }
    const all = Array.from({ length: 300 }, (_, i) => makes(adam, `${i}.db`))
    for (let i = 0; i < 8; i += 1) makes(bob, `${i}.db`)
    const limits = [`--nofile=${openFiles}:${openFiles}`, process.execPath, program]
    const config = configOf(host, { by: 'dir' })
    const daemon = new Running('daemon', 'prlimit', [...limits, 'replicate', '-config', config])
    await daemon.waitFor(/serving metrics on/)
    const url = /http:\/\/[\d.:]+/.exec(daemon.output)?.[0]
    const ready = async (): Promise<string> => (await fetch(`${url}/readyz`)).text()
    const notReady = async (): Promise<string[]> => {
      const status = (await (await fetch(`${url}/api/status`)).json()) as DaemonStatus
      return status.notReady.map(({ database, reason }) => `${database}: ${reason}`)
    }
    const isStored = (path: string): boolean =>
      listObjects(join(host.replicas, relative(host.homes, path))).some((name) =>
        name.includes('snapshots'),
      )
    await until(
      async () => (await notReady()).filter((line) => line.includes('no room')).length > 200,
      60_000,
      () => daemon.output,
    )
    const refused = await notReady()
    for (const line of refused) {
      expect(line).toMatch(
        new RegExp(`^${adam.home}/.*user ${adam.user} .*${openFiles}.*LimitNOFILE`),
      )
    }
    expect(refused.length).toBeLessThan(260)
    expect(await ready()).toMatch(
      new RegExp(`^${adam.home}/.*no room.*and so are 2\\d\\d others, as ${adam.home}/.*\n$`),
    )

    // Bob goes on, and has room for more.
    await until(
      () => isStored(join(bob.home, '0.db')),
      60_000,
      () => daemon.output,
    )
    addNote(join(bob.home, '0.db'), 'more')
    const late = makes(bob, 'late.db')
    await until(
      () => isStored(late),
      60_000,
      () => daemon.output,
    )
    await daemon.waitFor(/wal segment written/)
    expect(daemon.output).not.toMatch(/EMFILE|too many open files|CANTOPEN|unable to open/)
    const out = join(host.folder, 'out.db')
    await restore(join(host.replicas, 'bob/0.db'), out)
    expect(notesIn(out)).toEqual(['one', 'more'])

    // The log has a line a minute while their number changes, and each is taken in once there is room.
    const last = all.findLast((path) => refused.some((line) => line.startsWith(`${path}:`)))!
    expect(daemon.count(/for want of room/)).toBeLessThan(10)
    for (const path of all) if (path !== last) rmSync(path)
    await until(
      () => isStored(last),
      120_000,
      () => daemon.output,
    )
    await until(
      async () => (await ready()).startsWith('ready'),
      60_000,
      () => daemon.output,
    )
    expect(await daemon.stop(), daemon.output).toBe(0)
  },
)
