/** A process ends when its work is done, since nothing is left that keeps it alive; none is made to end by force. */
import Database from 'better-sqlite3'
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer, request as httpRequest, type Server } from 'node:http'
import { type AddressInfo, type Socket } from 'node:net'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import { cleanUp, library, program, root, Running, temporaryFolder, until } from '../support/cli.ts'
import { hasCompiler, Trap } from '../support/kill-at-call.ts'
import { onThisMachine } from '../support/patience.ts'
import { createKeepingS3 } from '../support/stores/keeping-s3.ts'
import { startScriptedS3 } from '../support/stores/scripted-s3.ts'
import { WrongClock } from '../support/wrong-clock.ts'

const endsWithinMs = 1000

const servers = new Set<Server>()

afterEach(async () => {
  for (const server of servers) {
    server.closeAllConnections()
    server.close()
  }
  servers.clear()
  await cleanUp()
})

function scene() {
  const folder = temporaryFolder()
  const db = join(folder, 'app.db')
  fill(db)
  return { folder, db, replica: join(folder, 'replica'), forcedExits: join(folder, 'forced-exits') }
}

type Scene = ReturnType<typeof scene>

function fill(db: string): void {
  const database = new Database(db)
  database.pragma('journal_mode = wal')
  database.exec('create table if not exists t (x); insert into t values (1)')
  database.close()
}

/** Notes when the last line came and when the process ended. */
class Timed extends Running {
  #heardAtMs = performance.now()
  #endedAtMs = Number.POSITIVE_INFINITY
  readonly #forcedExits: string

