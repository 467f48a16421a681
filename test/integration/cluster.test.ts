/** Several processes of an application: one replicates, and where it ends, in whatever way, another one takes over. */
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import type * as Library from '../../src/index.js'
import {
  cleanUp,
  library,
  restore,
  root,
  Running,
  start,
  temporaryFolder,
  until,
  writeConfig,
} from '../support/cli.ts'
import { makeNotes, notesIn } from '../support/notes.ts'
import { onThisMachine } from '../support/patience.ts'
import { silent } from '../support/silent-logger.ts'

const { NotStoredError, replicate } = (await import(library)) as typeof Library

afterEach(() => cleanUp())

/** What a worker says, see cluster.mjs. */
type Said = { readonly pid: number; readonly atMs: number } & (
  | { readonly event: 'ready'; readonly enginePid: number }
  | { readonly event: 'log'; readonly level: string; readonly message: string }
  | { readonly event: 'acknowledged'; readonly note: string }
  | { readonly event: 'refused'; readonly note: string; readonly message: string }
)
type Event = Said['event']

class Cluster {
  readonly #running: Running

  constructor(options: { readonly db: string; readonly url: string; readonly workers: number }) {
    const script = join(root, 'test/support/cluster.mjs')
    this.#running = new Running('cluster', process.execPath, [script, JSON.stringify(options)])
  }

  said<Name extends Event>(event: Name): readonly Extract<Said, { event: Name }>[] {
    const lines = this.#running.stdout.split('\n').slice(0, -1)
    const all = lines.map((line) => JSON.parse(line) as Said)
    return all.filter((each): each is Extract<Said, { event: Name }> => each.event === event)
  }

  /** The workers that came to replicate, in that order. */
  get replicating(): readonly Extract<Said, { event: 'log' }>[] {
    return this.said('log').filter(({ message }) => message === 'replica claimed')
  }

  /** What a worker has logged that is not said of every replication. */
  remarksOf(worker: number): readonly string[] {
    const always =
      /^(initialized db|replicating to|new generation|generation continues|resumed|replica claimed|write snapshot|(snapshot|wal segment) written)$/
    return this.said('log').flatMap(({ pid, level, message }) =>
      pid === worker && !always.test(message) ? [`${level} ${message}`] : [],
    )
  }

  engineOf(worker: number): number {
    return this.said('ready').find(({ pid }) => pid === worker)?.enginePid ?? 0
  }

  async until(condition: () => boolean): Promise<void> {
    await until(condition, 60_000, () => `the cluster, which said:\n${this.#running.output}`)
  }

