import Database from 'better-sqlite3'
import { mkdirSync, readdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, expect, it } from 'vitest'
import {
  cleanUp,
  listGenerations,
  restore,
  run,
  start,
  temporaryFolder,
  until,
} from '../support/cli.ts'

afterEach(cleanUp)

/** Adds rows up to this number. */
function fill(path: string, upTo: number): void {
  const database = new Database(path)
  try {
    database.pragma('journal_mode = wal')
    database.exec('CREATE TABLE IF NOT EXISTS t (n INTEGER PRIMARY KEY)')
    const insert = database.prepare('INSERT OR IGNORE INTO t VALUES (?)')
    for (let n = 1; n <= upTo; n += 1) insert.run(n)
  } finally {
    database.close()
  }
}

function rowsOf(path: string): number {
  const database = new Database(path, { readonly: true })
  try {
    return Number(database.prepare('SELECT count(*) FROM t').pluck().get())
  } finally {
    database.close()
  }
}

function scene(entry: object): { at: (name: string) => string; config: string } {
  const folder = temporaryFolder()
  const at = (name: string): string => join(folder, name)
  mkdirSync(at('data/deep'), { recursive: true })
  const config = at('c.yml')
  const replicas = [{ path: at('replica'), 'sync-interval': '100ms' }]
  const dbs = [{ dir: at('data'), recursive: true, replicas, ...entry }]
  writeFileSync(config, JSON.stringify({ dbs }))
  return { at, config }
}

it('replicates every database of a folder, whenever it comes and until it goes', async () => {
  const { at, config } = scene({})
  fill(at('data/a.db'), 10)
  fill(at('data/deep/b.data'), 10)
  writeFileSync(at('data/notes.txt'), 'no database')
  const daemon = start('replicate', '-config', config)
  await daemon.waitFor(/snapshot written/, { times: 2 })

  mkdirSync(at('data/new'))
  fill(at('data/new/c.db'), 10)
  // One that is made empty first, as an application may.
  writeFileSync(at('data/d.db'), '')
  await daemon.waitFor(/snapshot written/, { times: 3 })
  fill(at('data/d.db'), 10)
  await daemon.waitFor(/snapshot written/, { times: 4 })

  const stored = /wal segment written" db=\S*\/a\.db/
  const before = daemon.count(stored)
  fill(at('data/a.db'), 20)
  await daemon.waitFor(stored, { times: before + 1 })
  for (const suffix of ['', '-wal', '-shm']) rmSync(at(`data/a.db${suffix}`), { force: true })
  await daemon.waitFor(/no longer replicated/)
  fill(at('data/deep/b.data'), 20)
  expect(await daemon.stop()).toBe(0)

  for (const [name, rows] of [
    ['a.db', 20],
    ['deep/b.data', 20],
    ['new/c.db', 10],
    ['d.db', 10],
  ] as const) {
    const output = at(`restored-${name.replace('/', '-')}`)
    await restore(at(`replica/${name}`), output)
    expect(rowsOf(output), name).toBe(rows)
    expect(listGenerations(at(`replica/${name}`)), name).toHaveLength(1)
  }
  expect(daemon.output).not.toMatch(/notes\.txt|level=ERROR/)
})

it('is known to the commands, and restores a database that is lost', async () => {
  const { at, config } = scene({ pattern: '*.db', watch: false })
  fill(at('data/a.db'), 10)
  fill(at('data/deep/b.db'), 10)
  const daemon = start('replicate', '-config', config)
  await daemon.waitFor(/snapshot written/, { times: 2 })
  expect(await daemon.stop()).toBe(0)
  const { stdout } = await run('databases', '-config', config, '--json')
  expect(JSON.parse(stdout)).toEqual([
    { path: at('data/a.db'), replicas: ['file'] },
    { path: at('data/deep/b.db'), replicas: ['file'] },
  ])
  for (const suffix of ['', '-wal', '-shm']) rmSync(at(`data/deep/b.db${suffix}`), { force: true })
  const { code } = await run('restore', '-config', config, at('data/deep/b.db'))
  expect(code).toBe(0)
  expect(rowsOf(at('data/deep/b.db'))).toBe(10)
})

