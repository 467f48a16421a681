/** A daemon of root replicates databases of users who put into their folders whatever they like. */
import { chownSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import { cleanUp, listGenerations, restore, start, startAs } from '../support/cli.ts'
import { Container, whyNoContainers } from '../support/containers.ts'
import { ownedByOne, processOne } from '../support/malicious-tenants.ts'
import { addNote, notesIn } from '../support/notes.ts'
import { configOf, does, isRoot, makeHost, rightsOf, type Tenant } from '../support/tenants.ts'

afterEach(() => cleanUp())

describe.skipIf(!isRoot)('a database', () => {
  test.each(['path', 'dir'] as const)('that is in use elsewhere fails alone (%s)', async (by) => {
    const host = makeHost('alice', 'bob')
    const [alice] = host.tenants
    const only = configOf({ ...host, tenants: [alice!] }, { by: 'path' })
    const first = start('replicate', '-config', only)
    await first.waitFor(/snapshot written/)
    const daemon = start('replicate', '-config', configOf(host, { by }))
    await daemon.waitFor(/snapshot written/)
    await daemon.waitFor(new RegExp(`in use by process ${first.pid} on`))
    addNote(join(host.homes, 'bob/app.db'), 'more')
    await daemon.waitFor(/wal segment written/)
    expect(await daemon.stop()).toBe(74)
    expect(await first.stop()).toBe(0)
  })

  test('that its owner replicates himself is left to him, with his local state', async () => {
    const host = makeHost('alice', 'bob')
    const [alice] = host.tenants as [Tenant]
    const own = join(alice.home, 'own.yml')
    const replicas = [{ path: join(alice.home, 'replica'), 'sync-interval': '100ms' }]
    writeFileSync(own, JSON.stringify({ dbs: [{ path: alice.db, replicas }] }))
    const first = startAs(alice.user, 'replicate', '-config', own)
    await first.waitFor(/snapshot written/)
    const state = join(alice.home, '.app.db-tsreplicate')
    const lock = readFileSync(join(state, 'lock'), 'utf8')
    const daemon = start('replicate', '-config', configOf(host, { by: 'path' }))
    await daemon.waitFor(/snapshot written/)
    await daemon.waitFor(new RegExp(`${state} is in use by process ${first.pid} on`))
    expect(readFileSync(join(state, 'lock'), 'utf8')).toBe(lock)
    expect(await daemon.stop()).toBe(74)
    expect(await first.stop(), first.output).toBe(0)
    expect(first.output).not.toContain('local state was removed')
  })

  test.each(['path', 'dir'] as const)(
    'is not in use because a lock or an owner object names a process that is always there (%s)',
    async (by) => {
      const host = makeHost('alice', 'bob', 'carol')
      const state = join(host.state, host.homes, 'alice/.app.db-tsreplicate')
      mkdirSync(state, { recursive: true, mode: 0o700 })
      writeFileSync(join(state, 'lock'), JSON.stringify(processOne()))
      for (const [name, fields] of [
        ['bob', { process: { ...processOne(), lock: '00:01:1' } }],
        ['carol', {}],
      ] as const) {
        ownedByOne(join(host.replicas, name, 'app.db'), fields)
      }
      const daemon = start('replicate', '-config', configOf(host, { by }))
      await daemon.waitFor(/snapshot written/, { times: 3 })
      expect(await daemon.stop(), daemon.output).toBe(0)
      expect(daemon.count(/in use/), daemon.output).toBe(0)
    },
  )
})

test.skipIf(!isRoot)('a database that root made, and gives to its user, goes on', async () => {
  const host = makeHost('alice')
  const [alice] = host.tenants
  for (const file of readdirSync(alice!.home)) chownSync(join(alice!.home, file), 0, 0)
  const daemon = start('replicate', '-config', configOf(host, { by: 'path' }))
  await daemon.waitFor(/snapshot written/)
  for (const file of readdirSync(alice!.home))
    chownSync(join(alice!.home, file), alice!.user, alice!.user)
  addNote(alice!.db, 'more')
  await daemon.waitFor(/wal segment written/)
  expect(await daemon.stop(), daemon.output).toBe(0)
})

describe.skipIf(!isRoot)('local state of a database of another user', () => {
  test.each(['path', 'dir'] as const)(
    'lies where only root writes, whatever is planted where it was (%s)',
    async (by) => {
      const host = makeHost('alice', 'bob', 'carol')
      const [alice, bob] = host.tenants
      const [secret, victim] = [join(host.folder, 'secret'), join(host.folder, 'victim')]
      writeFileSync(secret, 'of root', { mode: 0o600 })
      mkdirSync(victim, { mode: 0o700 })
      writeFileSync(join(victim, 'file'), 'of root')
      does(alice!, `ln -s ${victim} .app.db-tsreplicate`)
      does(
        bob!,
        `mkdir .app.db-tsreplicate; cd .app.db-tsreplicate
         for name in state owner-file stored-file retention-file; do ln -s ${secret} $name.json.tmp; done
         mkfifo state.json lock owner-file.json new.tmp; ln -s ${victim} spool`,
      )
      const daemon = start('replicate', '-config', configOf(host, { by }))
      await daemon.waitFor(/snapshot written/, { times: 3 })
      expect(await daemon.stop()).toBe(0)

      expect(readFileSync(secret, 'utf8')).toBe('of root')
      expect(rightsOf(secret)).toBe('0 600')
      expect(readdirSync(victim)).toEqual(['file'])
      expect(rightsOf(victim)).toBe('0 700')
      for (const { name, home } of host.tenants) {
        const state = join(host.state, home, '.app.db-tsreplicate')
        expect(rightsOf(state)).toBe('0 700')
        expect(rightsOf(join(state, 'state.json'))).toBe('0 600')
        const out = join(host.folder, `${name}.out`)
        await restore(join(host.replicas, name, 'app.db'), out)
        expect(notesIn(out)).toEqual([name])
      }
      expect(existsSync(join(host.homes, 'carol/.app.db-tsreplicate'))).toBe(false)
    },
  )

  test.skipIf(whyNoContainers !== undefined)(
    'is said to go with a container of root, unless a volume is mounted there',
    async () => {
      const host = makeHost('alice')
      mkdirSync(host.state, { mode: 0o700 })
      const warning = /local state goes with this container/
      for (const volumes of [[`${host.state}:/var/lib/tsreplicate`], []]) {
        const daemon = new Container('root', {
          command: ['tsreplicate', 'replicate', '/homes/alice/app.db', 'file:///replicas/app'],
          user: '0:0',
          env: {},
          volumes: [`${host.homes}:/homes`, ...volumes],
        })
        await daemon.waitFor(/snapshot written/)
        expect(daemon.count(warning), daemon.output).toBe(volumes.length === 0 ? 1 : 0)
        expect(await daemon.stop()).toBe(0)
      }
    },
  )

  test('is moved there from beside the database, and the generation goes on', async () => {
    const host = makeHost('alice')
    const [alice] = host.tenants
    const config = configOf(host, { by: 'path' })
    const replica = join(host.replicas, 'alice/app.db')
    mkdirSync(replica, { recursive: true })
    const former = startAs(alice!.user, 'replicate', alice!.db, `file://${join(alice!.home, 'r')}`)
    await former.waitFor(/snapshot written/)
    addNote(alice!.db, 'more')
    await former.waitFor(/wal segment written/)
    expect(await former.stop()).toBe(0)
    const beside = join(alice!.home, '.app.db-tsreplicate')
    const [generation] = listGenerations(join(alice!.home, 'r'))
    // Not to be taken over: not written by the owner, nor of any use.
    does(
      alice!,
      `cd .app.db-tsreplicate; ln -s /etc/passwd owner-x.json; mkfifo stored-x.json; echo > y`,
    )

    const daemon = start('replicate', '-config', config)
    await daemon.waitFor(/local state moved to where only root writes/)
    await daemon.waitFor(/snapshot written/)
    expect(await daemon.stop()).toBe(0)
    expect(listGenerations(replica)).toEqual([generation])
    expect(existsSync(beside)).toBe(false)
    const state = join(host.state, alice!.home, '.app.db-tsreplicate')
    expect(existsSync(join(state, 'owner-x.json'))).toBe(false)
    for (const name of readdirSync(state, { recursive: true }))
      expect(rightsOf(join(state, String(name)))).toMatch(/^0 [67]00$/)

    const again = start('replicate', '-config', config)
    await again.waitFor(/initialized db/)
    expect(await again.stop()).toBe(0)
    expect(listGenerations(replica)).toEqual([generation])
  })

  test('is not put into a folder of his that meta-path names, and is taken back from him elsewhere', async () => {
    const host = makeHost('alice', 'bob')
    const [alice, bob] = host.tenants
    const given = join(host.folder, 'given')
    const config = join(host.folder, 'tsreplicate.yml')
    const replicaOf = (name: string) => [{ path: join(host.replicas, name) }]
    const dbs = [
      { path: alice!.db, 'meta-path': join(alice!.home, 'meta'), replicas: replicaOf('alice') },
      { path: bob!.db, 'meta-path': given, replicas: replicaOf('bob') },
    ]
    writeFileSync(config, JSON.stringify({ dbs }))
    mkdirSync(given)
    const victim = join(host.folder, 'victim')
    mkdirSync(victim)
    writeFileSync(join(victim, 'file'), '')
    chownSync(given, bob!.user, bob!.user)
    does({ ...bob!, home: given }, `ln -s ${victim} spool; ln -s ${victim}/file state.json`)

    const daemon = start('replicate', '-config', config)
    await daemon.waitFor(/snapshot written/)
    await daemon.waitFor(
      new RegExp(
        `the local state cannot be in ${alice!.home}/meta: user ${alice!.user}, who owns .*could change it`,
      ),
    )
    expect(existsSync(join(alice!.home, 'meta'))).toBe(false)
    // One database is not replicated.
    expect(await daemon.stop()).toBe(74)
    expect(rightsOf(given)).toBe('0 700')
    expect(readdirSync(victim)).toEqual(['file'])
  })
})