  async stop(): Promise<void> {
    expect(await this.#running.stop(), this.#running.output).toBe(0)
  }
}

const ended = {
  worker: (worker: number): readonly number[] => [worker],
  'worker and its engine': (worker: number, engine: number) => [worker, engine],
  engine: (_worker: number, engine: number) => [engine],
}

test('where the worker of a cluster that replicates is killed, another takes over, and who waits is told the truth', async () => {
  const folder = temporaryFolder()
  const [db, replica] = [join(folder, 'app.db'), join(folder, 'replica')]
  makeNotes(db)
  const cluster = new Cluster({ db, url: `file://${replica}`, workers: 4 })
  await cluster.until(() => cluster.said('ready').length === 4 && cluster.replicating.length === 1)
  const workers = new Set(cluster.said('ready').map(({ pid }) => pid))

  for (const [name, killed] of Object.entries(ended)) {
    const before = cluster.replicating.length
    const { pid: worker } = cluster.replicating[before - 1]!
    const killedAtMs = Date.now()
    for (const pid of killed(worker, cluster.engineOf(worker))) process.kill(pid, 'SIGKILL')
    if (name !== 'engine') workers.delete(worker)
    await cluster.until(() => cluster.replicating.length > before)
    const { atMs } = cluster.replicating[before]!
    expect(atMs - killedAtMs, name).toBeLessThan(onThisMachine(3000))
    const hasGoneOn = (pid: number): boolean =>
      cluster.said('acknowledged').some((each) => each.pid === pid && each.atMs > atMs)
    await cluster.until(() => [...workers].every(hasGoneOn))
  }
  await cluster.stop()
  expect(cluster.said('refused')).toEqual([])

  const waiting = 'info waiting until that process ends'
  const [first, second, third] = cluster.replicating.map(({ pid }) => pid)
  expect(first && cluster.remarksOf(first)).toEqual([])
  expect(second && cluster.remarksOf(second)).toEqual([waiting])
  // Its engine is killed, and the next one stands by, or is the first again.
  expect(third && cluster.remarksOf(third).slice(0, 2)).toEqual([
    waiting,
    'error engine ended, restarting it',
  ])
  const output = join(folder, 'restored.db')
  await restore(replica, output)
  const notes = notesIn(output)
  expect(notes).toEqual(notesIn(db))
  const acknowledged = cluster.said('acknowledged').map(({ note }) => note)
  expect(acknowledged.filter((note) => !notes.includes(note))).toEqual([])
})

test('where the process that replicates hangs, who waits in another one is refused in time, and goes on after it', async () => {
  const folder = temporaryFolder()
  const [db, url] = [join(folder, 'app.db'), `file://${join(folder, 'replica')}`]
  makeNotes(db, 'kept')
  await using first = await replicate(db, url, { logger: silent })
  await using second = await replicate(db, url, { logger: silent })
  await second.stored({ urgency: 'now' })
  const engine = first.pid ?? 0
  process.kill(engine, 'SIGSTOP')
  const refused = await second.stored({ urgency: 'now', timeoutMs: 500 }).catch(String)
  const waiting = second.stored({ urgency: 'now' })
  process.kill(engine, 'SIGKILL')
  expect(refused).toContain(
    `not stored: ${db}: not within 500ms; on all: another process was to replicate it, and does not answer`,
  )
  expect(await waiting).toMatchObject({ database: db })
  await second.stop()
  await expect(second.stored()).rejects.toBeInstanceOf(NotStoredError)
})

test('nobody is told that a commit is stored by a process that stores elsewhere than his own would', async () => {
  const folder = temporaryFolder()
  const db = join(folder, 'app.db')
  const [old, next] = [join(folder, 'old'), join(folder, 'next')]
  makeNotes(db, 'kept')
  const warnings: unknown[] = []
  const heard: object[] = []
  await using first = await replicate(db, `file://${old}`, { logger: silent })
  await first.stored({ urgency: 'now' })
  const logger = { ...silent, warn: (fields: object) => warnings.push(fields) }
  await using second = await replicate(db, `file://${next}`, { logger })
  second.on('problem', (event) => heard.push(event))
  second.on('recovered', (event) => heard.push(event))

  const why = `another process replicates it to ${old} (file), and not to ${next} (file)`
  for (const replicas of ['all', 'any', ['file']] as const) {
    const refused = second.stored({ urgency: 'now', replicas })
    await expect(refused).rejects.toBeInstanceOf(NotStoredError)
    await expect(refused).rejects.toMatchObject({
      message: `not stored: ${db}: ${why}`,
      missing: [{ database: db, replica: 'file' }],
    })
  }
  await until(() => heard.length > 0, 20_000, 'the problem that is to be heard')
  const ready = await second.handler()(new Request('http://localhost/readyz'))
  expect([ready.status, await ready.text()]).toEqual([503, `${db}: ${why}\n`])
  expect(await first.stop()).toEqual([])
  await second.stored({ urgency: 'now', timeoutMs: 60_000 })
  await until(() => heard.length > 1, 20_000, 'that it is over')
  expect(warnings).toEqual([{ db, why }])
  expect(heard).toMatchObject([{ database: db, message: why }, { from: 'problem' }])
  await second.stop()
  await restore(next, join(folder, 'restored.db'))
  expect(notesIn(join(folder, 'restored.db'))).toEqual(['kept'])
})

test('beside a daemon with a configuration an application is told what that one stores, and follows it', async () => {
  const folder = temporaryFolder()
  const [db, replica] = [join(folder, 'app.db'), join(folder, 'replica')]
  makeNotes(db, 'kept')
  const daemon = start(
    'replicate',
    '-config',
    writeConfig(folder, { path: db, replicas: [replica] }),
  )
  await daemon.waitFor(/snapshot written/)
  const application = await replicate(db, `file://${replica}`, { logger: silent })
  const timeoutMs = 10_000
  expect(await application.stored({ urgency: 'now', timeoutMs })).toMatchObject({
    database: db,
    replicas: [{ name: 'file' }],
  })
  const waiting = application.stored({ timeoutMs: 60_000 })
  expect(await daemon.stop()).toBe(0)
  await waiting
  expect(await application.stop()).toEqual([])

  const again = start('replicate', '-config', join(folder, 'tsreplicate.yml'))
  await again.waitFor(/resumed/)
  await using other = await replicate(db, `file://${folder}/other`, { logger: silent })
  await expect(other.stored({ timeoutMs })).rejects.toMatchObject({
    code: 'NOT_STORED',
    message: expect.stringContaining(
      `another process replicates it to ${replica} (file)`,
    ) as string,
    cause: { code: 'IN_USE' },
  })
  expect(await again.stop()).toBe(0)
  await other.stored({ urgency: 'now', timeoutMs: 60_000 })
})
