/**
 * A thousand tenants of one machine, and ten of them do all that tenants can think of at once. With TSREPLICATE_TENANTS=100 it
 * takes less than a minute.
 */
import { mkdirSync, writeFileSync } from 'node:fs'
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
import { attacks, everythingElse, prepare, type Victims } from '../../support/malicious-tenants.ts'
import { addNote, notesIn } from '../../support/notes.ts'
import { configOf, does, isRoot, makeHostIn, type Tenant } from '../../support/tenants.ts'

afterEach(() => cleanUp())

const tenantCount = Number(process.env.TSREPLICATE_TENANTS ?? 1000)
/** Restored by one process, one after the other. */
const restoredAtOnce = 100

const startedMs = Date.now()
function say(what: string): void {
  process.stdout.write(`${Math.round((Date.now() - startedMs) / 1000)} s: ${what}\n`)
}

test.skipIf(!isRoot)('a thousand tenants, of whom ten are malicious', async () => {
  const hostile = Object.values(attacks).filter(({ complaint }) => complaint !== undefined)
  const names = Array.from({ length: tenantCount }, (_, i) => `t${i}`)
  const folder = temporaryFolder()
  const host = makeHostIn(folder, names)
  const replicaOf = ({ name }: Tenant): string => join(host.replicas, name, 'app.db')
  // One in a hundred, so that they are among all.
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
    does(tenant, everythingElse(victims))
    prepare(tenant, attack, victims)
  }
  say(`${tenantCount} tenants, ${attackers.length} of them malicious`)
  const daemon = start('replicate', '-config', configOf(host, { by: 'path' }))
  const isStored = (tenant: Tenant): boolean =>
    listObjects(replicaOf(tenant)).some((object) => object.includes('snapshots'))
  const waiting = new Set(others)
  let said = 0
  await until(
    () => {
      for (const tenant of waiting) if (isStored(tenant)) waiting.delete(tenant)
      const stored = others.length - waiting.size
      if (stored >= said + 100 || waiting.size === 0) say(`${(said = stored)} are stored`)
      return waiting.size === 0
    },
    600_000,
    () => daemon.output.slice(-10_000),
  )
  for (const { attack, tenant } of attackers) {
    if (attack.during !== undefined) does(tenant, attack.during(victims))
  }
  for (const { db, name } of others) addNote(db, `more of ${name}`)
  say('each of the others has committed more')

  const url = /http:\/\/[\d.:]+/.exec(daemon.output)?.[0]
  let lines: string[] = []
  const isToldOf = ({ attack, tenant }: (typeof attackers)[number]): boolean =>
    lines.some((line) => line.startsWith(tenant.db) && attack.complaint!.test(line))
  await until(
    async () => {
      lines = (await (await fetch(`${url}/readyz`)).text()).trim().split('\n')
      const named = new Set(lines.map((line) => /^\S+\/app\.db/.exec(line)?.[0]))
      return named.size === attackers.length && attackers.every(isToldOf)
    },
    120_000,
    () => `${lines.join('\n')}\n${daemon.output.slice(-10_000)}`,
  )
  say('/readyz names the malicious ones, and nobody else')
  expect(await daemon.stop(300_000)).toBe(74)
  say('the daemon has ended')

  mkdirSync(join(folder, 'out'))
  const out = ({ name }: Tenant): string => join(folder, 'out', name)
  for (let at = 0; at < others.length; at += restoredAtOnce) {
    const some = others.slice(at, at + restoredAtOnce)
    const codes = await restoreAll(
      some.map((tenant) => ['-o', out(tenant), `file://${replicaOf(tenant)}`]),
    )
    expect(codes).toEqual(some.map(() => 0))
    for (const tenant of some)
      expect(notesIn(out(tenant))).toEqual([tenant.name, `more of ${tenant.name}`])
    say(`${at + some.length} are restored`)
  }
})
