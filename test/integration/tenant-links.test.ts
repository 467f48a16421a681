/** Whose data is replicated to whom, where users put links in the place of their databases, and whose the replicas are. */
import { mkdirSync, mkdtempSync, readdirSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import { cleanUp, listObjects, restore, run, start, until } from '../support/cli.ts'
import { addNote, notesIn } from '../support/notes.ts'
import {
  configOf,
  does,
  type Host,
  isRoot,
  makeHost,
  rightsOf,
  type Tenant,
} from '../support/tenants.ts'

afterEach(() => cleanUp())

async function restored({ folder, replicas }: Host, replica: string): Promise<unknown[]> {
  const out = join(mkdtempSync(join(folder, 'out-')), 'app.db')
  await restore(join(replicas, replica), out)
  return notesIn(out)
}

describe.skipIf(!isRoot)('a database of another user', () => {
  test.each(['path', 'dir'] as const)(
    'that becomes a link to somebody else’s is not replicated as that one (%s)',
    async (by) => {
      const host = makeHost('alice', 'bob')
      const [alice, bob] = host.tenants
      does(bob!, 'chmod 600 app.db')
      const daemon = start('replicate', '-config', configOf(host, { by }))
      await daemon.waitFor(/snapshot written/, { times: 2 })
      addNote(bob!.db, 'secret')
      does(
        alice!,
        `for end in '' -wal -shm; do ln -s ${bob!.db}$end new; mv -T new app.db$end; done`,
      )
      if (by === 'path') await daemon.waitFor(/is a link of user .* it is not followed/)
      else await daemon.waitFor(/database gone/)
      addNote(bob!.db, 'more')
      await until(async () => (await restored(host, 'bob/app.db')).length === 3, 10_000, 'bob’s')
      await daemon.stop()
      expect(await restored(host, 'bob/app.db')).toEqual(['bob', 'secret', 'more'])
      expect(await restored(host, 'alice/app.db')).toEqual(['alice'])
    },
  )

  test('in a folder that becomes a link to somebody else’s folder is not replicated', async () => {
    const host = makeHost('alice', 'bob')
    const [alice, bob] = host.tenants
    does(alice!, 'mkdir data; mv app.db data')
    const daemon = start('replicate', '-config', configOf(host, { by: 'dir' }))
    await daemon.waitFor(/snapshot written/, { times: 2 })
    does(alice!, `mv data old; ln -s ${bob!.home} data`)
    await daemon.waitFor(/replaced while it was in use|database gone/)
    addNote(bob!.db, 'secret')
    await until(async () => (await restored(host, 'bob/app.db')).length === 2, 10_000, 'bob’s')
    await daemon.stop()
    expect(await restored(host, 'alice/data/app.db')).toEqual(['alice'])
  })

  test('with a -wal or -shm that is not his is refused, and others are replicated', async () => {
    const host = makeHost('alice', 'bob', 'carol')
    const [alice, bob, carol] = host.tenants
    does(alice!, `ln -s ${carol!.db} app.db-wal`)
    does(bob!, 'mkfifo app.db-wal')
    const daemon = start('replicate', '-config', configOf(host, { by: 'dir' }))
    await daemon.waitFor(/snapshot written/)
    for (const { db } of [alice!, bob!])
      await daemon.waitFor(new RegExp(`it is not a regular file: ${db}-wal`))
    expect(await daemon.stop()).toBe(74)
    expect(await restored(host, 'carol/app.db')).toEqual(['carol'])
    expect(readdirSync(host.replicas)).toEqual(['carol'])
  })

  test('is found behind a link of his own, or of root', async () => {
    const host = makeHost('alice', 'bob')
    const [alice, bob] = host.tenants
    does(alice!, 'mkdir data; mv app.db data; ln -s data/app.db app.db')
    does(bob!, 'mv app.db real.db')
    symlinkSync('real.db', bob!.db)
    const daemon = start('replicate', '-config', configOf(host, { by: 'path' }))
    await daemon.waitFor(/snapshot written/, { times: 2 })
    expect(await daemon.stop()).toBe(0)
    expect(await restored(host, 'alice/app.db')).toEqual(['alice'])
    expect(await restored(host, 'bob/app.db')).toEqual(['bob'])
  })
})

describe.skipIf(!isRoot)('a replica in a folder', () => {
  test('is root’s, whoever owns the database', async () => {
    const host = makeHost('alice')
    const daemon = start('replicate', '-config', configOf(host, { by: 'path' }))
    await daemon.waitFor(/snapshot written/)
    addNote(host.tenants[0]!.db, 'more')
    await daemon.waitFor(/wal segment written/)
    expect(await daemon.stop()).toBe(0)
    const replica = join(host.replicas, 'alice/app.db')
    for (const name of readdirSync(replica, { recursive: true, encoding: 'utf8' }))
      expect(rightsOf(join(replica, name))).toMatch(/^0 [67]00$/)
    const removes = `rm -rf ${replica}`
    expect(() => does(host.tenants[0]!, removes)).toThrow(/Permission denied/)
  })

  test('is the owner’s of the database where that is asked for, with the mode that it has at the time', async () => {
    const host = makeHost('alice')
    const [alice] = host.tenants
    const replicas = [
      { path: join(host.replicas, 'alice'), owner: 'database', 'sync-interval': '100ms' },
    ]
    const daemon = start('replicate', '-config', configOf(host, { by: 'path', replicas }))
    await daemon.waitFor(/snapshot written/)
    does(alice!, 'chmod 600 app.db')
    const before = new Set(listObjects(replicas[0]!.path))
    const isNew = (): string | undefined =>
      listObjects(replicas[0]!.path).find((name) => !before.has(name))
    // The file is looked at four times a second.
    await until(
      () => {
        addNote(alice!.db, 'more')
        const name = isNew()
        return name !== undefined && (before.add(name), mode(name) === '600')
      },
      10_000,
      'an object with the new mode',
    )
    expect(await daemon.stop()).toBe(0)
    const user = alice!.user
    for (const name of listObjects(replicas[0]!.path))
      expect(rightsOf(join(replicas[0]!.path, name))).toMatch(new RegExp(`^${user} 6[04][04]$`))
    does(alice!, `rm -r ${replicas[0]!.path}/generations`)

    function mode(name: string): string {
      return rightsOf(join(replicas[0]!.path, name)).split(' ')[1]!
    }
  })

  test('of a tenant, who puts links to somebody else’s into it, is no way to that one', async () => {
    const host = makeHost('alice', 'bob')
    const [alice, bob] = host.tenants
    // Whichever of the two replicas comes first would make it, and only one of them for both to enter.
    mkdirSync(host.replicas, { mode: 0o755 })
    const replicaOf = (name: string): string => join(host.replicas, name)
    const of = ({ name }: Tenant) => ({
      replicas: [
        {
          path: replicaOf(name),
          'sync-interval': '100ms',
          retention: '1s',
          'retention-check-interval': '1s',
          ...(name === 'alice' ? { owner: 'database' } : {}),
        },
      ],
    })
    const daemon = start(
      'replicate',
      '-config',
      configOf(host, { by: 'path', of, shutdownTimeout: '3s' }),
    )
    await daemon.waitFor(/snapshot written/, { times: 2 })
    const kept = listObjects(replicaOf('bob'))
    const [generation] = readdirSync(join(replicaOf('bob'), 'generations'))
    // A generation of long ago, which is his, and what is hers now.
    const bobs = join(replicaOf('bob'), 'generations', generation!)
    const hers = { ...alice!, home: join(replicaOf('alice'), 'generations') }
    does(hers, `ln -s ${bobs} 0123456789abcdef; mkfifo ../tsreplicate-owner.999.json`)
    does(hers, `cd $(ls | grep -v 0123456789abcdef); mv wal old 2>&- || :; ln -s ${bobs}/wal wal`)
    addNote(alice!.db, 'more')
    addNote(bob!.db, 'more')
    await daemon.waitFor(/replica=file.*it is a link, which is not followed/)
    await until(async () => (await restored(host, 'bob')).length === 2, 20_000, 'bob’s')
    expect(listObjects(replicaOf('bob'))).toEqual(expect.arrayContaining(kept))
    for (const name of readdirSync(replicaOf('bob'), { recursive: true, encoding: 'utf8' }))
      expect(rightsOf(join(replicaOf('bob'), name))).toMatch(/^0 [67]00$/)
    const { code } = await run(
      'restore',
      '-o',
      join(host.folder, 'stolen'),
      `file://${replicaOf('alice')}`,
    )
    expect(code).not.toBe(0)
    expect(await daemon.stop()).toBe(74)
  })
})
