/** Nobody waits for the log: a disk that is full under it, a reader that has stopped reading. */
import Database from 'better-sqlite3'
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import {
  closeSync,
  constants,
  existsSync,
  openSync,
  readFileSync,
  readSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import { cleanUp, library, program, restore, temporaryFolder, until } from '../support/cli.ts'
import { onThisMachine } from '../support/patience.ts'

const children = new Set<ChildProcess>()
const descriptors = new Set<number>()
const sockets = new Set<Socket>()
const servers = new Set<Server>()

afterEach(async () => {
  for (const child of children) child.kill('SIGKILL')
  children.clear()
  for (const descriptor of descriptors) closeSync(descriptor)
  descriptors.clear()
  for (const socket of sockets) socket.destroy()
  for (const server of servers) server.close()
  sockets.clear()
  servers.clear()
  await cleanUp()
})

function scene() {
  const folder = temporaryFolder()
  const db = join(folder, 'app.db')
  const replica = join(folder, 'replica')
  const database = new Database(db)
  database.pragma('journal_mode = wal')
  database.exec('create table t (x); insert into t values (1)')
  database.close()
  return { folder, db, replica, url: `file://${replica}` }
}

function openFile(path: string, flags: number): number {
  const descriptor = openSync(path, flags)
  descriptors.add(descriptor)
  return descriptor
}

type Output = number | 'pipe' | Socket

/** What is written where nobody reads: to a pipe of the shell, or to a socket, as from Node or to systemd's journal. */
const stuck = {
  'a full pipe': (folder: string): Output => {
    const path = join(folder, 'fifo')
    spawnSync('mkfifo', [path])
    const { O_NONBLOCK, O_RDONLY, O_WRONLY } = constants
    openFile(path, O_RDONLY | O_NONBLOCK)
    const full = openFile(path, O_WRONLY | O_NONBLOCK)
    const write = () => {
      for (;;) writeSync(full, Buffer.alloc(4096, '.'))
    }
    expect(write).toThrow('EAGAIN')
    return openFile(path, O_WRONLY)
  },
  'a full socket': async (folder: string): Promise<Output> => {
    const path = join(folder, 'socket')
    const server = createServer((socket) => sockets.add(socket.pause())).listen(path)
    servers.add(server)
    await once(server, 'listening')
    const client = connect(path).on('error', () => undefined)
    sockets.add(client)
    await once(client, 'connect')
    client.write(Buffer.alloc(4 * 1024 * 1024, '.'))
    return client
  },
  'a full disk': (): Output => openFile('/dev/full', constants.O_WRONLY),
}

function start(args: readonly string[], output: Output): ChildProcess {
  const child = spawn(process.execPath, [program, ...args], { stdio: ['ignore', output, output] })
  children.add(child)
  return child
}

async function exitOf(child: ChildProcess): Promise<number | null> {
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
  return child.exitCode
}

function writeConfig(path: string, settings: object): void {
  // Many lines, so that a socket's buffers are full soon.
  writeFileSync(path, JSON.stringify({ logging: { level: 'debug' }, ...settings }))
}

describe.each(Object.entries(stuck))('a log in %s', (_, open) => {
  test('holds up neither the daemon, nor health, nor its end', async () => {
    const { folder, db, replica } = scene()
    const config = join(folder, 'c.yml')
    const addr = `127.0.0.1:${20_000 + (process.pid % 10_000)}`
    const dbs = Array.from({ length: 40 }, (_, i) => ({
      path: `${db}-${i}`,
      replicas: [{ path: `${replica}-${i}`, 'sync-interval': '10ms' }],
    }))
    for (const { path } of dbs) new Database(path).exec('create table t (x)').close()
    writeConfig(config, { addr, dbs: [{ path: db, replicas: [{ path: replica }] }, ...dbs] })
    const daemon = start(['replicate', '-config', config], await open(folder))
    const isHealthy = () =>
      fetch(`http://${addr}/readyz`).then(
        ({ ok }) => ok,
        () => false,
      )
    await until(isHealthy, 20_000, 'readiness')
    const database = new Database(db)
    for (let x = 2; x <= 30; x += 1) {
      database.prepare('insert into t values (?)').run(x)
      const signal = AbortSignal.timeout(onThisMachine(2000))
      expect((await fetch(`http://${addr}/healthz`, { signal })).ok).toBe(true)
    }
    database.close()
    daemon.kill('SIGTERM')
    expect(await exitOf(daemon)).toBe(0)
    await restore(replica, join(folder, 'out.db'))
    const restored = new Database(join(folder, 'out.db'))
    expect(restored.prepare('select max(x) from t').pluck().get()).toBe(30)
    restored.close()
  })

  test('lets the program of exec run, and end with its exit code', async () => {
    const { folder, db, url } = scene()
    const done = join(folder, 'done')
    const code = `setTimeout(() => { fs.writeFileSync('${done}', ''); process.exit(7) }, 300)`
    const command = `'${process.execPath}' -e "${code}"`
    const daemon = start(['replicate', '-exec', command, db, url], await open(folder))
    expect(await exitOf(daemon)).toBe(7)
    expect(existsSync(done)).toBe(true)
  })

  test('harms no application that uses the library', async () => {
    const { folder, db, url } = scene()
    const script = join(folder, 'app.mjs')
    writeFileSync(
      script,
      `import { configFromUrls, replicate } from ${JSON.stringify(library)}
      const replication = await replicate(await configFromUrls('${db}', ['${url}']))
      const notStored = await replication.stop()
      process.exit(notStored.length === 0 ? 5 : 6)`,
    )
    const output = await open(folder)
    const application = spawn(process.execPath, [script], { stdio: ['ignore', output, output] })
    children.add(application)
    expect(await exitOf(application)).toBe(5)
  })
})

test('what waits for a reader is written when it reads again, and the program beside is not harmed', async () => {
  const { folder, db, url } = scene()
  const output = stuck['a full pipe'](folder) as number
  const go = join(folder, 'go')
  // A write that may not wait fails: the program's own has to wait.
  const script = `while [ ! -e ${go} ]; do sleep 0.05; done; head -c 100000 /dev/zero | tr '\\\\0' x || exit 9`
  const daemon = start(['replicate', '-exec', `sh -c "${script}"`, db, url], output)
  const [reader = 0] = descriptors
  await until(() => existsSync(join(folder, 'replica')), 20_000, 'the replica')
  writeFileSync(go, '')
  const exited = exitOf(daemon)
  let text = ''
  const take = Buffer.alloc(65_536)
  const read = setInterval(() => {
    try {
      text += take.toString('latin1', 0, readSync(reader, take))
    } catch {
      // There is nothing to read just now.
    }
  }, 5)
  expect(await exited, text).toBe(0)
  const isSaid = () => text.includes('shut down')
  await until(isSaid, 5000, () => text.slice(-1000))
  clearInterval(read)
  expect(text).toContain('initialized db')
  expect(text.match(/x/g)?.length).toBeGreaterThanOrEqual(100_000)
})

test('a command whose output cannot be written says so in a line and fails, but not a restore that is complete', async () => {
  const { folder, db, url } = scene()
  await exitOf(start(['replicate', '-exec', 'true', db, url], 'pipe'))
  const run = (...args: string[]) => {
    const script = ['-c', 'exec "$@" > /dev/full', 'sh', process.execPath, program, ...args]
    const { status, stderr } = spawnSync('sh', script, { encoding: 'utf8' })
    return { status, stderr }
  }
  for (const args of [['version'], ['--help'], ['generations', url], ['verify', '--json', url]]) {
    const { status, stderr } = run(...args)
    expect(stderr).toMatch(/^tsreplicate: its output cannot be written to stdout: .*\n$/)
    expect(status).toBe(1)
  }
  const output = join(folder, 'out.db')
  const { status, stderr } = run('restore', '-o', output, url)
  expect(stderr).toMatch(/^tsreplicate: restore is done, but .* stdout: .*\n$/)
  expect(status).toBe(0)
  expect(readFileSync(output).length).toBeGreaterThan(0)
  // What failed for another reason keeps its message and its code.
  const failed = run('restore', '--json', '-o', output, url)
  expect(failed.stderr).toMatch(/^tsreplicate: cannot restore, output path already exists/)
  expect(failed.status).toBe(1)
})