it('a folder that is not there is named, and hides no other database from the listing', async () => {
  const folder = temporaryFolder()
  const at = (name: string): string => join(folder, name)
  mkdirSync(at('data'))
  fill(at('data/a.db'), 1)
  const config = at('c.yml')
  const dbs = [
    { dir: at('missing'), replicas: [{ path: at('replicas/missing') }] },
    { dir: at('data'), replicas: [{ path: at('replicas/data') }] },
    { path: at('named.db'), replicas: [{ path: at('replicas/named') }] },
  ]
  writeFileSync(config, JSON.stringify({ dbs }))
  const { code, stdout, stderr } = await run('databases', '-config', config, '--json')
  expect(code, stderr).toBe(1)
  expect(JSON.parse(stdout)).toEqual([
    { path: at('named.db'), replicas: ['file'] },
    { path: at('data/a.db'), replicas: ['file'] },
  ])
  expect(stderr.trim().split('\n')).toHaveLength(1)
  expect(stderr).toContain(`cannot read folder ${at('missing')}: it does not exist`)
  // Which database is meant cannot be told without that folder.
  const restored = await run('restore', '-config', config)
  expect(restored.code).toBe(2)
  expect(restored.stderr).toContain(`cannot read folder ${at('missing')}`)
})

it('a folder that does not exist yet makes the daemon unready, and is found as soon as it does', async () => {
  const { at, config } = scene({})
  rmSync(at('data'), { recursive: true })
  const daemon = start('replicate', '-config', config)
  await daemon.waitFor(/folder cannot be read/)
  const before = await run('status', '-config', config)
  expect(before.code).toBe(1)
  expect(before.stdout).toContain(`cannot read folder ${at('data')}: it does not exist`)

  mkdirSync(at('data'))
  await daemon.waitFor(/folder can be read again/, { timeoutMs: 5000 })
  expect((await run('status', '-config', config)).code).toBe(0)
  fill(at('data/a.db'), 10)
  await daemon.waitFor(/database found.*a\.db/, { timeoutMs: 5000 })
  await daemon.waitFor(/snapshot written/)

  // The same name is another folder the next time.
  rmSync(at('data'), { recursive: true })
  await daemon.waitFor(/folder cannot be read/, { times: 2 })
  mkdirSync(at('data'))
  await daemon.waitFor(/folder can be read again/, { times: 2, timeoutMs: 5000 })
  fill(at('data/b.db'), 10)
  await daemon.waitFor(/database found.*b\.db/, { timeoutMs: 5000 })
  await daemon.waitFor(/snapshot written/, { times: 2 })
  await daemon.stop()
  const output = at('restored')
  await restore(at('replica/b.db'), output)
  expect(rowsOf(output)).toBe(10)
})

it('databases at rest cost five descriptors each, one of the WAL among them, and give memory back', async () => {
  const { at, config } = scene({})
  const names = Array.from({ length: 100 }, (_, n) => `${n}.db`)
  for (const name of names) fill(at(`data/${name}`), 10)
  const daemon = start('replicate', '-config', config)
  await daemon.waitFor(/snapshot written/, { times: names.length, timeoutMs: 60_000 })

  /** How many descriptors are open of each file. */
  const descriptors = (): Map<string, number> => {
    const counts = new Map<string, number>()
    for (const name of readdirSync(`/proc/${daemon.pid}/fd`)) {
      let file: string
      try {
        file = readlinkSync(`/proc/${daemon.pid}/fd/${name}`)
      } catch {
        continue
      }
      counts.set(file, (counts.get(file) ?? 0) + 1)
    }
    return counts
  }
  const ofDatabase = (name: string): readonly number[] => {
    const counts = descriptors()
    return ['', '-wal', '-shm'].map((suffix) => counts.get(at(`data/${name}${suffix}`)) ?? 0)
  }
  await until(() => ofDatabase('7.db').join() === '3,1,1', 10_000, 'the last database to rest')
  for (const name of names) expect(ofDatabase(name), name).toEqual([3, 1, 1])

  // One that was written to comes back to rest with as many.
  const stored = daemon.count(/wal segment written/)
  fill(at('data/7.db'), 20)
  await daemon.waitFor(/wal segment written/, { times: stored + 1 })
  await until(() => ofDatabase('7.db').join() === '3,1,1', 10_000, 'it to rest again')

  const residentMib = (): number =>
    Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${daemon.pid}/status`, 'utf8'))![1]) / 1024
  await until(() => residentMib() < 170, 40_000, 'memory to be given back')
  expect(await daemon.stop()).toBe(0)
})
