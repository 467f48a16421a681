/** The end of a replication, and signals: nobody waits for ever, and what is not stored is said to somebody. */
import { mkdirSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, expect, test } from 'vitest'
import type * as Library from '../../src/index.js'
import { type LogFields, type Logger, type ReplicationEvents } from '../../src/index.js'
import { cleanUp, library, Running, temporaryFolder, until } from '../support/cli.js'
import { addNote, makeNotes } from '../support/notes.ts'
import { silent } from '../support/silent-logger.ts'

const { configFromUrls, replicate, status } = (await import(library)) as typeof Library

afterEach(() => cleanUp())

async function scene() {
  const folder = temporaryFolder()
  const db = join(folder, 'app.db')
  const replica = join(folder, 'replica')
  makeNotes(db, 'first')
  const config = await configFromUrls(db, `file://${replica}`)
  return { db, replica, config: { ...config, shutdownTimeoutMs: 300 } }
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}

test('an engine that hangs is killed at the end, and what is not known to be stored is named', async () => {
  const { db, config } = await scene()
  const replication = await replicate(config, { logger: silent })
  await replication.stored({ urgency: 'now' })
  const { pid = 0 } = replication
  process.kill(pid, 'SIGSTOP')
  addNote(db, 'second')
  const missing = [{ database: db, replica: 'file' }]
  const waiting = replication.stored({ timeoutMs: 100 })
  const named = `not known to be stored: ${db} on file: `
  await expect(waiting).rejects.toMatchObject({
    code: 'NOT_STORED',
    message: `${named}the engine did not answer within 100ms`,
    missing,
  })
  const removed = replication.removeDatabase(db).catch((error: unknown) => error)
  await expect(replication.stop()).rejects.toMatchObject({
    code: 'NOT_STORED',
    message: expect.stringMatching(
      / on file: .* did not end within 6\.3s, and was killed/,
    ) as string,
    missing,
  })
  expect(await removed).toMatchObject({ code: 'NOT_RUNNING' })
  await until(() => !isAlive(pid), 20_000, 'the end of the engine')
})

test('who ends by `await using` finds in the log, and hears, what is not stored', async () => {
  const { db, replica, config } = await scene()
  const lines: object[] = []
  const note = (level: string) => (fields: LogFields, message: string) => {
    lines.push({ level, message, ...fields })
  }
  const logger: Logger = {
    ...{ debug: note('debug'), info: note('info'), warn: note('warn'), error: note('error') },
  }
  const problems: ReplicationEvents['problem'][] = []
  {
    await using replication = await replicate(config, { logger })
    await replication.stored({ urgency: 'now' })
    replication.on('problem', (event) => problems.push(event))
    renameSync(replica, `${replica}-away`)
    writeFileSync(replica, '')
    addNote(db, 'second')
  }
  const [said] = lines.filter((line) => 'message' in line && line.message === 'not stored')
  expect(said).toMatchObject({ level: 'error', db, replica: 'file' })
  const event = { database: db, replica: 'file', code: 'NOT_STORED' }
  expect(problems).toContainEqual(expect.objectContaining(event))
})

test('a start ends at an abort, and nothing runs then', async () => {
  const { db, config } = await scene()
  const over = new Error('over')
  const before = replicate(config, { logger: silent, signal: AbortSignal.abort(over) })
  await expect(before).rejects.toBe(over)
  const stop = new AbortController()
  const starting = replicate(config, { logger: silent, signal: stop.signal })
  await sleep(30)
  stop.abort(over)
  await expect(starting).rejects.toBe(over)
  await expect(status({ database: db })).rejects.toMatchObject({ code: 'NOT_RUNNING' })
})

test('signals to all processes of an application end no engine, while it starts either', async () => {
  const { db, replica } = await scene()
  mkdirSync(replica)
  const script = `
    import { setTimeout as sleep } from 'node:timers/promises'
    const { replicate } = await import(${JSON.stringify(library)})
    const signals = ['SIGINT', 'SIGUSR1', 'SIGUSR2', 'SIGTERM', 'SIGHUP', 'SIGQUIT']
    for (const signal of signals) process.on(signal, () => undefined)
    const stop = new AbortController()
    async function signal() {
      for (let pauseMs = 20; !stop.signal.aborted; pauseMs *= 2) {
        await sleep(pauseMs, undefined, { ref: false })
        for (const signal of signals) process.kill(0, signal)
      }
    }
    void signal()
    const noted = () => undefined
    const logger = { debug: noted, info: noted, warn: noted, error: noted }
    const replication = await replicate(${JSON.stringify(db)}, ${JSON.stringify(`file://${replica}`)}, { logger })
    stop.abort()
    const { pid } = replication
    for (const signal of signals) process.kill(0, signal)
    await replication.stored({ urgency: 'now', timeoutMs: 60_000 })
    console.log(replication.pid === pid, await replication.stop())`
  const args = ['--wait', process.execPath, '--input-type=module', '-e', script]
  const running = new Running('application', 'setsid', args)
  expect(await running.exit(), running.output).toBe(0)
  expect(running.stdout).toBe('true []\n')
})
