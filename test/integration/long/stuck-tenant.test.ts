/** A tenant has the process wait in which SQLite opens his database, and those of others: it is ended after half a minute. */
import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { cleanUp, restore, root, Running, start, until } from '../../support/cli.ts'
import { hasCompiler } from '../../support/compiled.ts'
import { addNote, notesIn } from '../../support/notes.ts'
import { configOf, isRoot, makeHost, type Tenant } from '../../support/tenants.ts'

afterEach(() => cleanUp())

test.skipIf(!isRoot || !hasCompiler).each(['path', 'dir'] as const)(
  'a lease of his database stops nobody but him (%s)',
  async (by) => {
    const host = makeHost('anna', 'mallory', 'bert')
    const [anna, mallory, bert] = host.tenants as [Tenant, Tenant, Tenant]
    const holder = join(host.folder, 'hold-lease')
    execFileSync('cc', ['-o', holder, join(root, 'test/support/hold-lease.c')])
    const daemon = start('replicate', '-config', configOf(host, { by }))
    await daemon.waitFor(/snapshot written/, { times: 3 })
    const { user, home, db } = mallory
    execFileSync('cp', ['-p', db, join(home, 'new')])
    const args = [`--reuid=${user}`, `--regid=${user}`, '--clear-groups', holder, join(home, 'new')]
    const attack = new Running('mallory', 'setpriv', args)
    await attack.waitFor(/held/)
    execFileSync('sh', ['-c', `cd ${home} && rm -f app.db-wal app.db-shm && mv new app.db`])
    await daemon.waitFor(
      new RegExp(
        `${db}.*it has ended the process in which .* \\(it neither read nor wrote for 30 s\\)`,
      ),
      { timeoutMs: 90_000 },
    )
    for (const each of [anna, bert]) addNote(each.db, 'more')
    const restored = async ({ name }: Tenant): Promise<unknown> => {
      const out = join(host.folder, `${name}-${performance.now()}`)
      await restore(join(host.replicas, name, 'app.db'), out)
      return notesIn(out).length
    }
    for (const each of [anna, bert])
      await until(
        async () => (await restored(each)) === 2,
        20_000,
        () => daemon.output,
      )
    await attack.stop()
    expect([0, 74]).toContain(await daemon.stop())
  },
)
