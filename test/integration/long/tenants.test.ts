/**
 * A thousand tenants of one machine, and for each attack there is, one who does it, and all that does not spare his own
 * database besides. With TSREPLICATE_TENANTS=100 it takes less than a minute.
 */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import {
  cleanUp,
  listObjects,
  restoreAll,
  start,
  temporaryFolder,
  until,
} from '../../support/cli.ts'
import {
  attacks,
  everythingElse,
  goOn,
  isLater,
  prepare,
  type Victims,
} from '../../support/malicious-tenants.ts'
import { addNote, notesIn } from '../../support/notes.ts'
import { configOf, does, isRoot, makeHostIn, rightsOf, type Tenant } from '../../support/tenants.ts'

afterEach(() => cleanUp())

const tenantCount = Number(process.env.TSREPLICATE_TENANTS ?? 1000)
/** Restored by one process, one after the other. */
const restoredAtOnce = 100

const startedMs = Date.now()
function say(what: string): void {
  process.stdout.write(`${Math.round((Date.now() - startedMs) / 1000)} s: ${what}\n`)
}

const hostile = Object.values(attacks)

test.skipIf(!isRoot)(
  `${tenantCount} tenants, of whom ${hostile.length} are malicious`,
  async () => {
    const names = Array.from({ length: tenantCount }, (_, i) => `t${i}`)
    const folder = temporaryFolder()
    const host = makeHostIn(folder, names)
    const replicaOf = ({ name }: Tenant): string => join(host.replicas, name, 'app.db')
    // So that they are among all.
    const attackers = hostile.map((attack, i) => ({
      attack,
      tenant: host.tenants[Math.floor((i * tenantCount) / hostile.length)]!,
    }))
    const isAttacker = (tenant: Tenant): boolean => attackers.some((each) => each.tenant === tenant)
    const others = host.tenants.filter((tenant) => !isAttacker(tenant))
    const victims: Victims = {
      folder: join(folder, 'victim'),
      secret: join(folder, 'secret'),
      database: others[0]!.db,
    }
    mkdirSync(victims.folder)
    writeFileSync(victims.secret, 'of root', { mode: 0o600 })
    for (const { attack, tenant } of attackers) {
      prepare(tenant, attack, { victims, replica: replicaOf(tenant) })
      does(tenant, everythingElse(victims))
    }
    say(`${tenantCount} tenants, ${attackers.length} of them malicious`)
    const daemon = start(
      'replicate',
      '-config',
      configOf(host, { by: 'path', replica: { owner: 'database' } }),
    )
    const isStored = (tenant: Tenant): boolean =>
      listObjects(replicaOf(tenant)).some((object) => object.includes('snapshots'))
    const harmless = attackers.filter(({ attack }) => attack.complaint === undefined)
    const later = attackers.filter(({ attack }) => isLater(attack))
    const waiting = new Set([...others, ...[...harmless, ...later].map(({ tenant }) => tenant)])
    const wantedCount = waiting.size
    let said = 0
    await until(
      () => {
        for (const tenant of waiting) if (isStored(tenant)) waiting.delete(tenant)
        const stored = wantedCount - waiting.size
        if (stored >= said + 100 || waiting.size === 0) say(`${(said = stored)} are stored`)
        return waiting.size === 0
      },
      600_000,
      () => `${[...waiting].map(({ db }) => db).join()}\n${daemon.output.slice(-10_000)}`,
    )
    for (const { attack, tenant } of attackers)
      goOn(tenant, attack, { victims, replica: replicaOf(tenant), isReplicaHis: true })
    for (const { db, name } of others) addNote(db, `more of ${name}`)
    say('each of the others has committed more')

    const url = /http:\/\/[\d.:]+/.exec(daemon.output)?.[0]
    let lines: string[] = []
    const isToldOf = ({ attack, tenant }: (typeof attackers)[number]): boolean =>
      lines.some((line) => line.startsWith(tenant.db) && attack.complaint?.test(line) === true)
    // Of his own replica, he may make what he likes.
    const mayBeTold = attackers.filter(
      ({ attack }) => attack.complaint !== undefined || attack.inReplica !== undefined,
    )
    await until(
      async () => {
        lines = (await (await fetch(`${url}/readyz`)).text()).trim().split('\n')
        const named = new Set(lines.map((line) => /^\S+\/app\.db/.exec(line)?.[0]))
        for (const { tenant } of mayBeTold) named.delete(tenant.db)
        const told = attackers.filter(({ attack }) => attack.complaint !== undefined)
        return named.size === 0 && told.every(isToldOf)
      },
      120_000,
      () => `${lines.join('\n')}\n${daemon.output.slice(-10_000)}`,
    )
    say('/readyz names the malicious ones, and nobody else')
    expect(await daemon.stop(300_000)).toBe(74)
    say('the daemon has ended')
    expect([readFileSync(victims.secret, 'utf8'), rightsOf(victims.secret)]).toEqual([
      'of root',
      '0 600',
    ])
    expect([readdirSync(victims.folder), rightsOf(victims.folder)]).toEqual([[], '0 755'])

    mkdirSync(join(folder, 'out'))
    const out = ({ name }: Tenant): string => join(folder, 'out', name)
    const kept = harmless.filter(({ attack }) => attack.inReplica === undefined)
    const restored = [
      ...others.map((tenant) => ({ tenant, more: [`more of ${tenant.name}`], flags: [] })),
      // What a schema computes without end, the check would.
      ...kept.map(({ tenant, attack }) => ({
        tenant,
        more: [],
        flags: attack.schema === undefined ? [] : ['-integrity-check', 'none'],
      })),
    ]
    for (let at = 0; at < restored.length; at += restoredAtOnce) {
      const some = restored.slice(at, at + restoredAtOnce)
      const codes = await restoreAll(
        some.map(({ tenant, flags }) => [
          ...[...flags, '-o', out(tenant)],
          `file://${replicaOf(tenant)}`,
        ]),
      )
      expect(codes).toEqual(some.map(() => 0))
      for (const { tenant, more } of some)
        expect(notesIn(out(tenant))).toEqual([tenant.name, ...more])
      say(`${at + some.length} are restored`)
    }
  },
)
