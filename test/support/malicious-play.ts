/**
 * A daemon replicates the databases of users of whom most have something in mind. One play for each way in which it may be run:
 * nobody but the malicious has a disadvantage, and what is somebody's else stays so.
 */
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  writeFileSync,
} from 'node:fs'
import { chmodSync, chownSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { expect } from 'vitest'
import { listObjects, program, restoreAll, Running, start, temporaryFolder, until } from './cli.ts'
import { attacks, goOn, isLater, prepare, tooDeep, type Victims } from './malicious-tenants.ts'
import { notesIn } from './notes.ts'
import { ShippedUnit, Systemd } from './systemd.ts'
import {
  configOf,
  does,
  type Host,
  makeHostIn,
  rightsOf,
  type Tenant,
  writesNote,
} from './tenants.ts'

interface Daemon {
  readonly output: string
  stop(): Promise<number>
}

/** As whom the daemon runs, and where. */
export interface Role {
  readonly start: (config: string, folder: string) => Daemon
  /** Not root: everybody's group lets this user in. */
  readonly user?: number
  /** What he can't do keeps databases of others from being replicated, with this reason. */
  readonly refusal?: RegExp
}

export interface Scene {
  readonly by: 'path' | 'dir'
  /** Whether `meta-path` says where local state is: of all, or of every other one. */
  readonly metaPath?: 'all' | 'some'
  /** Whose the replicas are. */
  readonly owner?: 'database'
}

/** An ordinary user of this machine, who is none of the tenants. */
const service = 61_050

export const capabilitiesOfUnit = ['dac_override', 'chown', 'fowner'] as const

/** Root with these capabilities alone. */
export function rootWith(capabilities: readonly string[], refusal?: RegExp): Role {
  const set = ['-all', ...capabilities.map((name) => `+${name}`)].join(',')
  return {
    start: startBy(`--bounding-set=${set}`, '--inh-caps=-all'),
    ...(refusal === undefined ? {} : { refusal }),
  }
}

export const root: Role = { start: (config) => start('replicate', '-config', config) }

export function serviceOf(groups: readonly number[]): Role {
  const ids = [
    `--reuid=${service}`,
    `--regid=${service}`,
    `--groups=${[service, ...groups].join()}`,
  ]
  return { user: service, start: startBy(...ids) }
}

function startBy(...args: readonly string[]): Role['start'] {
  return (config) =>
    new Running('daemon', 'setpriv', [
      ...args,
      process.execPath,
      program,
      'replicate',
      '-config',
      config,
    ])
}

/** The scene with the unit as it is shipped. */
export async function playInUnit(scene: Scene): Promise<void> {
  // Not in a folder for temporary files: the unit has one of its own.
  const folder = mkdtempSync('/var/lib/.tsreplicate-test-')
  try {
    await using systemd = await Systemd.start()
    const start = (): Daemon => {
      const unit = new ShippedUnit(systemd, { folder, settings: ['Restart=no'] })
      unit.start()
      return unit
    }
    await play(scene, { start }, folder)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

const honest = ['anna', 'bert']
const malicious = Object.entries(attacks).map(([what, attack], i) => ({
  name: `mallory-${i}`,
  what,
  attack,
}))
/** Of each tenant, whose groups are their own. */
export const tenantCount = honest.length + malicious.length

export async function play(scene: Scene, role: Role, folder = temporaryFolder()): Promise<void> {
  const { by } = scene
  const host = makeHostIn(folder, [...honest, ...malicious.map(({ name }) => name)])
  const tenant = (name: string): Tenant => host.tenants.find((each) => each.name === name)!
  const replicaOf = (name: string): string => join(host.replicas, name, 'app.db')
  const victims = makeVictims(host, role)
  if (role.user === undefined) does(tenant('anna'), 'chmod 600 app.db; chmod 700 .')
  for (const { name, attack } of malicious)
    prepare(tenant(name), attack, { victims, replica: replicaOf(name) })

  const daemon = role.start(configFor(host, scene, role), folder)
  const isStored = (name: string): boolean =>
    listObjects(replicaOf(name)).some((object) => object.includes('snapshots'))
  // What is true of the others, too, only where the daemon can do all that it has to.
  const isStrict = role.refusal === undefined && role.user === undefined
  const isFree = ({ attack }: (typeof malicious)[number]): boolean =>
    !isStrict || (scene.owner === 'database' && attack.inReplica !== undefined)
  const stored = malicious.filter(({ attack }) => attack.complaint === undefined || isLater(attack))
  const names = [...honest, ...stored.filter((each) => !isFree(each)).map(({ name }) => name)]
  if (role.refusal === undefined)
    await until(
      () => names.every(isStored),
      60_000,
      () => `${names.filter((name) => !isStored(name)).join()}\n${daemon.output}`,
    )
  else
    await until(
      () => role.refusal!.test(daemon.output),
      60_000,
      () => daemon.output,
    )
  for (const { name, attack } of stored) {
    const isReplicaHis = scene.owner === 'database'
    goOn(tenant(name), attack, { victims, replica: replicaOf(name), isReplicaHis })
  }
  for (const name of honest) expect(writesNote(tenant(name), 'more')).toBe('')

  const named = malicious.filter(
    (each) =>
      each.attack.complaint !== undefined &&
      !(by === 'dir' && each.attack.isGone === true) &&
      !isFree(each),
  )
  const others = host.tenants.filter(
    ({ name }) => !malicious.some((each) => each.name === name && mayBeNamed(each)),
  )
  const url = /http:\/\/[\d.:]+/.exec(daemon.output)?.[0]
  let answer = ''
  const isNamed = ({ name, attack }: (typeof named)[number]): boolean =>
    answer
      .split('\n')
      .some((line) => line.startsWith(tenant(name).db) && attack.complaint!.test(line))
  // Of the folder of all, what cannot be read is his, and nothing else of it is not ready.
  const deep = malicious.find(({ what }) => what === tooDeep)!
  const isDeepNamed = (): boolean =>
    (by === 'path' || answer.includes(`${tenant(deep.name).home}/nnn`)) &&
    !answer.split('\n').some((line) => line.startsWith(`${host.homes}: `))
  const missing = (): string[] => [
    ...(isStrict && !isDeepNamed() ? [tooDeep] : []),
    ...named.filter((each) => !isNamed(each)).map(({ what }) => what),
    ...(role.refusal === undefined
      ? others.filter(({ db }) => answer.includes(`${db}:`)).map(({ db }) => db)
      : []),
  ]
  await until(
    async () => {
      answer = await (await fetch(`${url}/readyz`)).text()
      return missing().length === 0
    },
    60_000,
    () => `${missing().join()}\n${answer}\n${daemon.output}`,
  )
  expect(await daemon.stop(), daemon.output).toBe(74)
  if (isStrict)
    expect(daemon.output).toMatch(/ended the process in which SQLite reads it \(SIGBUS\)/)
  await judge()

  /** What is stored, and that nothing else was touched. */
  async function judge(): Promise<void> {
    const out = mkdtempSync(join(folder, 'out-'))
    const restored = await restoreAll(
      names.map((name) => [...options(name), '-o', join(out, name), `file://${replicaOf(name)}`]),
    )
    const wanted = names.filter((name) => role.refusal === undefined || isStored(name))
    expect(names.filter((_, i) => restored[i] === 0)).toEqual(expect.arrayContaining(wanted))
    for (const name of wanted) {
      const notes = honest.includes(name) ? [name, 'more'] : [name]
      expect(notesIn(join(out, name)), name).toEqual(notes)
    }
    for (const each of malicious) {
      if (!stored.includes(each) && !isFree(each))
        expect(existsSync(replicaOf(each.name)), each.what).toBe(false)
    }
    const owner = role.user ?? 0
    expect([readFileSync(victims.secret, 'utf8'), rightsOf(victims.secret)]).toEqual([
      'of root',
      `${owner} 600`,
    ])
    expect([readdirSync(victims.folder), rightsOf(victims.folder)]).toEqual([
      ['file'],
      `${owner} 700`,
    ])
  }

  function mayBeNamed(each: (typeof malicious)[number]): boolean {
    return each.attack.complaint !== undefined || isFree(each)
  }

  /** What a schema computes without end, the check would. */
  function options(name: string): string[] {
    const isEndless = malicious.some(
      (each) => each.name === name && each.attack.schema !== undefined,
    )
    return isEndless ? ['-integrity-check', 'none'] : []
  }
}

function makeVictims({ folder, tenants, replicas, state }: Host, { user = 0 }: Role): Victims {
  const victims: Victims = {
    folder: join(folder, 'victim'),
    secret: join(folder, 'secret'),
    database: tenants[0]!.db,
  }
  mkdirSync(victims.folder, { mode: 0o700 })
  writeFileSync(join(victims.folder, 'file'), 'of root')
  writeFileSync(victims.secret, 'of root', { mode: 0o600 })
  if (user === 0) return victims
  for (const path of [state, replicas, join(folder, 'meta')]) mkdirSync(path, { mode: 0o755 })
  for (const path of [state, replicas, join(folder, 'meta'), victims.folder, victims.secret])
    chownSync(path, user, user)
  for (const { home, db } of tenants) {
    chmodSync(home, 0o2770)
    chmodSync(db, 0o660)
  }
  return victims
}

function configFor(host: Host, { by, metaPath, owner }: Scene, { user }: Role): string {
  const meta = join(host.folder, 'meta')
  if (owner === 'database') mkdirSync(host.replicas, { mode: 0o755, recursive: true })
  const isHis = (tenant: Tenant): boolean => metaPath === 'all' || tenant.user % 2 === 0
  const config = configOf(host, {
    by,
    ...(by === 'dir' && metaPath !== undefined ? { 'meta-path': meta } : {}),
    of: (tenant) =>
      metaPath !== undefined && isHis(tenant) ? { 'meta-path': join(meta, tenant.name) } : {},
    replica: owner === undefined ? {} : { owner },
  })
  if (user !== undefined) chownSync(config, user, user)
  return config
}
