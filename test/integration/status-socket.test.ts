/** Who answers `tsreplicate status`: a daemon of this user or of root, and nobody who only says so. */
import { chmodSync, existsSync, readdirSync, rmSync } from 'node:fs'
import { createServer, type Server, type Socket } from 'node:net'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import {
  cleanUp,
  run,
  start,
  startAs,
  startWith,
  temporaryFolder,
  until,
  writeConfig,
} from '../support/cli.ts'
import { makeNotes } from '../support/notes.ts'
import { databaseStatus, replicaStatus } from '../support/sample-status.ts'
import { does, isRoot, makeHost, rightsOf } from '../support/tenants.ts'

const notRunning = 3
const made: string[] = []
const servers: { readonly server: Server; readonly sockets: Set<Socket> }[] = []

afterEach(async () => {
  for (const { server, sockets } of servers.splice(0)) {
    for (const socket of sockets) socket.destroy()
    await new Promise((resolve) => server.close(resolve))
  }
  for (const folder of made.splice(0)) rmSync(folder, { recursive: true, force: true })
  await cleanUp()
})

/** Somebody who answers at a socket file as he likes. */
async function answerAt(path: string, answer: (socket: Socket) => void): Promise<void> {
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket.on('error', () => undefined))
    socket.once('data', () => answer(socket))
  })
  servers.push({ server, sockets })
  await new Promise<void>((resolve) => server.listen(path, resolve))
}

describe('an answer', () => {
  test('that does not end is given up', async () => {
    const path = join(temporaryFolder(), 'socket')
    await answerAt(path, (socket) => {
      socket.write('HTTP/1.1 200 OK\r\n\r\n')
      const flood = (): void => {
        while (!socket.destroyed && socket.write('x'.repeat(1024 * 1024)));
        if (!socket.destroyed) socket.once('drain', flood)
      }
      flood()
    })
    const { code, stderr } = await run('status', '-socket', path)
    expect(code, stderr).toBe(notRunning)
    expect(stderr).toContain('does not end')
  })

  test('that comes byte by byte is not waited for', async () => {
    const path = join(temporaryFolder(), 'socket')
    await answerAt(path, (socket) => {
      socket.write('HTTP/1.1 200 OK\r\n\r\n')
      const drip = setInterval(() => socket.write(' '), 200)
      socket.once('close', () => clearInterval(drip))
    })
    const { code, stderr } = await run('status', '-socket', path)
    expect(code, stderr).toBe(notRunning)
    expect(stderr).toContain('does not answer within 10 s')
  })
})

test('one that breaks off is that of a daemon that has ended', async () => {
  const path = join(temporaryFolder(), 'socket')
  await answerAt(path, (socket) => {
    socket.write('HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{')
    setImmediate(() => socket.destroy())
  })
  const { code, stderr } = await run('status', '-socket', path)
  expect(code, stderr).toBe(notRunning)
  expect(stderr).toContain(`the daemon at ${path} is gone amid its answer`)
})

test('a service of another name is found where every other daemon is', async () => {
  const folder = temporaryFolder()
  const db = join(folder, 'app.db')
  makeNotes(db, 'kept')
  const service = { RUNTIME_DIRECTORY: join(folder, 'myapp') }
  const daemon = startWith(service, 'replicate', db, `file://${folder}/replica`)
  await daemon.waitFor(/snapshot written/)
  const { code, stderr } = await run('sync', '-wait', '-now', db)
  expect(code, stderr).toBe(0)
  expect(existsSync(service.RUNTIME_DIRECTORY)).toBe(false)
  expect(await daemon.stop()).toBe(0)
})

