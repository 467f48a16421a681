/** A daemon of root replicates the databases of users of whom most have something in mind, plain and in the sandbox of the unit. */
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import { cleanUp, listObjects, restoreAll, start, temporaryFolder, until } from '../support/cli.ts'
import { attacks, tooDeep, prepare, type Victims } from '../support/malicious-tenants.ts'
import { addNote, notesIn } from '../support/notes.ts'
import { lackOfSystemd, ShippedUnit, Systemd } from '../support/systemd.ts'
import { configOf, does, isRoot, makeHostIn, rightsOf, type Tenant } from '../support/tenants.ts'

interface Daemon {
  readonly output: string
  stop(): Promise<number>
}

const honest = ['anna', 'bert']
const malicious = Object.values(attacks).map((attack, i) => ({ name: `mallory-${i}`, attack }))

/** Sees to it that nobody but the malicious has a disadvantage. */
async function play(
  folder: string,
  { by, startDaemon }: { by: 'path' | 'dir'; startDaemon: (config: string) => Daemon },
): Promise<void> {
  const host = makeHostIn(folder, [...honest, ...malicious.map(({ name }) => name)])
  const tenant = (name: string): Tenant => host.tenants.find((each) => each.name === name)!
  const replicaOf = (name: string): string => join(host.replicas, name, 'app.db')
  const victims: Victims = {
    folder: join(folder, 'victim'),
    secret: join(folder, 'secret'),
    database: tenant('anna').db,
  }
  mkdirSync(victims.folder, { mode: 0o700 })
  writeFileSync(join(victims.folder, 'file'), 'of root')
  writeFileSync(victims.secret, 'of root', { mode: 0o600 })
  does(tenant('anna'), 'chmod 600 app.db; chmod 700 .')
  for (const { name, attack } of malicious) prepare(tenant(name), attack, victims)

  const metaPath = join(folder, 'meta')
  const config = configOf(host, {
    by,
    ...(by === 'dir' ? { 'meta-path': metaPath } : {}),
    of: ({ name, user }) => (user % 2 === 0 ? { 'meta-path': join(metaPath, name) } : {}),
  })
  const daemon = startDaemon(config)
  const isStored = (name: string): boolean =>
    listObjects(replicaOf(name)).some((object) => object.includes('snapshots'))
  const stored = malicious.filter(
    ({ attack }) => attack.complaint === undefined || attack.during !== undefined,
  )
  const names = [...honest, ...stored.map(({ name }) => name)]
  await until(
    () => names.every(isStored),
    60_000,
    () => daemon.output,
  )
  for (const { name, attack } of stored)
    if (attack.during !== undefined) does(tenant(name), attack.during(victims))
  for (const name of honest) addNote(tenant(name).db, 'more')

  const named = malicious.filter(
    ({ attack: { complaint, isGone } }) =>
      complaint !== undefined && !(by === 'dir' && isGone === true),
  )
  const url = /http:\/\/[\d.:]+/.exec(daemon.output)?.[0]
  let answer = ''
  const isNamed = ({ name, attack }: (typeof named)[number]): boolean =>
    answer
      .split('\n')
      .some((line) => line.startsWith(tenant(name).db) && attack.complaint!.test(line))
  const others = host.tenants.filter(
    ({ name }) =>
      !malicious.some((each) => each.name === name && each.attack.complaint !== undefined),
  )
  // Of the folder of all, what cannot be read is his, and nothing else of it is not ready.
  const homeOf = (name: string): string => dirname(tenant(name).db)
  const deep = malicious.find(({ attack }) => attack === attacks[tooDeep])!
  const isDeepNamed = (): boolean =>
    (by === 'path' || answer.includes(`${homeOf(deep.name)}/nnn`)) &&
    !answer.split('\n').some((line) => line.startsWith(`${dirname(homeOf(deep.name))}: `))
  await until(
    async () => {
      answer = await (await fetch(`${url}/readyz`)).text()
      return (
        isDeepNamed() &&
        named.every(isNamed) &&
        others.every(({ db }) => !answer.includes(`${db}:`))
      )
    },
    60_000,
    () => `${answer}\n${daemon.output}`,
  )
  expect(await daemon.stop(), daemon.output).toBe(74)
  expect(daemon.output).toMatch(/ended the process in which SQLite reads it \(SIGBUS\)/)

  const out = join(folder, 'out')
  mkdirSync(out)
  const restored = await restoreAll(
    names.map((name) => [...options(name), '-o', join(out, name), `file://${replicaOf(name)}`]),
  )
  expect(restored).toEqual(names.map(() => 0))
  for (const name of names)
    expect(notesIn(join(out, name)), name).toEqual(honest.includes(name) ? [name, 'more'] : [name])
  for (const { name } of malicious)
    if (!names.includes(name)) expect(existsSync(replicaOf(name)), name).toBe(false)
  expect([readFileSync(victims.secret, 'utf8'), rightsOf(victims.secret)]).toEqual([
    'of root',
    '0 600',
  ])
  expect([readdirSync(victims.folder), rightsOf(victims.folder)]).toEqual([['file'], '0 700'])

  /** What a schema computes without end, the check would. */
  function options(name: string): string[] {
    const isEndless = malicious.some(
      (each) => each.name === name && each.attack.schema !== undefined,
    )
    return isEndless ? ['-integrity-check', 'none'] : []
  }
}

describe.skipIf(!isRoot)(
  'whatever tenants do, the others are stored, and root’s files are as they were',
  () => {
    afterEach(() => cleanUp())

    test.each(['path', 'dir'] as const)('plain (%s)', async (by) => {
      await play(temporaryFolder(), {
        by,
        startDaemon: (config) => start('replicate', '-config', config),
      })
    })

    test.skipIf(lackOfSystemd !== undefined).each(['path', 'dir'] as const)(
      'in the sandbox of the unit (%s)',
      async (by) => {
        // Not in a folder for temporary files: the unit has one of its own.
        const folder = mkdtempSync('/var/lib/.tsreplicate-test-')
        try {
          await using systemd = await Systemd.start()
          await play(folder, {
            by,
            startDaemon: () => {
              const unit = new ShippedUnit(systemd, { folder, settings: ['Restart=no'] })
              unit.start()
              return unit
            },
          })
        } finally {
          rmSync(folder, { recursive: true, force: true })
        }
      },
    )
  },
)
