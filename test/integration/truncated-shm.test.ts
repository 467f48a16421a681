/** A tenant truncates the `-shm` of his database while the daemon of root has it mapped, which ends every process that has. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { cleanUp, restore, Running, start, until } from '../support/cli.ts'
import { lastAcknowledged, restoreAndVerify, startWriter } from '../support/ledger.ts'
import { addNote, notesIn } from '../support/notes.ts'
import { configOf, isRoot, makeHost, type Tenant } from '../support/tenants.ts'

afterAll(() => cleanUp())

/** Goes on until it is stopped. */
function truncatesAlways({ user, home }: Tenant): Running {
  const script = `cd ${home}; while :; do : > app.db-shm; touch app.db-wal; sleep 0.02; done`
  const args = [`--reuid=${user}`, `--regid=${user}`, '--clear-groups', 'sh', '-c', script]
  return new Running('mallory', 'setpriv', args)
}

function childrenOf({ child: { pid } }: Running): readonly number[] {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8')
  return children.split(' ').filter(Boolean).map(Number)
}

describe.skipIf(!isRoot).concurrent('a tenant who truncates his -shm', () => {
  test.each(['path', 'dir'] as const)('stops nobody but himself (%s)', async (by) => {
    const host = makeHost('anna', 'mallory')
    const [anna, mallory] = host.tenants as [Tenant, Tenant]
    const oracle = join(host.folder, 'oracle')
    const daemon = start('replicate', '-config', configOf(host, { by }))
    await daemon.waitFor(/snapshot written/, { times: 2 })
    // Where they read, SIGUSR1 opens no debugger.
    for (const pid of childrenOf(daemon)) process.kill(pid, 'SIGUSR1')
    const writer = startWriter({ db: anna.db, oracle, rate: 50, rows: 5 })
    const attack = truncatesAlways(mallory)
    await daemon.waitFor(/ended the process in which SQLite reads it \(SIGBUS\), as .* 2 times/)
    const url = /http:\/\/[\d.:]+/.exec(daemon.output)![0]
    const named = new RegExp(`${mallory.db}.*: it has ended the process in which SQLite reads it`)
    let answer = ''
    await until(
      async () => {
        answer = await (await fetch(`${url}/readyz`)).text()
        return named.test(answer) && !answer.includes(anna.db)
      },
      30_000,
      () => `${answer}\n${daemon.output}`,
    )
    await attack.stop()
    expect(await writer.stop()).toBe(0)

    // Once his time is over, he is stored again.
    const times = daemon.count(/sync recovered/) + 1
    await daemon.waitFor(/sync recovered/, { times })
    addNote(mallory.db, 'more')
    expect(await daemon.stop(), daemon.output).toBe(0)
    expect(daemon.output).not.toMatch(/debugger/i)
    expect(daemon.output).not.toMatch(new RegExp(`sync error.*db=${anna.db}`))
    const [annas, mallorys] = [anna, mallory].map(({ name }) => join(host.replicas, name, 'app.db'))
    expect(await restoreAndVerify(annas!, join(host.folder, 'annas'), oracle)).toEqual({
      n: lastAcknowledged(oracle),
    })
    const out = join(host.folder, 'mallorys')
    await restore(mallorys!, out)
    expect(notesIn(out)).toEqual(['mallory', 'more'])
  })
})