describe('an answer that would do something to a terminal', () => {
  const harm = 'a\u001b[2J\u009b2J\u202eb'
  const harmless = 'a\\u001b[2J\\u009b2J\\u202eb'
  const failure = { atMs: 0, isOver: false, message: harm }
  const replica = { ...replicaStatus, name: harm, lastFailure: failure, refusal: harm }
  const database = { ...databaseStatus, path: harm, lastFailure: failure, replicas: [replica] }
  const notReady = [{ database: harm, replica: harm, reason: harm }]
  const status = {
    version: harm,
    pid: 1,
    startedAtMs: 0,
    notReady,
    databases: [database],
    fileSystems: [],
  }
  const refusal = { error: { code: 'CONFIG', message: harm, hint: harm } }

  test.each([
    ['a status', 200, status, 1],
    ['a refusal', 400, refusal, 78],
    ['nonsense', 200, harm, notRunning],
  ])('is printed, and does nothing: %s', async (_, httpStatus, answer, exitCode) => {
    const path = join(temporaryFolder(), 'socket')
    const text = typeof answer === 'string' ? answer : JSON.stringify(answer)
    await answerAt(path, (socket) => socket.end(`HTTP/1.1 ${httpStatus} OK\r\n\r\n${text}`))
    for (const flags of [[], ['--json']]) {
      const { code, stdout, stderr } = await run('status', ...flags, '-socket', path)
      expect(code, stderr).toBe(exitCode)
      expect(stdout + stderr).toContain(harmless)
      for (const character of ['\u001b', '\u009b', '\u202e'])
        expect(stdout + stderr).not.toContain(character)
    }
  })
})

describe.skipIf(!isRoot)('among several users', () => {
  test('nobody answers for the daemon of another one', async () => {
    const host = makeHost('alice', 'mallory')
    const [alice, mallory] = host.tenants
    const daemon = startAs(alice!.user, 'replicate', alice!.db, `file://${alice!.home}/r`)
    await daemon.waitFor(/snapshot written/)
    const folder = `/tmp/tsreplicate-${alice!.user}`
    made.push(folder)
    expect(rightsOf(folder)).toBe(`${alice!.user} 700`)
    // Its user, and root, who sees whose database it is.
    const toAlice = startAs(alice!.user, 'status', '--json', alice!.db)
    expect(await toAlice.exit()).toBe(0)
    expect(toAlice.stderr).not.toContain('answered by')
    expect(JSON.parse(toAlice.stdout)).not.toHaveProperty('answeredBy')
    const toRoot = await run('status', alice!.db)
    expect(toRoot.code).toBe(0)
    expect(toRoot.stderr).toContain(`answered by user ${alice!.user}`)
    const asJson = await run('status', '--json', alice!.db)
    expect(JSON.parse(asJson.stdout)).toMatchObject({ answeredBy: alice!.user })
    expect(await startAs(mallory!.user, 'status', alice!.db).exit()).toBe(notRunning)
    expect(await daemon.stop()).toBe(0)

    // The folder is gone, and somebody else makes it.
    expect(existsSync(folder)).toBe(false)
    does(mallory!, `mkdir ${folder}; chmod 755 ${folder}`)
    const again = startAs(alice!.user, 'replicate', alice!.db, `file://${alice!.home}/r`)
    await again.waitFor(/snapshot written|initialized db/)
    made.push(`/dev/shm/tsreplicate-${alice!.user}`)
    const asks = async (): Promise<boolean> =>
      (await startAs(alice!.user, 'status', alice!.db).exit()) === 0
    await until(asks, 10_000, 'an answer elsewhere')
    expect(readdirSync(folder)).toEqual([])
    expect(await again.stop()).toBe(0)
  })

  test('a daemon of root answers root, in a folder of root', async () => {
    const folder = temporaryFolder()
    const db = join(folder, 'app.db')
    makeNotes(db, 'one')
    const config = writeConfig(folder, { path: db, replicas: [join(folder, 'replica')] })
    chmodSync(folder, 0o755)
    const daemon = start('replicate', '-config', config)
    await daemon.waitFor(/snapshot written/)
    expect(rightsOf('/run/tsreplicate')).toBe('0 700')
    const toRoot = await run('status', '-config', config)
    expect(toRoot.code).toBe(0)
    expect(toRoot.stderr).not.toContain('answered by')
    const other = startAs(61_100, 'status', '-config', config)
    expect(await other.exit()).toBe(notRunning)
    expect(other.stderr).toMatch(/EACCES|no daemon is running/)
    expect(await daemon.stop()).toBe(0)
  })
})
