/** The files of `examples/` do what they say: those for containers are run in the order that they ask for. */
import Database from 'better-sqlite3'
import { spawnSync } from 'node:child_process'
import {
  chmodSync,
  chownSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { createRequire } from 'node:module'
import { basename, dirname, join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { parse } from 'yaml'
import { cleanUp, listObjects, program, root, run, temporaryFolder, until } from '../support/cli.ts'
import { lackOfSystemd, Systemd } from '../support/systemd.ts'
import { sayAtTheEnd } from '../support/last-lines.ts'
import { Container, whyNoContainers } from '../support/containers.ts'
import { notesIn as readNotes } from '../support/notes.ts'

afterEach(() => cleanUp())

const require = createRequire(import.meta.url)

const example = (name: string): string => join(root, 'examples', name)
const textOf = (name: string): string => readFileSync(example(name), 'utf8')
const user = '1000:1000'
/** Of the user `daemon`, whom every machine has. */
const daemonUid = 1

/** An application: it writes a row every now and then, and one more when it is told to end. */
const application = `
const Database = require('/opt/tsreplicate/node_modules/better-sqlite3')
const db = new Database('/data/app.db')
db.exec('PRAGMA journal_mode = wal; CREATE TABLE IF NOT EXISTS note (text)')
const insert = db.prepare('INSERT INTO note VALUES (?)')
insert.run('begin')
setInterval(() => insert.run('now and then'), 100)
process.on('SIGTERM', () => {
  insert.run('end')
  process.exit(0)
})
console.log('serving with', db.prepare('SELECT count(*) FROM note').pluck().get())
`

/** A folder that containers of that user share. */
function sharedFolder(...names: string[]): string[] {
  const base = temporaryFolder()
  chmodSync(base, 0o755)
  return names.map((name) => {
    const folder = join(base, name)
    mkdirSync(folder)
    chownSync(folder, 1000, 1000)
    return folder
  })
}

const notesIn = (data: string): unknown[] => readNotes(join(data, 'app.db'))

interface Service {
  readonly image: string
  readonly user: string
  readonly command?: readonly string[]
  readonly volumes: readonly string[]
  readonly env_file?: string
  readonly depends_on?: Readonly<Record<string, { readonly condition: string }>>
  readonly healthcheck?: { readonly test: readonly string[] }
}

test.skipIf(whyNoContainers !== undefined)(
  'compose: an empty folder is restored before the application starts, and its last commit is stored',
  async () => {
    const { services } = parse(textOf('compose/compose.yaml')) as {
      services: Record<string, Service>
    }
    const names = Object.keys(services)
    // In the file, each service stands behind those that it waits for.
    for (const [i, name] of names.entries()) {
      for (const other of Object.keys(services[name]?.depends_on ?? {})) {
        expect(names.indexOf(other)).toBeLessThan(i)
      }
    }
    const [backup = ''] = sharedFolder('backup')
    const startIn =
      (data: string) =>
      (name: string): Container => {
        const service = services[name]
        if (service === undefined) throw new Error(`no service ${name}`)
        const isOurs = service.image.startsWith('ghcr.io/tsreplicate/tsreplicate:')
        return new Container(name, {
          command: isOurs
            ? ['tsreplicate', ...(service.command ?? [])]
            : ['node', '-e', application],
          user: service.user,
          env: service.env_file === undefined ? {} : { REPLICA_URL: 'file:///backup/app' },
          volumes: [
            `${backup}:/backup`,
            ...service.volumes.map((each) =>
              each
                .replace(/:ro$/, '')
                .replace(/^\.\/data/, data)
                .replace(/^\.\//, `${example('compose')}/`),
            ),
          ],
        })
      }
    const up = async (data: string): Promise<{ app: Container; replicate: Container }> => {
      const start = startIn(data)
      const restore = start('restore')
      expect(await restore.exit(), restore.output).toBe(0)
      const replicate = start('replicate')
      await replicate.waitFor(/answering tsreplicate status on/)
      const app = start('app')
      await app.waitFor(/serving with/)
      return { app, replicate }
    }
    const [first = '', second = ''] = sharedFolder('first', 'second')
    const { app, replicate } = await up(first)
    const [, ...check] = services['replicate']?.healthcheck?.test ?? []
    await until(async () => (await replicate.exec(...check)).code === 0, 30_000, 'health')
    const status = ['tsreplicate', 'status', '-socket', '/data/tsreplicate.sock']
    await until(async () => (await app.exec(...status)).code === 0, 30_000, 'status 0')
    expect((await app.exec('tsreplicate', 'status', '/data/app.db')).code).toBe(3)
    expect(await app.stop(), app.output).toBe(0)
    expect(await replicate.stop(), replicate.output).toBe(0)

    const again = await up(second)
    const notes = notesIn(second)
    expect(notes.slice(0, notesIn(first).length)).toEqual(notesIn(first))
    expect(notesIn(first).at(-1)).toBe('end')
    expect(statSync(join(second, 'app.db')).uid).toBe(1000)
    expect(await again.app.stop()).toBe(0)
    expect(await again.replicate.stop(), again.replicate.output).toBe(0)
  },
)

interface Pod {
  readonly initContainers: readonly {
    readonly name: string
    readonly args: readonly string[]
    readonly restartPolicy?: string
    readonly livenessProbe?: { readonly httpGet: { readonly path: string } }
  }[]
  readonly containers: readonly {
    readonly lifecycle?: { readonly preStop: { readonly exec: { readonly command: string[] } } }
  }[]
}

/** What the kubelet asks. */
function podOf(file = 'app.yaml'): Pod {
  const [, set = ''] = textOf(`kubernetes/${file}`).split(/^---$/m)
  return (parse(set) as { spec: { template: { spec: Pod } } }).spec.template.spec
}

test('Kubernetes and Kamal run the commands that Compose runs', () => {
  const { services } = parse(textOf('compose/compose.yaml')) as {
    services: Record<string, Service>
  }
  const { initContainers } = podOf()
  expect(initContainers.map(({ name, args }) => [name, args])).toEqual([
    ['restore', services['restore']?.command],
    ['replicate', services['replicate']?.command],
  ])
  expect(initContainers[1]?.restartPolicy).toBe('Always')
  const kamal = parse(textOf('kamal/deploy.yml')) as {
    accessories: { replicate: { cmd: string } }
  }
  expect([kamal.accessories.replicate.cmd]).toEqual(services['replicate']?.command)
})

test.skipIf(whyNoContainers !== undefined)(
  'Kubernetes, scaled to zero: the hook stores what is committed, the next pod restores it; a daemon that runs is to be asked',
  async () => {
    const { initContainers, containers } = podOf('scale-to-zero.yaml')
    const restore = ['tsreplicate', ...(initContainers[0]?.args ?? [])]
    const hook = containers[0]?.lifecycle?.preStop.exec.command ?? []
    const [backup = '', first = '', second = '', etc = ''] = sharedFolder('r', '1', '2', 'etc')
    const [config] = textOf('kubernetes/scale-to-zero.yaml').split(/^---$/m)
    const { data } = parse(config ?? '') as { data: Readonly<Record<string, string>> }
    writeFileSync(join(etc, 'tsreplicate.yml'), data['tsreplicate.yml'] ?? '')
    const startIn = (folder: string, command: readonly string[]): Container =>
      new Container('app', {
        command,
        user,
        env: { REPLICA_URL: 'file:///backup/app' },
        volumes: [
          `${folder}:/data`,
          `${backup}:/backup`,
          `${join(etc, 'tsreplicate.yml')}:/etc/tsreplicate.yml`,
        ],
      })
    const inPod = (command: readonly string[]) => [
      ...['env', 'REPLICA_URL=file:///backup/app', ...command],
    ]
    const start = async (folder: string): Promise<Container> => {
      const restoring = startIn(folder, restore)
      expect(await restoring.exit(), restoring.output).toBe(0)
      const app = startIn(folder, ['node', '-e', application])
      await app.waitFor(/serving with/)
      return app
    }
    const app = await start(first)
    const committed = notesIn(first)
    const stored = await app.exec(...inPod(hook))
    expect(stored.code, stored.output).toBe(0)
    expect(await app.stop()).toBe(0)
    const next = await start(second)
    const notes = notesIn(second)
    expect(notes.slice(0, committed.length)).toEqual(committed)

    const replicating = next.exec(...inPod(['tsreplicate', 'replicate']))
    const ask = ['tsreplicate', 'sync', '-wait', '-now']
    await until(async () => (await next.exec(...inPod(ask))).code === 0, 30_000, 'the daemon')
    const beside = await next.exec(...inPod(hook))
    expect(beside.code).toBe(75)
    expect(beside.output).toContain('is stored by `tsreplicate sync -wait -now`')
    expect(await next.stop()).toBe(0)
    await replicating
  },
)

test.skipIf(whyNoContainers !== undefined)(
  'Fly: tsreplicate is in front of the application, restores on an empty volume, and passes its end on',
  async () => {
    const dockerfile = textOf('fly/Dockerfile')
    const words = (instruction: string): string[] =>
      JSON.parse(new RegExp(`^${instruction} (.*)$`, 'm').exec(dockerfile)?.[1] ?? '') as string[]
    const [backup = '', first = '', second = '', app = ''] = sharedFolder('r', '1', '2', 'app')
    writeFileSync(join(app, 'server.js'), application)
    const startIn = (data: string): Container =>
      new Container('machine', {
        command: [...words('ENTRYPOINT'), ...words('CMD')],
        user: '0:0',
        env: { REPLICA_URL: 'file:///backup/app' },
        folder: /^WORKDIR (.*)$/m.exec(dockerfile)?.[1] ?? '/',
        volumes: [
          `${data}:/data`,
          `${backup}:/backup`,
          `${app}:/app`,
          `${example('fly/tsreplicate.yml')}:/etc/tsreplicate.yml`,
        ],
      })
    const machine = startIn(first)
    await machine.waitFor(/serving with 1/)
    const probe = podOf().initContainers[1]?.livenessProbe?.httpGet.path ?? ''
    for (const path of [probe, '/metrics']) {
      const url = `http://127.0.0.1:9090${path}`
      const look = `fetch('${url}').then(({ status }) => process.exit(status === 200 ? 0 : 1))`
      const isAnswered = async (): Promise<boolean> =>
        (await machine.exec('node', '-e', look)).code === 0
      await until(isAnswered, 30_000, `an answer to ${path}`)
    }
    expect(await machine.stop(), machine.output).toBe(0)
    expect(notesIn(first).at(-1)).toBe('end')
    const again = startIn(second)
    await again.waitFor(/serving with/)
    expect(notesIn(second).slice(0, notesIn(first).length)).toEqual(notesIn(first))
    expect(await again.stop(), again.output).toBe(0)
  },
)

test.skipIf(whyNoContainers !== undefined)(
  'cron: each run stores what is new, and the daily one proves it',
  async () => {
    const jobs = textOf('cron/tsreplicate')
      .split('\n')
      .filter((line) => /^[\d*]/.test(line))
      .map((line) => /^(?:\S+ +){5}(?<user>\S+) +(?<command>.*)$/.exec(line)?.groups)
    expect(jobs.map((job) => job?.['user'])).toEqual(['app', 'app'])
    const [backup = '', lib = '', etc = ''] = sharedFolder('backup', 'lib', 'etc')
    const config = textOf('cron/tsreplicate.yml').replace(/s3:.*$/m, 'file:///backup/app')
    writeFileSync(join(etc, 'tsreplicate.yml'), config)
    const db = new Database(join(lib, 'app.db'))
    db.exec('PRAGMA journal_mode = wal; CREATE TABLE note (text)')
    for (const name of ['app.db', 'app.db-wal', 'app.db-shm'])
      chownSync(join(lib, name), 1000, 1000)
    const job = async (number: number): Promise<string> => {
      const running = new Container('cron', {
        command: ['sh', '-c', jobs[number]?.['command'] ?? 'false'],
        user,
        env: { LOGNAME: 'app' },
        volumes: [
          `${lib}:/var/lib/app`,
          `${backup}:/backup`,
          `${join(etc, 'tsreplicate.yml')}:/etc/tsreplicate.yml`,
        ],
      })
      expect(await running.exit(), running.output).toBe(0)
      return running.output
    }
    expect(await job(0)).toBe('')
    db.exec("INSERT INTO note VALUES ('kept')")
    expect(await job(0)).toBe('')
    expect(await job(1)).toBe('')
    db.close()
  },
)

test.skipIf(lackOfSystemd !== undefined)(
  'systemd: an empty folder is restored for the user of the application, which stops first; without a restore it does not start',
  async () => {
    // Not in a folder for temporary files: the unit has one of its own.
    const folder = mkdtempSync('/var/lib/.tsreplicate-test-')
    try {
      await using systemd = await Systemd.start()
      const at = (name: string): string => join(folder, name)
      const replica = at('replica')
      const seed = new Database(at('seed.db'))
      seed.exec(
        "PRAGMA journal_mode = wal; CREATE TABLE note (text); INSERT INTO note VALUES ('old')",
      )
      seed.close()
      const stored = await run('replicate', '-exec', 'true', at('seed.db'), `file://${replica}`)
      expect(stored.code, stored.stderr).toBe(0)
      const config = textOf('systemd/tsreplicate.yml')
        .replace('/var/lib/app', at('app'))
        .replace(/s3:.*$/m, `file://${replica}`)
      writeFileSync(at('tsreplicate.yml'), config)
      const code = application
        .replace('/opt/tsreplicate/node_modules/better-sqlite3', require.resolve('better-sqlite3'))
        .replace('/data/app.db', at('app/app.db'))
      writeFileSync(at('app.cjs'), code)
      chmodSync(folder, 0o755)
      const paths = `BindReadOnlyPaths=${root} ${dirname(process.execPath)}`
      const replicate = `${process.execPath} ${program} replicate -config ${at('tsreplicate.yml')}`
      const units = {
        'tsreplicate.service': readFileSync(join(root, 'systemd/tsreplicate.service'), 'utf8'),
        'tsreplicate.service.d/test.conf': `[Service]\nExecStart=\nExecStart=${replicate}\n${paths}\n`,
        'app.service': textOf('systemd/app.service').replace(
          'chown -R app: /var/lib/app',
          `chown -R daemon: ${at('app')}`,
        ),
        'app.service.d/test.conf': `[Service]\nUser=daemon\nStateDirectory=\nStateDirectory=${basename(folder)}/app\nExecStart=\nExecStart=${process.execPath} ${at('app.cjs')}\n${paths}\n`,
      }
      for (const [name, text] of Object.entries(units)) systemd.addUnit(name, text)
      // Only the files were lost: systemd itself changes nothing in a folder that has the right owner.
      mkdirSync(at('app'))
      chownSync(at('app'), daemonUid, daemonUid)
      systemd.control('start', 'app.service')
      expect(systemd.show('tsreplicate.service')['ActiveState']).toBe('active')
      const written = (): unknown[] => notesIn(at('app'))
      await until(() => written().includes('now and then'), 30_000, 'the application')
      expect(written()[0]).toBe('old')
      expect(statSync(at('app/app.db')).uid).toBe(daemonUid)
      systemd.control('stop', 'tsreplicate.service', 'app.service')
      expect(written().at(-1)).toBe('end')
      const restored = await run('restore', '-o', at('restored/app.db'), `file://${replica}`)
      expect(restored.code, restored.stderr).toBe(0)
      expect(notesIn(at('restored'))).toEqual(written())

      rmSync(at('app'), { recursive: true })
      const snapshots = listObjects(replica).filter((name) => name.includes('/snapshots/'))
      for (const name of snapshots) writeFileSync(join(replica, name), 'damaged')
      expect(() => systemd.control('start', 'app.service')).toThrow('app.service')
      expect(systemd.show('app.service')['ActiveState']).toBe('inactive')
      expect(existsSync(at('app/app.db'))).toBe(false)
    } finally {
      rmSync(folder, { recursive: true, force: true })
    }
  },
)

/** Runs a checker that not every machine has; undefined: this one has none. */
function check(command: string, ...args: string[]): string | undefined {
  const { stderr, status, error } = spawnSync(command, args, { encoding: 'utf8' })
  if (error !== undefined) {
    sayAtTheEnd(`examples were not looked at by ${command}: ${error.message}`)
    return undefined
  }
  return status === 0 ? stderr : `${command} ends with ${String(status)}: ${stderr}`
}

test('systemd knows all that the unit of the application says', () => {
  const folder = temporaryFolder()
  copyFileSync(example('systemd/app.service'), join(folder, 'app.service'))
  copyFileSync(join(root, 'systemd/tsreplicate.service'), join(folder, 'tsreplicate.service'))
  const printed = check('systemd-analyze', 'verify', '--man=no', join(folder, 'app.service')) ?? ''
  // What it says of other units is about this machine.
  const own = printed.split('\n').filter((line) => line.includes(folder) || /ends with/.test(line))
  expect(own).toEqual([])
})

test('fly.toml is TOML', () => {
  const read = 'import sys, tomllib; tomllib.load(open(sys.argv[1], "rb"))'
  expect(check('python3', '-c', read, example('fly/fly.toml')) ?? '').toBe('')
})