  constructor({ forcedExits }: Scene, args: readonly string[], env: Record<string, string> = {}) {
    const watched = ['--import', join(root, 'test/support/forced-exits.mjs')]
    super('tsreplicate', process.execPath, [...watched, ...args], {
      FORCED_EXITS: forcedExits,
      ...env,
    })
    this.#forcedExits = forcedExits
    const hear = () => (this.#heardAtMs = performance.now())
    this.child.stdout?.on('data', hear)
    this.child.stderr?.on('data', hear)
    this.child.once('exit', () => (this.#endedAtMs = performance.now()))
  }

  /** The exit code of a process that ended by itself, and soon. */
  async endsByItself(): Promise<number> {
    const code = await this.exit()
    expect(forced(this.#forcedExits), this.output).toBe('')
    const tookMs = this.#endedAtMs - this.#heardAtMs
    expect(tookMs, this.output).toBeLessThan(onThisMachine(endsWithinMs))
    return code
  }
}

function forced(path: string): string {
  return existsSync(path) ? readFileSync(path, 'utf8') : ''
}

function start(here: Scene, ...args: string[]): Timed {
  return new Timed(here, [program, ...args])
}

function configure({ folder }: Scene, settings: object): string {
  const path = join(folder, 'tsreplicate.yml')
  writeFileSync(path, JSON.stringify(settings))
  return path
}

async function stop(daemon: Timed): Promise<number> {
  daemon.signal('SIGTERM')
  return daemon.endsByItself()
}

const keys = { 'access-key-id': 'k', 'secret-access-key': 's' }

/** A replica in each kind of store, at this address. */
const stores = {
  s3: (endpoint: string) => ({ type: 's3', bucket: 'b', path: 'p', endpoint, ...keys }),
  gcs: (endpoint: string) => ({ type: 'gcs', bucket: 'b', path: 'p', endpoint }),
  abs: (endpoint: string) => ({
    type: 'abs',
    bucket: 'b',
    path: 'p',
    endpoint: `${endpoint}/account`,
    'account-name': 'account',
    'account-key': 'c2VjcmV0a2V5',
  }),
}

describe('a daemon ends by itself', () => {
  test('with databases, folders, metrics that are being read and all that is done now and then', async () => {
    const here = scene()
    const { folder, db, replica } = here
    const tenants = join(folder, 'tenants')
    mkdirSync(tenants)
    fill(join(tenants, 'a.db'))
    const heartbeats = createServer((_, response) => response.end())
    const url = `${await listen(heartbeats)}/beat`
    const often = { 'sync-interval': '100ms', 'validation-interval': '1s', retention: '24h' }
    const config = configure(here, {
      addr: '127.0.0.1:0',
      dbs: [
        {
          path: db,
          'heartbeat-url': url,
          replicas: [{ path: replica, ...often, 'retention-check-interval': '1s' }],
        },
        { dir: tenants, watch: true, replicas: [{ path: `${replica}-tenants` }] },
      ],
    })
    const daemon = start(here, 'replicate', '-config', config)
    await daemon.waitFor(/snapshot written/, { times: 2 })
    await daemon.waitFor(/serving metrics on/)
    const [, address = ''] = /url=(http:\S+)/.exec(daemon.output) ?? []
    // One that keeps its connection, as Prometheus does.
    const scrape = httpRequest(address, { headers: { connection: 'keep-alive' } })
    await new Promise((resolve) => scrape.once('response', resolve).end())
    await daemon.waitFor(/validat/)
    expect(await stop(daemon)).toBe(0)
    scrape.destroy()
  })

  test('without anything to replicate', async () => {
    const here = scene()
    const missing = join(here.folder, 'missing.db')
    const daemon = start(here, 'replicate', missing, `file://${here.replica}`)
    await daemon.waitFor(/replicating to/)
    expect(await stop(daemon)).toBe(0)

    const empty = join(here.folder, 'empty')
    mkdirSync(empty)
    const config = configure(here, { dbs: [{ dir: empty, replicas: [{ path: here.replica }] }] })
    const other = start(here, 'replicate', '-config', config)
    await other.waitFor(/no databases in the folder/)
    expect(await stop(other)).toBe(0)
  })

  test('with the program that it runs, whose code is its own', async () => {
    const here = scene()
    const url = `file://${here.replica}`
    const daemon = start(here, 'replicate', '-exec', "sh -c 'exit 7'", here.db, url)
    expect(await daemon.endsByItself()).toBe(7)
  })

  test('when it cannot start', async () => {
    const here = scene()
    const url = `file://${here.replica}`
    const first = start(here, 'replicate', here.db, url)
    await first.waitFor(/snapshot written/)
    const second = start(here, 'replicate', here.db, url)
    expect(await second.endsByItself()).toBe(75)
    expect(await stop(first)).toBe(0)

    const server = createServer()
    const addr = new URL(await listen(server)).host
    const dbs = [{ path: here.db, replicas: [{ path: here.replica }] }]
    const deaf = start(here, 'replicate', '-config', configure(here, { addr, dbs }))
    expect(await deaf.endsByItself()).toBe(1)
  })

  test.each(Object.entries(stores))('when %s answers nothing any more', async (_, replicaAt) => {
    const here = scene()
    const sockets = new Set<Socket>()
    const silent = createServer().on('connection', (socket: Socket) => sockets.add(socket))
    const replica = replicaAt(await listen(silent))
    const dbs = [{ path: here.db, replicas: [replica] }]
    const config = configure(here, { 'shutdown-timeout': '300ms', dbs })
    const daemon = start(here, 'replicate', '-config', config)
    await until(() => sockets.size > 0, 20_000, 'a request')
    expect(await stop(daemon)).toBe(74)
  })
})

describe('a command ends by itself', () => {
  test('whatever it did', async () => {
    const here = scene()
    const url = `file://${here.replica}`
    const replicating = start(here, 'replicate', '-exec', 'true', here.db, url)
    expect(await replicating.endsByItself()).toBe(0)
    const config = configure(here, { dbs: [{ path: here.db, replicas: [{ path: here.replica }] }] })
    const commands = [
      ['restore', '-o', join(here.folder, 'restored.db'), url],
      ['databases', '-config', config],
      ['generations', url],
      ['snapshots', url],
      ['wal', url],
      ['retention', '-dry-run', url],
      ['verify', url],
      ['verify', '-level', 'restore', '-config', config, here.db],
      ['version'],
    ]
    for (const args of commands) {
      const command = start(here, ...args)
      expect(await command.endsByItself(), command.output).toBe(0)
    }
    expect(await start(here, 'status', '-config', config).endsByItself()).toBe(3)
    expect(await start(here, 'restore', '-nonsense').endsByItself()).toBe(2)
  })

  test.each(Object.entries(stores))('that %s refuses', async (_, replicaAt) => {
    const here = scene()
    const refusing = createServer((_, response) => response.writeHead(403).end())
    const dbs = [{ path: here.db, replicas: [replicaAt(await listen(refusing))] }]
    const command = start(here, 'snapshots', '-config', configure(here, { dbs }))
    expect(await command.endsByItself(), command.output).toBe(1)
    expect(command.output).toContain('cannot determine snapshots')
  })

  test('whose connections to a store are kept for the next request', async () => {
    const here = scene()
    await using store = await startScriptedS3()
    store.answerWith(createKeepingS3().answer)
    const s3 = `s3://bucket.localhost/path`
    const replicas = [{ url: s3, endpoint: store.endpoint, 'force-path-style': true, ...keys }]
    const config = configure(here, { dbs: [{ path: here.db, replicas }] })
    const daemon = start(here, 'replicate', '-config', config)
    await daemon.waitFor(/snapshot written/)
    const status = start(here, 'status', '-config', config, here.db)
    expect(await status.endsByItself(), status.output).toBe(0)
    expect(await stop(daemon)).toBe(0)
    for (const args of [
      ['snapshots', '-config', config],
      ['restore', '-config', config, '-o', join(here.folder, 'restored.db'), here.db],
    ]) {
      const command = start(here, ...args)
      expect(await command.endsByItself(), command.output).toBe(0)
    }
  })
})

test('an engine of the library ends by itself, stopped or left alone, and so does its application', async () => {
  const here = scene()
  const { folder, db, replica } = here
  const application = join(folder, 'application.mjs')
  writeFileSync(
    application,
    `import { configFromUrls, replicate } from ${JSON.stringify(library)}
     const replication = await replicate(await configFromUrls(process.argv[2], [process.argv[3]]))
     console.log('engine', replication.pid)
     if (process.argv[4] === 'stop') console.log(await replication.stop())`,
  )
  for (const how of ['stop', 'leave']) {
    const running = new Timed(here, [application, db, `file://${replica}`, how])
    await running.waitFor(/engine \d+/)
    const [, engine = ''] = /engine (\d+)/.exec(running.output) ?? []
    expect(await running.endsByItself(), running.output).toBe(0)
    const leftMs = performance.now()
    await until(() => !existsSync(`/proc/${engine}`), 20_000, 'the end of the engine')
    // Its exit would be forced after five seconds.
    expect(performance.now() - leftMs).toBeLessThan(onThisMachine(3000))
  }
})

describe('what hangs in the operating system outlives the shutdown timeout by some seconds at most', () => {
  test('when a replica waits for it', async () => {
    const here = scene()
    // Whoever opens it waits for somebody at its other end.
    const credentials = join(here.folder, 'credentials')
    execFileSync('mkfifo', [credentials])
    const s3 = { type: 's3', bucket: 'bucket', path: 'app', endpoint: 'http://127.0.0.1:1' }
    const env = { AWS_SHARED_CREDENTIALS_FILE: credentials, AWS_EC2_METADATA_DISABLED: 'true' }
    const daemon = startWith(here, s3, env)
    await daemon.waitFor(/new generation/)
    daemon.signal('SIGTERM')
    expect(await daemon.exit(20_000), daemon.output).toBe(74)
    expect(daemon.output).toContain('something hangs in the operating system, exiting without it')
  })

  test.skipIf(!hasCompiler)('when the capture waits for it', async () => {
    const here = scene()
    const call = { calls: 'rename', path: '/state[.]json$' }
    const trap = new Trap(here.folder, call, { moment: 'hang', armed: true })
    const daemon = startWith(here, { path: here.replica }, trap.env)
    await until(() => trap.killed !== undefined, 20_000, 'it to hang')
    daemon.signal('SIGTERM')
    expect(await daemon.exit(20_000), daemon.output).toBe(74)
    expect(daemon.output).toContain('still busy after the shutdown timeout, exiting immediately')
  })

  test.skipIf(!hasCompiler)(
    'when a loop never begins, as /healthz tells after minutes',
    async () => {
      const here = scene()
      const call = { calls: 'link', path: '/[.]app[.]db-tsreplicate/lock$' }
      const trap = new Trap(here.folder, call, { moment: 'hang', armed: true })
      const clock = new WrongClock()
      const LD_PRELOAD = `${trap.env.LD_PRELOAD}:${clock.env.LD_PRELOAD}`
      const dbs = [{ path: here.db, replicas: [{ path: here.replica }] }]
      const config = configure(here, { addr: '127.0.0.1:0', 'shutdown-timeout': '2s', dbs })
      const env = { ...clock.env, ...trap.env, LD_PRELOAD }
      const daemon = new Timed(here, [program, 'replicate', '-config', config], env)
      await until(() => trap.killed !== undefined, 20_000, 'it to hang')
      await daemon.waitFor(/serving metrics on/)
      const url = /http:\/\/[\d.:]+/.exec(daemon.output)?.[0]
      const health = async (): Promise<string> => {
        const answer = await fetch(`${url}/healthz`)
        return `${answer.status} ${await answer.text()}`
      }
      expect(await health()).toBe('200 alive\n')
      clock.pass(310_000)
      await until(async () => (await health()).startsWith('503'), 20_000, '/healthz to tell')
      expect(await health()).toMatch(/app\.db: its loop has not moved for 5m/)
      daemon.signal('SIGTERM')
      expect(await daemon.exit(20_000), daemon.output).toBe(74)
    },
  )
})

function startWith(here: Scene, replica: object, env: Record<string, string>): Timed {
  const dbs = [{ path: here.db, replicas: [replica] }]
  const config = configure(here, { 'shutdown-timeout': '2s', dbs })
  return new Timed(here, [program, 'replicate', '-config', config], env)
}

async function listen(server: Server): Promise<string> {
  servers.add(server)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}
