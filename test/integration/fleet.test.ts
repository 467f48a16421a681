import Database from 'better-sqlite3'
import { spawnSync } from 'node:child_process'
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { afterEach, expect, it } from 'vitest'
import {
  cleanUp,
  listGenerations,
  program,
  restore,
  run,
  Running,
  start,
  startAs,
  temporaryFolder,
  until,
} from '../support/cli.ts'

import { sayAtTheEnd } from '../support/last-lines.ts'

/** Why a process cannot be kept from watching anything here. */
const whyNoNamespace = ((): string | undefined => {
  const script = 'echo 0 > /proc/sys/user/max_inotify_instances'
  const args = ['--user', '--map-root-user', 'sh', '-c', script]
  const tried = spawnSync('unshare', args, { encoding: 'utf8' })
  return tried.status === 0 ? undefined : tried.stderr || String(tried.error)
})()
if (whyNoNamespace !== undefined) {
  sayAtTheEnd(`folders that cannot be watched were not tested: ${whyNoNamespace}`)
}

afterEach(cleanUp)

/** Adds rows up to this number, as one commit. */
function fill(path: string, upTo: number): void {
  const database = new Database(path)
  try {
    database.pragma('journal_mode = wal')
    database.exec('CREATE TABLE IF NOT EXISTS t (n INTEGER PRIMARY KEY)')
    const insert = database.prepare('INSERT OR IGNORE INTO t VALUES (?)')
    database.transaction(() => {
      for (let n = 1; n <= upTo; n += 1) insert.run(n)
    })()
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

  // It sees the last commits, and that the file is gone, at the same time.
  daemon.signal('SIGSTOP')
  fill(at('data/a.db'), 20)
  for (const suffix of ['', '-wal', '-shm']) rmSync(at(`data/a.db${suffix}`), { force: true })
  daemon.signal('SIGCONT')
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

it('a database that two entries mean is that of the last one, to the daemon and to commands', async () => {
  const { at, config } = scene({})
  mkdirSync(at('data/eu'))
  fill(at('data/eu/a.db'), 10)
  const entry = (dir: string, name: string): object => {
    const replicas = [{ path: at(name), 'sync-interval': '100ms' }]
    return { dir: at(dir), recursive: true, replicas }
  }
  const databases = async (): Promise<unknown> =>
    JSON.parse((await run('databases', '--json', '-config', config)).stdout)
  for (const [dbs, place, other] of [
    [[entry('data', 'all'), entry('data/eu', 'inner')], 'inner/a.db', 'all/eu/a.db'],
    [[entry('data/eu', 'inner-2'), entry('data', 'all-2')], 'all-2/eu/a.db', 'inner-2/a.db'],
  ] as const) {
    writeFileSync(config, JSON.stringify({ dbs }))
    const daemon = start('replicate', '-config', config)
    await daemon.waitFor(/snapshot written/)
    expect(await daemon.stop()).toBe(0)
    expect(existsSync(at(place))).toBe(true)
    expect(existsSync(at(other))).toBe(false)
    expect(await databases()).toHaveLength(1)
    const output = at(`restored-${place.split('/')[0]}`)
    const restored = await run('restore', '-config', config, '-o', output, at('data/eu/a.db'))
    expect(restored.code, restored.stderr).toBe(0)
  }
})

it('a folder without databases, and files that must not be looked into, are said', async () => {
  const { at, config } = scene({ pattern: '*.sqlite' })
  fill(at('data/a.db'), 10)
  const daemon = start('replicate', '-config', config)
  await daemon.waitFor(/level=WARN msg="no databases in the folder.*pattern=\*\.sqlite/)
  expect(await daemon.stop()).toBe(0)
  if (process.getuid?.() !== 0) return
  writeFileSync(config, readFileSync(config, 'utf8').replace('*.sqlite', '*'))
  chownSync(at('data'), 54_321, 54_321)
  chownSync(dirname(config), 54_321, 54_321)
  chmodSync(at('data/a.db'), 0o600)
  const other = startAs(54_321, 'replicate', '-config', config)
  await other.waitFor(/no permission to read the file, which may be a database.*file=.*a\.db/)
  chownSync(at('data/a.db'), 54_321, 54_321)
  fill(at('b.db'), 1)
  chownSync(at('b.db'), 54_321, 54_321)
  renameSync(at('b.db'), at('data/b.db'))
  await other.waitFor(/database found.*a\.db/)
  expect(await other.stop()).toBe(0)
})

it.skipIf(whyNoNamespace !== undefined)(
  'where nothing can be watched it says so, and finds a new database soon all the same',
  async () => {
    const { at, config } = scene({})
    const script = 'echo 0 > /proc/sys/user/max_inotify_instances && exec "$@"'
    const command = ['sh', '-c', script, 'sh', process.execPath, program]
    const args = ['--user', '--map-root-user', ...command, 'replicate', '-config', config]
    const daemon = new Running('daemon', 'unshare', args)
    await daemon.waitFor(/level=WARN msg="the folder cannot be watched.*problem=.*every-ms=5000/)
    fill(at('data/a.db'), 10)
    await daemon.waitFor(/database found/, { timeoutMs: 8000 })
    await daemon.waitFor(/snapshot written/)
    expect(await daemon.stop()).toBe(0)
  },
)

it('local state of a database that is gone is removed after a while, when all of it is stored', async () => {
  const { at, config } = scene({})
  for (const name of ['gone', 'back', 'stays']) fill(at(`data/${name}.db`), 10)
  const state = (name: string): string => at(`data/.${name}.db-tsreplicate`)
  const first = start('replicate', '-config', config)
  await first.waitFor(/snapshot written/, { times: 3 })
  for (const name of ['gone', 'back'])
    for (const suffix of ['', '-wal', '-shm']) rmSync(at(`data/${name}.db${suffix}`))
  await first.waitFor(/no longer replicated/, { times: 2 })
  await until(() => existsSync(join(state('back'), 'left')), 5000, 'the mark')
  fill(at('data/back.db'), 5)
  await first.waitFor(/snapshot written/, { times: 4 })
  expect(existsSync(join(state('back'), 'left'))).toBe(false)
  expect(await first.stop()).toBe(0)
  // Not yet.
  const second = start('replicate', '-config', config)
  await second.waitFor(/replicating to/, { times: 2 })
  expect(await second.stop()).toBe(0)
  expect(existsSync(state('gone'))).toBe(true)
  const anHourAgo = new Date(Date.now() - 3_700_000)
  utimesSync(join(state('gone'), 'left'), anHourAgo, anHourAgo)
  const third = start('replicate', '-config', config)
  await third.waitFor(/local state of a deleted database removed/)
  expect(await third.stop()).toBe(0)
  expect(existsSync(state('gone'))).toBe(false)
  for (const name of ['back', 'stays']) expect(existsSync(state(name))).toBe(true)
})
